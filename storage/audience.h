/*
 * audience.h - walks the audience of a campaign, lane by lane in recipient order; private to storage/.
 *
 * Several lists are merged, so that each recipient comes once. The verdict is about the frozen audience: what was true
 * at the launch, and whether it still holds. A segment is asked when it is walked: attributes have no history.
 * Suppressions are read along for who asks (AUDIENCE_PEOPLE), not judged.
 *
 * A stream has no lists: its audience is the messages that were posted, whose ids stand for their recipients.
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
    sqlite3_stmt *person; /* the columns below, until the next audience_next() */
};

/* What is read of each member. */
enum audience_depth { AUDIENCE_IDS, AUDIENCE_PEOPLE };

/* Columns of a person. */
enum {
    PERSON_EMAIL = 4, /* NULL: the recipient is gone from the database */
    PERSON_ATTRIBUTES,
    PERSON_SUPPRESSED,    /* the reason, by the plain list of addresses; NULL = not there */
    PERSON_TRANSACTIONAL, /* from here on: a stream's message, NULL otherwise */
    PERSON_CONTENT_ID,
    PERSON_EXPIRES_MS,
};

/* The attributes of a message `m` to the recipient `r`, in SQL. */
#define MESSAGE_ATTRIBUTES "iif(json_valid(r.attributes), json_patch(r.attributes, m.attributes), m.attributes)"

struct audience_list {
    sqlite3_stmt *statement; /* stands on the row below; NULL: at its end */
    bool given;              /* the row was given out, the next one is due */
    int64_t recipient_id;
    enum audience_verdict verdict;
};
struct audience {
    struct db *db;
    int64_t campaign_id, epoch, lane;
    struct audience_list lists[CAMPAIGN_LISTS_MAX];
    int64_t excluded[CAMPAIGN_LISTS_MAX];
    int list_count, excluded_count;
    struct segment *segment; /* NULL = everybody */
    int split_share;         /* slots of an A/B test, 0 = no split */
    bool split_rest;         /* those beyond the share */
};

/* What a walk is about. */
struct audience_span {
    int64_t campaign_id, epoch; /* the campaign's */
    int64_t lane, after;        /* members with a recipient_id above it */
    enum audience_depth depth;
    int64_t now_ms; /* PEOPLE: for suppressions that end */
};

/* On failure nothing is left open. */
int audience_open(struct audience *audience, struct db *db, const struct audience_span *span,
                  struct error *err) ATTR_MUSTCHECK;
/* Both parts of an A/B split, for counting. Before the first audience_next(). */
static inline void audience_whole(struct audience *audience)
{
    audience->split_share = 0;
}
void audience_close(struct audience *audience);
/* 1 = *out is the next one, 0 = no more, negative = failed. */
int audience_next(struct audience *audience, struct audience_member *out, struct error *err) ATTR_MUSTCHECK;
/* 1 = nothing would come any more, 0, negative. Moves on: the last member's person is gone. */
int audience_ended(struct audience *audience, struct error *err) ATTR_MUSTCHECK;

#endif
