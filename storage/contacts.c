/*
 * contacts.c - lists and recipients.
 *
 * A list disappears at once, and with it the suppressions that held for it alone, which would be nobody's. Its members
 * follow in slices: until the last slice they are rows that nothing refers to, for list ids are never given twice.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "storage/writer.h"

#define LIST_NAME_MAX_BYTES 255
#define DESCRIPTION_MAX_BYTES 4000
#define DELETE_SLICE 5000 /* members */

struct list_change {
    int64_t id, now_ms;
    const char *name, *description;
};

static int check_texts(const char *name, const char *description, struct error *err)
{
    if (name != NULL && (name[0] == '\0' || strnlen(name, LIST_NAME_MAX_BYTES + 1) > LIST_NAME_MAX_BYTES))
        return error_set(err, -EINVAL, "a list's name has 1 to %d bytes", LIST_NAME_MAX_BYTES);
    if (description != NULL && strnlen(description, DESCRIPTION_MAX_BYTES + 1) > DESCRIPTION_MAX_BYTES)
        return error_set(err, -EINVAL, "a list's description has at most %d bytes", DESCRIPTION_MAX_BYTES);
    return 0;
}

static int create_run(struct storage *storage, void *arg, struct error *err)
{
    struct list_change *change = arg;
    struct db *db = &storage->db;
    int missing = db_get(db, err, &change->id, "SELECT id FROM list WHERE name = ?", DB_T(change->name));
    if (missing <= 0)
        return missing < 0 ? missing : STORAGE_EXISTS;
    int failed = db_run(db, err, "INSERT INTO list (name, description, created) VALUES (?, ?, ?)", DB_T(change->name),
                        DB_T(change->description), DB_I(change->now_ms));
    change->id = failed ? 0 : db_last_id(db);
    return failed;
}

int storage_list_create(struct storage *storage, const char *name, const char *description, int64_t *id,
                        struct error *err)
{
    *id = 0;
    int failed = check_texts(name != NULL ? name : "", description, err);
    if (failed)
        return failed;
    struct list_change change = {
        .name = name, .description = description != NULL ? description : "", .now_ms = clock_wall_ms()};
    int result = storage_call(storage, create_run, &change, err);
    if (result >= 0)
        *id = change.id;
    return result;
}

static int update_run(struct storage *storage, void *arg, struct error *err)
{
    const struct list_change *change = arg;
    struct db *db = &storage->db;
    int64_t other;
    if (change->name != NULL) {
        int missing = db_get(db, err, &other, "SELECT id FROM list WHERE name = ?", DB_T(change->name));
        if (missing < 0)
            return missing;
        if (missing == 0 && other != change->id)
            return STORAGE_EXISTS;
    }
    int failed = db_run(db, err,
                        "UPDATE list SET name = coalesce(?2, name), description = coalesce(?3, description)"
                        " WHERE id = ?1",
                        DB_I(change->id), DB_T(change->name), DB_T(change->description));
    if (failed)
        return failed;
    return db_changes(db) == 1 ? 0 : STORAGE_NOT_FOUND;
}

int storage_list_update(struct storage *storage, int64_t id, const char *name, const char *description,
                        struct error *err)
{
    int failed = check_texts(name, description, err);
    if (failed)
        return failed;
    struct list_change change = {.id = id, .name = name, .description = description};
    return storage_call(storage, update_run, &change, err);
}

static int delete_suppressions(struct db *db, int64_t list_id, struct error *err)
{
    int failed = db_run(db, err, "DELETE FROM list_suppression WHERE list_id = ?", DB_I(list_id));
    int64_t count = failed ? 0 : db_changes(db);
    if (failed || count == 0)
        return failed;
    return db_run(db, err, "UPDATE meta SET suppressions = max(0, suppressions - ?)", DB_I(count));
}

static int delete_run(struct storage *storage, void *arg, struct error *err)
{
    int64_t id = *(const int64_t *)arg, users;
    struct db *db = &storage->db;
    int failed = db_get(db, err, &users,
                        "SELECT count(*) FROM campaign_list l JOIN campaign c ON c.id = l.campaign_id"
                        " WHERE l.list_id = ? AND c.status IN (1, 2, 3)",
                        DB_I(id));
    if (failed)
        return failed;
    if (users > 0)
        return STORAGE_WRONG_STATE;
    failed = db_run(db, err, "DELETE FROM list WHERE id = ?", DB_I(id));
    if (failed)
        return failed;
    if (db_changes(db) == 0)
        return STORAGE_NOT_FOUND;
    failed = db_run(db, err, "DELETE FROM list_lane WHERE list_id = ?", DB_I(id));
    if (!failed)
        failed = delete_suppressions(db, id, err);
    return failed ? failed
                  : db_run(db, err,
                           "DELETE FROM campaign_list WHERE list_id = ? AND campaign_id IN"
                           " (SELECT id FROM campaign WHERE status = 0)",
                           DB_I(id));
}

/* 0 = there may be more, STORAGE_NOT_FOUND = all gone. */
static int delete_members_run(struct storage *storage, void *arg, struct error *err)
{
    int64_t id = *(const int64_t *)arg;
    struct db *db = &storage->db;
    sqlite3_stmt *row = db_query(db, err,
                                 "SELECT lane, max(recipient_id), count(*) FROM (SELECT lane, recipient_id FROM member"
                                 " WHERE list_id = ?1 AND lane = (SELECT min(lane) FROM member WHERE list_id = ?1)"
                                 " ORDER BY recipient_id LIMIT ?2)",
                                 DB_I(id), DB_I(DELETE_SLICE));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more < 0)
        return more;
    int64_t lane = db_int(row, 0), upto = db_int(row, 1), count = more > 0 ? db_int(row, 2) : 0;
    db_end(row);
    if (count == 0)
        return STORAGE_NOT_FOUND;
    return db_run(db, err, "DELETE FROM member WHERE list_id = ? AND lane = ? AND recipient_id <= ?", DB_I(id),
                  DB_I(lane), DB_I(upto));
}

int storage_list_delete(struct storage *storage, int64_t id, struct error *err)
{
    int result = storage_call(storage, delete_run, &id, err);
    if (result != 0)
        return result;
    do {
        result = storage_call(storage, delete_members_run, &id, err);
    } while (result == 0);
    return result == STORAGE_NOT_FOUND ? 0 : result;
}

int storage_list_find(struct storage_reader *reader, const char *name, int64_t *id, struct error *err)
{
    return db_get(&reader->db, err, id, "SELECT id FROM list WHERE name = ?", DB_T(name));
}

#define LIST_COLUMNS                                                                                                   \
    "SELECT l.id, l.name, l.description, l.created, (SELECT sum(n.n) FROM list_lane n WHERE n.list_id = l.id)"         \
    " FROM list l "

/* How many there were, or negative. */
static int walk_lists(struct db *db, sqlite3_stmt *rows, storage_list_cb *each, void *context, struct error *err)
{
    if (rows == NULL)
        return -EIO;
    int count = 0, more;
    while ((more = db_step(db, rows, err)) > 0) {
        struct storage_list list = {.id = db_int(rows, 0),
                                    .name = db_text(rows, 1),
                                    .description = db_text(rows, 2),
                                    .created_ms = db_int(rows, 3),
                                    .active_count = db_count(rows, 4)};
        count++;
        if (each(context, &list) != 0) {
            db_end(rows);
            return count;
        }
    }
    return more < 0 ? more : count;
}

int storage_list_get(struct storage_reader *reader, int64_t id, storage_list_cb *each, void *context, struct error *err)
{
    int count = walk_lists(&reader->db, db_query(&reader->db, err, LIST_COLUMNS "WHERE l.id = ?", DB_I(id)), each,
                           context, err);
    return count < 0 ? count : count == 0 ? STORAGE_NOT_FOUND : 0;
}

int storage_list_page(struct storage_reader *reader, int64_t after, int limit, storage_list_cb *each, void *context,
                      int64_t *total, struct error *err)
{
    struct db *db = &reader->db;
    if (total != NULL) {
        int failed = db_get(db, err, total, "SELECT count(*) FROM list");
        if (failed)
            return failed;
    }
    int count = walk_lists(
        db, db_query(db, err, LIST_COLUMNS "WHERE l.id > ? ORDER BY l.id LIMIT ?", DB_I(after), DB_I(MAX_OF(limit, 0))),
        each, context, err);
    return count < 0 ? count : 0;
}

/* One row or none: 0 or STORAGE_NOT_FOUND. */
static int show_recipient(struct db *db, sqlite3_stmt *row, storage_recipient_cb *each, void *context,
                          struct error *err)
{
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more <= 0)
        return more < 0 ? more : STORAGE_NOT_FOUND;
    struct storage_recipient recipient = {.id = db_int(row, 0),
                                          .email = db_text(row, 1),
                                          .attributes = db_text(row, 2),
                                          .created_ms = db_int(row, 3),
                                          .updated_ms = db_int(row, 4)};
    (void)each(context, &recipient);
    db_end(row);
    return 0;
}

#define RECIPIENT_COLUMNS "SELECT r.id, r.email, r.attributes, r.created, r.updated FROM recipient r "

int storage_recipient_find(struct storage_reader *reader, const char *email, storage_recipient_cb *each, void *context,
                           struct error *err)
{
    struct db *db = &reader->db;
    return show_recipient(db, db_query(db, err, RECIPIENT_COLUMNS "WHERE r.email = ?", DB_T(email)), each, context,
                          err);
}

int storage_recipient_get(struct storage_reader *reader, int64_t id, storage_recipient_cb *each, void *context,
                          struct error *err)
{
    struct db *db = &reader->db;
    return show_recipient(db, db_query(db, err, RECIPIENT_COLUMNS "WHERE r.id = " RECIPIENT_OF("?1"), DB_I(id)), each, context, err);
}

int storage_list_sample(struct storage_reader *reader, int64_t list_id, storage_recipient_cb *each, void *context,
                        struct error *err)
{
    struct db *db = &reader->db;
    int64_t recipient_id;
    int missing = db_get(db, err, &recipient_id,
                         "SELECT m.recipient_id FROM list_lane n CROSS JOIN member m ON m.list_id = n.list_id"
                         " AND m.lane = n.lane WHERE n.list_id = ? AND n.n > 0 AND m.status = 0 LIMIT 1",
                         DB_I(list_id));
    return missing ? missing : storage_recipient_get(reader, recipient_id, each, context, err);
}
