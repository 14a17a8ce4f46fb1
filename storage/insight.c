/*
 * insight.c - what servers said lately, and what waits until when. Both walk an index and no table: the first from its
 * end, the second between two times of each running campaign.
 */
#include <errno.h>

#include "storage/writer.h"

#define REPLIES_MAX 5000

int storage_replies(struct storage_reader *reader, int64_t campaign_id, enum delivery_state state, int limit,
                    storage_reply_cb *each, void *context, struct error *err)
{
    struct db *db = &reader->db;
    assure(state != DELIVERY_DELIVERED);
    sqlite3_stmt *rows =
        db_query(db, err,
                 "SELECT r.email, d.enhanced, d.reply, d.mx_host, d.code, d.updated FROM delivery d INDEXED BY"
                 " delivery_state LEFT JOIN recipient r ON r.id = " RECIPIENT_OF(
                     "d.recipient_id") " WHERE d.campaign_id = ?1"
                                       " AND d.state = ?2 AND d.state <> 2 ORDER BY d.id DESC LIMIT ?3",
                 DB_I(campaign_id), DB_I(state), DB_I(MAX_OF(MIN_OF(limit, REPLIES_MAX), 0)));
    if (rows == NULL)
        return -EIO;
    int more;
    while ((more = db_step(db, rows, err)) > 0) {
        struct storage_reply reply = {.email = db_text(rows, 0),
                                      .enhanced = db_text(rows, 1),
                                      .reply = db_text(rows, 2),
                                      .mx_host = db_text(rows, 3),
                                      .code = (int)MIN_OF(db_count(rows, 4), 999),
                                      .at_ms = db_int(rows, 5)};
        if (each(context, &reply) != 0) {
            db_end(rows);
            return 0;
        }
    }
    return more;
}

static int count_between(struct db *db, int64_t from_ms, int64_t before_ms, int64_t *count, struct error *err)
{
    int failed = db_get(db, err, count,
                        "SELECT coalesce(sum((SELECT count(*) FROM delivery d INDEXED BY delivery_due"
                        " WHERE d.campaign_id = c.id AND d.state = 3 AND d.next_attempt >= ?1"
                        " AND d.next_attempt < ?2)), 0) FROM campaign c WHERE c.deferred > 0 AND c.status IN (2, 3)",
                        DB_I(from_ms), DB_I(before_ms));
    return failed < 0 ? failed : 0;
}

int storage_waiting(struct storage_reader *reader, const int64_t *before_ms, size_t times, int64_t *counts,
                    struct error *err)
{
    int64_t from_ms = INT64_MIN;
    for (size_t i = 0; i <= times; i++) {
        int64_t to_ms = i < times ? before_ms[i] : INT64_MAX;
        int failed = count_between(&reader->db, from_ms, to_ms, &counts[i], err);
        if (failed)
            return failed;
        from_ms = to_ms;
    }
    return 0;
}
