/*
 * upkeep.c - check, backup, vacuum, retention.
 *
 * A backup is one snapshot: the reader's transaction stays open from the first page to the last. Without it SQLite
 * would begin the copy anew after every commit of the server, and never end. The price is that the WAL cannot begin
 * again at its start in that time.
 *
 * The copy forgets the run's mark (meta.run): the flight journal beside the original knows nothing of what the original
 * does after the snapshot, so it must never vouch for the copy.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "storage/writer.h"

#define PAGE_BYTES 4096
#define SLICE_MAX 10000
#define WAITING_MAX 10000 /* messages that wait still, passed over */
#define GONE_MAX 1000     /* removed messages, forgotten at once */
#define BUSY_LIMIT_MS 10000

int storage_check(struct storage_reader *reader, bool quick, struct error *err)
{
    struct db *db = &reader->db;
    sqlite3_stmt *rows =
        quick ? db_query(db, err, "PRAGMA quick_check(1)") : db_query(db, err, "PRAGMA integrity_check(1)");
    int more = rows == NULL ? -EIO : db_step(db, rows, err);
    if (more < 0) /* too damaged even for the check */
        return sqlite3_errcode(db->handle) == SQLITE_CORRUPT || sqlite3_errcode(db->handle) == SQLITE_NOTADB
                   ? STORAGE_DAMAGED
                   : more;
    char finding[300] = "the check says nothing";
    if (more > 0) {
        (void)snprintf(finding, sizeof(finding), "%s", db_text(rows, 0));
        db_end(rows);
    }
    if (strcmp(finding, "ok") == 0)
        return 0;
    for (char *at = finding; (at = strchr(at, '\n')) != NULL;)
        *at = ' ';
    (void)error_set(err, -EIO, "%s: the database is damaged: %s", db->path, finding);
    return STORAGE_DAMAGED;
}

/* ---- backup ---- */

static void pause_ms(long ms)
{
    struct timespec pause = {.tv_nsec = ms * 1000000};
    nanosleep(&pause, NULL);
}

static int copy_pages(sqlite3_backup *copy, storage_backup_cb *progress, void *context, int *code)
{
    int waited_ms = 0;
    while ((*code = sqlite3_backup_step(copy, STORAGE_BACKUP_STEP_BYTES / PAGE_BYTES)) != SQLITE_DONE) {
        bool busy = (*code & 0xff) == SQLITE_BUSY || (*code & 0xff) == SQLITE_LOCKED;
        if (*code != SQLITE_OK && !(busy && waited_ms < BUSY_LIMIT_MS))
            return -EIO;
        waited_ms = busy ? waited_ms + STORAGE_BACKUP_PAUSE_MS : 0;
        int64_t total = (int64_t)sqlite3_backup_pagecount(copy) * PAGE_BYTES;
        int64_t done = total - (int64_t)sqlite3_backup_remaining(copy) * PAGE_BYTES;
        if (progress != NULL && progress(context, done, total) != 0)
            return -ECANCELED;
        pause_ms(STORAGE_BACKUP_PAUSE_MS);
    }
    return 0;
}

/* Into `target`, an open connection to an empty file. */
static int copy_snapshot(struct db *db, struct db *target, storage_backup_cb *progress, void *context,
                         struct error *err)
{
    int64_t tables;
    int failed = db_run(db, err, "BEGIN");
    if (failed)
        return failed;
    failed = db_get(db, err, &tables, "SELECT count(*) FROM sqlite_schema"); /* from here on it is one snapshot */
    if (!failed) {
        sqlite3_backup *copy = sqlite3_backup_init(target->handle, "main", db->handle, "main");
        int code = sqlite3_errcode(target->handle);
        failed = copy == NULL ? -EIO : copy_pages(copy, progress, context, &code);
        int end = sqlite3_backup_finish(copy);
        if (failed == -ECANCELED)
            (void)error_set(err, failed, "the backup was stopped");
        else if (failed)
            failed = db_failure(target, code, err);
        else if (end != SQLITE_OK)
            failed = db_failure(target, end, err);
    }
    db_rollback(db);
    return failed;
}

static int copy_into(struct db *db, const char *path, storage_backup_cb *progress, void *context, struct error *err)
{
    struct db target = {.path = str_dup(path)};
    if (target.path == NULL)
        return error_memory(err);
    int code = sqlite3_open_v2(path, &target.handle, SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE, NULL);
    if (code == SQLITE_OK) /* a copy that is not whole is thrown away; the whole one is synced below */
        code = sqlite3_exec(target.handle, "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;", NULL, NULL, NULL);
    int failed =
        code == SQLITE_OK ? copy_snapshot(db, &target, progress, context, err) : db_failure(&target, code, err);
    db_close(&target);
    if (failed)
        return failed;
    failed = db_open(&target, path, DB_IMPORT, err);
    if (failed)
        return failed;
    failed = db_run(&target, err, "UPDATE meta SET run = x''");
    db_close(&target);
    return failed;
}

static int sync_path(const char *path, int flags, struct error *err)
{
    int fd = open(path, flags | O_CLOEXEC);
    int failed = fd < 0 || fsync(fd) != 0 ? error_errno(err, -errno, "cannot sync %s", path) : 0;
    if (fd >= 0)
        close(fd);
    return failed;
}

/* link() and not rename(): who has made a file of that name meanwhile keeps it. */
static int publish(const char *part, const char *path, struct error *err)
{
    int failed = sync_path(part, O_RDWR, err);
    if (!failed && link(part, path) != 0)
        failed = error_errno(err, -errno, "cannot make %s", path);
    char *dir = failed ? NULL : str_dup(path);
    if (dir != NULL) {
        char *slash = strrchr(dir, '/');
        if (slash != NULL)
            slash[slash == dir] = '\0';
        failed = sync_path(slash != NULL ? dir : ".", O_RDONLY | O_DIRECTORY, err);
    } else if (!failed) {
        failed = error_memory(err);
    }
    free(dir);
    return failed;
}

int storage_backup(struct storage_reader *reader, const char *path, storage_backup_cb *progress, void *context,
                   struct error *err)
{
    if (access(path, F_OK) == 0)
        return error_set(err, -EEXIST, "%s is there already", path);
    char *part = str_printf("%s.part", path);
    if (part == NULL)
        return error_memory(err);
    int failed = 0;
    int fd = open(part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        failed = error_errno(err, -errno, "cannot create %s", part);
    } else {
        close(fd);
        failed = copy_into(&reader->db, part, progress, context, err);
        if (!failed)
            failed = publish(part, path, err);
        (void)unlink(part);
    }
    free(part);
    return failed;
}

/* ---- vacuum and retention ---- */

int storage_vacuum(struct storage *storage, struct error *err)
{
    if (storage_server_running(storage->data_dir) != 0)
        return error_set(err, -EBUSY, "%s: a server runs; stop it first", storage->data_dir);
    struct db db;
    int failed = db_open(&db, storage->database_path, DB_IMPORT, err);
    if (failed)
        return failed;
    sqlite3_limit(db.handle, SQLITE_LIMIT_ATTACHED, 1); /* it builds the new file as an attached database */
    failed = db_run(&db, err, "VACUUM");
    if (!failed) {
        int code = sqlite3_wal_checkpoint_v2(db.handle, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
        if (code != SQLITE_OK)
            failed = db_failure(&db, code, err);
    }
    db_close(&db);
    return failed;
}

struct retention {
    int64_t before_ms, removed;
    int slice;
};

/* The first rows of a block, and the block when these were the last. */
#define OF_BLOCK " FROM delivery WHERE id" IDS_OF_BLOCK("?2") "AND campaign_id = ?1 ORDER BY id LIMIT ?3)"

static int retain_block(struct db *db, int64_t campaign_id, int64_t block, int64_t limit, int64_t *removed,
                        struct error *err)
{
    const struct db_value campaign = DB_I(campaign_id), which = DB_I(block), count = DB_I(limit);
    int failed =
        db_run(db, err, "DELETE FROM attempt WHERE delivery_id IN (SELECT id" OF_BLOCK, campaign, which, count);
    if (!failed)
        failed = db_run(
            db, err, "DELETE FROM hit WHERE (recipient_id, campaign_id) IN (SELECT recipient_id, campaign_id" OF_BLOCK,
            campaign, which, count);
    if (!failed)
        failed = db_run(db, err, "DELETE FROM delivery WHERE id IN (SELECT id" OF_BLOCK, campaign, which, count);
    if (!failed)
        *removed += db_changes(db);
    return failed ? failed : delivery_blocks_leave(db, campaign_id, block, err);
}

/* The rows of one campaign, as far as the slice goes. */
static int retain_campaign(struct db *db, int64_t campaign_id, int64_t limit, int64_t *removed, struct error *err)
{
    int missing = 0;
    while (missing == 0 && *removed < limit) {
        int64_t block;
        missing =
            db_get(db, err, &block, "SELECT block FROM delivery_block WHERE campaign_id = ? ORDER BY block LIMIT 1",
                   DB_I(campaign_id));
        if (missing == 0)
            missing = retain_block(db, campaign_id, block, limit - *removed, removed, err);
    }
    return MIN_OF(missing, 0);
}

struct old_message {
    int64_t id, content_id, campaign_id, delivery_id;
};

/* The oldest messages that have ended, in the order in which they came. Those that wait still are passed over. */
static int find_messages(struct db *db, int64_t before_ms, int64_t limit, struct old_message *out, int64_t *count,
                         struct error *err)
{
    sqlite3_stmt *rows = db_query(
        db, err,
        "SELECT m.id, m.content_id, m.created, d.id, d.state, m.campaign_id FROM message m LEFT JOIN delivery d"
        " ON d.recipient_id = m.id AND d.campaign_id = m.campaign_id ORDER BY m.id LIMIT ?",
        DB_I(limit + WAITING_MAX));
    int more = rows == NULL ? -EIO : 1;
    while (more > 0 && *count < limit && (more = db_step(db, rows, err)) > 0) {
        int64_t state = db_int(rows, 4);
        if (db_int(rows, 2) >= before_ms)
            break;
        if (state != DELIVERY_PENDING && state != DELIVERY_SENDING && state != DELIVERY_DEFERRED)
            out[(*count)++] = (struct old_message){db_int(rows, 0), db_int(rows, 1), db_int(rows, 5), db_int(rows, 3)};
    }
    if (more > 0)
        db_end(rows);
    return MIN_OF(more, 0);
}

static int remove_message(struct db *db, const struct old_message *message, struct error *err)
{
    int failed = db_run(db, err, "DELETE FROM attempt WHERE delivery_id = ?", DB_I(message->delivery_id));
    if (!failed)
        failed = db_run(db, err, "DELETE FROM delivery WHERE id = ?", DB_I(message->delivery_id));
    if (!failed)
        failed = delivery_blocks_leave(db, message->campaign_id, delivery_block(message->delivery_id), err);
    if (!failed) /* to whom it went stays: who unsubscribes or complains later may have no other trace of it */
        failed = db_run(db, err, "INSERT INTO message_gone SELECT id, recipient_id, created FROM message WHERE id = ?",
                        DB_I(message->id));
    if (!failed)
        failed = db_run(db, err, "DELETE FROM message WHERE id = ?", DB_I(message->id));
    if (!failed)
        failed = db_run(db, err,
                        "DELETE FROM message_content WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM message WHERE"
                        " content_id = ?1)",
                        DB_I(message->content_id));
    return failed;
}

/* A stream never ends, its messages do, one by one. */
static int retain_messages(struct db *db, struct retention *retention, struct error *err)
{
    int64_t limit = retention->slice - retention->removed, count = 0;
    if (limit <= 0)
        return 0;
    struct old_message *old = calloc((size_t)limit, sizeof(*old));
    if (old == NULL)
        return error_memory(err);
    int failed = find_messages(db, retention->before_ms, limit, old, &count, err);
    for (int64_t i = 0; i < count && !failed; i++)
        failed = remove_message(db, &old[i], err);
    if (!failed)
        retention->removed += count;
    free(old);
    return failed;
}

/* A campaign with rows that still wait for something is left alone: its counters will move with them. */
static int retain_run(struct storage *storage, void *arg, struct error *err)
{
    struct retention *retention = arg;
    struct db *db = &storage->db;
    int64_t id;
    int missing = 0;
    while (retention->removed < retention->slice &&
           (missing = db_get(db, err, &id,
                             "SELECT id FROM campaign c WHERE status IN (4, 5) AND finished > 0 AND finished < ?"
                             " AND sending = 0 AND deferred = 0"
                             " AND EXISTS (SELECT 1 FROM delivery_block b WHERE b.campaign_id = c.id) LIMIT 1",
                             DB_I(retention->before_ms))) == 0) {
        int failed = retain_campaign(db, id, retention->slice, &retention->removed, err);
        if (failed)
            return failed;
    }
    int failed = missing < 0 ? missing : retain_messages(db, retention, err);
    delivery_blocks_forget(&storage->blocks); /* some may be gone */
    return failed;
}

int storage_retain(struct storage *storage, int64_t keep_ms, int slice, int64_t now_ms, int64_t *removed,
                   struct error *err)
{
    *removed = 0;
    if (slice < 1 || slice > SLICE_MAX || keep_ms < 0)
        return error_set(err, -EINVAL, "a slice of %d rows", slice);
    struct retention retention = {.before_ms = now_ms - keep_ms, .slice = slice};
    int failed = storage_call(storage, retain_run, &retention, err);
    if (!failed)
        *removed = retention.removed;
    return failed;
}

/* To whom removed messages went, in the order in which they came. */
static int forget_gone(struct db *db, struct retention *retention, struct error *err)
{
    int failed = db_run(db, err,
                        "DELETE FROM message_gone WHERE created < ?1 AND id IN (SELECT id FROM message_gone"
                        " ORDER BY id LIMIT ?2)",
                        DB_I(retention->before_ms), DB_I(GONE_MAX));
    if (!failed)
        retention->removed = db_changes(db);
    return failed;
}

/* One campaign: at most TRACKING_LINKS_MAX rows. */
static int retain_links_run(struct storage *storage, void *arg, struct error *err)
{
    struct retention *retention = arg;
    struct db *db = &storage->db;
    int64_t id;
    int failed = forget_gone(db, retention, err);
    if (failed)
        return failed;
    int missing = db_get(db, err, &id,
                         "SELECT c.id FROM campaign_frozen f JOIN campaign c ON c.id = f.campaign_id"
                         " WHERE c.status IN (4, 5) AND c.finished > 0 AND c.finished < ? AND c.sending = 0 LIMIT 1",
                         DB_I(retention->before_ms));
    if (missing)
        return MIN_OF(missing, 0);
    failed = db_run(db, err, "DELETE FROM campaign_link WHERE campaign_id = ?", DB_I(id));
    if (!failed)
        failed = db_run(db, err, "DELETE FROM campaign_frozen WHERE campaign_id = ?", DB_I(id));
    if (!failed)
        retention->removed++;
    return failed;
}

int storage_retain_links(struct storage *storage, int64_t keep_ms, int64_t now_ms, int64_t *removed, struct error *err)
{
    struct retention retention = {.before_ms = now_ms - keep_ms};
    int failed = storage_call(storage, retain_links_run, &retention, err);
    *removed = failed ? 0 : retention.removed;
    return failed;
}
