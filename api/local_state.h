/*
 * local_state.h - what a running server leaves in data_dir for the CLI on the same machine: serve.json (where it is)
 * and local.token (a token of this process, mode 0600: whoever may read the database may use the API). Both are gone
 * when the server has ended in order.
 */
#ifndef POSTHASTE_API_LOCAL_STATE_H
#define POSTHASTE_API_LOCAL_STATE_H

#include "base/error.h"

/* Makes the token, writes both files (each whole or not at all), gives the token's hash. */
int local_state_write(const char *data_dir, const char *url, uint8_t token_sha256[32],
                      struct error *err) ATTR_MUSTCHECK;
void local_state_remove(const char *data_dir);

#endif
