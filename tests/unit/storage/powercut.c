/*
 * powercut.c - see powercut.h. The real file is what the program sees; beside it lies, in memory, what the disk has.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/attr.h"
#include "tests/unit/storage/faulty_vfs.h"
#include "tests/unit/storage/powercut.h"

enum { SECTOR = 512, FILES = 4, FILE_MAX = 32 << 20 };

struct disk_file {
    char path[256];  /* "" = free */
    uint8_t *synced; /* FILE_MAX bytes; zeroes behind the size */
    size_t synced_size;
    uint8_t *dirty; /* 1 for each byte written since the last sync */
    size_t dirty_end;
};

static struct {
    pthread_mutex_t lock;
    struct disk_file files[FILES];
    int left; /* operations until the cut, 0 = none is set */
    bool off;
    void (*gone)(void); /* NULL = what follows the cut fails */
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct disk_file *find(const char *path)
{
    for (int i = 0; i < FILES; i++) {
        if (strcmp(disk.files[i].path, path) == 0)
            return &disk.files[i];
    }
    return NULL;
}

static size_t size_of(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? (size_t)status.st_size : 0;
}

/* The first look at a file: as it is, it is on the disk. */
static void on_opened(const char *path, sqlite3_file *real)
{
    pthread_mutex_lock(&disk.lock);
    if (find(path) == NULL && !disk.off) {
        struct disk_file *file = find("");
        assure(file != NULL && strlen(path) < sizeof(file->path));
        (void)snprintf(file->path, sizeof(file->path), "%s", path);
        file->synced = calloc(1, FILE_MAX);
        file->dirty = calloc(1, FILE_MAX);
        assure(file->synced != NULL && file->dirty != NULL);
        file->synced_size = size_of(path);
        assure(file->synced_size <= FILE_MAX);
        if (file->synced_size > 0)
            assure(real->pMethods->xRead(real, file->synced, (int)file->synced_size, 0) == SQLITE_OK);
    }
    pthread_mutex_unlock(&disk.lock);
}

/* Under the lock: counts one operation down. */
static bool is_cut(void)
{
    if (disk.left > 0 && --disk.left == 0)
        disk.off = true;
    return disk.off;
}

static bool is_dirty(const struct disk_file *file, size_t sector)
{
    return memchr(file->dirty + sector * SECTOR, 1, SECTOR) != NULL;
}

static void mark(struct disk_file *file, size_t from, size_t to)
{
    assure(to <= FILE_MAX);
    memset(file->dirty + from, 1, to - from);
    file->dirty_end = MAX_OF(file->dirty_end, to);
}

/* The write that the cut interrupts may be on its way: it reaches the program's file, and chance decides the rest. All
 * under the lock, or another thread's sync would take the sector for written before it is. */
static void settle_all(void);

/* Under the lock, behind the operation that the cut fell into. */
static void end_if_off(void)
{
    if (!disk.off || disk.gone == NULL)
        return;
    settle_all();
    disk.gone();
}

static int on_write(const char *path, sqlite3_file *real, const void *bytes, int amount, sqlite3_int64 at)
{
    pthread_mutex_lock(&disk.lock);
    int code = SQLITE_IOERR_WRITE;
    if (!disk.off) {
        (void)is_cut();
        struct disk_file *file = find(path);
        if (file != NULL)
            mark(file, (size_t)at, (size_t)at + (size_t)amount);
        code = real->pMethods->xWrite(real, bytes, amount, at);
        end_if_off();
    }
    pthread_mutex_unlock(&disk.lock);
    return code;
}

static int on_truncate(const char *path, sqlite3_int64 size)
{
    pthread_mutex_lock(&disk.lock);
    bool cut = is_cut();
    struct disk_file *file = find(path);
    if (!cut && file != NULL && size_of(path) > (size_t)size)
        mark(file, (size_t)size, size_of(path));
    end_if_off();
    pthread_mutex_unlock(&disk.lock);
    return cut ? SQLITE_IOERR_TRUNCATE : SQLITE_OK;
}

static int on_sync(const char *path, sqlite3_file *real)
{
    pthread_mutex_lock(&disk.lock);
    bool cut = is_cut();
    struct disk_file *file = find(path);
    if (!cut && file != NULL) {
        file->synced_size = size_of(path);
        for (size_t i = 0; i * SECTOR < file->dirty_end; i++) {
            if (!is_dirty(file, i))
                continue;
            memset(file->synced + i * SECTOR, 0, SECTOR);
            if (i * SECTOR < file->synced_size)
                assure(real->pMethods->xRead(real, file->synced + i * SECTOR,
                                             (int)MIN_OF((size_t)SECTOR, file->synced_size - i * SECTOR),
                                             (sqlite3_int64)(i * SECTOR)) == SQLITE_OK);
            memset(file->dirty + i * SECTOR, 0, SECTOR);
        }
        file->dirty_end = 0;
    }
    end_if_off();
    pthread_mutex_unlock(&disk.lock);
    return cut ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

static void forget(struct disk_file *file)
{
    free(file->synced);
    free(file->dirty);
    *file = (struct disk_file){.path = ""};
}

/* A WAL goes only after all of it was carried over and synced; whether its name is still there does not matter then. */
static int on_remove(const char *path)
{
    pthread_mutex_lock(&disk.lock);
    bool off = disk.off;
    struct disk_file *file = find(path);
    if (!off && file != NULL)
        forget(file);
    pthread_mutex_unlock(&disk.lock);
    return off ? SQLITE_IOERR_DELETE : SQLITE_OK;
}

static void wait_for_the_end(void)
{
    pthread_mutex_lock(&disk.lock);
    pthread_mutex_unlock(&disk.lock);
}

void powercut_then(void (*gone)(void))
{
    disk.gone = gone;
}

void powercut_watch(int n)
{
    static struct faulty_hooks hooks = {
        .opened = on_opened, .write = on_write, .truncate = on_truncate, .sync = on_sync, .remove = on_remove};
    hooks.reading = disk.gone != NULL ? wait_for_the_end : NULL;
    pthread_mutex_lock(&disk.lock);
    disk.left = n;
    disk.off = false;
    pthread_mutex_unlock(&disk.lock);
    faulty_vfs_hooks(&hooks);
}

void powercut_off(void)
{
    pthread_mutex_lock(&disk.lock);
    disk.off = true;
    pthread_mutex_unlock(&disk.lock);
}

bool powercut_is_off(void)
{
    pthread_mutex_lock(&disk.lock);
    bool off = disk.off;
    pthread_mutex_unlock(&disk.lock);
    return off;
}

/* What one dirty sector holds after the cut. `written` is what the program saw. Bytes that nobody wrote stay as they
 * are ("powersafe overwrite", which SQLite counts on). */
static void settle_sector(uint8_t *synced, const uint8_t *written, const uint8_t *dirty)
{
    enum { NEITHER, HALVES, WRITTEN, BEFORE = 5 } fate = random() % 8;
    size_t part = fate == HALVES ? (size_t)random() % SECTOR : fate < BEFORE ? SECTOR : 0;
    for (size_t i = 0; i < part; i++) {
        if (dirty[i])
            synced[i] = fate == NEITHER ? (uint8_t)random() : written[i];
    }
}

static void settle_file(struct disk_file *file)
{
    int fd = open(file->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assure(fd >= 0);
    size_t size = random() % 2 ? file->synced_size : size_of(file->path);
    for (size_t i = 0; i * SECTOR < file->dirty_end; i++) {
        uint8_t written[SECTOR] = {0};
        if (!is_dirty(file, i))
            continue;
        assure(pread(fd, written, SECTOR, (off_t)(i * SECTOR)) >= 0);
        settle_sector(file->synced + i * SECTOR, written, file->dirty + i * SECTOR);
    }
    assure(ftruncate(fd, 0) == 0 && pwrite(fd, file->synced, size, 0) == (ssize_t)size);
    close(fd);
}

static void settle_all(void)
{
    for (int i = 0; i < FILES; i++) {
        if (disk.files[i].path[0] == '\0')
            continue;
        settle_file(&disk.files[i]);
        forget(&disk.files[i]);
    }
}

void powercut_settle(void)
{
    powercut_off();
    faulty_vfs_hooks(NULL);
    settle_all();
}
