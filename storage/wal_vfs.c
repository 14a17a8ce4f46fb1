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
 * A write that fails is told to whoever made it necessary, mostly the sync, and what waits stays: should SQLite go on
 * all the same, the log has no gap.
 */
#include "storage/wal_vfs.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define NAME "posthaste-wal"
#define GATHERED_MAX_BYTES (128 * 1024)

/* The real file lies behind it in the memory that SQLite gives. */
struct wal_file {
    sqlite3_file base;
    sqlite3_file *real;
    uint8_t *gathered; /* NULL: no memory, nothing is gathered */
    sqlite3_int64 at;  /* where it belongs */
    int count;         /* bytes of it */
};

static sqlite3_vfs *real_vfs;
static sqlite3_vfs wal_vfs;

static struct wal_file *wal_of(sqlite3_file *file)
{
    return (struct wal_file *)(void *)file;
}

static int write_gathered(struct wal_file *wal)
{
    if (wal->count == 0)
        return SQLITE_OK;
    int code = wal->real->pMethods->xWrite(wal->real, wal->gathered, wal->count, wal->at);
    if (code == SQLITE_OK)
        wal->count = 0;
    return code;
}

static int wal_write(sqlite3_file *file, const void *bytes, int count, sqlite3_int64 at)
{
    struct wal_file *wal = wal_of(file);
    if (at != wal->at + wal->count || count > GATHERED_MAX_BYTES - wal->count) {
        int code = write_gathered(wal);
        if (code != SQLITE_OK)
            return code;
    }
    if (wal->gathered == NULL || count > GATHERED_MAX_BYTES)
        return wal->real->pMethods->xWrite(wal->real, bytes, count, at);
    if (wal->count == 0)
        wal->at = at;
    memcpy(wal->gathered + wal->count, bytes, (size_t)count);
    wal->count += count;
    return SQLITE_OK;
}

static int wal_read(sqlite3_file *file, void *out, int count, sqlite3_int64 at)
{
    struct wal_file *wal = wal_of(file);
    bool waits = at < wal->at + wal->count && wal->at < at + count;
    int code = waits ? write_gathered(wal) : SQLITE_OK;
    return code != SQLITE_OK ? code : wal->real->pMethods->xRead(wal->real, out, count, at);
}

static int wal_sync(sqlite3_file *file, int flags)
{
    struct wal_file *wal = wal_of(file);
    int code = write_gathered(wal);
    return code != SQLITE_OK ? code : wal->real->pMethods->xSync(wal->real, flags);
}

static int wal_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct wal_file *wal = wal_of(file);
    int code = write_gathered(wal);
    return code != SQLITE_OK ? code : wal->real->pMethods->xTruncate(wal->real, size);
}

static int wal_size(sqlite3_file *file, sqlite3_int64 *size)
{
    struct wal_file *wal = wal_of(file);
    int code = write_gathered(wal);
    return code != SQLITE_OK ? code : wal->real->pMethods->xFileSize(wal->real, size);
}

static int wal_close(sqlite3_file *file)
{
    struct wal_file *wal = wal_of(file);
    (void)write_gathered(wal); /* of no commit: those have been synced */
    sqlite3_free(wal->gathered);
    return wal->real->pMethods->xClose(wal->real);
}

static int wal_lock(sqlite3_file *file, int level)
{
    return wal_of(file)->real->pMethods->xLock(wal_of(file)->real, level);
}

static int wal_unlock(sqlite3_file *file, int level)
{
    return wal_of(file)->real->pMethods->xUnlock(wal_of(file)->real, level);
}

static int wal_check_reserved(sqlite3_file *file, int *out)
{
    return wal_of(file)->real->pMethods->xCheckReservedLock(wal_of(file)->real, out);
}

static int wal_control(sqlite3_file *file, int op, void *arg)
{
    return wal_of(file)->real->pMethods->xFileControl(wal_of(file)->real, op, arg);
}

static int wal_sector_size(sqlite3_file *file)
{
    return wal_of(file)->real->pMethods->xSectorSize(wal_of(file)->real);
}

static int wal_characteristics(sqlite3_file *file)
{
    return wal_of(file)->real->pMethods->xDeviceCharacteristics(wal_of(file)->real);
}

/* A log is neither mapped nor has it shared memory: those are the database's own file's. */
static const sqlite3_io_methods wal_methods = {
    .iVersion = 1,
    .xClose = wal_close,
    .xRead = wal_read,
    .xWrite = wal_write,
    .xTruncate = wal_truncate,
    .xSync = wal_sync,
    .xFileSize = wal_size,
    .xLock = wal_lock,
    .xUnlock = wal_unlock,
    .xCheckReservedLock = wal_check_reserved,
    .xFileControl = wal_control,
    .xSectorSize = wal_sector_size,
    .xDeviceCharacteristics = wal_characteristics,
};

/* Every other file is the real one itself. */
static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    (void)vfs;
    if ((flags & SQLITE_OPEN_WAL) == 0)
        return real_vfs->xOpen(real_vfs, name, file, flags, out_flags);
    struct wal_file *wal = wal_of(file);
    *wal = (struct wal_file){.real = (sqlite3_file *)(void *)(wal + 1)};
    int code = real_vfs->xOpen(real_vfs, name, wal->real, flags, out_flags);
    if (code != SQLITE_OK)
        return code;
    wal->gathered = sqlite3_malloc(GATHERED_MAX_BYTES);
    wal->base.pMethods = &wal_methods;
    return SQLITE_OK;
}

static void make(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    if (real_vfs == NULL)
        return;
    wal_vfs = *real_vfs;
    wal_vfs.zName = NAME;
    wal_vfs.szOsFile = (int)sizeof(struct wal_file) + real_vfs->szOsFile;
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
