/*
 * writer.h - the one thread that changes the database, and what it works on; private to storage/.
 *
 * Three queues: outcomes, calls (a caller waits) and claims. Within a transaction outcomes come first. A call or a
 * claim is not taken before the outcomes that were posted ahead of it, so whoever posts outcomes and then asks sees
 * them counted.
 */
#ifndef POSTHASTE_STORAGE_WRITER_H
#define POSTHASTE_STORAGE_WRITER_H

#include <pthread.h>

#include "storage/db.h"
#include "storage/delivery_blocks.h"
#include "storage/event_write.h"
#include "storage/journal_file.h"
#include "storage/keeper.h"
#include "storage/ledger.h"
#include "storage/paths.h"
#include "storage/storage.h"

struct storage {
    char *data_dir, *database_path;
    bool server;
    int lock_fd; /* DIR/serve.lock, -1 = not ours */
    pthread_t thread;
    bool thread_started;

    pthread_mutex_t lock;
    pthread_cond_t filled; /* on CLOCK_MONOTONIC */
    struct list outcomes, calls, claims;
    size_t outcome_count;
    uint64_t outcomes_posted, outcomes_written; /* ever; a call waits until `written` reaches what `posted` was */
    int64_t first_outcome_us;                   /* when the oldest waiting outcome was posted */
    int64_t last_commit_us; /* when the last transaction with outcomes or claims ended, well or not */
    struct storage_commits commits;
    bool closing;
    bool unhealthy;
    struct error why; /* of the last failure */
    void (*on_health)(void *context, bool healthy, const char *why);
    void *on_health_context;
    /* The rhythm, STORAGE_COMMIT_MS, and from a failed commit to the next try, 1000. Tests shorten them. */
    int64_t commit_ms, retry_ms;
    struct keeper keeper;
    storage_event_notify_cb *event_notify; /* events.c; NULL = nobody listens */
    void *event_notify_context;
    struct db *spare; /* an import's connection, kept for the next import; NULL = none */

    /* The writer thread's own. */
    struct db db;
    struct ledger ledger;
    storage_digest_fn *sha256; /* set before the first claim; NULL = digests cannot be compared */
    struct paths paths;
    struct delivery_blocks blocks;
    int64_t next_claim_id;
    unsigned version_left;   /* db_data_version() behind this thread's last transaction */
    uint32_t event_kinds;    /* wanted, as this transaction saw it */
    bool event_kinds_known;  /* false: to be read anew */
    int event_added;         /* in this transaction */
    int64_t event_minute_ms; /* has its mark; 0 = unknown */
    _Atomic(struct journal *) journal; /* NULL until storage_journal_begin() */
};

/* SQL: the recipient behind an id that may be a message's, also of one that retention has removed. */
#define RECIPIENT_OF(id)                                                                                               \
    "coalesce((SELECT recipient_id FROM message WHERE id = " id "),"                                                   \
    " (SELECT recipient_id FROM message_gone WHERE id = " id "), " id ")"

struct storage_reader {
    struct db db;
};

/* A change that its caller waits for; runs on the writer thread inside a savepoint. A result other than 0 rolls it
 * back, alone. */
typedef int storage_call_fn(struct storage *storage, void *arg, struct error *err);
/* Posts, waits for the commit, returns the function's result or the commit's failure. Never from the writer thread. */
int storage_call(struct storage *storage, storage_call_fn *run, void *arg, struct error *err) ATTR_MUSTCHECK;

int writer_start(struct storage *storage, struct error *err) ATTR_MUSTCHECK;
void writer_stop(struct storage *storage); /* works off the queues first */

/* One more transaction; under the lock (commits.c). */
void commits_note(struct storage *storage, int64_t took_us, size_t rows);
/* The outcomes into the current transaction (outcomes.c). */
int outcomes_write(struct storage *storage, const struct list *records, struct error *err) ATTR_MUSTCHECK;
/* The same for a delivery that a former process had in flight: `retry` = its row is there and `sending`. 1 = done, 0 =
 * it has a row already (or, for a retry, is not in flight) and nothing was changed. */
int outcome_recover(struct storage *storage, const struct storage_outcome *record, bool retry,
                    struct error *err) ATTR_MUSTCHECK;
/* One claim into the current transaction (claims.c): what belongs in claim->status. */
int claim_make(struct storage *storage, struct storage_claim *claim, struct error *err) ATTR_MUSTCHECK;
/* The answer as it is before anything was looked for; takes what is there for uninitialised. */
void claim_init(struct storage_claim *claim);
/* Takes an answer back, after a rollback. */
void claim_clear(struct storage_claim *claim, int status);

/* The id before the first event of the minute that holds `from_ms`, or of what is left after it (events.c). */
int event_place_before(struct db *db, int64_t from_ms, int64_t *position, struct error *err) ATTR_MUSTCHECK;

#endif
