/*
 * wal_vfs.c - one write a commit instead of two a page.
 *
 * SQLite appends a page to its write-ahead log as two writes, 24 bytes and then the page, so a commit of fifteen pages
 * is thirty system calls for adjacent bytes: a tenth of what a small commit costs. Here they are gathered, and written
 * when something else is to happen to the file or when there are many.
 *
 * Nobody can miss what waits. A commit is synced before SQLite tells other connections how far they may read, and a
 * sync writes first; what this connection itself reads back is written before. A process that dies leaves a log that
 * ends earlier, within a transaction that was not committed.
 *
 * And what waits never outlives its transaction. When the write lock is given up, a commit has been synced; what is
 * still there was rolled back, and from then on its place in the log is whoever's writes next. So it is dropped with
 * the lock, which is the database file's, not the log's. A write that fails is told to whoever made it necessary,
 * mostly the sync, and until then what waits stays: should SQLite go on all the same, the log has no gap.
 *
 * A file is the real one, with methods of our own and what they need behind it in the memory that SQLite gives.
 */
#include "storage/wal_vfs.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NAME "posthaste-wal"
#define GATHERED_MAX_BYTES (128 * 1024)
#define WRITE_LOCK 0 /* of the slots of xShmLock; WALINDEX format, sqlite.org/walformat.html 2.3 */

struct more {
    sqlite3_io_methods methods;     /* the real ones but for a few */
    const sqlite3_io_methods *real; /* all of them */
    struct more *other;             /* the database's log, the log's database; NULL = not open */
    uint8_t *gathered;              /* a log: NULL = nothing is gathered */
    sqlite3_int64 at;               /* where it belongs */
    int count;                      /* bytes of it */
};

static sqlite3_vfs *real_vfs;
static sqlite3_vfs wal_vfs;
static size_t real_bytes; /* of a file, rounded up */

static struct more *more_of(sqlite3_file *file)
{
    return (struct more *)(void *)((char *)file + real_bytes);
}

/* ---- the log ---- */

static int write_gathered(sqlite3_file *file)
{
    struct more *log = more_of(file);
    if (log->count == 0)
        return SQLITE_OK;
    int code = log->real->xWrite(file, log->gathered, log->count, log->at);
    if (code == SQLITE_OK)
        log->count = 0;
    return code;
}

static int log_write(sqlite3_file *file, const void *bytes, int count, sqlite3_int64 at)
{
    struct more *log = more_of(file);
    if (at != log->at + log->count || count > GATHERED_MAX_BYTES - log->count) {
        int code = write_gathered(file);
        if (code != SQLITE_OK)
            return code;
    }
    if (log->gathered == NULL || count > GATHERED_MAX_BYTES)
        return log->real->xWrite(file, bytes, count, at);
    if (log->count == 0)
        log->at = at;
    memcpy(log->gathered + log->count, bytes, (size_t)count);
    log->count += count;
    return SQLITE_OK;
}

static int log_read(sqlite3_file *file, void *out, int count, sqlite3_int64 at)
{
    const struct more *log = more_of(file);
    bool waits = at < log->at + log->count && log->at < at + count;
    int code = waits ? write_gathered(file) : SQLITE_OK;
    return code != SQLITE_OK ? code : log->real->xRead(file, out, count, at);
}

static int log_sync(sqlite3_file *file, int flags)
{
    int code = write_gathered(file);
    return code != SQLITE_OK ? code : more_of(file)->real->xSync(file, flags);
}

static int log_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    int code = write_gathered(file);
    return code != SQLITE_OK ? code : more_of(file)->real->xTruncate(file, size);
}

static int log_size(sqlite3_file *file, sqlite3_int64 *size)
{
    int code = write_gathered(file);
    return code != SQLITE_OK ? code : more_of(file)->real->xFileSize(file, size);
}

static int log_close(sqlite3_file *file)
{
    struct more *log = more_of(file);
    if (log->other != NULL)
        log->other->other = NULL;
    sqlite3_free(log->gathered);
    return log->real->xClose(file);
}

/* ---- the database ---- */

static int database_lock(sqlite3_file *file, int slot, int count, int flags)
{
    struct more *database = more_of(file);
    bool ends = slot <= WRITE_LOCK && WRITE_LOCK < slot + count && (flags & SQLITE_SHM_UNLOCK) != 0;
    if (ends && database->other != NULL)
        database->other->count = 0;
    return database->real->xShmLock(file, slot, count, flags);
}

static int database_close(sqlite3_file *file)
{
    struct more *database = more_of(file);
    if (database->other != NULL)
        database->other->other = NULL;
    return database->real->xClose(file);
}

/* ---- opening ---- */

static struct more *add_more(sqlite3_file *file)
{
    struct more *more = more_of(file);
    *more = (struct more){.methods = *file->pMethods, .real = file->pMethods};
    file->pMethods = &more->methods;
    return more;
}

static void make_database(sqlite3_file *file)
{
    struct more *database = add_more(file);
    database->methods.xShmLock = database_lock;
    database->methods.xClose = database_close;
}

/* Without powersafe overwrites SQLite fills the log up to the next sector, partly behind the sync. */
static void make_log(sqlite3_file *file, const char *name)
{
    sqlite3_file *database = sqlite3_database_file_object(name);
    struct more *log = add_more(file);
    log->methods.xWrite = log_write;
    log->methods.xRead = log_read;
    log->methods.xSync = log_sync;
    log->methods.xTruncate = log_truncate;
    log->methods.xFileSize = log_size;
    log->methods.xClose = log_close;
    if ((database->pMethods->xDeviceCharacteristics(database) & SQLITE_IOCAP_POWERSAFE_OVERWRITE) != 0)
        log->gathered = sqlite3_malloc(GATHERED_MAX_BYTES);
    log->other = more_of(database);
    log->other->other = log;
}

static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    (void)vfs;
    int code = real_vfs->xOpen(real_vfs, name, file, flags, out_flags);
    if (code != SQLITE_OK)
        return code;
    if ((flags & SQLITE_OPEN_MAIN_DB) != 0 && file->pMethods->iVersion >= 2)
        make_database(file);
    else if ((flags & SQLITE_OPEN_WAL) != 0)
        make_log(file, name);
    return SQLITE_OK;
}

static void make(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    if (real_vfs == NULL)
        return;
    size_t alignment = _Alignof(max_align_t);
    real_bytes = ((size_t)real_vfs->szOsFile + alignment - 1) / alignment * alignment;
    wal_vfs = *real_vfs;
    wal_vfs.zName = NAME;
    wal_vfs.szOsFile = (int)(real_bytes + sizeof(struct more));
    wal_vfs.xOpen = open_file;
    if (sqlite3_vfs_register(&wal_vfs, 0) != SQLITE_OK)
        real_vfs = NULL;
}

const char *wal_vfs_name(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, make);
    return real_vfs != NULL ? NAME : NULL;
}
