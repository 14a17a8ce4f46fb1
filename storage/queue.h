/*
 * queue.h - what waits for the writer, and when it is due; private to storage/.
 *
 * The queues stand in struct storage, under its lock. What goes into them is declared where it belongs:
 * storage_outcomes_post(), storage_claim_post(), storage_call().
 */
#ifndef POSTHASTE_STORAGE_QUEUE_H
#define POSTHASTE_STORAGE_QUEUE_H

#include "storage/writer.h"

/* One call that its caller waits for; on the caller's stack until it is answered. */
struct call {
    struct list node;
    storage_call_fn *run;
    void *arg;
    struct error *err;
    int result;
    bool answered;
    uint64_t order;
    pthread_cond_t done;
};

/* What goes into one transaction. */
struct batch {
    struct list outcomes, calls, claims;
    size_t outcome_count;
};

void batch_init(struct batch *batch);

/* The writer's, under storage->lock. */

/* Returns when there is something to do now. False: closing, and nothing is left. */
bool queue_wait(struct storage *storage);
/* Waits for the queues, at most until then (monotonic); may return early. */
void queue_wait_until(struct storage *storage, int64_t deadline_us);
/* Takes the next batch; a call or a claim not before the outcomes that were posted ahead of it. */
void queue_take(struct storage *storage, struct batch *batch);
/* What could not be written goes back, ahead of what came since. */
void queue_put_back(struct storage *storage, struct batch *batch);

#endif
