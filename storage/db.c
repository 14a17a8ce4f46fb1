/*
 * db.c - one SQLite connection: opening with our pragmas, the statement cache, binding, stepping, errors.
 *
 * The busy handler naps 1 ms at a time instead of SQLite's growing steps (up to 100 ms): an import in another process
 * leaves the lock free for a few milliseconds between its transactions, and whoever sleeps longer than that gap may
 * never get in.
 *
 * Success of db_open() means that the file is a database and its pragmas hold; it says nothing about the schema
 * (migrate.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "storage/db.h"
#include "storage/storage.h"
#include "storage/wal_vfs.h"

#define BUSY_LIMIT_MS 10000

static const char writer_pragmas[] =
    "PRAGMA synchronous=FULL; PRAGMA cache_size=-24576; PRAGMA wal_autocheckpoint=4000;" /* migrations only; then
                                                                                            keeper.c's */
    "PRAGMA journal_size_limit=67108864;";
static const char import_pragmas[] = "PRAGMA synchronous=FULL; PRAGMA cache_size=-49152; PRAGMA wal_autocheckpoint=0;"
                                     "PRAGMA journal_size_limit=67108864;";
static const char keeper_pragmas[] = "PRAGMA synchronous=FULL; PRAGMA cache_size=-8192; PRAGMA wal_autocheckpoint=0;"
                                     "PRAGMA journal_size_limit=67108864;";
static const char reader_pragmas[] = "PRAGMA query_only=ON; PRAGMA cache_size=-4096;";
/* secure_delete is on in Debian's build and would write zeroes over every freed cell; nothing here is secret from who
 * can read the file. Temporary b-trees stay in memory, so that a page never needs a writable /tmp. */
static const char common_pragmas[] = "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA secure_delete=OFF;"
                                     "PRAGMA foreign_keys=OFF; PRAGMA temp_store=MEMORY;";

/*
 * SQLite's statistics of its memory cost a process-wide lock at every allocation, a tenth to a quarter of a look-up;
 * nobody reads them. This is a setting of the whole process, possible only before its first connection; refused later,
 * it does no harm.
 */
static void configure_library(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static int nap(void *context, int calls)
{
    const struct db *db = context;
    if (calls >= BUSY_LIMIT_MS)
        return 0;
    if (calls == STORAGE_LOCK_MS && db->lock_taken != NULL)
        db->lock_taken(db->lock_taken_context);
    struct timespec pause = {.tv_nsec = 1000000};
    nanosleep(&pause, NULL);
    return 1;
}

int db_failure(struct db *db, int code, struct error *err)
{
    const char *path = db->path != NULL ? db->path : "database";
    const char *text = db->handle != NULL && sqlite3_errcode(db->handle) == (code & 0xff) ? sqlite3_errmsg(db->handle)
                                                                                          : sqlite3_errstr(code);
    int system_errno = db->handle != NULL ? sqlite3_system_errno(db->handle) : 0;
    switch (code & 0xff) {
    case SQLITE_FULL:
        return error_set(err, -ENOSPC, "%s: the disk is full (%s)", path, text);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        db->damaged = true;
        return error_set(err, -EIO, "%s: the file is damaged (%s)", path, text);
    case SQLITE_NOMEM:
        return error_memory(err);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return error_set(err, -EBUSY, "%s: locked by another process (%s)", path, text);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        if (system_errno != 0)
            (void)error_errno(err, -system_errno, "%s: %s", path, text);
        else
            (void)error_set(err, -EIO, "%s: %s", path, text);
        return -EIO;
    default:
        return error_set(err, -EIO, "%s: %s", path, text);
    }
}

/* Waits where SQLite itself does not: two processes that turn on WAL in a new file at the same time. */
static int exec_waiting(struct db *db, const char *sql, struct error *err)
{
    for (int calls = 0;; calls++) {
        int code = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
        if (code == SQLITE_OK)
            return 0;
        if (((code & 0xff) != SQLITE_BUSY && (code & 0xff) != SQLITE_LOCKED) || !nap(db, calls))
            return db_failure(db, code, err);
    }
}

/* The file is made before SQLite can make it, for its mode. O_EXCL: opening and closing an existing one here would drop
 * the locks that another connection of this process holds on it (POSIX). */
static int create_private(const char *path, struct error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return errno == EEXIST ? 0 : error_errno(err, -errno, "cannot create %s", path);
    close(fd);
    return 0;
}

static int open_handle(struct db *db, enum db_kind kind, struct error *err)
{
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE |
                (kind == DB_READER ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE);
    int code = sqlite3_open_v2(db->path, &db->handle, flags, kind == DB_WRITER ? wal_vfs_name() : NULL);
    if (code != SQLITE_OK)
        return db_failure(db, code, err);
    sqlite3_busy_handler(db->handle, nap, db);
    sqlite3_limit(db->handle, SQLITE_LIMIT_ATTACHED, 0);
    (void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (kind != DB_READER) {
        int failed = exec_waiting(db, "PRAGMA page_size=4096; PRAGMA journal_mode=WAL;", err);
        if (failed)
            return failed;
    }
    int failed = exec_waiting(db, common_pragmas, err);
    if (failed)
        return failed;
    static const char *const own[] = {[DB_WRITER] = writer_pragmas,
                                      [DB_IMPORT] = import_pragmas,
                                      [DB_KEEPER] = keeper_pragmas,
                                      [DB_READER] = reader_pragmas};
    failed = exec_waiting(db, own[kind], err);
    if (failed)
        return failed;
    /* The first look into the file: here a damaged or foreign one shows. */
    return exec_waiting(db, "SELECT count(*) FROM sqlite_schema;", err);
}

int db_open(struct db *db, const char *path, enum db_kind kind, struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, configure_library);
    *db = (struct db){.path = str_dup(path)};
    if (db->path == NULL)
        return error_memory(err);
    int failed = kind == DB_READER ? 0 : create_private(path, err);
    if (!failed)
        failed = open_handle(db, kind, err);
    if (failed)
        db_close(db);
    return failed;
}

/* The log itself: a commit that changes no byte writes nothing, and one that writes nothing syncs nothing. What is no
 * longer in the log was synced with the database before the log began again. */
int db_sync(struct db *db, struct error *err)
{
    sqlite3_file *log = NULL;
    int code = sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
    if (code == SQLITE_OK && log != NULL && log->pMethods != NULL)
        code = log->pMethods->xSync(log, SQLITE_SYNC_NORMAL);
    return code == SQLITE_OK ? 0 : db_failure(db, code, err);
}

static int note_wal(void *context, sqlite3 *handle, const char *name, int pages)
{
    (void)handle;
    (void)name;
    ((struct db *)context)->wal_pages = pages;
    return SQLITE_OK;
}

void db_watch_wal(struct db *db)
{
    sqlite3_wal_hook(db->handle, note_wal, db); /* takes the place of SQLite's own, which is wal_autocheckpoint */
}

void db_close(struct db *db)
{
    for (size_t i = 0; i < DB_STATEMENTS; i++)
        sqlite3_finalize(db->statements[i].handle);
    if (db->handle != NULL) {
        int code = sqlite3_close(db->handle);
        assure(code == SQLITE_OK); /* anything else: a statement of ours was left open */
    }
    free(db->path);
    memset(db, 0, sizeof(*db));
}

sqlite3_stmt *db_prepare(struct db *db, const char *sql, struct error *err)
{
    size_t slot = ((uintptr_t)sql >> 3) * 0x9E3779B97F4A7C15u >> 32;
    for (;; slot++) {
        struct db_statement *entry = &db->statements[slot % DB_STATEMENTS];
        if (entry->sql == sql && !sqlite3_stmt_busy(entry->handle))
            return entry->handle;
        if (entry->sql != NULL)
            continue;
        assure(db->statement_count < DB_STATEMENTS * 3 / 4);
        int code = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &entry->handle, NULL);
        if (code != SQLITE_OK) {
            (void)db_failure(db, code, err);
            return NULL;
        }
        entry->sql = sql;
        db->statement_count++;
        return entry->handle;
    }
}

static int bind_value(sqlite3_stmt *statement, int index, const struct db_value *value)
{
    if (value->kind == DB_VALUE_INT)
        return sqlite3_bind_int64(statement, index, value->integer);
    if (value->bytes == NULL)
        return sqlite3_bind_null(statement, index);
    if (value->kind == DB_VALUE_BLOB)
        return sqlite3_bind_blob64(statement, index, value->bytes, (sqlite3_uint64)value->integer, SQLITE_STATIC);
    sqlite3_uint64 len = value->integer < 0 ? (sqlite3_uint64)strlen(value->bytes) : (sqlite3_uint64)value->integer;
    return sqlite3_bind_text64(statement, index, value->bytes, len, SQLITE_STATIC, SQLITE_UTF8);
}

sqlite3_stmt *db_query_values(struct db *db, struct error *err, const char *sql, const struct db_value *values,
                              size_t count)
{
    sqlite3_stmt *statement = db_prepare(db, sql, err);
    if (statement == NULL)
        return NULL;
    for (size_t i = 1; i < count; i++) {
        int code = bind_value(statement, (int)i, &values[i]);
        if (code != SQLITE_OK) {
            (void)db_failure(db, code, err);
            return NULL;
        }
    }
    return statement;
}

int db_step(struct db *db, sqlite3_stmt *statement, struct error *err)
{
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        return 1;
    int failed = code == SQLITE_DONE ? 0 : db_failure(db, code, err);
    sqlite3_reset(statement);
    return failed;
}

void db_end(sqlite3_stmt *statement)
{
    sqlite3_reset(statement);
}

int db_run_values(struct db *db, struct error *err, const char *sql, const struct db_value *values, size_t count)
{
    sqlite3_stmt *statement = db_query_values(db, err, sql, values, count);
    if (statement == NULL)
        return -EIO;
    int more;
    do {
        more = db_step(db, statement, err);
    } while (more > 0);
    return more;
}

int db_get_values(struct db *db, struct error *err, int64_t *out, const char *sql, const struct db_value *values,
                  size_t count)
{
    *out = 0;
    sqlite3_stmt *statement = db_query_values(db, err, sql, values, count);
    if (statement == NULL)
        return -EIO;
    int more = db_step(db, statement, err);
    if (more <= 0)
        return more < 0 ? more : 1;
    *out = db_int(statement, 0);
    db_end(statement);
    return 0;
}

int64_t db_changes(const struct db *db)
{
    return sqlite3_changes64(db->handle);
}

int64_t db_last_id(const struct db *db)
{
    return sqlite3_last_insert_rowid(db->handle);
}

int db_begin(struct db *db, struct error *err)
{
    return db_run(db, err, "BEGIN IMMEDIATE");
}

int db_commit(struct db *db, struct error *err)
{
    return db_run(db, err, "COMMIT");
}

unsigned db_data_version(struct db *db)
{
    unsigned version = 0;
    int code = sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_DATA_VERSION, &version);
    assure(code == SQLITE_OK); /* SQLite answers it itself, from memory */
    return version;
}

void db_rollback(struct db *db)
{
    if (!sqlite3_get_autocommit(db->handle) && db_run(db, NULL, "ROLLBACK") != 0)
        assure(sqlite3_get_autocommit(db->handle));
}
