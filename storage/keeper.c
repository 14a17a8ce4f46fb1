/*
 * keeper.c - counts the audiences of several lists, and carries the WAL over into the database.
 *
 * Counting. A campaign over several lists starts at once with an upper bound for its audience; the true number needs
 * the merged walk that the claims do. The audience is frozen, so a walk in slices, each on a snapshot of its own,
 * counts the same as one walk. A count that a crash or the end of the program cut short starts over.
 *
 * Checkpoints. SQLite's own run within the commit that made the WAL too long, and that commit waits for two syncs of
 * the database file. Here they run beside the commits (PASSIVE never waits for a writer). One thing only who
 * appends can do: the WAL begins again at its start only when everything in it has been carried over and nobody has
 * appended since. So when it is long in spite of the keeper, the writer (or a load) carries over the little that the
 * keeper left. When that is much (somebody read for so long that nothing could be carried over), it is the keeper's
 * again.
 */
#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "storage/audience.h"
#include "storage/keeper.h"
#include "storage/writer.h"

#define COUNT_SLICE 20000 /* members to a snapshot: some 20 ms */

/* Where the count of one campaign stands. */
struct count {
    int64_t campaign_id, epoch;
    int64_t lane, after; /* the last member looked at */
    int64_t members;
};

static bool is_closing(struct storage *storage)
{
    pthread_mutex_lock(&storage->lock);
    bool closing = storage->keeper.closing;
    pthread_mutex_unlock(&storage->lock);
    return closing;
}

/* 1 = there is one that is not exact. */
static int next_campaign(struct db *db, struct count *count, struct error *err)
{
    sqlite3_stmt *row = db_query(db, err,
                                 "SELECT id, epoch FROM campaign WHERE audience_exact = 0 AND status IN (2, 3, 5)"
                                 " ORDER BY id LIMIT 1");
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more <= 0)
        return more;
    *count =
        (struct count){.campaign_id = db_int(row, 0), .epoch = db_int(row, 1), .lane = INT64_MIN, .after = INT64_MIN};
    db_end(row);
    return 1;
}

/* 1 = the lane goes on, 0 = it is counted. */
static int count_slice(struct db *db, struct count *count, struct error *err)
{
    struct audience audience;
    const struct audience_span span = {
        .campaign_id = count->campaign_id, .epoch = count->epoch, .lane = count->lane, .after = count->after};
    int failed = audience_open(&audience, db, &span, err);
    if (failed)
        return failed;
    audience_whole(&audience);
    struct audience_member member;
    int more = 1;
    for (int i = 0; i < COUNT_SLICE && (more = audience_next(&audience, &member, err)) > 0; i++) {
        count->after = member.recipient_id;
        count->members += member.verdict != AUDIENCE_OUTSIDE;
    }
    audience_close(&audience);
    return more;
}

/* What could not be carried over (a reader needs it, another process is at it) is the next one's. `carried`: pages of
 * the WAL that are in the database; negative = not known. */
static int carry_over(struct db *db, int *carried, struct error *err)
{
    *carried = -1;
    int code = sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, carried);
    return code == SQLITE_OK || (code & 0xff) == SQLITE_BUSY || (code & 0xff) == SQLITE_LOCKED
               ? 0
               : db_failure(db, code, err);
}

static int checkpoint(struct storage *storage, struct error *err)
{
    int carried, failed = carry_over(&storage->keeper.db, &carried, err);
    pthread_mutex_lock(&storage->lock);
    if (!failed && carried >= 0) {
        storage->keeper.carried_pages = carried;
        storage->keeper.left_to = 0;
    }
    pthread_mutex_unlock(&storage->lock);
    return failed;
}

/* A count may take minutes, and the log must not wait for it. */
static int checkpoint_meanwhile(struct storage *storage, struct error *err)
{
    pthread_mutex_lock(&storage->lock);
    bool wanted = (storage->keeper.wanted & KEEPER_CHECKPOINT) != 0;
    storage->keeper.wanted &= ~(unsigned)KEEPER_CHECKPOINT;
    pthread_mutex_unlock(&storage->lock);
    return wanted ? checkpoint(storage, err) : 0;
}

/* 0; -ECANCELED = the program ends. */
static int count_campaign(struct storage *storage, struct count *count, struct error *err)
{
    struct db *db = &storage->keeper.db;
    int missing;
    while ((missing = db_get(db, err, &count->lane,
                             "SELECT lane FROM campaign_lane WHERE campaign_id = ? AND lane > ? ORDER BY lane LIMIT 1",
                             DB_I(count->campaign_id), DB_I(count->lane))) == 0) {
        count->after = INT64_MIN;
        int more;
        do {
            more = is_closing(storage) ? -ECANCELED : checkpoint_meanwhile(storage, err);
            if (more == 0)
                more = count_slice(db, count, err);
        } while (more > 0);
        if (more < 0)
            return more;
    }
    return missing < 0 ? missing : campaign_set_audience(storage, count->campaign_id, count->members, err);
}

static int count_all(struct storage *storage, struct error *err)
{
    struct count count;
    int more;
    while ((more = next_campaign(&storage->keeper.db, &count, err)) > 0) {
        int64_t begun_ms = clock_monotonic_ms();
        int failed = count_campaign(storage, &count, err);
        if (failed)
            return failed;
        log_debug("storage", "campaign %lld audience_counted members=%lld ms=%lld", (long long)count.campaign_id,
                  (long long)count.members, (long long)(clock_monotonic_ms() - begun_ms));
    }
    return more;
}

static int do_work(struct storage *storage, unsigned what, struct error *err)
{
    struct db *db = &storage->keeper.db;
    int failed = db->handle == NULL ? db_open(db, storage->database_path, DB_KEEPER, err) : 0;
    if (!failed && (what & KEEPER_CHECKPOINT) != 0)
        failed = checkpoint(storage, err);
    if (!failed && (what & KEEPER_COUNT) != 0)
        failed = count_all(storage, err);
    return failed;
}

/* Under the lock. */
static void pause_after_failure(struct storage *storage)
{
    int64_t deadline_us = clock_monotonic_us() + storage->retry_ms * 1000;
    struct timespec deadline = {.tv_sec = deadline_us / 1000000, .tv_nsec = deadline_us % 1000000 * 1000};
    while (!storage->keeper.closing && clock_monotonic_us() < deadline_us)
        (void)pthread_cond_timedwait(&storage->keeper.wake, &storage->lock, &deadline);
}

static void *keeper_main(void *arg)
{
    struct storage *storage = arg;
    struct keeper *keeper = &storage->keeper;
    (void)pthread_setname_np(pthread_self(), "keeper");
    pthread_mutex_lock(&storage->lock);
    while (!keeper->closing) {
        if (keeper->wanted == 0) {
            pthread_cond_wait(&keeper->wake, &storage->lock);
            continue;
        }
        /* Checkpoints first and alone. */
        unsigned what = keeper->wanted & KEEPER_CHECKPOINT ? KEEPER_CHECKPOINT : KEEPER_COUNT;
        keeper->wanted &= ~what;
        keeper->checkpointing = what == KEEPER_CHECKPOINT;
        pthread_mutex_unlock(&storage->lock);
        struct error err = {.text = ""};
        int failed = do_work(storage, what, &err);
        pthread_mutex_lock(&storage->lock);
        keeper->checkpointing = false;
        pthread_cond_broadcast(&keeper->rested);
        if (failed && !keeper->closing) {
            log_debug("storage", "upkeep_failed work=%u error=%s", what, LOG_QUOTE(err.text));
            keeper->wanted |= what;
            pause_after_failure(storage);
        }
    }
    pthread_mutex_unlock(&storage->lock);
    db_close(&keeper->db);
    return NULL;
}

void keeper_wake(struct storage *storage, unsigned what)
{
    struct keeper *keeper = &storage->keeper;
    pthread_mutex_lock(&storage->lock);
    keeper->wanted |= what;
    /* No thread to be had now: the next one who wakes it tries again, and the writer bounds the log (KEEPER_ASKED_MAX).
     */
    if (!keeper->started && !keeper->closing)
        keeper->started = pthread_create(&keeper->thread, NULL, keeper_main, storage) == 0;
    pthread_cond_signal(&keeper->wake);
    pthread_mutex_unlock(&storage->lock);
}

void keeper_stop(struct storage *storage)
{
    struct keeper *keeper = &storage->keeper;
    pthread_mutex_lock(&storage->lock);
    keeper->closing = true;
    pthread_cond_signal(&keeper->wake);
    bool started = keeper->started;
    pthread_mutex_unlock(&storage->lock);
    if (started)
        pthread_join(keeper->thread, NULL);
}

static void carry_over_here(struct db *db)
{
    struct error err = {.text = ""};
    int carried;
    if (carry_over(db, &carried, &err) < 0) /* the next commit that fails says so where it counts */
        log_debug("storage", "checkpoint_failed error=%s", LOG_QUOTE(err.text));
}

void keeper_after_commit(struct storage *storage, struct db *db)
{
    struct keeper *keeper = &storage->keeper;
    int pages = db->wal_pages;
    bool again = pages < db->wal_pages_seen; /* the log has begun again */
    if (again)
        db->wal_pages_seen = 0;
    bool due = pages - db->wal_pages_seen >= KEEPER_CHECKPOINT_PAGES;
    if (!again && !due)
        return;
    pthread_mutex_lock(&storage->lock);
    if (again)
        keeper->carried_pages = 0;
    bool much = pages - keeper->carried_pages > KEEPER_REST_PAGES;
    bool own =
        due && pages >= KEEPER_WAL_PAGES && !keeper->checkpointing && (!much || keeper->left_to >= KEEPER_ASKED_MAX);
    keeper->left_to += due && much && !own;
    pthread_mutex_unlock(&storage->lock);
    if (!due)
        return;
    db->wal_pages_seen = pages;
    if (!own) {
        keeper_wake(storage, KEEPER_CHECKPOINT);
        return;
    }
    carry_over_here(db);
}

void keeper_after_load_commit(struct storage *storage, struct db *db)
{
    struct keeper *keeper = &storage->keeper;
    bool waited = false;
    if (db->wal_pages >= KEEPER_LOAD_PAGES) {
        pthread_mutex_lock(&storage->lock);
        for (; keeper->checkpointing; waited = true)
            pthread_cond_wait(&keeper->rested, &storage->lock);
        pthread_mutex_unlock(&storage->lock);
    }
    if (waited) /* now it is this thread's turn, however much that is */
        carry_over_here(db);
    else
        keeper_after_commit(storage, db);
}
