/*
 * link_keys.c - see link_keys.h. A campaign without anything frozen was launched with number 0, by an older program.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "storage/writer.h"

#define CAMPAIGNS_OF                                                                                                   \
    "FROM campaign c LEFT JOIN campaign_frozen f ON f.campaign_id = c.id WHERE c.status <> 0 AND "                     \
    "ifnull(f.token_key, 0) = "

static int usage_of(struct db *db, struct storage_link_key *key, struct error *err)
{
    int64_t ended = 0;
    int failed =
        db_get(db, err, &key->campaigns, "SELECT count(*) " CAMPAIGNS_OF "? AND c.status IN (1, 2, 3)", DB_I(key->id));
    if (failed >= 0)
        failed = db_get(db, err, &ended, "SELECT ifnull(max(c.finished), 0) " CAMPAIGNS_OF "?", DB_I(key->id));
    key->last_used_ms = key->replaced_ms != 0 ? MAX_OF(key->replaced_ms, ended) : 0;
    return failed < 0 ? failed : 0;
}

static const uint8_t *value_of(sqlite3_stmt *row, int column)
{
    bool whole = sqlite3_column_type(row, column) == SQLITE_BLOB && sqlite3_column_bytes(row, column) == LINK_KEY_BYTES;
    return whole ? sqlite3_column_blob(row, column) : NULL;
}

int storage_link_keys(struct storage_reader *reader, bool usage, storage_link_key_cb *each, void *context,
                      struct error *err)
{
    struct db *db = &reader->db;
    sqlite3_stmt *rows = db_query(db, err, "SELECT id, value, created, replaced, retired FROM link_key ORDER BY id");
    int more = rows == NULL ? -EIO : 0;
    while (more >= 0 && rows != NULL && (more = db_step(db, rows, err)) > 0) {
        struct storage_link_key key = {.id = db_int(rows, 0),
                                       .value = value_of(rows, 1),
                                       .created_ms = db_int(rows, 2),
                                       .replaced_ms = db_int(rows, 3),
                                       .retired_ms = db_int(rows, 4)};
        if (key.value == NULL && key.retired_ms == 0)
            more = error_set(err, -EIO, "%s: link key %lld is damaged", db->path, (long long)key.id);
        else if (usage)
            more = usage_of(db, &key, err);
        if (more < 0 || each(context, &key) != 0) {
            db_end(rows);
            return MIN_OF(more, 0);
        }
    }
    return more;
}

struct change {
    int64_t id, keep_ms, now_ms;
    bool only_first;
};

static int add_run(struct storage *storage, void *arg, struct error *err)
{
    struct change *change = arg;
    struct db *db = &storage->db;
    uint8_t value[LINK_KEY_BYTES];
    int64_t all, good;
    int failed = db_get(db, err, &all, "SELECT count(*) FROM link_key");
    if (!failed)
        failed = db_get(db, err, &good, "SELECT count(*) FROM link_key WHERE retired = 0");
    if (failed || (change->only_first && all > 0))
        return failed;
    if (good >= LINK_KEYS_MAX)
        return error_set(err, -EINVAL, "there are %d keys; retire an old one first", LINK_KEYS_MAX);
    if (getrandom(value, sizeof(value), 0) != (ssize_t)sizeof(value))
        return error_set(err, -EIO, "the system has no random bytes");
    failed = db_run(db, err, "UPDATE link_key SET replaced = ? WHERE replaced = 0", DB_I(change->now_ms));
    if (!failed)
        failed = db_run(db, err,
                        "INSERT INTO link_key (id, value, created) SELECT ifnull(max(id) + 1, 0), ?, ? FROM link_key",
                        DB_B(value, sizeof(value)), DB_I(change->now_ms));
    explicit_bzero(value, sizeof(value));
    if (!failed)
        failed = db_get(db, err, &change->id, "SELECT max(id) FROM link_key");
    return failed;
}

int storage_link_key_ensure(struct storage *storage, int64_t now_ms, struct error *err)
{
    struct change change = {.now_ms = now_ms, .only_first = true};
    return storage_call(storage, add_run, &change, err);
}

int storage_link_key_add(struct storage *storage, int64_t now_ms, int64_t *id, struct error *err)
{
    struct change change = {.now_ms = now_ms};
    int failed = storage_call(storage, add_run, &change, err);
    *id = change.id;
    return failed;
}

static int retire_run(struct storage *storage, void *arg, struct error *err)
{
    const struct change *change = arg;
    struct db *db = &storage->db;
    struct storage_link_key key = {.id = change->id};
    int failed =
        db_get(db, err, &key.replaced_ms, "SELECT replaced FROM link_key WHERE id = ? AND retired = 0", DB_I(key.id));
    if (failed)
        return failed > 0 ? STORAGE_NOT_FOUND : failed;
    failed = usage_of(db, &key, err);
    if (failed)
        return failed;
    if (key.replaced_ms == 0)
        (void)error_set(err, -EINVAL, "key %lld is the newest; make another first", (long long)key.id);
    else if (change->keep_ms >= 0 && key.campaigns > 0)
        (void)error_set(err, -EINVAL, "%lld campaigns with key %lld are not over", (long long)key.campaigns,
                        (long long)key.id);
    else if (change->keep_ms == INT64_MAX)
        (void)error_set(err, -EINVAL, "links must work for ever (keep_links is 0)");
    else if (change->keep_ms >= 0 && change->now_ms - key.last_used_ms < change->keep_ms)
        (void)error_set(err, -EINVAL, "the links of mail that was sent with key %lld must work for another %lld days",
                        (long long)key.id,
                        (long long)((change->keep_ms - (change->now_ms - key.last_used_ms)) / 86400000 + 1));
    else
        return db_run(db, err, "UPDATE link_key SET value = x'', retired = ? WHERE id = ?", DB_I(change->now_ms),
                      DB_I(key.id));
    return STORAGE_WRONG_STATE;
}

int storage_link_key_retire(struct storage *storage, int64_t id, int64_t keep_ms, int64_t now_ms, struct error *err)
{
    struct change change = {.id = id, .keep_ms = keep_ms, .now_ms = now_ms};
    return storage_call(storage, retire_run, &change, err);
}
