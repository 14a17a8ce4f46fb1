/*
 * insight.h - what an operator looks at: what servers said lately, and until when deferred mail waits; public, included
 * through storage/storage.h.
 */
#ifndef POSTHASTE_STORAGE_INSIGHT_H
#define POSTHASTE_STORAGE_INSIGHT_H

#include "storage/storage.h"

/* The newest rows of a campaign that are in this state (not DELIVERED), with what was said last. A row costs a look-up.
 */
struct storage_reply {
    const char *email, *enhanced, *reply, *mx_host;
    int code;
    int64_t at_ms;
};
typedef int storage_reply_cb(void *context, const struct storage_reply *reply);
int storage_replies(struct storage_reader *reader, int64_t campaign_id, enum delivery_state state, int limit,
                    storage_reply_cb *each, void *context, struct error *err) ATTR_MUSTCHECK;

/* How many deferred rows of running campaigns are due before each of the times (ascending), each counted once; the last
 * of `counts` (there is one more than times) are those after them. */
int storage_waiting(struct storage_reader *reader, const int64_t *before_ms, size_t times, int64_t *counts,
                    struct error *err) ATTR_MUSTCHECK;

#endif
