/*
 * suppressions.c - addresses that must not be mailed. meta.suppressions counts them, in the same transaction.
 */
#include <errno.h>
#include <string.h>

#include "base/address.h"
#include "storage/writer.h"

#define REASON_MAX_BYTES 64
#define ORIGIN_MAX_BYTES 1000
#define SLICE 1000 /* items in one transaction */

struct items {
    const struct storage_suppression *items;
    size_t count;
    int64_t added;
};

static int add_run(struct storage *storage, void *arg, struct error *err)
{
    struct items *items = arg;
    items->added = 0;
    for (size_t i = 0; i < items->count; i++) {
        const struct storage_suppression *item = &items->items[i];
        const char *origin = item->origin != NULL ? item->origin : "";
        int failed = db_run(&storage->db, err, "INSERT INTO suppression VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                            DB_T(item->email), DB_T(item->reason), DB_N(origin, strnlen(origin, ORIGIN_MAX_BYTES)),
                            DB_I(item->created_ms));
        if (failed)
            return failed;
        items->added += db_changes(&storage->db);
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

static int remove_run(struct storage *storage, void *arg, struct error *err)
{
    int failed = db_run(&storage->db, err, "DELETE FROM suppression WHERE email = ?", DB_T((const char *)arg));
    if (failed)
        return failed;
    if (db_changes(&storage->db) == 0)
        return STORAGE_NOT_FOUND;
    return db_run(&storage->db, err, "UPDATE meta SET suppressions = max(0, suppressions - 1)");
}

int storage_suppression_remove(struct storage *storage, const char *email, struct error *err)
{
    char copy[ADDRESS_MAX_BYTES + 1];
    size_t len = strnlen(email, sizeof(copy));
    if (len == sizeof(copy))
        return STORAGE_NOT_FOUND; /* nothing that long is ever stored */
    memcpy(copy, email, len + 1);
    return storage_call(storage, remove_run, copy, err);
}

/* How many there were, or negative. */
static int walk(struct db *db, sqlite3_stmt *rows, storage_suppression_cb *each, void *context, struct error *err)
{
    if (rows == NULL)
        return -EIO;
    int count = 0, more;
    while ((more = db_step(db, rows, err)) > 0) {
        struct storage_suppression item = {.email = db_text(rows, 0),
                                           .reason = db_text(rows, 1),
                                           .origin = db_text(rows, 2),
                                           .created_ms = db_int(rows, 3)};
        count++;
        if (each(context, &item) != 0) {
            db_end(rows);
            return count;
        }
    }
    return more < 0 ? more : count;
}

#define COLUMNS "SELECT email, reason, origin, created FROM suppression "

int storage_suppression_get(struct storage_reader *reader, const char *email, storage_suppression_cb *each,
                            void *context, struct error *err)
{
    struct db *db = &reader->db;
    int count = walk(db, db_query(db, err, COLUMNS "WHERE email = ?", DB_T(email)), each, context, err);
    return count < 0 ? count : count == 0 ? STORAGE_NOT_FOUND : 0;
}

int storage_suppression_page(struct storage_reader *reader, const char *after, int limit, storage_suppression_cb *each,
                             void *context, int64_t *total, struct error *err)
{
    struct db *db = &reader->db;
    if (total != NULL) {
        int failed = db_get(db, err, total, "SELECT suppressions FROM meta");
        if (failed)
            return failed < 0 ? failed : error_set(err, -EIO, "%s: has no totals", db->path);
    }
    int count = walk(db,
                     db_query(db, err, COLUMNS "WHERE email > ? ORDER BY email LIMIT ?",
                              DB_T(after != NULL ? after : ""), DB_I(MAX_OF(limit, 0))),
                     each, context, err);
    return count < 0 ? count : 0;
}
