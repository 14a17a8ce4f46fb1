/*
 * idempotency.c - remembers keys and answers in the table `idempotency`.
 *
 * The row's status is 0 while its request runs, 1 when that was interrupted, else the HTTP status of the answer. How
 * many rows and bytes there are stands in a row of its own, changed in the same transaction, so that the bound costs no
 * count. Old rows go in small slices, each time a new key comes: nobody waits for a great clean-up.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/writer.h"

#define RUNNING 0
#define INTERRUPTED 1
#define ROOM_SLICES 16
#define FORGET_SLICE 64 /* more than one, so that the table shrinks faster than it grows */

struct entry {
    int64_t owner, now_ms;
    const char *key;
    const uint8_t *fingerprint;
    const struct idempotency_answer *answer;
    struct idempotency_answer *out;
};

void idempotency_answer_finish(struct idempotency_answer *answer)
{
    free(answer->location);
    free(answer->body);
    *answer = (struct idempotency_answer){0};
}

static int count(struct db *db, int64_t rows, int64_t bytes, struct error *err)
{
    return db_run(db, err, "UPDATE idempotency_size SET rows = max(rows + ?, 0), bytes = max(bytes + ?, 0)", DB_I(rows),
                  DB_I(bytes));
}

static int open_run(struct storage *storage, void *arg, struct error *err)
{
    (void)arg;
    return db_run(&storage->db, err, "UPDATE idempotency SET status = 1 WHERE status = 0");
}

int storage_idempotency_open(struct storage *storage, struct error *err)
{
    return storage_call(storage, open_run, NULL, err);
}

static int forget_old(struct db *db, int64_t before_ms, struct error *err)
{
    int64_t bytes;
    int failed = db_get(db, err, &bytes,
                        "SELECT coalesce(sum(length(body)), 0) FROM (SELECT body FROM idempotency WHERE created < ?"
                        " ORDER BY created, id LIMIT ?)",
                        DB_I(before_ms), DB_I(FORGET_SLICE));
    if (!failed)
        failed = db_run(db, err,
                        "DELETE FROM idempotency WHERE id IN (SELECT id FROM idempotency WHERE created < ?"
                        " ORDER BY created, id LIMIT ?)",
                        DB_I(before_ms), DB_I(FORGET_SLICE));
    int64_t rows = failed ? 0 : db_changes(db);
    if (!failed && rows > 0)
        failed = count(db, -rows, -bytes, err);
    return failed;
}

/* What a row says of the request that comes now. */
static int judge(sqlite3_stmt *row, const struct entry *entry, struct error *err)
{
    const void *fingerprint = sqlite3_column_blob(row, 0);
    if (sqlite3_column_bytes(row, 0) != 32 || fingerprint == NULL || memcmp(fingerprint, entry->fingerprint, 32) != 0)
        return IDEMPOTENCY_OTHER;
    int64_t status = db_int(row, 1);
    if (status == RUNNING)
        return IDEMPOTENCY_RUNNING;
    if (status < 200 || status > 599)
        return IDEMPOTENCY_INTERRUPTED;
    const void *body = sqlite3_column_blob(row, 3);
    size_t len = (size_t)sqlite3_column_bytes(row, 3);
    struct idempotency_answer *out = entry->out;
    out->status = (int)status;
    out->location = strdup(db_text(row, 2));
    out->body = malloc(len + 1);
    if (out->location == NULL || out->body == NULL) {
        idempotency_answer_finish(out);
        return error_memory(err);
    }
    if (len > 0)
        memcpy(out->body, body, len);
    out->body[len] = '\0';
    out->body_len = len;
    return IDEMPOTENCY_ANSWERED;
}

static int look_up(struct db *db, const struct entry *entry, struct error *err)
{
    sqlite3_stmt *row = db_query(db, err,
                                 "SELECT fingerprint, status, location, body FROM idempotency"
                                 " WHERE owner = ? AND key = ? AND created >= ?",
                                 DB_I(entry->owner), DB_T(entry->key), DB_I(entry->now_ms - IDEMPOTENCY_KEEP_MS));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more <= 0)
        return more;
    int verdict = judge(row, entry, err);
    db_end(row);
    return verdict;
}

static int check_room(struct db *db, struct error *err)
{
    int64_t fits;
    int failed = db_get(db, err, &fits, "SELECT rows < ? AND bytes < ? FROM idempotency_size",
                        DB_I(IDEMPOTENCY_ROWS_MAX), DB_I(IDEMPOTENCY_BYTES_MAX));
    return failed ? failed : fits ? 0 : IDEMPOTENCY_FULL;
}

static int drop(struct db *db, const struct entry *entry, struct error *err)
{
    int64_t bytes;
    int missing = db_get(db, err, &bytes, "SELECT length(body) FROM idempotency WHERE owner = ? AND key = ?",
                         DB_I(entry->owner), DB_T(entry->key));
    if (missing)
        return missing < 0 ? missing : 0;
    int failed =
        db_run(db, err, "DELETE FROM idempotency WHERE owner = ? AND key = ?", DB_I(entry->owner), DB_T(entry->key));
    return failed ? failed : count(db, -1, -bytes, err);
}

static int begin_run(struct storage *storage, void *arg, struct error *err)
{
    const struct entry *entry = arg;
    struct db *db = &storage->db;
    int verdict = look_up(db, entry, err);
    if (verdict != 0)
        return verdict;
    int failed = forget_old(db, entry->now_ms - IDEMPOTENCY_KEEP_MS, err);
    if (!failed)
        failed = drop(db, entry, err); /* the same key, too old to count, not yet in a slice */
    if (!failed)
        failed = check_room(db, err);
    if (!failed)
        failed = db_run(db, err,
                        "INSERT INTO idempotency (owner, key, fingerprint, created, status, location, body)"
                        " VALUES (?, ?, ?, ?, 0, '', x'')",
                        DB_I(entry->owner), DB_T(entry->key), DB_B(entry->fingerprint, 32), DB_I(entry->now_ms));
    return failed ? failed : count(db, 1, 0, err);
}

/* STORAGE_NOT_FOUND: nothing is old enough. */
static int make_room_run(struct storage *storage, void *arg, struct error *err)
{
    const struct entry *entry = arg;
    int64_t old;
    int missing = db_get(&storage->db, err, &old, "SELECT id FROM idempotency WHERE created < ? LIMIT 1",
                         DB_I(entry->now_ms - IDEMPOTENCY_KEEP_MS));
    return missing ? missing : forget_old(&storage->db, entry->now_ms - IDEMPOTENCY_KEEP_MS, err);
}

int storage_idempotency_begin(struct storage *storage, int64_t owner, const char *key, const uint8_t fingerprint[32],
                              int64_t now_ms, struct idempotency_answer *out, struct error *err)
{
    *out = (struct idempotency_answer){0};
    if (key[0] == '\0' || strnlen(key, IDEMPOTENCY_KEY_MAX_BYTES + 1) > IDEMPOTENCY_KEY_MAX_BYTES)
        return error_set(err, -EINVAL, "an idempotency key has 1 to %d bytes", IDEMPOTENCY_KEY_MAX_BYTES);
    struct entry entry = {.owner = owner, .key = key, .fingerprint = fingerprint, .now_ms = now_ms, .out = out};
    int result = storage_call(storage, begin_run, &entry, err);
    /* A refusal takes back what it forgot, so room is made in a transaction of its own. */
    for (int i = 0; result == IDEMPOTENCY_FULL && i < ROOM_SLICES; i++) {
        int made = storage_call(storage, make_room_run, &entry, err);
        if (made != 0)
            return made < 0 ? made : IDEMPOTENCY_FULL;
        result = storage_call(storage, begin_run, &entry, err);
    }
    return result;
}

static int answer_run(struct storage *storage, void *arg, struct error *err)
{
    const struct entry *entry = arg;
    struct db *db = &storage->db;
    int failed = db_run(db, err,
                        "UPDATE idempotency SET status = ?3, location = ?4, body = ?5"
                        " WHERE owner = ?1 AND key = ?2 AND status = 0",
                        DB_I(entry->owner), DB_T(entry->key), DB_I(entry->answer->status),
                        DB_T(entry->answer->location != NULL ? entry->answer->location : ""),
                        DB_B(entry->answer->body != NULL ? entry->answer->body : "", entry->answer->body_len));
    if (failed)
        return failed;
    if (db_changes(db) == 0)
        return STORAGE_NOT_FOUND;
    return count(db, 0, (int64_t)entry->answer->body_len, err);
}

int storage_idempotency_answer(struct storage *storage, int64_t owner, const char *key,
                               const struct idempotency_answer *answer, struct error *err)
{
    assure(answer->status >= 200 && answer->status <= 599);
    struct entry entry = {.owner = owner, .key = key, .answer = answer};
    return storage_call(storage, answer_run, &entry, err);
}

static int forget_run(struct storage *storage, void *arg, struct error *err)
{
    return drop(&storage->db, arg, err);
}

int storage_idempotency_forget(struct storage *storage, int64_t owner, const char *key, struct error *err)
{
    struct entry entry = {.owner = owner, .key = key};
    return storage_call(storage, forget_run, &entry, err);
}
