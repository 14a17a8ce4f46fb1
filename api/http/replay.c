/*
 * replay.c - looks a key up before the handler and notes its answer behind it.
 *
 * Keys of different tokens never meet. What makes two requests the same is method, target, the kind of body and every
 * byte of it, as one hash. When the answer to what was done cannot be made or stored the key stays as it is: a
 * repetition then gets 409 and is not carried out a second time, which is the smaller harm.
 */
#include "api/http/replay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/app.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "dkim/dkim.h"

#define BLOCK_BYTES ((size_t)256 << 10)

/* h = SHA-256(h, block): the digests that are lent to this room take one piece of memory. */
static int chain(uint8_t hash[32], char *work, const void *bytes, size_t len)
{
    memcpy(work, hash, 32);
    memcpy(work + 32, bytes, len);
    return digest_sha256(work, len + 32, hash);
}

static int hash_memory(uint8_t hash[32], char *work, const char *bytes, size_t len)
{
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < len; at += BLOCK_BYTES)
        rc = chain(hash, work, bytes + at, MIN_OF(len - at, BLOCK_BYTES));
    return rc;
}

static int hash_spool(uint8_t hash[32], char *work, int fd)
{
    char *block = malloc(BLOCK_BYTES);
    off_t at = 0;
    size_t have = 0;
    int rc = block != NULL ? 0 : -ENOMEM;
    while (rc == 0) {
        ssize_t n = pread(fd, block + have, BLOCK_BYTES - have, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = -errno;
        if (n > 0) {
            at += n;
            have += (size_t)n;
        }
        if (rc == 0 && have > 0 && (n == 0 || have == BLOCK_BYTES)) {
            rc = chain(hash, work, block, have);
            have = 0;
        }
        if (n <= 0)
            break;
    }
    free(block);
    return rc;
}

static int make_fingerprint(const struct request *request, const char *target, uint8_t hash[32])
{
    char *work = malloc(BLOCK_BYTES + 32);
    if (work == NULL)
        return -ENOMEM;
    const char *const head[] = {http_method_name(request->method), target, request->content_type};
    int rc = 0;
    memset(hash, 0, 32);
    for (size_t i = 0; rc == 0 && i < countof(head); i++)
        rc = chain(hash, work, head[i], strnlen(head[i], BLOCK_BYTES));
    if (rc == 0 && request->body.len > 0)
        rc = hash_memory(hash, work, request->body.data, request->body.len);
    if (rc == 0 && request->spool_fd >= 0)
        rc = hash_spool(hash, work, request->spool_fd);
    free(work);
    return rc;
}

static bool is_key(const char *key)
{
    size_t len = strlen(key);
    for (size_t i = 0; i < len; i++) {
        if (key[i] < 0x21 || key[i] > 0x7e)
            return false;
    }
    return len > 0 && len <= IDEMPOTENCY_KEY_MAX_BYTES;
}

static void answer_again(struct response *response, struct idempotency_answer *answer)
{
    const char *type = answer->status < 300 ? "application/json" : "application/problem+json";
    response_text(response, answer->status, answer->body_len > 0 ? type : NULL, answer->body);
    if (answer->location[0] != '\0')
        response_header(response, "Location", "%s", answer->location);
    response_header(response, "Idempotent-Replayed", "true");
}

bool replay_begin(const struct request *request, const char *target, struct response *response)
{
    const char *key = request->idempotency_key;
    struct idempotency_answer answer;
    struct error err = {""};
    uint8_t fingerprint[32];
    if (!is_key(key)) {
        response_problem(response, 400, "Idempotency-Key must have 1 to %d visible ASCII characters",
                         IDEMPOTENCY_KEY_MAX_BYTES);
        return false;
    }
    if (make_fingerprint(request, target, fingerprint) != 0) {
        response_problem(response, 503, "the request cannot be remembered now");
        return false;
    }
    int rc = storage_idempotency_begin(request->app->storage, request->caller.token_id, key, fingerprint,
                                       clock_wall_ms(), &answer, &err);
    switch (rc) {
    case 0:
        return true;
    case IDEMPOTENCY_ANSWERED:
        answer_again(response, &answer);
        break;
    case IDEMPOTENCY_OTHER:
        response_problem(response, 422, "this Idempotency-Key was used for another request; take a new one");
        break;
    case IDEMPOTENCY_RUNNING:
        response_problem(response, 409, "the first request with this Idempotency-Key is still running");
        response_header(response, "Retry-After", "1");
        break;
    case IDEMPOTENCY_INTERRUPTED:
        response_problem(response, 409,
                         "the first request with this Idempotency-Key was cut off by the end of the "
                         "server; look whether it was carried out, then take a new key");
        break;
    case IDEMPOTENCY_FULL:
        response_problem(response, 503, "too many Idempotency-Keys of the last 24 hours are remembered");
        response_header(response, "Retry-After", "600");
        break;
    default:
        response_condition(response, rc, "Idempotency-Key", &err);
    }
    idempotency_answer_finish(&answer);
    return false;
}

static const char *location_of(const struct response *response)
{
    for (size_t i = 0; i < response->header_count; i++) {
        if (strcmp(response->headers[i].name, "Location") == 0)
            return response->headers[i].value;
    }
    return "";
}

static int keep(const struct request *request, const struct response *response, struct error *err)
{
    struct response refusal = RESPONSE_INIT;
    const struct buffer *body = &response->body;
    struct idempotency_answer answer = {.status = response->status};
    if (response->secret) {
        response_problem(&refusal, 409,
                         "the first request with this Idempotency-Key was carried out; its answer holds a "
                         "secret, which is shown once only");
        answer.status = refusal.status;
        body = &refusal.body;
    }
    answer.body = body->data;
    answer.body_len = body->len;
    answer.location = str_dup(location_of(response));
    int rc = answer.location != NULL ? storage_idempotency_answer(request->app->storage, request->caller.token_id,
                                                                  request->idempotency_key, &answer, err)
                                     : error_memory(err);
    free(answer.location);
    response_finish(&refusal);
    return rc;
}

void replay_end(const struct request *request, const struct response *response)
{
    struct error err = {""};
    bool told = response->status >= 200 && response->status < 300 && !response->body.failed;
    int rc = 0;
    if (told)
        rc = keep(request, response, &err);
    else if (response->made_status == 0)
        rc = storage_idempotency_forget(request->app->storage, request->caller.token_id, request->idempotency_key,
                                        &err);
    if (rc != 0)
        log_error("http", "answer_not_kept error=%s", LOG_QUOTE(err.text));
}
