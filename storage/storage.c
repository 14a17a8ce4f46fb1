/*
 * storage.c - opening and closing: the directory, the server's lock, the writer, the readers.
 *
 * The server's lock is an open-file-description lock: it can be asked about without being taken, so a command that
 * only wants to know whether a server runs can never be in the way of one that starts; and it ends with the process,
 * whatever ends it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crash_point.h"
#include "base/str.h"
#include "storage/migrate.h"
#include "storage/writer.h"

#define DATABASE_NAME "posthaste.db"
#define LOCK_NAME "serve.lock"
#define RETRY_MS 1000

/* `mkdir -p`, each new part for our eyes only. */
static int make_directory(const char *path, struct error *err)
{
    char *copy = str_dup(path);
    if (copy == NULL)
        return error_memory(err);
    int failed = 0;
    for (char *slash = copy + 1; !failed && *copy != '\0'; slash++) {
        if (*slash != '/' && *slash != '\0')
            continue;
        bool end = *slash == '\0';
        *slash = '\0';
        if (mkdir(copy, 0700) != 0 && errno != EEXIST)
            failed = error_errno(err, -errno, "cannot create the data directory %s", copy);
        if (end)
            break;
        *slash = '/';
    }
    free(copy);
    struct stat status;
    if (!failed && stat(path, &status) != 0)
        failed = error_errno(err, -errno, "data directory %s", path);
    else if (!failed && !S_ISDIR(status.st_mode))
        failed = error_set(err, -ENOTDIR, "data directory %s: is not a directory", path);
    else if (!failed && access(path, W_OK | X_OK) != 0)
        failed = error_errno(err, -errno, "data directory %s is not writable", path);
    return failed;
}

static int take_lock(struct storage *storage, struct error *err)
{
    char *path = str_printf("%s/" LOCK_NAME, storage->data_dir);
    if (path == NULL)
        return error_memory(err);
    int failed = 0;
    storage->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (storage->lock_fd < 0)
        failed = error_errno(err, -errno, "cannot open %s", path);
    else if (fcntl(storage->lock_fd, F_OFD_SETLK, &whole) != 0)
        failed = errno == EAGAIN || errno == EACCES
                     ? error_set(err, -EBUSY, "another server runs on %s (it holds %s)", storage->data_dir, path)
                     : error_errno(err, -errno, "cannot lock %s", path);
    free(path);
    return failed;
}

int storage_server_running(const char *data_dir)
{
    char *path = str_printf("%s/" LOCK_NAME, data_dir);
    if (path == NULL)
        return -ENOMEM;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    int running = fd < 0 ? -errno : 0;
    free(path);
    if (running == -ENOENT || running == -ENOTDIR)
        return 0;
    if (running < 0)
        return running;
    struct flock probe = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    running = fcntl(fd, F_OFD_GETLK, &probe) != 0 ? -errno : probe.l_type != F_UNLCK;
    close(fd);
    return running;
}

static int init_locks(struct storage *storage, struct error *err)
{
    pthread_condattr_t attributes;
    int code = pthread_condattr_init(&attributes);
    if (code == 0) {
        code = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        if (code == 0)
            code = pthread_cond_init(&storage->filled, &attributes);
        if (code == 0 && (code = pthread_cond_init(&storage->keeper.wake, &attributes)) != 0)
            pthread_cond_destroy(&storage->filled);
        pthread_condattr_destroy(&attributes);
    }
    if (code == 0) {
        code = pthread_mutex_init(&storage->lock, NULL);
        if (code != 0) {
            pthread_cond_destroy(&storage->filled);
            pthread_cond_destroy(&storage->keeper.wake);
        }
    }
    if (code == 0)
        (void)pthread_cond_init(&storage->keeper.rested, NULL); /* cannot fail: a plain one */
    return code == 0 ? 0 : error_errno(err, -code, "cannot make a lock");
}

static int open_all(struct storage *storage, const struct storage_options *options, struct error *err)
{
    storage->data_dir = str_dup(options->data_dir);
    storage->database_path = str_printf("%s/" DATABASE_NAME, options->data_dir);
    if (storage->data_dir == NULL || storage->database_path == NULL)
        return error_memory(err);
    int failed = make_directory(storage->data_dir, err);
    if (!failed && options->server)
        failed = take_lock(storage, err);
    if (!failed)
        failed = db_open(&storage->db, storage->database_path, DB_WRITER, err);
    if (!failed)
        failed = migrate(&storage->db, !options->server && storage_server_running(options->data_dir) != 0, err);
    int64_t uncounted = 0;
    if (!failed && storage->server)
        failed =
            db_get(&storage->db, err, &uncounted, "SELECT EXISTS (SELECT 1 FROM campaign WHERE audience_exact = 0)");
    if (!failed) {
        db_watch_wal(&storage->db);
        failed = writer_start(storage, err);
    }
    if (!failed && uncounted != 0)
        keeper_wake(storage, KEEPER_COUNT); /* what the last run did not finish */
    return failed;
}

int storage_open(const struct storage_options *options, struct storage **out, struct error *err)
{
    *out = NULL;
    if (options->data_dir == NULL || options->data_dir[0] == '\0')
        return error_set(err, -EINVAL, "no data directory given");
    struct storage *storage = calloc(1, sizeof(*storage));
    if (storage == NULL)
        return error_memory(err);
    storage->lock_fd = -1;
    storage->server = options->server;
    storage->next_claim_id = 1;
    storage->commit_ms = STORAGE_COMMIT_MS;
    storage->retry_ms = RETRY_MS;
    list_init(&storage->outcomes);
    list_init(&storage->calls);
    list_init(&storage->claims);
    ledger_init(&storage->ledger);
    int failed = init_locks(storage, err);
    if (failed) {
        free(storage);
        return failed;
    }
    failed = open_all(storage, options, err);
    if (failed) {
        storage_close(storage);
        return failed;
    }
    *out = storage;
    return 0;
}

void storage_close(struct storage *storage)
{
    if (storage == NULL)
        return;
    keeper_stop(storage);
    writer_stop(storage);
    if (storage->spare != NULL) {
        db_close(storage->spare);
        free(storage->spare);
    }
    journal_close(storage_journal(storage));
    ledger_finish(&storage->ledger);
    paths_forget(&storage->paths);
    db_close(&storage->db);
    if (storage->lock_fd >= 0)
        close(storage->lock_fd); /* releases the server's lock, last */
    pthread_mutex_destroy(&storage->lock);
    pthread_cond_destroy(&storage->filled);
    pthread_cond_destroy(&storage->keeper.wake);
    pthread_cond_destroy(&storage->keeper.rested);
    free(storage->database_path);
    free(storage->data_dir);
    free(storage);
}

bool storage_healthy(struct storage *storage, struct error *why)
{
    pthread_mutex_lock(&storage->lock);
    bool healthy = !storage->unhealthy;
    if (why != NULL)
        *why = storage->why;
    pthread_mutex_unlock(&storage->lock);
    return healthy;
}

void storage_on_health(struct storage *storage, void (*changed)(void *context, bool healthy, const char *why),
                       void *context)
{
    pthread_mutex_lock(&storage->lock);
    storage->on_health = changed;
    storage->on_health_context = context;
    if (changed != NULL && storage->unhealthy)
        changed(context, false, storage->why.text);
    pthread_mutex_unlock(&storage->lock);
}

int storage_reader_open(struct storage *storage, struct storage_reader **out, struct error *err)
{
    *out = NULL;
    struct storage_reader *reader = calloc(1, sizeof(*reader));
    if (reader == NULL)
        return error_memory(err);
    int failed = db_open(&reader->db, storage->database_path, DB_READER, err);
    if (failed) {
        free(reader);
        return failed;
    }
    *out = reader;
    return 0;
}

void storage_reader_close(struct storage_reader *reader)
{
    if (reader == NULL)
        return;
    db_close(&reader->db);
    free(reader);
}

struct journal *storage_journal(struct storage *storage)
{
    return atomic_load_explicit(&storage->journal, memory_order_acquire);
}

/* On the writer thread. The mark is in the database before it is in the file: a crash in between leaves a file that is
 * refused, not one that is believed. */
static int mark_run(struct storage *storage, void *arg, struct error *err)
{
    struct db *db = &storage->db;
    int64_t open;
    int failed = db_get(db, err, &open,
                        "SELECT EXISTS (SELECT 1 FROM claim) OR EXISTS (SELECT 1 FROM campaign WHERE sending <> 0)");
    if (failed)
        return failed;
    if (open != 0) {
        (void)error_set(err, -EBUSY, "%s: deliveries of a former run are not recovered", db->path);
        return STORAGE_WRONG_STATE;
    }
    sqlite3_randomness(JOURNAL_RUN_BYTES, arg);
    return db_run(db, err, "UPDATE meta SET run = ?", DB_B(arg, JOURNAL_RUN_BYTES));
}

int storage_journal_begin(struct storage *storage, int slots_max, struct error *err)
{
    if (!storage->server)
        return error_set(err, -EINVAL, "only a server keeps a flight journal");
    if (slots_max < 1 || slots_max > JOURNAL_SLOTS_MAX)
        return error_set(err, -EINVAL, "a flight journal of %d messages", slots_max);
    assure(storage_journal(storage) == NULL);
    uint8_t run[JOURNAL_RUN_BYTES];
    int failed = storage_call(storage, mark_run, run, err);
    CRASH_POINT("run-marked");
    struct journal *journal = NULL;
    if (!failed)
        failed = journal_create(storage->data_dir, run, slots_max, &journal, err);
    if (!failed)
        atomic_store_explicit(&storage->journal, journal, memory_order_release);
    return failed;
}

static int file_size(const char *path, int64_t *bytes)
{
    struct stat status;
    *bytes = 0;
    if (stat(path, &status) != 0)
        return errno == ENOENT ? 0 : -errno;
    *bytes = status.st_size;
    return 0;
}

int storage_sizes(struct storage *storage, int64_t *database_bytes, int64_t *wal_bytes)
{
    char *wal = str_printf("%s-wal", storage->database_path);
    *database_bytes = *wal_bytes = 0;
    if (wal == NULL)
        return -ENOMEM;
    int failed = file_size(storage->database_path, database_bytes);
    if (!failed)
        failed = file_size(wal, wal_bytes);
    free(wal);
    return failed;
}
