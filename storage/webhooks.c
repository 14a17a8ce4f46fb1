/*
 * webhooks.c - the rows of webhooks. Whenever one changes, what all enabled ones want together is put into `meta`, in
 * the same transaction: from its commit on, events of these kinds are written.
 */
#include <errno.h>
#include <string.h>

#include "storage/writer.h"

#define URL_MAX_BYTES 2000
#define TEXT_MAX_BYTES 500
#define SECRET_MAX_BYTES 200

static int gather_kinds(struct db *db, struct error *err)
{
    sqlite3_stmt *rows = db_query(db, err, "SELECT kinds FROM webhook WHERE disabled = 0");
    if (rows == NULL)
        return -EIO;
    int64_t kinds = 0;
    int more;
    while ((more = db_step(db, rows, err)) > 0)
        kinds |= db_int(rows, 0) & EVENT_ALL;
    return more < 0 ? more : db_run(db, err, "UPDATE meta SET event_hooks = ?", DB_I(kinds));
}

static int changed_one(struct db *db, int failed, struct error *err)
{
    if (failed)
        return failed;
    return db_changes(db) == 1 ? gather_kinds(db, err) : STORAGE_NOT_FOUND;
}

static int check(const struct storage_webhook *webhook, struct error *err)
{
    if (webhook->url == NULL || strnlen(webhook->url, URL_MAX_BYTES + 1) > URL_MAX_BYTES)
        return error_set(err, -EINVAL, "a webhook's url has at most %d bytes", URL_MAX_BYTES);
    if (strnlen(webhook->description, TEXT_MAX_BYTES + 1) > TEXT_MAX_BYTES)
        return error_set(err, -EINVAL, "a webhook's description has at most %d bytes", TEXT_MAX_BYTES);
    if (webhook->batch < 1 || webhook->batch > WEBHOOK_BATCH_MAX)
        return error_set(err, -EINVAL, "a batch has 1 to %d events", WEBHOOK_BATCH_MAX);
    return 0;
}

/* ---- changes ---- */

struct create {
    const struct storage_webhook *webhook;
    int64_t now_ms, id;
};

static int create_run(struct storage *storage, void *arg, struct error *err)
{
    struct create *create = arg;
    const struct storage_webhook *webhook = create->webhook;
    struct db *db = &storage->db;
    int64_t count;
    int failed = db_get(db, err, &count, "SELECT count(*) FROM webhook");
    if (failed < 0)
        return failed;
    if (count >= WEBHOOKS_MAX) {
        (void)error_set(err, -EINVAL, "there are %d webhooks already", WEBHOOKS_MAX);
        return STORAGE_WRONG_STATE;
    }
    failed = db_run(db, err,
                    "INSERT INTO webhook (url, description, kinds, batch, secret, created, position)"
                    " VALUES (?, ?, ?, ?, ?, ?, coalesce((SELECT max(id) FROM event), 0))",
                    DB_T(webhook->url), DB_T(webhook->description), DB_I(webhook->kinds & EVENT_ALL),
                    DB_I(webhook->batch), DB_T(webhook->secret), DB_I(create->now_ms));
    create->id = failed ? 0 : db_last_id(db);
    return failed ? failed : gather_kinds(db, err);
}

int storage_webhook_create(struct storage *storage, const struct storage_webhook *webhook, int64_t now_ms, int64_t *id,
                           struct error *err)
{
    *id = 0;
    int failed = check(webhook, err);
    if (failed)
        return failed;
    assure(webhook->secret != NULL && strnlen(webhook->secret, SECRET_MAX_BYTES + 1) <= SECRET_MAX_BYTES);
    struct create create = {.webhook = webhook, .now_ms = now_ms};
    failed = storage_call(storage, create_run, &create, err);
    if (!failed)
        *id = create.id;
    return failed;
}

static int update_run(struct storage *storage, void *arg, struct error *err)
{
    const struct storage_webhook *webhook = arg;
    struct db *db = &storage->db;
    return changed_one(
        db,
        db_run(db, err,
               "UPDATE webhook SET url = ?2, description = ?3, kinds = ?4, batch = ?5, disabled = ?6,"
               " reason = ?7, batch_end = 0, attempts = 0, failing_since = 0, next_attempt = 0 WHERE id = ?1",
               DB_I(webhook->id), DB_T(webhook->url), DB_T(webhook->description), DB_I(webhook->kinds & EVENT_ALL),
               DB_I(webhook->batch), DB_I(webhook->disabled), DB_T(webhook->disabled ? webhook->reason : "")),
        err);
}

int storage_webhook_update(struct storage *storage, const struct storage_webhook *webhook, struct error *err)
{
    struct storage_webhook copy = *webhook;
    int failed = check(webhook, err);
    return failed ? failed : storage_call(storage, update_run, &copy, err);
}

static int delete_run(struct storage *storage, void *arg, struct error *err)
{
    const int64_t *id = arg;
    return changed_one(&storage->db, db_run(&storage->db, err, "DELETE FROM webhook WHERE id = ?", DB_I(*id)), err);
}

int storage_webhook_delete(struct storage *storage, int64_t id, struct error *err)
{
    return storage_call(storage, delete_run, &id, err);
}

struct rotate {
    int64_t id, old_until_ms;
    const char *secret;
};

static int rotate_run(struct storage *storage, void *arg, struct error *err)
{
    const struct rotate *rotate = arg;
    return changed_one(&storage->db,
                       db_run(&storage->db, err,
                              "UPDATE webhook SET old_secret = secret, old_until = ?2, secret = ?3 WHERE id = ?1",
                              DB_I(rotate->id), DB_I(rotate->old_until_ms), DB_T(rotate->secret)),
                       err);
}

int storage_webhook_rotate(struct storage *storage, int64_t id, const char *secret, int64_t old_until_ms,
                           struct error *err)
{
    assure(strnlen(secret, SECRET_MAX_BYTES + 1) <= SECRET_MAX_BYTES);
    struct rotate rotate = {.id = id, .secret = secret, .old_until_ms = old_until_ms};
    return storage_call(storage, rotate_run, &rotate, err);
}

struct replay {
    int64_t id, from_ms, events;
};

static int replay_run(struct storage *storage, void *arg, struct error *err)
{
    struct replay *replay = arg;
    struct db *db = &storage->db;
    int64_t position, newest;
    int failed = event_place_before(db, replay->from_ms, &position, err);
    if (failed >= 0)
        failed = db_get(db, err, &newest, "SELECT max(id) FROM event");
    if (failed < 0)
        return failed;
    replay->events = MAX_OF(newest - position, 0);
    return changed_one(db,
                       db_run(db, err,
                              "UPDATE webhook SET position = ?2, batch_end = 0, attempts = 0, failing_since = 0,"
                              " next_attempt = 0 WHERE id = ?1",
                              DB_I(replay->id), DB_I(position)),
                       err);
}

int storage_webhook_replay(struct storage *storage, int64_t id, int64_t from_ms, int64_t *events, struct error *err)
{
    struct replay replay = {.id = id, .from_ms = from_ms};
    int failed = storage_call(storage, replay_run, &replay, err);
    *events = failed ? 0 : replay.events;
    return failed;
}

/* ---- deliveries ---- */

struct taken {
    int64_t id, from, to, events, now_ms;
    int code;
};

static int taken_run(struct storage *storage, void *arg, struct error *err)
{
    const struct taken *taken = arg;
    struct db *db = &storage->db;
    int failed = db_run(db, err,
                        "UPDATE webhook SET position = ?3, batch_end = 0, attempts = 0, failing_since = 0,"
                        " next_attempt = 0, last_success = iif(?4 = 0, last_success, ?6),"
                        " last_code = iif(?4 = 0, last_code, ?5), last_error = iif(?4 = 0, last_error, ''),"
                        " taken = taken + ?4 WHERE id = ?1 AND position = ?2",
                        DB_I(taken->id), DB_I(taken->from), DB_I(taken->to), DB_I(taken->events), DB_I(taken->code),
                        DB_I(taken->now_ms));
    if (failed)
        return failed;
    return db_changes(db) == 1 ? 0 : STORAGE_WRONG_STATE;
}

int storage_webhook_taken(struct storage *storage, int64_t id, int64_t from, int64_t to, int64_t events, int code,
                          int64_t now_ms, struct error *err)
{
    struct taken taken = {.id = id, .from = from, .to = to, .events = events, .code = code, .now_ms = now_ms};
    return storage_call(storage, taken_run, &taken, err);
}

struct failed {
    const struct storage_webhook_failure *failure;
    int64_t now_ms;
};

static int failed_run(struct storage *storage, void *arg, struct error *err)
{
    const struct failed *failed = arg;
    const struct storage_webhook_failure *failure = failed->failure;
    struct db *db = &storage->db;
    int result =
        db_run(db, err,
               "UPDATE webhook SET batch_end = ?3, attempts = attempts + 1,"
               " failing_since = iif(failing_since = 0, ?4, failing_since), next_attempt = ?5, last_code = ?6,"
               " last_error = ?7, disabled = iif(?8, 1, disabled), reason = iif(?8, ?7, reason)"
               " WHERE id = ?1 AND position = ?2 AND url = ?9 AND attempts = ?10",
               DB_I(failure->id), DB_I(failure->from), DB_I(failure->batch_end), DB_I(failed->now_ms),
               DB_I(failure->next_attempt_ms), DB_I(failure->code), DB_T(failure->error), DB_I(failure->disable),
               DB_T(failure->url), DB_I(failure->attempts));
    if (result)
        return result;
    if (db_changes(db) != 1)
        return STORAGE_WRONG_STATE;
    return failure->disable ? gather_kinds(db, err) : 0;
}

int storage_webhook_failed(struct storage *storage, const struct storage_webhook_failure *failure, int64_t now_ms,
                           struct error *err)
{
    struct failed failed = {.failure = failure, .now_ms = now_ms};
    return storage_call(storage, failed_run, &failed, err);
}

/* ---- reading ---- */

#define COLUMNS                                                                                                        \
    "SELECT id, url, description, kinds, batch, secret, old_secret, old_until, created, disabled, reason, position,"   \
    " batch_end, attempts, failing_since, next_attempt, last_success, last_code, last_error, taken FROM webhook "

static void fill(sqlite3_stmt *row, struct storage_webhook *out)
{
    *out = (struct storage_webhook){
        .id = db_int(row, 0),
        .url = db_text(row, 1),
        .description = db_text(row, 2),
        .kinds = (uint32_t)db_int(row, 3) & EVENT_ALL,
        .batch = (int)MAX_OF(MIN_OF(db_int(row, 4), WEBHOOK_BATCH_MAX), 1),
        .secret = db_text(row, 5),
        .old_secret = db_text(row, 6),
        .old_until_ms = db_int(row, 7),
        .created_ms = db_int(row, 8),
        .disabled = db_int(row, 9) != 0,
        .reason = db_text(row, 10),
        .position = db_count(row, 11),
        .batch_end = db_count(row, 12),
        .attempts = (int)MIN_OF(db_count(row, 13), INT32_MAX),
        .failing_since_ms = db_count(row, 14),
        .next_attempt_ms = db_count(row, 15),
        .last_success_ms = db_count(row, 16),
        .last_code = (int)MIN_OF(db_count(row, 17), 999),
        .last_error = db_text(row, 18),
        .taken = db_count(row, 19),
    };
}

/* How many there were, or negative. */
static int walk(struct db *db, sqlite3_stmt *rows, storage_webhook_cb *each, void *context, struct error *err)
{
    if (rows == NULL)
        return -EIO;
    int count = 0, more;
    while ((more = db_step(db, rows, err)) > 0) {
        struct storage_webhook webhook;
        fill(rows, &webhook);
        count++;
        if (each(context, &webhook) != 0) {
            db_end(rows);
            return count;
        }
    }
    return more < 0 ? more : count;
}

int storage_webhook_get(struct storage_reader *reader, int64_t id, storage_webhook_cb *each, void *context,
                        struct error *err)
{
    struct db *db = &reader->db;
    int count = walk(db, db_query(db, err, COLUMNS "WHERE id = ?", DB_I(id)), each, context, err);
    return count < 0 ? count : count == 0 ? STORAGE_NOT_FOUND : 0;
}

int storage_webhook_list(struct storage_reader *reader, storage_webhook_cb *each, void *context, struct error *err)
{
    struct db *db = &reader->db;
    int count = walk(db, db_query(db, err, COLUMNS "ORDER BY id"), each, context, err);
    return count < 0 ? count : 0;
}
