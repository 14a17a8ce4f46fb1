/*
 * storage.h - the door of the storage room: the embedded database, its one writer thread and its readers.
 *
 * All SQL lives behind this door. Every change of the process goes through one writer thread that gathers what waits into one transaction (group
 * commit: whichever comes first of STORAGE_COMMIT_ROWS outcomes or STORAGE_COMMIT_MS ms after the first; a claim waits until the last commit is as long
 * ago; a call does not wait), so a thousand outcomes cost one sync. Calls that change something and return a value block until their change is durable;
 * the two hot calls (claims, outcomes) are asynchronous. Readers see the last committed state on connections of their own, one per thread.
 *
 * Another process (the CLI) may open the same directory at the same time; SQLite's locking keeps both right, transactions are short.
 * Only one server: `server = true` takes an exclusive lock on DIR/serve.lock and fails with -EBUSY when it is held.
 *
 * Return values: 0 done; positive as documented at each call (a condition, nothing was changed); negative -errno with `err` filled in
 * (-EIO for the database, -ENOSPC, -ENOMEM). All times are wall-clock milliseconds. All strings are UTF-8.
 */
#ifndef POSTHASTE_STORAGE_STORAGE_H
#define POSTHASTE_STORAGE_STORAGE_H

#include <stdbool.h>

#include "base/error.h"

struct storage;
struct storage_reader;

#define STORAGE_COMMIT_ROWS 1000
#define STORAGE_COMMIT_MS 20
#define STORAGE_LOCK_MS 1000

/* Positive results shared by many calls. */
enum {
    STORAGE_NOT_FOUND = 1, /* no such list, campaign, recipient, ... */
    STORAGE_EXISTS = 2,    /* the name is taken */
    STORAGE_WRONG_STATE = 3,
};

struct storage_options {
    const char *data_dir; /* created (mode 0700) when missing; the database is DIR/posthaste.db (mode 0600) */
    bool server;          /* take the server's lock */
};

/* Opens, migrates (storage/schema/NNN.sql, embedded) and starts the writer. A database made by a newer program is refused by version. */
int storage_open(const struct storage_options *options, struct storage **out, struct error *err) ATTR_MUSTCHECK;
/* Commits what was posted, calls every outstanding callback, joins the writer, frees. NULL is allowed. Readers and imports must be closed before, and nobody may be in a call.
 * Claims not yet worked on are answered with -ECANCELED. Outcomes that the disk refuses at the last try are the one exception: their `done` is never called. */
void storage_close(struct storage *storage);

/* 1 while a server holds the lock of this directory (a CLI import then keeps its transactions short), else 0; negative
 * when that cannot be told, which is to be taken for a 1 where one would do harm. */
int storage_server_running(const char *data_dir);

/* False from the moment a commit failed (disk full, I/O error), or has waited STORAGE_LOCK_MS for another program's lock, until one
 * succeeds again; meanwhile nothing is lost: what was posted waits and is tried again once a second. A damaged database is
 * not tried again before a restart. Any thread. `why` (may be NULL) gets the sentence. */
bool storage_healthy(struct storage *storage, struct error *why);

/* Tells of every change of storage_healthy(), and at once if it is false now. NULL ends it: no call comes after that. `changed`
 * is called under a lock of storage: it may not call storage. */
void storage_on_health(struct storage *storage, void (*changed)(void *context, bool healthy, const char *why), void *context);

/* A read-only connection for the calling thread's use. */
int storage_reader_open(struct storage *storage, struct storage_reader **out, struct error *err) ATTR_MUSTCHECK;
void storage_reader_close(struct storage_reader *reader);

/* Size of database and WAL in bytes, for status and metrics. */
int storage_sizes(struct storage *storage, int64_t *database_bytes, int64_t *wal_bytes);

/* The writer's transactions since it was opened, those that failed left out. */
#define STORAGE_COMMIT_BOUNDS 9
extern const int storage_commit_bounds_ms[STORAGE_COMMIT_BOUNDS]; /* rising */
struct storage_commits {
    uint64_t count, rows; /* rows: outcomes written */
    int64_t total_us, max_us;
    uint64_t within[STORAGE_COMMIT_BOUNDS]; /* that took no longer than the bound */
};
void storage_commits(struct storage *storage, struct storage_commits *out); /* any thread */

#include "storage/access.h"
#include "storage/campaigns.h"
#include "storage/claims.h"
#include "storage/contacts.h"
#include "storage/dkim_keys.h"
#include "storage/drafts.h"
#include "storage/feedback.h"
#include "storage/events.h"
#include "storage/idempotency.h"
#include "storage/insight.h"
#include "storage/journal.h"
#include "storage/link_keys.h"
#include "storage/messages.h"
#include "storage/outcomes.h"
#include "storage/segment.h"
#include "storage/shaping.h"
#include "storage/snippets.h"
#include "storage/split.h"
#include "storage/suppressions.h"
#include "storage/tls_tally.h"
#include "storage/tracking.h"
#include "storage/upkeep.h"
#include "storage/webhooks.h"

#endif
