/*
 * writer.c - group commit.
 *
 * Whatever arrives while one transaction is being synced becomes the next one, so the batch grows by itself with the
 * load and with the slowness of the disk. Outcomes alone wait up to STORAGE_COMMIT_MS for company, because nobody is
 * held up by them; a call or a claim is worked on at once and takes along the outcomes that lie there.
 *
 * When a transaction fails (disk full, I/O error, locked out), it is rolled back whole. Calls and claims are answered
 * with the failure. Outcomes go back to the head of their queue, in order, and are tried again once a second until the
 * disk takes them: a message that was sent is not forgotten. Success of a callback means durable.
 */
#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "storage/writer.h"

#define CLAIMS_PER_BATCH 32 /* of up to 1000 rows each: bounds the memory and the time of one transaction */

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

struct batch {
    struct list outcomes, calls, claims;
    size_t outcome_count;
};

static void batch_init(struct batch *batch)
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
    list_append(&storage->claims, &claim->node);
    pthread_cond_signal(&storage->filled);
    pthread_mutex_unlock(&storage->lock);
}

static void wait_until(struct storage *storage, int64_t deadline_us)
{
    struct timespec deadline = {.tv_sec = deadline_us / 1000000, .tv_nsec = deadline_us % 1000000 * 1000};
    (void)pthread_cond_timedwait(&storage->filled, &storage->lock, &deadline);
}

/* Under the lock: returns when there is something to do now. False: closing, and nothing is left. */
static bool wait_for_work(struct storage *storage)
{
    for (;;) {
        if (!list_empty(&storage->calls) || !list_empty(&storage->claims))
            return true;
        if (storage->outcome_count > 0) {
            int64_t deadline_us = storage->first_outcome_us + (int64_t)STORAGE_COMMIT_MS * 1000;
            if (storage->closing || storage->outcome_count >= STORAGE_COMMIT_ROWS ||
                clock_monotonic_us() >= deadline_us)
                return true;
            wait_until(storage, deadline_us);
        } else if (storage->closing) {
            return false;
        } else {
            pthread_cond_wait(&storage->filled, &storage->lock);
        }
    }
}

static void take_batch(struct storage *storage, struct batch *batch)
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
    /* What stays has waited since before this batch, and so is due at once. */
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

/* Whatever `run` did is kept (0) or undone (anything else); negative only when the transaction itself is lost. */
static int savepoint_end(struct db *db, bool keep, struct error *err)
{
    if (sqlite3_get_autocommit(db->handle)) /* SQLite gave the whole transaction up, as it does when the disk is full */
        return error_set(err, -EIO, "%s: the transaction was rolled back", db->path);
    if (!keep) {
        int failed = db_run(db, err, "ROLLBACK TO change");
        if (failed)
            return failed;
    }
    return db_run(db, err, "RELEASE change");
}

static int run_calls(struct storage *storage, struct batch *batch, struct error *err)
{
    list_for_each(node, &batch->calls)
    {
        struct call *call = list_entry(node, struct call, node);
        int failed = db_run(&storage->db, err, "SAVEPOINT change");
        if (failed)
            return failed;
        call->result = call->run(storage, call->arg, call->err);
        if (call->result != 0)
            event_write_undone(storage);
        failed = savepoint_end(&storage->db, call->result == 0, err);
        if (failed)
            return failed;
    }
    return 0;
}

static int run_claims(struct storage *storage, struct batch *batch, struct error *err)
{
    list_for_each(node, &batch->claims)
    {
        struct storage_claim *claim = list_entry(node, struct storage_claim, node);
        int failed = db_run(&storage->db, err, "SAVEPOINT change");
        if (failed)
            return failed;
        struct error why = {.text = ""};
        int status = claim_make(storage, claim, &why);
        if (status != 0) {
            event_write_undone(storage);
            if (claim->job_count > 0)
                ledger_claim_drop(&storage->ledger, claim->jobs[0].claim_id);
            claim_clear(claim, status);
        }
        if (status < 0)
            log_debug("storage", "campaign %lld claim failed lane=%lld error=%s", (long long)claim->campaign_id,
                      (long long)claim->lane, LOG_QUOTE(why.text));
        failed = savepoint_end(&storage->db, status == 0, err);
        if (failed)
            return failed;
    }
    return 0;
}

static int apply(struct storage *storage, struct batch *batch, struct error *err)
{
    int failed = db_begin(&storage->db, err);
    if (!failed)
        failed = event_write_begin(storage, err);
    if (failed)
        return failed;
    list_for_each(node, &batch->outcomes)
    {
        failed = outcome_write(storage, list_entry(node, struct storage_outcome, node), err);
        if (failed)
            return failed;
    }
    failed = ledger_flush(&storage->ledger, &storage->db, err);
    if (!failed)
        failed = run_calls(storage, batch, err);
    if (!failed)
        failed = run_claims(storage, batch, err);
    CRASH_POINT("before-commit");
    return failed ? failed : db_commit(&storage->db, err);
}

static void answer_calls(struct storage *storage, struct batch *batch, int failed, const struct error *why)
{
    pthread_mutex_lock(&storage->lock);
    for (struct list *node; (node = list_take_first(&batch->calls)) != NULL;) {
        struct call *call = list_entry(node, struct call, node);
        if (failed) {
            call->result = failed;
            if (call->err != NULL)
                *call->err = *why;
        }
        call->answered = true;
        pthread_cond_signal(&call->done); /* under the lock: the call lives on the waiter's stack */
    }
    pthread_mutex_unlock(&storage->lock);
}

static void answer_claims(struct list *claims, int failed)
{
    for (struct list *node; (node = list_take_first(claims)) != NULL;) {
        struct storage_claim *claim = list_entry(node, struct storage_claim, node);
        if (failed)
            claim_clear(claim, failed);
        claim->done(claim);
    }
}

static void set_health(struct storage *storage, bool healthy, const struct error *why)
{
    pthread_mutex_lock(&storage->lock);
    bool changed = storage->unhealthy == healthy;
    storage->unhealthy = !healthy;
    storage->why = *why;
    size_t waiting = storage->outcome_count;
    if (changed && storage->on_health != NULL)
        storage->on_health(storage->on_health_context, healthy, why->text);
    pthread_mutex_unlock(&storage->lock);
    if (changed && !healthy)
        log_error("storage", "write_failed waiting_outcomes=%zu error=%s", waiting, LOG_QUOTE(why->text));
    else if (changed)
        log_warn("storage", "write_recovered waiting_outcomes=%zu", waiting);
}

/* Another program holds the lock: whoever waits for it does not go on sending meanwhile. */
static void lock_is_taken(void *context)
{
    struct storage *storage = context;
    struct error why;
    (void)error_set(&why, -EBUSY, "%s: another program keeps it locked", storage->database_path);
    set_health(storage, false, &why);
}

static void batch_done(struct storage *storage, struct batch *batch)
{
    struct journal *journal = storage_journal(storage);
    CRASH_POINT("after-commit");
    ledger_committed(&storage->ledger);
    pthread_mutex_lock(&storage->lock);
    storage->outcomes_written += batch->outcome_count;
    bool was_unhealthy = storage->unhealthy;
    storage_event_notify_cb *notify = storage->event_added > 0 ? storage->event_notify : NULL;
    void *notify_context = storage->event_notify_context;
    pthread_mutex_unlock(&storage->lock);
    if (was_unhealthy)
        set_health(storage, true, &(struct error){.text = ""});
    for (struct list *node; (node = list_take_first(&batch->outcomes)) != NULL;) {
        struct storage_outcome *record = list_entry(node, struct storage_outcome, node);
        if (record->journal_slot != 0) {
            journal_clear(journal, record->journal_slot);
            CRASH_POINT("slot-cleared");
            record->journal_slot = 0;
        }
        record->done(record);
    }
    answer_claims(&batch->claims, 0);
    answer_calls(storage, batch, 0, NULL);
    if (notify != NULL)
        notify(notify_context);
}

static void batch_failed(struct storage *storage, struct batch *batch, int failed, const struct error *why)
{
    db_rollback(&storage->db);
    event_write_undone(storage);
    ledger_dropped(&storage->ledger);
    paths_forget(&storage->paths); /* ids that were given in it are free again */
    pthread_mutex_lock(&storage->lock);
    list_splice(&batch->outcomes, &storage->outcomes); /* the batch ahead of what came since ... */
    list_splice(&storage->outcomes, &batch->outcomes);
    storage->outcome_count += batch->outcome_count;
    pthread_mutex_unlock(&storage->lock);
    struct error told = *why;
    if (storage->db.damaged)
        (void)error_set(&told, failed, "%s; nothing is written any more before a restart", why->text);
    set_health(storage, false, &told);
    answer_claims(&batch->claims, failed);
    answer_calls(storage, batch, failed, &told);
}

/* Under the lock. While the disk fails nothing is tried more often than this, whoever asks. */
static void wait_for_retry(struct storage *storage)
{
    int64_t deadline_us = clock_monotonic_us() + storage->retry_ms * 1000;
    while (!storage->closing && clock_monotonic_us() < deadline_us)
        wait_until(storage, deadline_us);
}

/* Under the lock, until the end: a damaged database is read by people, and written by nobody. What was sent stands in
 * the flight journal, for when it is mended. */
static void refuse_all(struct storage *storage)
{
    while (!storage->closing) {
        struct batch batch;
        batch_init(&batch);
        list_splice(&batch.calls, &storage->calls);
        list_splice(&batch.claims, &storage->claims);
        struct error why = storage->why;
        pthread_mutex_unlock(&storage->lock);
        answer_claims(&batch.claims, -EIO);
        answer_calls(storage, &batch, -EIO, &why);
        pthread_mutex_lock(&storage->lock);
        if (!storage->closing && list_empty(&storage->calls) && list_empty(&storage->claims))
            pthread_cond_wait(&storage->filled, &storage->lock);
    }
}

/* A closing storage claims no more: what it handed out now would only be found again by the next recovery. */
static void refuse_claims(struct storage *storage)
{
    struct list claims = LIST_INIT(claims);
    list_splice(&claims, &storage->claims);
    pthread_mutex_unlock(&storage->lock);
    answer_claims(&claims, -ECANCELED);
    pthread_mutex_lock(&storage->lock);
}

/* After the last try nobody may be left waiting. */
static void refuse_rest(struct storage *storage)
{
    struct batch batch;
    batch_init(&batch);
    list_splice(&batch.calls, &storage->calls);
    struct error why = storage->why;
    pthread_mutex_unlock(&storage->lock);
    answer_calls(storage, &batch, -ECANCELED, &why);
    pthread_mutex_lock(&storage->lock);
    refuse_claims(storage);
}

static void *writer_main(void *arg)
{
    struct storage *storage = arg;
    (void)pthread_setname_np(pthread_self(), "writer");
    pthread_mutex_lock(&storage->lock);
    while (wait_for_work(storage)) {
        if (storage->closing) {
            refuse_claims(storage);
            if (list_empty(&storage->calls) && storage->outcome_count == 0)
                continue;
        }
        bool last_try = storage->closing;
        struct batch batch;
        batch_init(&batch);
        take_batch(storage, &batch);
        pthread_mutex_unlock(&storage->lock);

        struct error why = {.text = ""};
        int64_t begun_us = clock_monotonic_us();
        int failed = apply(storage, &batch, &why);
        if (failed) {
            batch_failed(storage, &batch, failed, &why);
        } else {
            batch_done(storage, &batch);
            keeper_after_commit(storage);
            int64_t took_us = clock_monotonic_us() - begun_us;
            if (took_us > atomic_load_explicit(&storage->commit_max_us, memory_order_relaxed))
                atomic_store_explicit(&storage->commit_max_us, took_us, memory_order_relaxed);
        }

        pthread_mutex_lock(&storage->lock);
        if (failed && storage->db.damaged)
            refuse_all(storage);
        if (failed && (last_try || storage->db.damaged))
            break;
        if (failed)
            wait_for_retry(storage);
    }
    refuse_rest(storage);
    if (storage->outcome_count > 0)
        log_error("storage", "closed_unwritten outcomes=%zu error=%s", storage->outcome_count,
                  LOG_QUOTE(storage->why.text));
    pthread_mutex_unlock(&storage->lock);
    return NULL;
}

int writer_start(struct storage *storage, struct error *err)
{
    storage->db.lock_taken = lock_is_taken;
    storage->db.lock_taken_context = storage;
    int code = pthread_create(&storage->thread, NULL, writer_main, storage);
    if (code != 0)
        return error_errno(err, -code, "cannot start the database thread");
    storage->thread_started = true;
    return 0;
}

void writer_stop(struct storage *storage)
{
    if (!storage->thread_started)
        return;
    pthread_mutex_lock(&storage->lock);
    storage->closing = true;
    pthread_cond_signal(&storage->filled);
    pthread_mutex_unlock(&storage->lock);
    pthread_join(storage->thread, NULL);
    storage->thread_started = false;
    /* Left only when the disk refused the last try: the records stay their owner's, unlinked and never called back. */
    while (list_take_first(&storage->outcomes) != NULL)
        ;
}
