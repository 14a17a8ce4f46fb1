/*
 * client.h - the CLI's way to a running server: HTTP with JSON, over libcurl.
 *
 * Where: POSTHASTE_URL, else the URL that the running server wrote to data_dir/serve.json, else the configuration's
 * `listen`. With what: POSTHASTE_TOKEN, else data_dir/local.token, but that one never leaves the machine.
 */
#ifndef POSTHASTE_API_CLI_CLIENT_H
#define POSTHASTE_API_CLI_CLIENT_H

#include <jansson.h>

#include "api/cli/cli.h"

struct client;

/* NULL when it cannot be set up (the reason was printed). Connects on the first call. */
struct client *client_open(struct cli *cli);
void client_close(struct client *client); /* NULL is allowed */
const char *client_url(const struct client *client);

/*
 * One call. `body` may be NULL (borrowed). 0 with *out (a new reference; NULL for an empty answer) when the status was
 * 2xx; else the server's words (or why it could not be reached) were printed, field by field, and CLI_FAILED is
 * returned.
 */
int client_call(struct client *client, const char *method, const char *path, const json_t *body, json_t **out);
#define client_get(client, path, out) client_call(client, "GET", path, NULL, out)

/* True when the last failure was that nobody answered. */
bool client_unreachable(const struct client *client);
/* True when the last failure was that the server refused: nothing was done. */
bool client_refused(const struct client *client);
/* For who asks again and again: a hushed client prints no failure, it keeps the sentence of the last one. */
void client_hush(struct client *client, bool hushed);
const char *client_problem(const struct client *client);

#endif
