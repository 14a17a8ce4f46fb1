/*
 * link_keys.h - the secrets that make and prove tokens (links, return paths) and Message-IDs; public, included through
 * storage/storage.h.
 *
 * The newest one makes the tokens of what is launched from now on; a campaign keeps the one that it was launched with.
 * All that are not retired prove tokens. The first is number 0. Retiring one makes everything that it made worthless,
 * unsubscribe links too, so it has to wait for its time.
 */
#ifndef POSTHASTE_STORAGE_LINK_KEYS_H
#define POSTHASTE_STORAGE_LINK_KEYS_H

#include "storage/storage.h"

#define LINK_KEY_BYTES 32
#define LINK_KEYS_MAX 32 /* that are not retired */

struct storage_link_key {
    int64_t id;
    const uint8_t *value;                        /* LINK_KEY_BYTES; NULL once it is retired */
    int64_t created_ms, replaced_ms, retired_ms; /* 0 = not */
    int64_t campaigns;                           /* that were launched with it and are not over */
    int64_t last_used_ms; /* when the last campaign with it ended, or it was replaced; 0 = it is the newest */
};
typedef int storage_link_key_cb(void *context, const struct storage_link_key *key);
/* In the order of their numbers; `usage` false leaves campaigns and last_used_ms out. */
int storage_link_keys(struct storage_reader *reader, bool usage, storage_link_key_cb *each, void *context,
                      struct error *err) ATTR_MUSTCHECK;
/* Makes the first one when there is none. */
int storage_link_key_ensure(struct storage *storage, int64_t now_ms, struct error *err) ATTR_MUSTCHECK;
/* A new one, the newest from now on. -EINVAL (`err` says why): there are too many. */
int storage_link_key_add(struct storage *storage, int64_t now_ms, int64_t *id, struct error *err) ATTR_MUSTCHECK;
/* NOT_FOUND: none of this number, or retired. WRONG_STATE (`err` says why): the newest; with keep_ms >= 0 also one with
 * campaigns that are not over, or that was used within keep_ms (INT64_MAX: always). keep_ms < 0: whatever was made with
 * it. */
int storage_link_key_retire(struct storage *storage, int64_t id, int64_t keep_ms, int64_t now_ms,
                            struct error *err) ATTR_MUSTCHECK;

#endif
