/*
 * idempotency.h - what was answered to requests that carried an Idempotency-Key, so that a client which lost the answer
 * may ask again without doing the thing twice (draft-ietf-httpapi-idempotency-key-header).
 *
 * A key belongs to its owner (a token's id; 0 = the local token) and is noted durably before the work begins; the
 * answer is noted behind it. What stands between the two when the process dies is neither done nor undone for certain:
 * it stays `interrupted` and is never run again under that key.
 *
 * Bounded: IDEMPOTENCY_ROWS_MAX keys and IDEMPOTENCY_BYTES_MAX bytes of answers; both are forgotten after
 * IDEMPOTENCY_KEEP_MS. Times are wall-clock milliseconds. Any thread; each call blocks until it is durable.
 */
#ifndef POSTHASTE_STORAGE_IDEMPOTENCY_H
#define POSTHASTE_STORAGE_IDEMPOTENCY_H

#include "storage/storage.h"

#define IDEMPOTENCY_KEY_MAX_BYTES 256
#define IDEMPOTENCY_KEEP_MS (INT64_C(24) * 3600 * 1000)
#define IDEMPOTENCY_ROWS_MAX 200000
#define IDEMPOTENCY_BYTES_MAX (INT64_C(256) << 20)

/* Positive results of storage_idempotency_begin(). */
enum {
    IDEMPOTENCY_ANSWERED = 1,    /* *out is the answer of the first request */
    IDEMPOTENCY_OTHER = 2,       /* the key was used for another request */
    IDEMPOTENCY_RUNNING = 3,     /* the first request has no answer yet */
    IDEMPOTENCY_INTERRUPTED = 4, /* the process ended before the first request had its answer */
    IDEMPOTENCY_FULL = 5,        /* no room for one more */
};

struct idempotency_answer {
    int status;     /* HTTP; 200 and above */
    char *location; /* the header, "" = none; NULL in an empty one */
    char *body;     /* JSON text; allocated, NUL-terminated */
    size_t body_len;
};
void idempotency_answer_finish(struct idempotency_answer *answer); /* frees; harmless on an empty one */

/* The server's first call: what an earlier process left unanswered is interrupted. */
int storage_idempotency_open(struct storage *storage, struct error *err) ATTR_MUSTCHECK;

/*
 * Notes the key; `fingerprint` is the hash of everything that makes the request what it is. 0: it is new, do the work,
 * then _answer() or _forget(). Positive: as above.
 */
int storage_idempotency_begin(struct storage *storage, int64_t owner, const char *key, const uint8_t fingerprint[32],
                              int64_t now_ms, struct idempotency_answer *out, struct error *err) ATTR_MUSTCHECK;
/* 0, or STORAGE_NOT_FOUND when the key was not begun. Takes copies. */
int storage_idempotency_answer(struct storage *storage, int64_t owner, const char *key,
                               const struct idempotency_answer *answer, struct error *err) ATTR_MUSTCHECK;
/* Nothing was done under the key: it may be used again, for any request. */
int storage_idempotency_forget(struct storage *storage, int64_t owner, const char *key,
                               struct error *err) ATTR_MUSTCHECK;

#endif
