/*
 * shaping.c - the table `shaping`.
 */
#include "storage/shaping.h"

#include <errno.h>

#include "storage/writer.h"

struct put {
    const struct storage_shape *shapes;
    size_t count;
    int64_t now_ms;
};

static int put_run(struct storage *storage, void *arg, struct error *err)
{
    const struct put *put = arg;
    int failed = 0;
    for (size_t i = 0; i < put->count && !failed; i++) {
        const struct storage_shape *shape = &put->shapes[i];
        if (shape->value[0] == '\0')
            failed = db_run(&storage->db, err, "DELETE FROM shaping WHERE key = ?", DB_T(shape->key));
        else
            failed = db_run(&storage->db, err, "INSERT OR REPLACE INTO shaping VALUES (?, ?, ?)", DB_T(shape->key),
                            DB_T(shape->value), DB_I(put->now_ms));
    }
    return failed;
}

int storage_shaping_put(struct storage *storage, const struct storage_shape *shapes, size_t count, int64_t now_ms,
                        struct error *err)
{
    struct put put = {.shapes = shapes, .count = count, .now_ms = now_ms};
    return storage_call(storage, put_run, &put, err);
}

int storage_shaping_all(struct storage_reader *reader, int64_t since_ms, storage_shape_cb *each, void *context,
                        struct error *err)
{
    sqlite3_stmt *row =
        db_query(&reader->db, err, "SELECT key, value FROM shaping WHERE changed >= ? ORDER BY key", DB_I(since_ms));
    int more = row == NULL ? -EIO : 0;
    while (row != NULL && (more = db_step(&reader->db, row, err)) == 1) {
        const struct storage_shape shape = {.key = db_text(row, 0), .value = db_text(row, 1)};
        int stop = each(context, &shape);
        if (stop != 0) {
            db_end(row);
            return stop;
        }
    }
    return more;
}

static int expire_run(struct storage *storage, void *arg, struct error *err)
{
    const int64_t *before_ms = arg;
    return db_run(&storage->db, err, "DELETE FROM shaping WHERE changed < ?", DB_I(*before_ms));
}

int storage_shaping_expire(struct storage *storage, int64_t before_ms, struct error *err)
{
    return storage_call(storage, expire_run, &before_ms, err);
}
