/*
 * audience.h - walks the audience of a campaign, lane by lane in recipient order; private to storage/.
 *
 * Several lists are merged, so that each recipient comes once. The verdict is about the frozen audience: what was true
 * at the launch, and whether it still holds. A segment is asked when it is walked: attributes have no history.
 * Suppressions are not looked at here.
 */
#ifndef POSTHASTE_STORAGE_AUDIENCE_H
#define POSTHASTE_STORAGE_AUDIENCE_H

#include "storage/db.h"
#include "storage/segment_private.h"
#include "storage/storage.h"

enum audience_verdict {
    AUDIENCE_OUTSIDE, /* not a member at the launch, or on an excluded list then, or not in the segment now */
    AUDIENCE_MAIL,    /* member then and now */
    AUDIENCE_LEFT,    /* member then, not any more */
};
struct audience_member {
    int64_t recipient_id;
    enum audience_verdict verdict;
};

struct audience_list {
    sqlite3_stmt *statement; /* stands on the row below; NULL: at its end */
    int64_t recipient_id;
    enum audience_verdict verdict;
};
struct audience {
    struct db *db;
    int64_t epoch, lane;
    struct audience_list lists[CAMPAIGN_LISTS_MAX];
    int64_t excluded[CAMPAIGN_LISTS_MAX];
    int list_count, excluded_count;
    struct segment *segment; /* NULL = everybody */
    int64_t campaign_id;
    sqlite3_stmt *messages; /* of a stream: stands on the next one; NULL = no stream, or at its end */
    bool stream;
    int split_share; /* slots of an A/B test, 0 = no split */
    bool split_rest; /* those beyond the share */
};

/* Members with recipient_id > after. `epoch` is the campaign's. On failure nothing is left open. */
int audience_open(struct audience *audience, struct db *db, int64_t campaign_id, int64_t epoch, int64_t lane,
                  int64_t after, struct error *err) ATTR_MUSTCHECK;
/* Both parts of an A/B split, for counting. Before the first audience_next(). */
static inline void audience_whole(struct audience *audience)
{
    audience->split_share = 0;
}
void audience_close(struct audience *audience);
/* 1 = *out is the next one, 0 = no more, negative = failed. */
int audience_next(struct audience *audience, struct audience_member *out, struct error *err) ATTR_MUSTCHECK;
bool audience_ended(const struct audience *audience); /* nothing would come any more */

#endif
