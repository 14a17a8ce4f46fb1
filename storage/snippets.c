/*
 * snippets.c - the table `snippet`. Few and small rows, so its bounds are counted anew with each change.
 */
#include <errno.h>
#include <string.h>

#include "storage/writer.h"

#define NAME_MAX_BYTES 128

struct set {
    const char *name, *text;
    int64_t now_ms;
    bool created;
};

static int set_run(struct storage *storage, void *arg, struct error *err)
{
    struct set *set = arg;
    struct db *db = &storage->db;
    int64_t rows, bytes, present;
    int failed =
        db_run(db, err, "INSERT INTO snippet VALUES (?1, ?2, ?3, ?3) ON CONFLICT DO UPDATE SET text = ?2, updated = ?3",
               DB_T(set->name), DB_T(set->text), DB_I(set->now_ms));
    if (!failed)
        failed = db_get(db, err, &present, "SELECT created = updated FROM snippet WHERE name = ?", DB_T(set->name));
    if (!failed)
        failed = db_get(db, err, &rows, "SELECT count(*) FROM snippet");
    if (!failed)
        failed = db_get(db, err, &bytes, "SELECT sum(length(CAST(text AS BLOB))) FROM snippet");
    if (failed)
        return failed > 0 ? error_set(err, -EIO, "%s: the snippet is not there", db->path) : failed;
    set->created = present != 0;
    if (rows > SNIPPETS_MAX || bytes > SNIPPETS_MAX_BYTES)
        return error_set(err, -E2BIG, "there may be %d snippets with %lld bytes together", SNIPPETS_MAX,
                         (long long)SNIPPETS_MAX_BYTES);
    return 0;
}

int storage_snippet_set(struct storage *storage, const char *name, const char *text, int64_t now_ms, bool *created,
                        struct error *err)
{
    if (strnlen(name, NAME_MAX_BYTES + 1) > NAME_MAX_BYTES)
        return error_set(err, -EINVAL, "a snippet's name has at most %d bytes", NAME_MAX_BYTES);
    struct set set = {.name = name, .text = text, .now_ms = now_ms};
    int failed = storage_call(storage, set_run, &set, err);
    if (created != NULL)
        *created = !failed && set.created;
    return failed;
}

static int delete_run(struct storage *storage, void *arg, struct error *err)
{
    int failed = db_run(&storage->db, err, "DELETE FROM snippet WHERE name = ?", DB_T((const char *)arg));
    return failed ? failed : db_changes(&storage->db) == 1 ? 0 : STORAGE_NOT_FOUND;
}

int storage_snippet_delete(struct storage *storage, const char *name, struct error *err)
{
    return storage_call(storage, delete_run, (void *)(uintptr_t)name, err);
}

static int walk(struct db *db, sqlite3_stmt *rows, storage_snippet_cb *each, void *context, struct error *err)
{
    if (rows == NULL)
        return -EIO;
    int count = 0, more;
    while ((more = db_step(db, rows, err)) > 0) {
        const struct storage_snippet snippet = {.name = db_text(rows, 0),
                                                .text = db_text(rows, 1),
                                                .created_ms = db_int(rows, 2),
                                                .updated_ms = db_int(rows, 3)};
        count++;
        if (each(context, &snippet) != 0) {
            db_end(rows);
            return count;
        }
    }
    return more < 0 ? more : count;
}

int storage_snippet_get(struct storage_reader *reader, const char *name, storage_snippet_cb *each, void *context,
                        struct error *err)
{
    struct db *db = &reader->db;
    sqlite3_stmt *row =
        db_query(db, err, "SELECT name, text, created, updated FROM snippet WHERE name = ?", DB_T(name));
    int count = walk(db, row, each, context, err);
    return count < 0 ? count : count == 0 ? STORAGE_NOT_FOUND : 0;
}

int storage_snippet_page(struct storage_reader *reader, const char *after, int limit, storage_snippet_cb *each,
                         void *context, int64_t *total, struct error *err)
{
    struct db *db = &reader->db;
    if (total != NULL) {
        int failed = db_get(db, err, total, "SELECT count(*) FROM snippet");
        if (failed)
            return failed;
    }
    sqlite3_stmt *rows =
        db_query(db, err, "SELECT name, text, created, updated FROM snippet WHERE name > ? ORDER BY name LIMIT ?",
                 DB_T(after), DB_I(limit > 0 ? limit : SNIPPETS_MAX));
    int count = walk(db, rows, each, context, err);
    return count < 0 ? count : 0;
}
