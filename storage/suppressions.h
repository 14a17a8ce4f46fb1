/*
 * suppressions.h - addresses that must not be mailed, by any campaign or by those of one list; public, included through
 * storage/storage.h.
 *
 * Looked up inside each claim, so an entry holds from the next claim on, whichever process made it, until it expires or
 * is removed. Expired entries are as good as absent, wherever one looks.
 *
 * An address that is known only by its digest has an entry whose `email` is "sha256:" and 64 lower-case hex digits: the
 * SHA-256 of the whole address in normal form and lower case.
 */
#ifndef POSTHASTE_STORAGE_SUPPRESSIONS_H
#define POSTHASTE_STORAGE_SUPPRESSIONS_H

#include "storage/storage.h"

#define SUPPRESSION_HASH_PREFIX "sha256:"
#define SUPPRESSION_HASH_BYTES 71 /* with its prefix */

struct storage_suppression {
    const char *email;
    const char *reason; /* "hard-bounce", "soft-bounce", "complaint", "unsubscribe", "manual", "invalid" */
    const char *origin; /* free text: who or what said so, e.g. "cli", "api", "campaign 7: 550 5.1.1 …" */
    int64_t created_ms;
    int64_t expires_ms;    /* 0 = never */
    int64_t list_id;       /* 0 = whatever is mailed; else only by campaigns to this list */
    const char *list_name; /* read only; "" = none */
};
typedef int storage_suppression_cb(void *context, const struct storage_suppression *suppression);

/* 0 added; STORAGE_EXISTS: it was there and holds as long (kept as it was, but an
 * unsubscription takes a graver reason); STORAGE_NOT_FOUND: no such list. One that would expire earlier gives way. */
int storage_suppression_add(struct storage *storage, const struct storage_suppression *suppression, struct error *err);
/* Many in short transactions; `added` counts the new ones. */
int storage_suppression_add_many(struct storage *storage, const struct storage_suppression *items, size_t count,
                                 int64_t *added, struct error *err);
/* 0 or NOT_FOUND. What counted against the address (soft bounces) is forgotten with it. An unsubscription comes to light
 * again when the reason goes that had taken its place; it is removed by another call. */
int storage_suppression_remove(struct storage *storage, const char *email, int64_t list_id, struct error *err);
/* Every entry of the address, that of all lists first. */
int storage_suppression_get(struct storage_reader *reader, const char *email, storage_suppression_cb *each,
                            void *context, struct error *err);

/* In the order of address and list, behind that of `after` (NULL = from the start). */
struct storage_suppression_place {
    const char *email;
    int64_t list_id;
};
int storage_suppression_page(struct storage_reader *reader, const struct storage_suppression_place *after, int limit,
                             storage_suppression_cb *each, void *context, int64_t *total, struct error *err);

/* Deletes what has expired, and what older versions left of lists that are gone; `removed` may be NULL. */
int storage_suppression_expire(struct storage *storage, int64_t now_ms, int64_t *removed, struct error *err);

/* How digests are made: once, before claims. Without it nothing is claimed while there are entries by digest. */
typedef int storage_digest_fn(const void *bytes, size_t len, uint8_t out[32]); /* SHA-256; 0 or negative */
void storage_set_digest(struct storage *storage, storage_digest_fn *sha256);
/* Writes the entry's `email` for an address: -EINVAL when it is too long to be one. */
int storage_suppression_hash(storage_digest_fn *sha256, const char *email,
                             char out[SUPPRESSION_HASH_BYTES + 1]) ATTR_MUSTCHECK;

#endif
