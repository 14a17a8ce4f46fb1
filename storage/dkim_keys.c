/*
 * dkim_keys.c - the table `dkim_key`. Each step of a rotation is one transaction, so whatever ends the process between
 * two of them, the domain has keys that sign.
 */
#include <errno.h>
#include <string.h>

#include "storage/writer.h"

const char *dkim_key_state_name(enum dkim_key_state state)
{
    static const char *const names[DKIM_KEY_STATE_COUNT] = {"next", "used", "old", "retired"};
    return (unsigned)state < DKIM_KEY_STATE_COUNT ? names[state] : "unknown";
}

struct keys {
    const struct storage_dkim_key *keys;
    size_t count;
    const struct storage_domain *domain; /* to be registered with them; NULL = it is there */
};

static int add_domain(struct db *db, const struct storage_domain *domain, struct error *err)
{
    int failed =
        db_run(db, err, "INSERT INTO sending_domain VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", DB_T(domain->name),
               DB_T(domain->selector), DB_T(domain->key_file), DB_T(domain->dkim_record), DB_I(domain->created_ms));
    return failed ? failed : db_changes(db) == 1 ? 0 : STORAGE_EXISTS;
}

static int add_run(struct storage *storage, void *arg, struct error *err)
{
    const struct keys *keys = arg;
    struct db *db = &storage->db;
    int taken = keys->domain != NULL ? add_domain(db, keys->domain, err) : 0;
    if (taken)
        return taken;
    for (size_t i = 0; i < keys->count; i++) {
        const struct storage_dkim_key *key = &keys->keys[i];
        int failed =
            db_run(db, err, "INSERT INTO dkim_key VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7) ON CONFLICT DO NOTHING",
                   DB_T(key->domain), DB_T(key->selector), DB_T(key->algorithm), DB_T(key->key_file), DB_T(key->record),
                   DB_I(key->state), DB_I(key->created_ms));
        if (failed)
            return failed;
        if (db_changes(db) == 0)
            return STORAGE_EXISTS;
    }
    return 0;
}

int storage_dkim_keys_add(struct storage *storage, const struct storage_dkim_key *keys, size_t count, struct error *err)
{
    struct keys given = {.keys = keys, .count = count};
    return storage_call(storage, add_run, &given, err);
}

int storage_domain_register(struct storage *storage, const struct storage_domain *domain,
                            const struct storage_dkim_key *keys, size_t count, struct error *err)
{
    struct keys given = {.keys = keys, .count = count, .domain = domain};
    return storage_call(storage, add_run, &given, err);
}

struct step {
    const char *domain;
    int64_t now_ms;
};

static int move(struct db *db, const struct step *step, enum dkim_key_state from, enum dkim_key_state to,
                struct error *err)
{
    return db_run(db, err, "UPDATE dkim_key SET state = ?3, changed = ?4 WHERE domain = ?1 AND state = ?2",
                  DB_T(step->domain), DB_I(from), DB_I(to), DB_I(step->now_ms));
}

static int switch_run(struct storage *storage, void *arg, struct error *err)
{
    const struct step *step = arg;
    struct db *db = &storage->db;
    int64_t next;
    int missing = db_get(db, err, &next, "SELECT count(*) FROM dkim_key WHERE domain = ? AND state = ?",
                         DB_T(step->domain), DB_I(DKIM_KEY_NEXT));
    if (missing || next == 0)
        return missing ? missing : STORAGE_WRONG_STATE;
    int failed = move(db, step, DKIM_KEY_USED, DKIM_KEY_OLD, err);
    if (!failed)
        failed = move(db, step, DKIM_KEY_NEXT, DKIM_KEY_USED, err);
    if (!failed)
        failed =
            db_run(db, err,
                   "UPDATE sending_domain SET (selector, key_file, dkim_record) = (SELECT selector, key_file, record"
                   " FROM dkim_key WHERE domain = ?1 AND state = ?2 ORDER BY algorithm DESC LIMIT 1) WHERE name = ?1",
                   DB_T(step->domain), DB_I(DKIM_KEY_USED));
    return failed;
}

int storage_dkim_keys_switch(struct storage *storage, const char *domain, int64_t now_ms, struct error *err)
{
    struct step step = {domain, now_ms};
    return storage_call(storage, switch_run, &step, err);
}

static int retire_run(struct storage *storage, void *arg, struct error *err)
{
    return move(&storage->db, arg, DKIM_KEY_OLD, DKIM_KEY_RETIRED, err);
}

int storage_dkim_keys_retire(struct storage *storage, const char *domain, int64_t now_ms, struct error *err)
{
    struct step step = {domain, now_ms};
    return storage_call(storage, retire_run, &step, err);
}

int storage_dkim_keys_list(struct storage_reader *reader, const char *domain, storage_dkim_key_cb *each, void *context,
                           struct error *err)
{
    struct db *db = &reader->db;
    sqlite3_stmt *rows =
        db_query(db, err,
                 "SELECT domain, selector, algorithm, key_file, record, state, created, changed FROM dkim_key"
                 " WHERE domain = ? ORDER BY state = 3, state <> 1, state, algorithm DESC, changed DESC LIMIT ?",
                 DB_T(domain), DB_I(DKIM_KEYS_MAX));
    if (rows == NULL)
        return -EIO;
    int more;
    while ((more = db_step(db, rows, err)) > 0) {
        int64_t state = db_int(rows, 5);
        const struct storage_dkim_key key = {
            .domain = db_text(rows, 0),
            .selector = db_text(rows, 1),
            .algorithm = db_text(rows, 2),
            .key_file = db_text(rows, 3),
            .record = db_text(rows, 4),
            .state = state >= 0 && state < DKIM_KEY_STATE_COUNT ? (enum dkim_key_state)state : DKIM_KEY_RETIRED,
            .created_ms = db_int(rows, 6),
            .changed_ms = db_int(rows, 7)};
        if (each(context, &key) != 0) {
            db_end(rows);
            return 0;
        }
    }
    return more;
}

int storage_dkim_keys_stamp(struct storage_reader *reader, int64_t *stamp, struct error *err)
{
    return db_get(&reader->db, err, stamp, "SELECT ifnull(max(changed), 0) + count(*) FROM dkim_key WHERE state = ?",
                  DB_I(DKIM_KEY_USED));
}
