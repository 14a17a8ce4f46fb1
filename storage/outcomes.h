/*
 * outcomes.h - what became of a delivery, recorded once it is known; public, included through storage/storage.h.
 */
#ifndef POSTHASTE_STORAGE_OUTCOMES_H
#define POSTHASTE_STORAGE_OUTCOMES_H

#include "base/list.h"
#include "base/outcome.h"
#include "storage/storage.h"

struct storage_outcome {
    struct list node; /* the writer's from storage_outcomes_post() until `done` */
    /* Called on the writer thread after the commit that holds the rows, with neighbours of one `done` and `context` at a time; all that is in `records` is the caller's
     * again (free it or pass it on). Never called on failure: a record that cannot be written waits in the writer and is tried again (storage_healthy() is false
     * meanwhile). */
    void (*done)(struct list *records);
    void *context; /* the caller's own */

    int64_t campaign_id, recipient_id, claim_id; /* as in storage_job */
    enum delivery_state state; /* DELIVERED, DEFERRED, BOUNCED, FAILED, UNCERTAIN, CANCELLED or SUPPRESSED */
    int attempts;              /* made in total, this one included; a release adds none */
    int64_t next_attempt_ms;   /* DEFERRED only */
    bool uncertain;            /* sticky flag of the row */
    bool tried;                /* false: released untried; no attempt is recorded and the last reply stays as it was */
    const char *suppress_reason; /* static text, e.g. "hard-bounce": suppress the address in the same transaction; NULL = no */
    bool hard_bounce;            /* the address is dead: counted for the campaign's guard (a suppress_reason "hard-bounce" says so too) */
    int soft_limit;              /* > 0: a soft bounce; so many within soft_window_ms, and none delivered since, suppress */
    int64_t soft_window_ms;
    bool missing_attributes;   /* the rendering lacked an attribute; counted */
    uint32_t journal_slot;     /* from journal_sent(), cleared by the writer after the commit; 0 = its end-of-data was never out */
    struct outcome outcome;
};

/* Hands all records to the writer, empties `records`. Any thread, never blocks on the disk. */
void storage_outcomes_post(struct storage *storage, struct list *records);

#endif
