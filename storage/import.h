/*
 * import.h - the parts of a bulk load; private to storage/.
 *
 * import.c gathers rows into a chunk and runs it: sort (import_sort.c), domains and lanes (import_domains.c), rows
 * (import_rows.c).
 */
#ifndef POSTHASTE_STORAGE_IMPORT_H
#define POSTHASTE_STORAGE_IMPORT_H

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

struct import_domain {
    int64_t id, lane;          /* id 0: not stored yet */
    int64_t recipients, added; /* as stored; made by this import since */
    int64_t in_chunk;          /* rows of the present chunk */
    size_t name_len;
    char name[];
};

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
    bool failed;   /* nothing more is accepted */
    bool unsynced; /* something was committed with synchronous=NORMAL */

    char *text; /* TEXT_BYTES: addresses and attributes of the chunk */
    size_t text_used;
    struct import_row *rows;
    struct import_key *keys; /* the order of the chunk's rows; its second half is scratch */
    size_t row_count, row_capacity;
    size_t rows_max, text_bytes; /* of a chunk */
    struct arena merged;         /* attributes that were merged within the chunk */

    struct hashmap domains;
    struct arena domain_arena;

    /* The transaction. */
    bool gentle;          /* short transactions with gaps: a server runs */
    unsigned pause_check; /* calls of import_pause() */
    int64_t begun_us, now_ms, epoch, new_recipients;
    struct import_lane lanes[IMPORT_LANES]; /* open addressing by lane */
    size_t lane_count;
    bool expect_known;                 /* the previous row was known already: a guess about the next */
    struct upsert_counts slice, total; /* of this transaction; committed */
};

/* Fills `keys` with the rows' numbers in the order of their addresses, bytewise as SQLite compares; equal ones in the
 * order in which they came. Both arrays hold `count`. */
void import_sort(const struct import_row *rows, struct import_key *keys, struct import_key *scratch, size_t count);

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
