/*
 * access.h - making tokens and sending domains, for the HTTP API and the CLI alike.
 */
#ifndef POSTHASTE_API_ACCESS_H
#define POSTHASTE_API_ACCESS_H

#include <jansson.h>

#include "campaign/campaign.h"
#include "storage/storage.h"

#define TOKEN_NAME_MAX_BYTES 100

/* {"id","name","scope","token"}: the only time that the token itself is seen. */
int access_token_create(struct storage *storage, const char *name, enum token_scope scope, json_t **out,
                        struct error *err) ATTR_MUSTCHECK;
/* view_domain() of the new one; STORAGE_EXISTS; -EINVAL with a problem. `selector` NULL = the default. */
int access_domain_add(struct storage *storage, const struct config *config, const char *domain, const char *selector,
                      json_t **out, struct problem *problem, struct error *err) ATTR_MUSTCHECK;
/* view_domain() with "rotation":{step,why,wait_until} after the next step; STORAGE_NOT_FOUND. */
int access_domain_rotate(struct storage *storage, struct storage_reader *reader, const struct config *config,
                         const char *domain, json_t **out, struct error *err) ATTR_MUSTCHECK;
/* view_domain() and the records that the domain wants besides its keys; STORAGE_NOT_FOUND. `name` is brought into
 * normal form. */
int access_domain_get(struct storage_reader *reader, const struct config *config, const char *name, json_t **out,
                      struct error *err) ATTR_MUSTCHECK;

#endif
