/*
 * suppressions.c - the list of addresses that must not be mailed, as people and other rooms change and read it.
 * meta.suppressions counts the entries, in the same transaction.
 */
#include <errno.h>
#include <string.h>

#include "base/address.h"
#include "base/clock.h"
#include "storage/suppress.h"

#define REASON_MAX_BYTES 64
#define SLICE 1000 /* items in one transaction */

struct items {
    const struct storage_suppression *items;
    size_t count;
    int64_t added;
};

static int list_exists(struct db *db, int64_t list_id, struct error *err)
{
    int64_t id;
    return list_id == 0 ? 0 : db_get(db, err, &id, "SELECT id FROM list WHERE id = ?", DB_I(list_id));
}

static int add_run(struct storage *storage, void *arg, struct error *err)
{
    struct items *items = arg;
    items->added = 0;
    for (size_t i = 0; i < items->count; i++) {
        int rc = list_exists(&storage->db, items->items[i].list_id, err);
        if (rc != 0)
            return rc;
        rc = suppress_put(&storage->db, &items->items[i], err);
        if (rc < 0)
            return rc;
        items->added += rc;
    }
    return items->added == 0
               ? 0
               : db_run(&storage->db, err, "UPDATE meta SET suppressions = suppressions + ?", DB_I(items->added));
}

static int check(const struct storage_suppression *item, struct error *err)
{
    if (item->email == NULL || item->email[0] == '\0' ||
        strnlen(item->email, ADDRESS_MAX_BYTES + 1) > ADDRESS_MAX_BYTES)
        return error_set(err, -EINVAL, "an address has 1 to %d bytes", ADDRESS_MAX_BYTES);
    if (item->reason == NULL || item->reason[0] == '\0' ||
        strnlen(item->reason, REASON_MAX_BYTES + 1) > REASON_MAX_BYTES)
        return error_set(err, -EINVAL, "the reason of a suppression has 1 to %d bytes", REASON_MAX_BYTES);
    return 0;
}

int storage_suppression_add(struct storage *storage, const struct storage_suppression *suppression, struct error *err)
{
    int64_t added;
    int failed = storage_suppression_add_many(storage, suppression, 1, &added, err);
    return failed ? failed : added == 0 ? STORAGE_EXISTS : 0;
}

int storage_suppression_add_many(struct storage *storage, const struct storage_suppression *items, size_t count,
                                 int64_t *added, struct error *err)
{
    *added = 0;
    for (size_t i = 0; i < count; i++) {
        int failed = check(&items[i], err);
        if (failed)
            return failed;
    }
    for (size_t done = 0; done < count; done += SLICE) {
        struct items slice = {.items = items + done, .count = MIN_OF(count - done, (size_t)SLICE)};
        int failed = storage_call(storage, add_run, &slice, err);
        if (failed)
            return failed;
        *added += slice.added;
    }
    return 0;
}

struct removal {
    char email[ADDRESS_MAX_BYTES + 1];
    int64_t list_id;
};

/* Whoever has unsubscribed stays so, whatever came on top: that was his to say. 1 = the row says it again; 0 = he has not. */
static int leave_unsubscribed(struct db *db, const struct removal *removal, struct error *err)
{
    if (removal->list_id != 0)
        return 0;
    int failed = db_run(db, err,
                        "UPDATE suppression SET reason = 'unsubscribe', origin = 'unsubscribed before', expires = 0,"
                        " created = unsubscribed, unsubscribed = 0 WHERE email = ? AND unsubscribed <> 0",
                        DB_T(removal->email));
    return failed ? failed : db_changes(db) > 0;
}

static int remove_row(struct db *db, const struct removal *removal, struct error *err)
{
    int failed = removal->list_id == 0
                     ? db_run(db, err, "DELETE FROM suppression WHERE email = ?", DB_T(removal->email))
                     : db_run(db, err, "DELETE FROM list_suppression WHERE email = ? AND list_id = ?",
                              DB_T(removal->email), DB_I(removal->list_id));
    if (failed)
        return failed;
    return db_changes(db) == 0 ? STORAGE_NOT_FOUND
                               : db_run(db, err, "UPDATE meta SET suppressions = max(0, suppressions - 1)");
}

static int remove_run(struct storage *storage, void *arg, struct error *err)
{
    const struct removal *removal = arg;
    struct db *db = &storage->db;
    int stays = leave_unsubscribed(db, removal, err);
    int failed = stays == 0 ? remove_row(db, removal, err) : MIN_OF(stays, 0);
    if (failed)
        return failed;
    /* Else the next soft bounce would bring it back at once. */
    return db_run(db, err, "DELETE FROM soft_bounce WHERE recipient_id IN (SELECT id FROM recipient WHERE email = ?)",
                  DB_T(removal->email));
}

int storage_suppression_remove(struct storage *storage, const char *email, int64_t list_id, struct error *err)
{
    struct removal removal = {.list_id = list_id};
    size_t len = strnlen(email, sizeof(removal.email));
    if (len == sizeof(removal.email))
        return STORAGE_NOT_FOUND; /* nothing that long is ever stored */
    memcpy(removal.email, email, len + 1);
    return storage_call(storage, remove_run, &removal, err);
}

/* ---- reading ---- */

/* How many there were, or negative. */
static int walk(struct db *db, sqlite3_stmt *rows, storage_suppression_cb *each, void *context, struct error *err)
{
    if (rows == NULL)
        return -EIO;
    int count = 0, more;
    while ((more = db_step(db, rows, err)) > 0) {
        struct storage_suppression item = {.email = db_text(rows, 0),
                                           .list_id = db_int(rows, 1),
                                           .reason = db_text(rows, 2),
                                           .origin = db_text(rows, 3),
                                           .created_ms = db_int(rows, 4),
                                           .expires_ms = db_int(rows, 5),
                                           .list_name = db_text(rows, 6)};
        count++;
        if (each(context, &item) != 0) {
            db_end(rows);
            return count;
        }
    }
    return more < 0 ? more : count;
}

/* Both tables as one, merged in order; ?1 = now. CROSS: the order is that of the entries, and none is of no list. */
#define BOTH(global, lists)                                                                                            \
    "SELECT email, 0 AS list_id, reason, origin, created, expires, '' FROM suppression"                                \
    " WHERE (expires = 0 OR expires > ?1) AND " global " UNION ALL"                                                    \
    " SELECT s.email, s.list_id, s.reason, s.origin, s.created, s.expires, l.name FROM list_suppression s"             \
    " CROSS JOIN list l ON l.id = s.list_id WHERE (s.expires = 0 OR s.expires > ?1) AND " lists " ORDER BY 1, 2"

int storage_suppression_get(struct storage_reader *reader, const char *email, storage_suppression_cb *each,
                            void *context, struct error *err)
{
    struct db *db = &reader->db;
    sqlite3_stmt *rows = db_query(db, err, BOTH("email = ?2", "s.email = ?2"), DB_I(clock_wall_ms()), DB_T(email));
    int count = walk(db, rows, each, context, err);
    return count < 0 ? count : count == 0 ? STORAGE_NOT_FOUND : 0;
}

int storage_suppression_page(struct storage_reader *reader, const struct storage_suppression_place *after, int limit,
                             storage_suppression_cb *each, void *context, int64_t *total, struct error *err)
{
    struct db *db = &reader->db;
    if (total != NULL) {
        int failed = db_get(db, err, total, "SELECT suppressions FROM meta");
        if (failed)
            return failed < 0 ? failed : error_set(err, -EIO, "%s: has no totals", db->path);
    }
    const char *email = after != NULL ? after->email : "";
    sqlite3_stmt *rows =
        db_query(db, err, BOTH("email > ?2", "(s.email, s.list_id) > (?2, ?3)") " LIMIT ?4", DB_I(clock_wall_ms()),
                 DB_T(email), DB_I(after != NULL ? after->list_id : 0), DB_I(MAX_OF(limit, 0)));
    int count = walk(db, rows, each, context, err);
    return count < 0 ? count : 0;
}

/* ---- time ---- */

static int expire_run(struct storage *storage, void *arg, struct error *err)
{
    int64_t *values = arg; /* now, removed */
    struct db *db = &storage->db;
    int failed = db_run(db, err, "DELETE FROM suppression WHERE expires <> 0 AND expires <= ?", DB_I(values[0]));
    values[1] = failed ? 0 : db_changes(db);
    if (!failed)
        failed = db_run(db, err,
                        "DELETE FROM list_suppression WHERE (expires <> 0 AND expires <= ?)"
                        " OR list_id NOT IN (SELECT id FROM list)",
                        DB_I(values[0]));
    values[1] += failed ? 0 : db_changes(db);
    if (failed || values[1] == 0)
        return failed;
    return db_run(db, err, "UPDATE meta SET suppressions = max(0, suppressions - ?)", DB_I(values[1]));
}

int storage_suppression_expire(struct storage *storage, int64_t now_ms, int64_t *removed, struct error *err)
{
    int64_t values[2] = {now_ms, 0};
    int failed = storage_call(storage, expire_run, values, err);
    if (removed != NULL)
        *removed = failed ? 0 : values[1];
    return failed;
}
