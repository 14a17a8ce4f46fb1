/*
 * tracking.c - records opens and clicks.
 *
 * One row for each recipient, campaign and link that anybody came for, so a thousand hits of one person, or of one
 * scanner, take one row. Flags and counters move only with a person's first hit; what is counted is derived from the
 * row before the change, so a transaction that is tried again counts once.
 */
#include <errno.h>

#include "storage/event_write.h"
#include "storage/writer.h"

struct batch {
    const struct storage_hit *hits;
    size_t count;
};

/* 1 = a person's, 0 = a machine's, 2 = nothing of the kind was ever sent, or retention has made totals of it: whether
 * it would be the first is not known any more. */
static int judge(struct db *db, const struct storage_hit *hit, struct error *err)
{
    sqlite3_stmt *row =
        db_query(db, err,
                 "SELECT d.state, d.updated, c.finished > 0 AND c.sending = 0 FROM recipient r"
                 " JOIN campaign c ON c.id = ?2"
                 " LEFT JOIN delivery d ON d.recipient_id = r.id AND d.campaign_id = c.id WHERE r.id = ?1",
                 DB_I(hit->recipient_id), DB_I(hit->campaign_id));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more <= 0)
        return more < 0 ? more : 2;
    bool recorded = sqlite3_column_type(row, 0) == SQLITE_INTEGER;
    int64_t state = db_int(row, 0), updated_ms = db_int(row, 1);
    bool complete = db_int(row, 2) != 0;
    db_end(row);
    if (complete && !recorded)
        return 2;
    bool at_once = !recorded || (state == DELIVERY_DELIVERED && hit->at_ms < updated_ms + TRACKING_PERSON_MS);
    return hit->machine || at_once ? 0 : 1;
}

/* A person came for this link for the first time. */
static int count_first(struct db *db, const struct storage_hit *hit, struct error *err)
{
    if (hit->link == 0)
        return db_run(db, err, "UPDATE campaign SET opened = opened + 1 WHERE id = ?", DB_I(hit->campaign_id));
    int failed = db_run(db, err, "UPDATE campaign_link SET people = people + 1 WHERE campaign_id = ? AND number = ?",
                        DB_I(hit->campaign_id), DB_I(hit->link));
    /* The row of this hit is there by now. */
    return failed ? failed
                  : db_run(db, err,
                           "UPDATE campaign SET clicked = clicked + 1 WHERE id = ?1 AND 1 = (SELECT count(*) FROM hit"
                           " WHERE recipient_id = ?2 AND campaign_id = ?1 AND link > 0 AND first > 0)",
                           DB_I(hit->campaign_id), DB_I(hit->recipient_id));
}

static int tell(struct storage *storage, const struct storage_hit *hit, struct error *err)
{
    enum event_kind kind = hit->link == 0 ? EVENT_OPENED : EVENT_CLICKED;
    if (!event_wanted(storage, kind))
        return 0;
    if (hit->link == 0)
        return event_write_plain(storage, kind, hit->campaign_id, hit->recipient_id, hit->at_ms, "", err);
    struct db *db = &storage->db;
    sqlite3_stmt *row = db_query(db, err, "SELECT url FROM campaign_link WHERE campaign_id = ? AND number = ?",
                                 DB_I(hit->campaign_id), DB_I(hit->link));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more < 0)
        return more;
    int failed = event_write_plain(storage, kind, hit->campaign_id, hit->recipient_id, hit->at_ms,
                                   more > 0 ? db_text(row, 0) : "", err);
    if (more > 0)
        db_end(row);
    return failed;
}

static int record(struct storage *storage, const struct storage_hit *hit, struct error *err)
{
    struct db *db = &storage->db;
    int64_t first = 0;
    int person = judge(db, hit, err);
    if (person < 0 || person > 1)
        return MIN_OF(person, 0);
    if (hit->link > 0) {
        int failed = db_run(db, err,
                            "UPDATE campaign_link SET hits = hits + ?3, machines = machines + 1 - ?3"
                            " WHERE campaign_id = ?1 AND number = ?2",
                            DB_I(hit->campaign_id), DB_I(hit->link), DB_I(person));
        if (failed || db_changes(db) == 0)
            return failed;
    }
    int missing =
        db_get(db, err, &first, "SELECT first FROM hit WHERE recipient_id = ? AND campaign_id = ? AND link = ?",
               DB_I(hit->recipient_id), DB_I(hit->campaign_id), DB_I(hit->link));
    if (missing < 0)
        return missing;
    int64_t first_now = first == 0 && person ? hit->at_ms : first;
    int failed = db_run(db, err,
                        "INSERT INTO hit VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1 - ?6) ON CONFLICT DO UPDATE SET first = ?4,"
                        " last = max(last, ?5), people = people + ?6, machines = machines + 1 - ?6",
                        DB_I(hit->recipient_id), DB_I(hit->campaign_id), DB_I(hit->link), DB_I(first_now),
                        DB_I(hit->at_ms), DB_I(person));
    if (!failed && first == 0 && person)
        failed = count_first(db, hit, err);
    return failed || !person ? failed : tell(storage, hit, err);
}

static int record_run(struct storage *storage, void *arg, struct error *err)
{
    const struct batch *batch = arg;
    for (size_t i = 0; i < batch->count; i++) {
        int failed = record(storage, &batch->hits[i], err);
        if (failed)
            return failed;
    }
    return 0;
}

int storage_hits_record(struct storage *storage, const struct storage_hit *hits, size_t count, struct error *err)
{
    assure(count <= TRACKING_HITS_MAX);
    struct batch batch = {hits, count};
    return count == 0 ? 0 : storage_call(storage, record_run, &batch, err);
}
