/*
 * claims.h - "who next": ranges of a campaign's lanes, claimed durably before any byte goes out; public, included through storage/storage.h.
 *
 * A claim moves the cursor of (campaign, lane) over the next members and records the range in the same transaction. A member of the range that may not be
 * mailed (suppressed, not active any more) gets its `suppressed` row at once and is not returned. Claims vanish when their
 * last outcome is stored. Retries are claimed by turning due `deferred` rows into `sending`.
 */
#ifndef POSTHASTE_STORAGE_CLAIMS_H
#define POSTHASTE_STORAGE_CLAIMS_H

#include "base/arena.h"
#include "base/list.h"
#include "storage/storage.h"

struct storage_lane { int64_t campaign_id; int64_t lane; int64_t member_count; const char *domain; bool done; }; /* domain NULL: a lane of the tail; strings live during the call */
typedef int storage_lane_cb(void *context, const struct storage_lane *lane);
/* Every lane in which the campaign's lists have members. */
int storage_campaign_lanes(struct storage_reader *reader, int64_t campaign_id, storage_lane_cb *each, void *context, struct error *err);

struct storage_job { /* one delivery to make; strings live in the operation's arena */
    int64_t campaign_id, recipient_id, claim_id; /* claim_id 0: a retry */
    const char *email, *domain, *attributes;
    int attempts;  /* made before */
    bool uncertain;
    int64_t content_id, expires_ms; /* of a message (messages.h); else 0 */
};

/*
 * One asynchronous claim. The caller owns the structure and fills the upper part; the writer fills the rest and calls `done` on
 * the writer thread after the commit (or after the failure, with status < 0 and nothing claimed). `done` must not block: hand the operation to your inbox.
 * The arena belongs to the operation; the caller ends it with arena_finish() when it is done with the jobs.
 */
struct storage_claim {
    struct list node; /* the writer's until `done`, the caller's after */
    uint64_t order;   /* the writer's own */
    void (*done)(struct storage_claim *claim);
    int64_t campaign_id;
    int64_t lane;     /* or STORAGE_LANE_RETRIES: due deferred rows of the campaign */
    int max;          /* rows, 1..1000 */
    int64_t now_ms;

    int status;                 /* 0; STORAGE_WRONG_STATE = the campaign is not running; negative = failure */
    struct storage_job *jobs;   /* job_count of them, in the arena */
    int job_count;
    bool picked;                /* the writer's own: its members are not the whole audience of the range */
    bool lane_done;             /* nothing is left behind the cursor; for retries: nothing is due */
    int64_t next_due_ms;        /* retries: when the next row falls due, 0 = none */
    struct arena arena;
};
#define STORAGE_LANE_RETRIES ((int64_t)-1)
/* Any thread; never fails (a closing storage answers through `done`). */
void storage_claim_post(struct storage *storage, struct storage_claim *claim);

/*
 * Once at server start, before storage_journal_begin() and the first claim: members of claims left open by a crash, and retries left `sending`, become
 * rows. By what the flight journal knows of each: its end-of-data was never out: `deferred`, due now, as if it had not been claimed;
 * it was out: `deferred`, due now, flagged uncertain (hold = false), or `uncertain` (hold = true); its outcome was noted: that outcome. Where
 * the journal cannot tell (none was kept, the machine was restarted, damage) its end-of-data counts as out. What a cancelled campaign would
 * defer is `cancelled`. Claims are gone after it. Counts what it found; deliveries = unsent + uncertain + recorded.
 */
struct storage_recovery { int64_t claims, deliveries, unsent, uncertain, recorded; };
int storage_recover(struct storage *storage, bool hold, int64_t now_ms, struct storage_recovery *found, struct error *err);

#endif
