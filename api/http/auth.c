/*
 * auth.c - says whether a request may go on. Success means that an unrevoked token with a sufficient scope came with
 * it; a missing token, an unknown one and a revoked one are not told apart.
 */
#include "api/http/auth.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "dkim/dkim.h"

#define RANDOM_BYTES 24
#define LAST_USED_STEP_MS 60000 /* last_used is a hint for people; a write per request would be waste */

static const char *const SCOPES[] = {[TOKEN_READ] = "read", [TOKEN_SEND] = "send", [TOKEN_ADMIN] = "admin"};

const char *token_scope_name(enum token_scope scope)
{
    return (size_t)scope < countof(SCOPES) ? SCOPES[scope] : "unknown";
}

int token_scope_parse(const char *name, enum token_scope *out)
{
    for (size_t i = 0; i < countof(SCOPES); i++) {
        if (strcmp(SCOPES[i], name) == 0) {
            *out = (enum token_scope)i;
            return 0;
        }
    }
    return -EINVAL;
}

int token_generate(char text[TOKEN_TEXT_BYTES], uint8_t sha256[32], struct error *err)
{
    uint8_t random[RANDOM_BYTES];
    if (random_bytes(random, sizeof(random)) != 0)
        return error_set(err, -EIO, "no random bytes to be had");
    memcpy(text, "ph_", 3);
    for (size_t i = 0; i < sizeof(random); i++)
        (void)snprintf(text + 3 + 2 * i, 3, "%02x", random[i]);
    if (digest_sha256(text, strlen(text), sha256) != 0)
        return error_set(err, -EIO, "SHA-256 is not available");
    return 0;
}

int auth_hash(const char *authorization, uint8_t sha256[32])
{
    if (!str_starts_nocase(authorization, "bearer "))
        return -EINVAL;
    const char *token = authorization + 7;
    while (*token == ' ')
        token++;
    size_t len = strlen(token);
    while (len > 0 && token[len - 1] == ' ')
        len--;
    if (len == 0 || len > 256)
        return -EINVAL;
    return digest_sha256(token, len, sha256) == 0 ? 0 : -EINVAL;
}

struct found_token {
    int64_t id, last_used_ms;
    enum token_scope scope;
    char name[sizeof(((struct caller *)NULL)->name)];
};

static int keep_token(void *context, const struct storage_token *token)
{
    struct found_token *found = context;
    *found = (struct found_token){.id = token->id, .last_used_ms = token->last_used_ms, .scope = token->scope};
    (void)str_copy(found->name, sizeof(found->name), token->name);
    return 0;
}

static void note_use(struct app *app, const struct found_token *token)
{
    int64_t now_ms = clock_wall_ms();
    struct error ignored;
    /* Not worth an error: the request is allowed whether or not its time could be noted. */
    if (now_ms - token->last_used_ms >= LAST_USED_STEP_MS || now_ms < token->last_used_ms)
        (void)storage_token_used(app->storage, token->id, now_ms, &ignored);
}

static bool refuse(struct response *response, const char *detail)
{
    response_problem(response, 401, "%s", detail);
    response_header(response, "WWW-Authenticate", "Bearer realm=\"posthaste\"");
    return false;
}

bool auth_check(struct app *app, struct storage_reader *reader, enum route_access access, const char *authorization,
                struct caller *caller, struct response *response)
{
    if (access == ACCESS_OPEN)
        return true;
    uint8_t sha256[32];
    if (authorization == NULL)
        return refuse(response, "send a token: Authorization: Bearer TOKEN (make one with: posthaste token create)");
    if (auth_hash(authorization, sha256) != 0)
        return refuse(response, "the Authorization header is not of the form: Bearer TOKEN");

    struct found_token token = {.scope = TOKEN_ADMIN};
    if (!digest_equal(sha256, app->local_token_sha256, sizeof(sha256))) {
        struct error err = {""};
        int rc = storage_token_check(reader, sha256, keep_token, &token, &err);
        if (rc == STORAGE_NOT_FOUND)
            return refuse(response, "this token is not known, or was revoked");
        if (rc != 0) {
            response_condition(response, rc, "token", &err);
            return false;
        }
        note_use(app, &token);
        (void)str_copy(caller->name, sizeof(caller->name), token.name);
    }
    caller->token_id = token.id;
    static const enum token_scope needed[] = {[ACCESS_OPEN] = TOKEN_READ,
                                              [ACCESS_READ] = TOKEN_READ,
                                              [ACCESS_SEND] = TOKEN_SEND,
                                              [ACCESS_ADMIN] = TOKEN_ADMIN};
    if (token.scope < needed[access]) {
        response_problem(response, 403, "this needs a token with scope %s; yours has %s",
                         token_scope_name(needed[access]), token_scope_name(token.scope));
        return false;
    }
    return true;
}
