/*
 * queue.c - what waits for the writer, and when it is due.
 *
 * Whatever arrives while one transaction is being synced becomes the next one, so the batch grows by itself with the
 * load and with the slowness of the disk. A transaction has a price that is the same for one row and for fifty (its
 * pages are copied, summed and synced), so what holds nobody up waits for company: outcomes STORAGE_COMMIT_MS, for
 * nobody waits for them; a claim until the last transaction is as long ago, so the first one of a quiet server is
 * answered at once (calls do not count), and whoever claims in a busy one still has messages in the air. A call is
 * worked on at once, and takes along all that lies there.
 */
#include "storage/queue.h"

#include <errno.h>
#include <time.h>

#include "base/clock.h"

#define CLAIMS_PER_BATCH 32 /* of up to 1000 rows each: bounds the memory and the time of one transaction */

void batch_init(struct batch *batch)
{
    list_init(&batch->outcomes);
    list_init(&batch->calls);
    list_init(&batch->claims);
    batch->outcome_count = 0;
}

int storage_call(struct storage *storage, storage_call_fn *run, void *arg, struct error *err)
{
    assure(!pthread_equal(pthread_self(), storage->thread));
    struct call call = {.run = run, .arg = arg, .err = err};
    int code = pthread_cond_init(&call.done, NULL);
    if (code != 0)
        return error_errno(err, -code, "cannot wait for the database");
    pthread_mutex_lock(&storage->lock);
    call.order = storage->outcomes_posted;
    list_append(&storage->calls, &call.node);
    pthread_cond_signal(&storage->filled);
    while (!call.answered)
        pthread_cond_wait(&call.done, &storage->lock);
    pthread_mutex_unlock(&storage->lock);
    pthread_cond_destroy(&call.done);
    return call.result;
}

void storage_outcomes_post(struct storage *storage, struct list *records)
{
    size_t count = 0;
    list_for_each(node, records) count++;
    if (count == 0)
        return;
    pthread_mutex_lock(&storage->lock);
    size_t before = storage->outcome_count;
    if (before == 0)
        storage->first_outcome_us = clock_monotonic_us();
    list_splice(&storage->outcomes, records);
    storage->outcome_count += count;
    storage->outcomes_posted += count;
    if (before == 0 || (before < STORAGE_COMMIT_ROWS && before + count >= STORAGE_COMMIT_ROWS))
        pthread_cond_signal(&storage->filled);
    pthread_mutex_unlock(&storage->lock);
}

void storage_claim_post(struct storage *storage, struct storage_claim *claim)
{
    claim_init(claim);
    pthread_mutex_lock(&storage->lock);
    claim->order = storage->outcomes_posted;
    if (list_empty(&storage->claims))
        pthread_cond_signal(&storage->filled);
    list_append(&storage->claims, &claim->node);
    pthread_mutex_unlock(&storage->lock);
}

void queue_wait_until(struct storage *storage, int64_t deadline_us)
{
    struct timespec deadline = {.tv_sec = deadline_us / 1000000, .tv_nsec = deadline_us % 1000000 * 1000};
    (void)pthread_cond_timedwait(&storage->filled, &storage->lock, &deadline);
}

/* When what waits is due (monotonic); 0 = now. Something waits. */
static int64_t due_us(const struct storage *storage)
{
    if (storage->closing || !list_empty(&storage->calls) || storage->outcome_count >= STORAGE_COMMIT_ROWS)
        return 0;
    int64_t rhythm_us = storage->commit_ms * 1000;
    int64_t outcomes_us = storage->outcome_count > 0 ? storage->first_outcome_us : INT64_MAX - rhythm_us;
    int64_t claims_us = list_empty(&storage->claims) ? INT64_MAX - rhythm_us : storage->last_commit_us;
    return MIN_OF(outcomes_us, claims_us) + rhythm_us;
}

bool queue_wait(struct storage *storage)
{
    for (;;) {
        bool idle = list_empty(&storage->calls) && list_empty(&storage->claims) && storage->outcome_count == 0;
        if (idle && storage->closing)
            return false;
        int64_t due = idle ? 0 : due_us(storage);
        if (idle)
            pthread_cond_wait(&storage->filled, &storage->lock);
        else if (clock_monotonic_us() >= due)
            return true;
        else
            queue_wait_until(storage, due);
    }
}

static void take_outcomes(struct storage *storage, struct batch *batch)
{
    if (storage->outcome_count <= STORAGE_COMMIT_ROWS) {
        list_splice(&batch->outcomes, &storage->outcomes);
        batch->outcome_count = storage->outcome_count;
    } else {
        for (; batch->outcome_count < STORAGE_COMMIT_ROWS; batch->outcome_count++) {
            struct list *node = list_take_first(&storage->outcomes);
            assure(node != NULL);
            list_append(&batch->outcomes, node);
        }
    }
    storage->outcome_count -= batch->outcome_count;
}

void queue_take(struct storage *storage, struct batch *batch)
{
    batch_init(batch);
    take_outcomes(storage, batch);
    /* Outcomes that stay have waited since before this batch, and so are due at once. */
    uint64_t reached = storage->outcomes_written + batch->outcome_count;
    list_for_each_safe(node, &storage->calls)
    {
        if (list_entry(node, struct call, node)->order > reached)
            break;
        list_remove(node);
        list_append(&batch->calls, node);
    }
    int claims = 0;
    list_for_each_safe(node, &storage->claims)
    {
        if (list_entry(node, struct storage_claim, node)->order > reached || claims++ == CLAIMS_PER_BATCH)
            break;
        list_remove(node);
        list_append(&batch->claims, node);
    }
}

void queue_put_back(struct storage *storage, struct batch *batch)
{
    list_splice(&batch->outcomes, &storage->outcomes); /* the batch ahead of what came since ... */
    list_splice(&storage->outcomes, &batch->outcomes);
    storage->outcome_count += batch->outcome_count;
}
