/*
 * import.h - the parts of a bulk load; private to storage/.
 *
 * import.c is the door and the transactions. import_chunk.c gathers rows into a chunk and has it written: sort
 * (import_sort.c), domains and lanes (import_domains.c), rows (import_rows.c).
 */
#ifndef POSTHASTE_STORAGE_IMPORT_H
#define POSTHASTE_STORAGE_IMPORT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "base/hashmap.h"
#include "storage/db.h"
#include "storage/storage.h"

struct import_row {
    const char *email; /* not terminated */
    const char *attributes;
    uint32_t attributes_len;
    uint16_t email_len, at; /* where the '@' is */
    struct import_domain *domain;
};
struct import_key {
    uint64_t bytes;
    uint32_t row;
};

struct import_chunk {
    char *text; /* addresses and attributes */
    size_t text_used;
    struct import_row *rows; /* in the order in which they came */
    size_t row_count, row_capacity;
    struct import_key *keys; /* of a full one: the rows sorted; its second half is scratch */
};

struct import_domain {
    int64_t id, lane;          /* id 0: not stored yet */
    int64_t recipients, added; /* as stored; made by this import since */
    int64_t in_chunk;          /* rows of the present chunk */
    size_t name_len;
    char name[];
};

#define IMPORT_SLICE_ROWS 10000 /* of a transaction when nobody else is there */

/* Sums of one transaction per lane, written to list_lane before its commit. */
#define IMPORT_LANES 1024
struct import_lane {
    int64_t lane, active, total;
};

struct storage_import {
    struct storage *storage;
    struct db *db;
    int64_t list_id;
    enum upsert_mode mode;
    bool failed;   /* nothing more is accepted, and nothing is being written */
    bool unsynced; /* something was committed with synchronous=NORMAL */

    struct import_chunk next;    /* the caller's, being filled */
    struct import_chunk chunk;   /* being written; as all below, by `thread` while `beside` */
    size_t rows_max, text_bytes; /* of a chunk */
    bool beside;
    pthread_t thread;
    atomic_int result; /* of what was written beside, and why: read after the join, but for a look whether to join now */
    struct error why;
    struct arena merged; /* attributes that were merged within the chunk */

    struct hashmap domains;
    struct arena domain_arena;

    /* The transaction. */
    bool gentle;          /* short transactions with gaps: a server runs */
    unsigned pause_check; /* calls of import_pause() */
    int64_t begun_us, now_ms, epoch, new_recipients;
    struct import_lane lanes[IMPORT_LANES]; /* open addressing by lane */
    size_t lane_count;
    bool expect_known;           /* the previous row was known already: a guess about the next */
    struct upsert_counts slice;  /* of this transaction */
    struct upsert_counts folded; /* rows that went into another of the same address, which is not written yet */
    pthread_mutex_t total_lock;
    struct upsert_counts total; /* committed */
};

void import_chunks_init(struct storage_import *import);
void import_chunks_free(struct storage_import *import);
/* Copies a checked row; a full chunk is written first, or handed to the thread. Sets `failed`. */
int import_chunk_add(struct storage_import *import, const struct import_row *row, struct error *err) ATTR_MUSTCHECK;
/* Writes what is left and waits for everything; with `abandon` what has not been handed over is dropped. 0 when the
 * failure was told before. */
int import_chunks_end(struct storage_import *import, bool abandon, struct error *err) ATTR_MUSTCHECK;
/* Whether commits are synced from now on. */
int import_set_sync(struct storage_import *import, bool full, struct error *err) ATTR_MUSTCHECK;

/* Fills `keys` with the rows' numbers in the order of their addresses, bytewise as SQLite compares; equal ones in the
 * order in which they came. Both arrays hold `count`. */
void import_sort(const struct import_row *rows, struct import_key *keys, struct import_key *scratch, size_t count);

/* By `bytes`, stably. Both arrays hold `count`. */
void import_sort_keys(struct import_key *keys, struct import_key *scratch, size_t count);

/* Gives every row its domain, stores the unknown ones and lifts those that have grown big into lanes of their own. */
int import_domains(struct storage_import *import, struct error *err) ATTR_MUSTCHECK;
int import_domains_flush(struct storage_import *import,
                         struct error *err) ATTR_MUSTCHECK; /* their `added` into the database; forgets them */

/* Writes the sorted rows. Like import_domains() it leaves its last transaction open, so that a small load is one
 * commit. */
int import_rows(struct storage_import *import, struct error *err) ATTR_MUSTCHECK;

/* Transactions. import_open() goes on in one that is open. import_pause() ends one and begins the next when it has
 * taken its time; a no-op otherwise. */
int import_open(struct storage_import *import, struct error *err) ATTR_MUSTCHECK;
int import_commit(struct storage_import *import, struct error *err) ATTR_MUSTCHECK;
int import_pause(struct storage_import *import, struct error *err) ATTR_MUSTCHECK;
void import_rollback(struct storage_import *import);
int import_lane_add(struct storage_import *import, int64_t lane, int active, int total,
                    struct error *err) ATTR_MUSTCHECK;

#endif
