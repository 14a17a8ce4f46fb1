/*
 * frozen.c - what a launch freezes of a campaign's content. A draft that was tested has it too, and gets it anew with
 * each test and with the launch; from then on it never changes, so whoever has read it may keep it.
 */
#include <errno.h>

#include "storage/writer.h"

struct freeze {
    int64_t campaign_id;
    const struct storage_frozen *frozen;
};

static int freeze_run(struct storage *storage, void *arg, struct error *err)
{
    const struct freeze *freeze = arg;
    const struct storage_frozen *frozen = freeze->frozen;
    struct db *db = &storage->db;
    int64_t status;
    int failed = db_get(db, err, &status, "SELECT status FROM campaign WHERE id = ?", DB_I(freeze->campaign_id));
    if (failed)
        return failed;
    if (status != CAMPAIGN_DRAFT)
        return STORAGE_WRONG_STATE;
    failed = db_run(db, err, "INSERT OR REPLACE INTO campaign_frozen SELECT ?, ?, ifnull(max(id), 0) FROM link_key",
                    DB_I(freeze->campaign_id), DB_T(frozen->partials));
    if (!failed)
        failed = db_run(db, err, "DELETE FROM campaign_link WHERE campaign_id = ?", DB_I(freeze->campaign_id));
    for (size_t i = 0; i < frozen->url_count && !failed; i++)
        failed = db_run(db, err, "INSERT INTO campaign_link (campaign_id, number, url) VALUES (?, ?, ?)",
                        DB_I(freeze->campaign_id), DB_I((int64_t)i + 1), DB_T(frozen->urls[i]));
    return failed;
}

int storage_campaign_freeze(struct storage *storage, int64_t campaign_id, const struct storage_frozen *frozen,
                            struct error *err)
{
    if (frozen->url_count > TRACKING_LINKS_MAX)
        return error_set(err, -EINVAL, "a campaign has at most %d links", TRACKING_LINKS_MAX);
    struct freeze freeze = {campaign_id, frozen};
    return storage_call(storage, freeze_run, &freeze, err);
}

int storage_frozen_get(struct storage_reader *reader, int64_t campaign_id, storage_frozen_cb *each, void *context,
                       struct error *err)
{
    struct db *db = &reader->db;
    sqlite3_stmt *row =
        db_query(db, err, "SELECT partials, token_key FROM campaign_frozen WHERE campaign_id = ?", DB_I(campaign_id));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more <= 0)
        return more < 0 ? more : STORAGE_NOT_FOUND;
    const struct storage_frozen frozen = {.partials = db_text(row, 0), .token_key = db_int(row, 1)};
    (void)each(context, &frozen);
    db_end(row);
    return 0;
}

int storage_link_page(struct storage_reader *reader, int64_t campaign_id, int after, int limit, storage_link_cb *each,
                      void *context, int64_t *total, struct error *err)
{
    struct db *db = &reader->db;
    if (total != NULL) {
        int failed =
            db_get(db, err, total, "SELECT count(*) FROM campaign_link WHERE campaign_id = ?", DB_I(campaign_id));
        if (failed)
            return failed;
    }
    sqlite3_stmt *rows = db_query(db, err,
                                  "SELECT number, url, people, hits, machines FROM campaign_link"
                                  " WHERE campaign_id = ? AND number > ? ORDER BY number LIMIT ?",
                                  DB_I(campaign_id), DB_I(after), DB_I(MAX_OF(limit, 0)));
    if (rows == NULL)
        return -EIO;
    int more;
    while ((more = db_step(db, rows, err)) > 0) {
        const struct storage_link link = {.number = (int)db_int(rows, 0),
                                          .url = db_text(rows, 1),
                                          .people = db_count(rows, 2),
                                          .hits = db_count(rows, 3),
                                          .machines = db_count(rows, 4)};
        if (each(context, &link) != 0) {
            db_end(rows);
            return 0;
        }
    }
    return more;
}
