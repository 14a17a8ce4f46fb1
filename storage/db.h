/*
 * db.h - one SQLite connection with its prepared statements; private to storage/.
 *
 * A thin layer: it binds, steps, turns SQLite's codes into -errno with a sentence, and keeps every statement prepared
 * for the life of the connection. SQL texts are literals (the cache is keyed by their address). One thread at a time.
 * What a column holds is not trusted: a wrong type reads as 0 or "".
 */
#ifndef POSTHASTE_STORAGE_DB_H
#define POSTHASTE_STORAGE_DB_H

#include <sqlite3.h>
#include <stdbool.h>

#include "base/error.h"

enum db_kind {
    DB_WRITER, /* 24 MB of cache, every commit synced */
    DB_IMPORT, /* 48 MB, synced only where the import says so */
    DB_KEEPER, /* writes little, small cache */
    DB_READER, /* read-only, small cache */
};

#define DB_STATEMENTS 1024
struct db_statement {
    const char *sql; /* NULL: free slot */
    sqlite3_stmt *handle;
};
struct db {
    sqlite3 *handle;
    char *path;
    bool damaged; /* SQLite has found the file to be corrupt */
    /* Called once for each wait of more than STORAGE_LOCK_MS for another connection's lock; NULL = nobody asks. */
    void (*lock_taken)(void *context);
    void *lock_taken_context;
    int wal_pages, wal_pages_seen; /* keeper.c's: see db_watch_wal() */
    size_t statement_count;
    struct db_statement statements[DB_STATEMENTS]; /* open addressing by the address of the text */
};

/* -EIO (with "file is not a database" and the like), -ENOSPC, -ENOMEM. On failure there is nothing to close. */
int db_open(struct db *db, const char *path, enum db_kind kind, struct error *err) ATTR_MUSTCHECK;
void db_close(struct db *db); /* harmless on a zeroed one */

/* A value to bind: DB_I(int64), DB_T(text or NULL), DB_N(bytes, len) = text, DB_B(bytes, len) = blob. Text must live
 * until the statement ends. */
struct db_value {
    enum { DB_VALUE_INT, DB_VALUE_TEXT, DB_VALUE_BLOB } kind;
    int64_t integer; /* or the length in bytes, -1 = terminated */
    const void *bytes;
};
#define DB_I(value) ((struct db_value){.kind = DB_VALUE_INT, .integer = (value)})
#define DB_T(text) ((struct db_value){.kind = DB_VALUE_TEXT, .integer = -1, .bytes = (text)})
#define DB_N(text, len) ((struct db_value){.kind = DB_VALUE_TEXT, .integer = (int64_t)(len), .bytes = (text)})
#define DB_B(data, len) ((struct db_value){.kind = DB_VALUE_BLOB, .integer = (int64_t)(len), .bytes = (data)})

/* The array begins with a dummy so that it may hold no values; the functions skip it. */
#define DB_VALUES(...) ((const struct db_value[]){DB_I(0), ##__VA_ARGS__})
#define DB_VALUE_COUNT(...) countof(DB_VALUES(__VA_ARGS__))

/* A statement with its values bound, to be stepped and ended with db_end(); NULL on failure. One that is in use is left
 * alone, another is prepared. */
#define db_query(db, err, sql, ...) db_query_values(db, err, sql, DB_VALUES(__VA_ARGS__), DB_VALUE_COUNT(__VA_ARGS__))
/* Runs to the end, ignoring rows: 0 or negative. */
#define db_run(db, err, sql, ...) db_run_values(db, err, sql, DB_VALUES(__VA_ARGS__), DB_VALUE_COUNT(__VA_ARGS__))
/* First column of the first row: 0, 1 when there is no row (*out is 0), negative. */
#define db_get(db, err, out, sql, ...)                                                                                 \
    db_get_values(db, err, out, sql, DB_VALUES(__VA_ARGS__), DB_VALUE_COUNT(__VA_ARGS__))

sqlite3_stmt *db_query_values(struct db *db, struct error *err, const char *sql, const struct db_value *values,
                              size_t count) ATTR_MUSTCHECK;
int db_run_values(struct db *db, struct error *err, const char *sql, const struct db_value *values,
                  size_t count) ATTR_MUSTCHECK;
int db_get_values(struct db *db, struct error *err, int64_t *out, const char *sql, const struct db_value *values,
                  size_t count) ATTR_MUSTCHECK;

/* 1 = a row; 0 = no more, negative = failed (in both cases the statement is reset already). */
int db_step(struct db *db, sqlite3_stmt *statement, struct error *err) ATTR_MUSTCHECK;
void db_end(sqlite3_stmt *statement); /* NULL allowed */

/* The statement for `sql`, unbound, for the few places that bind by hand because they run a hundred thousand times a
 * second. */
sqlite3_stmt *db_prepare(struct db *db, const char *sql, struct error *err) ATTR_MUSTCHECK;

/* What was committed so far lasts, whatever `synchronous` was. */
int db_sync(struct db *db, struct error *err) ATTR_MUSTCHECK;

/* From now on no commit of this connection carries the WAL over; each leaves in `wal_pages` how long that is, for
 * keeper_after_commit(). */
void db_watch_wal(struct db *db);

int64_t db_changes(const struct db *db);
int64_t db_last_id(const struct db *db);

/* Transactions. db_rollback() never fails: what could not be rolled back explicitly was so by SQLite. */
int db_begin(struct db *db,
             struct error *err) ATTR_MUSTCHECK; /* takes the write lock; waits up to 10 s for another process */
int db_commit(struct db *db, struct error *err) ATTR_MUSTCHECK;
void db_rollback(struct db *db);

/* Changed by commits of this connection, and by the begin of a transaction when others have committed before it. */
unsigned db_data_version(struct db *db);

/* The failure that the handle is in, as -errno, with "PATH: text" in err. */
int db_failure(struct db *db, int code, struct error *err);

static inline int64_t db_int(sqlite3_stmt *statement, int column)
{
    return sqlite3_column_int64(statement, column);
}
/* A number that cannot be negative; clamped. */
static inline int64_t db_count(sqlite3_stmt *statement, int column)
{
    int64_t value = sqlite3_column_int64(statement, column);
    return value < 0 ? 0 : value;
}
/* Never NULL; lives until the next step. */
static inline const char *db_text(sqlite3_stmt *statement, int column)
{
    const unsigned char *text =
        sqlite3_column_type(statement, column) == SQLITE_TEXT ? sqlite3_column_text(statement, column) : NULL;
    return text != NULL ? (const char *)text : "";
}

#endif
