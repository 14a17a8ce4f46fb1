/*
 * auth.h - bearer tokens (RFC 6750). A token is "ph_" and 48 hexadecimal digits: 192 random bits. The database keeps
 * its SHA-256 only, and it is found by that hash, so nothing about a token leaks through timing.
 */
#ifndef POSTHASTE_API_HTTP_AUTH_H
#define POSTHASTE_API_HTTP_AUTH_H

#include "api/app.h"
#include "api/http/router.h"

#define TOKEN_TEXT_BYTES 52 /* with the NUL */

/* A new token and its hash; 0 or -EIO. */
int token_generate(char text[TOKEN_TEXT_BYTES], uint8_t sha256[32], struct error *err) ATTR_MUSTCHECK;
/* Text of an Authorization value to hash; -EINVAL when it is not "Bearer TOKEN" (the scheme in any case). */
int auth_hash(const char *authorization, uint8_t sha256[32]) ATTR_MUSTCHECK;

const char *token_scope_name(enum token_scope scope);                          /* "read", "send", "admin" */
int token_scope_parse(const char *name, enum token_scope *out) ATTR_MUSTCHECK; /* 0 or -EINVAL */

/* True when the request may go on; else the response holds the 401 (with WWW-Authenticate), 403 or 503. `authorization`
 * may be NULL. `caller` gets the token's id and name. */
bool auth_check(struct app *app, struct storage_reader *reader, enum route_access access, const char *authorization,
                struct caller *caller, struct response *response);

#endif
