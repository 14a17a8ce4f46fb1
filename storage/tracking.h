/*
 * tracking.h - what recipients did with a mail: opens and clicks; and what a launch freezes of the content; public,
 * included through storage/storage.h.
 *
 * The caller has proven by a keyed token that a hit is about this campaign and recipient. People and machines are kept
 * apart: flags, counters and events are of people only. A hit within the first second after the delivery, or before it
 * is recorded, is a machine's: no person is that fast.
 */
#ifndef POSTHASTE_STORAGE_TRACKING_H
#define POSTHASTE_STORAGE_TRACKING_H

#include "storage/storage.h"

#define TRACKING_LINKS_MAX 2000
#define TRACKING_HITS_MAX 1000 /* in one call */
#define TRACKING_PERSON_MS 1000

struct storage_hit {
    int64_t campaign_id, recipient_id, at_ms;
    int link;     /* number of the link; 0 = the open pixel */
    bool machine; /* told by how it asked */
};

/* All in one transaction, with the events. A hit for a campaign, recipient or link that is not there is passed over. */
int storage_hits_record(struct storage *storage, const struct storage_hit *hits, size_t count,
                        struct error *err) ATTR_MUSTCHECK;

/* Of a draft, before it is launched (or a test of it leaves); takes the place of what was frozen before. `partials` is
 * a JSON object. NOT_FOUND; WRONG_STATE when it is not a draft any more. */
struct storage_frozen {
    const char *partials;
    int64_t token_key; /* number of its link key; storage_campaign_freeze() takes the newest */
    const char *const *urls; /* of the links, numbers from 1; storage_frozen_get() does not give them */
    size_t url_count;
};
int storage_campaign_freeze(struct storage *storage, int64_t campaign_id, const struct storage_frozen *frozen,
                            struct error *err) ATTR_MUSTCHECK;
typedef int storage_frozen_cb(void *context, const struct storage_frozen *frozen);
/* NOT_FOUND: nothing was frozen. */
int storage_frozen_get(struct storage_reader *reader, int64_t campaign_id, storage_frozen_cb *each, void *context,
                       struct error *err) ATTR_MUSTCHECK;

struct storage_link {
    int number;
    const char *url;
    int64_t people, hits, machines;
};
typedef int storage_link_cb(void *context, const struct storage_link *link);
/* Links of a campaign, number > after, in that order. `total` may be NULL. */
int storage_link_page(struct storage_reader *reader, int64_t campaign_id, int after, int limit, storage_link_cb *each,
                      void *context, int64_t *total, struct error *err) ATTR_MUSTCHECK;

#endif
