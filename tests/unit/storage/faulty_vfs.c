/*
 * faulty_vfs.c - see faulty_vfs.h. Every method but read, write, truncate and sync goes straight through to the real
 * file, which lies behind ours in the memory that SQLite gives.
 */
#include <sqlite3.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "base/attr.h"
#include "tests/unit/storage/faulty_vfs.h"

struct faulty_vfs faulty_vfs;

struct file {
    sqlite3_file base;
    bool wal;
    const char *path; /* NULL: not a database or WAL, the hooks are not asked */
    sqlite3_file *real;
};

static sqlite3_vfs *real_vfs;
static const struct faulty_hooks *hooks;
static sqlite3_vfs wrapper;

void faulty_vfs_fail(int from, int count, int code)
{
    atomic_store(&faulty_vfs.failed, 0);
    atomic_store(&faulty_vfs.code, code);
    atomic_store(&faulty_vfs.fail_count, count);
    atomic_store(&faulty_vfs.fail_from, from);
}

void faulty_vfs_hooks(const struct faulty_hooks *to)
{
    hooks = to;
}

void faulty_vfs_heal(void)
{
    atomic_store(&faulty_vfs.fail_from, 0);
}

/* The code to fail with, or SQLITE_OK. */
static int fault(bool reading)
{
    int from = atomic_load(&faulty_vfs.fail_from);
    if (from == 0 || reading != (atomic_load(&faulty_vfs.code) == SQLITE_IOERR_READ))
        return SQLITE_OK;
    if (from > 1) {
        atomic_store(&faulty_vfs.fail_from, from - 1);
        return SQLITE_OK;
    }
    int count = atomic_load(&faulty_vfs.fail_count);
    if (count == 0) {
        atomic_store(&faulty_vfs.fail_from, 0);
        return SQLITE_OK;
    }
    if (count > 0)
        atomic_store(&faulty_vfs.fail_count, count - 1);
    atomic_fetch_add(&faulty_vfs.failed, 1);
    return atomic_load(&faulty_vfs.code);
}

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((struct file *)(void *)file)->real;
}

static const char *hooked_path(sqlite3_file *file)
{
    return hooks != NULL ? ((struct file *)(void *)file)->path : NULL;
}

static int on_close(sqlite3_file *file)
{
    return real_of(file)->pMethods->xClose(real_of(file));
}
static int on_read(sqlite3_file *file, void *out, int amount, sqlite3_int64 at)
{
    if (hooked_path(file) != NULL && hooks->reading != NULL)
        hooks->reading();
    int code = fault(true);
    return code != SQLITE_OK ? code : real_of(file)->pMethods->xRead(real_of(file), out, amount, at);
}
static int on_write(sqlite3_file *file, const void *bytes, int amount, sqlite3_int64 at)
{
    int code = fault(false);
    if (((struct file *)(void *)file)->wal) {
        atomic_fetch_add(&faulty_vfs.wal_writes, 1);
        atomic_fetch_add(&faulty_vfs.wal_unsynced, 1);
        if (at + amount > atomic_load(&faulty_vfs.wal_bytes))
            atomic_store(&faulty_vfs.wal_bytes, at + amount);
    }
    if (code == SQLITE_OK && hooked_path(file) != NULL)
        return hooks->write(hooked_path(file), real_of(file), bytes, amount, at);
    return code != SQLITE_OK ? code : real_of(file)->pMethods->xWrite(real_of(file), bytes, amount, at);
}
static int on_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    int code = fault(false);
    if (code == SQLITE_OK && hooked_path(file) != NULL)
        code = hooks->truncate(hooked_path(file), size);
    return code != SQLITE_OK ? code : real_of(file)->pMethods->xTruncate(real_of(file), size);
}
static int on_sync(sqlite3_file *file, int flags)
{
    int code = fault(false);
    if (((struct file *)(void *)file)->wal)
        atomic_fetch_add(&faulty_vfs.wal_syncs, 1);
    if (((struct file *)(void *)file)->wal && code == SQLITE_OK)
        atomic_store(&faulty_vfs.wal_unsynced, 0);
    else if (atomic_load(&faulty_vfs.slow_s) > 0)
        nanosleep(&(struct timespec){.tv_sec = atomic_load(&faulty_vfs.slow_s)}, NULL);
    if (code == SQLITE_OK && hooked_path(file) != NULL)
        return hooks->sync(hooked_path(file), real_of(file));
    return code != SQLITE_OK ? code : real_of(file)->pMethods->xSync(real_of(file), flags);
}
static int on_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return real_of(file)->pMethods->xFileSize(real_of(file), size);
}
static int on_lock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xLock(real_of(file), level);
}
static int on_unlock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}
static int on_check_reserved(sqlite3_file *file, int *out)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), out);
}
static int on_control(sqlite3_file *file, int op, void *arg)
{
    return real_of(file)->pMethods->xFileControl(real_of(file), op, arg);
}
static int on_sector_size(sqlite3_file *file)
{
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}
static int on_characteristics(sqlite3_file *file)
{
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}
static int on_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
    return real_of(file)->pMethods->xShmMap(real_of(file), page, size, extend, out);
}
static int on_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return real_of(file)->pMethods->xShmLock(real_of(file), offset, n, flags);
}
static void on_shm_barrier(sqlite3_file *file)
{
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}
static int on_shm_unmap(sqlite3_file *file, int delete)
{
    return real_of(file)->pMethods->xShmUnmap(real_of(file), delete);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_size,
    .xLock = on_lock,
    .xUnlock = on_unlock,
    .xCheckReservedLock = on_check_reserved,
    .xFileControl = on_control,
    .xSectorSize = on_sector_size,
    .xDeviceCharacteristics = on_characteristics,
    .xShmMap = on_shm_map,
    .xShmLock = on_shm_lock,
    .xShmBarrier = on_shm_barrier,
    .xShmUnmap = on_shm_unmap,
};

static int on_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    (void)vfs;
    struct file *wrapped = (struct file *)(void *)file;
    wrapped->real = (sqlite3_file *)(void *)(wrapped + 1);
    wrapped->wal = (flags & SQLITE_OPEN_WAL) != 0;
    int code = real_vfs->xOpen(real_vfs, name, wrapped->real, flags, out_flags);
    wrapped->base.pMethods = code == SQLITE_OK && wrapped->real->pMethods != NULL ? &methods : NULL;
    wrapped->path = (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) != 0 ? name : NULL; /* SQLite keeps the text */
    if (code == SQLITE_OK && hooked_path(file) != NULL)
        hooks->opened(name, wrapped->real);
    return code;
}

static int on_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
    (void)vfs;
    int code = hooks != NULL ? hooks->remove(name) : SQLITE_OK;
    return code != SQLITE_OK ? code : real_vfs->xDelete(real_vfs, name, sync_dir);
}

void faulty_vfs_install(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    wrapper = *real_vfs;
    wrapper.zName = "faulty";
    wrapper.szOsFile = (int)sizeof(struct file) + real_vfs->szOsFile;
    wrapper.xOpen = on_open;
    wrapper.xDelete = on_delete;
    assure(sqlite3_vfs_register(&wrapper, 1) == SQLITE_OK);
}
