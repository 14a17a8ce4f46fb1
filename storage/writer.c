/*
 * writer.c - group commit: the thread that makes one transaction of what queue.c hands it.
 *
 * When a transaction fails (disk full, I/O error, locked out), it is rolled back whole. Calls and claims are answered
 * with the failure. Outcomes go back to the head of their queue, in order, and are tried again once a second until the
 * disk takes them: a message that was sent is not forgotten. Success of a callback means durable.
 */
#include <errno.h>

#include "base/clock.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "storage/queue.h"

/* What came to `result` is kept (0) or undone (anything else, `why` tells); negative only when the transaction itself
 * is lost: SQLite gives it up when the disk is full, or cannot be read. */
static int savepoint_end(struct db *db, int result, const struct error *why, struct error *err)
{
    if (sqlite3_get_autocommit(db->handle)) {
        if (result >= 0 || why == NULL)
            return error_set(err, -EIO, "%s: the transaction was rolled back", db->path);
        if (err != NULL)
            *err = *why;
        return result;
    }
    if (result != 0) {
        int failed = db_run(db, err, "ROLLBACK TO change");
        if (failed)
            return failed;
    }
    return db_run(db, err, "RELEASE change");
}

/* What is known in memory of what has been rolled back. */
static void forget_undone(struct storage *storage)
{
    event_write_undone(storage);
    delivery_blocks_forget(&storage->blocks);
}

static int run_calls(struct storage *storage, struct batch *batch, struct error *err)
{
    list_for_each(node, &batch->calls)
    {
        struct call *call = list_entry(node, struct call, node);
        int failed = db_run(&storage->db, err, "SAVEPOINT change");
        if (failed)
            return failed;
        event_write_called(storage);
        call->result = call->run(storage, call->arg, call->err);
        if (call->result != 0)
            forget_undone(storage);
        failed = savepoint_end(&storage->db, call->result, call->err, err);
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
            forget_undone(storage);
            if (claim->job_count > 0)
                ledger_claim_drop(&storage->ledger, claim->jobs[0].claim_id);
            claim_clear(claim, status);
        }
        if (status < 0)
            log_debug("storage", "campaign %lld claim failed lane=%lld error=%s", (long long)claim->campaign_id,
                      (long long)claim->lane, LOG_QUOTE(why.text));
        failed = savepoint_end(&storage->db, status, &why, err);
        if (failed)
            return failed;
    }
    return 0;
}

static int apply(struct storage *storage, struct batch *batch, struct error *err)
{
    int failed = db_begin(&storage->db, err);
    if (!failed && db_data_version(&storage->db) != storage->version_left)
        delivery_blocks_forget(&storage->blocks);
    if (!failed)
        failed = event_write_begin(storage, err);
    if (failed)
        return failed;
    failed = outcomes_write(storage, &batch->outcomes, err);
    if (!failed)
        failed = ledger_flush(&storage->ledger, &storage->db, err);
    if (!failed)
        failed = run_calls(storage, batch, err);
    if (!failed)
        failed = run_claims(storage, batch, err);
    CRASH_POINT("before-commit");
    if (!failed)
        failed = db_commit(&storage->db, err);
    storage->version_left = db_data_version(&storage->db);
    return failed;
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

/* Neighbours together, so that whoever is told can pass them on with one wake-up. */
static void answer_outcomes(struct journal *journal, struct list *outcomes)
{
    struct list same = LIST_INIT(same);
    const struct storage_outcome *last = NULL;
    for (struct list *node; (node = list_take_first(outcomes)) != NULL;) {
        struct storage_outcome *record = list_entry(node, struct storage_outcome, node);
        if (record->journal_slot != 0) {
            journal_clear(journal, record->journal_slot);
            CRASH_POINT("slot-cleared");
            record->journal_slot = 0;
        }
        if (last != NULL && (last->done != record->done || last->context != record->context))
            last->done(&same);
        list_append(&same, &record->node);
        last = record;
    }
    if (last != NULL)
        last->done(&same);
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
    answer_outcomes(journal, &batch->outcomes);
    answer_claims(&batch->claims, 0);
    answer_calls(storage, batch, 0, NULL);
    if (notify != NULL)
        notify(notify_context);
}

static void batch_failed(struct storage *storage, struct batch *batch, int failed, const struct error *why)
{
    db_rollback(&storage->db);
    forget_undone(storage);
    ledger_dropped(&storage->ledger);
    paths_forget(&storage->paths); /* ids that were given in it are free again */
    pthread_mutex_lock(&storage->lock);
    queue_put_back(storage, batch);
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
        queue_wait_until(storage, deadline_us);
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
    while (queue_wait(storage)) {
        if (storage->closing) {
            refuse_claims(storage);
            if (list_empty(&storage->calls) && storage->outcome_count == 0)
                continue;
        }
        bool last_try = storage->closing;
        struct batch batch;
        queue_take(storage, &batch);
        pthread_mutex_unlock(&storage->lock);

        struct error why = {.text = ""};
        int64_t begun_us = clock_monotonic_us(), took_us = 0;
        size_t rows = batch.outcome_count;
        bool in_rhythm = rows > 0 || !list_empty(&batch.claims);
        int failed = apply(storage, &batch, &why);
        if (failed) {
            batch_failed(storage, &batch, failed, &why);
        } else {
            batch_done(storage, &batch);
            keeper_after_commit(storage, &storage->db);
            took_us = clock_monotonic_us() - begun_us;
        }

        pthread_mutex_lock(&storage->lock);
        if (in_rhythm)
            storage->last_commit_us = clock_monotonic_us();
        if (!failed)
            commits_note(storage, took_us, rows);
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
