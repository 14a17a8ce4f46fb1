/*
 * feedback.c - applies what reports say.
 *
 * Only a delivery that is `delivered` can still become `bounced`: one that waits for its next attempt, or has ended
 * otherwise, keeps its state, whatever a report says, for its own attempts decide. What a report proves of the address
 * (it is dead, its owner complains) holds for every state, so a suppression is made all the same, also when retention
 * has removed the delivery: reports are taken for longer than deliveries may be kept. What the server said when it took
 * the mail moves to the attempts, as with every later outcome.
 */
#include <errno.h>
#include <string.h>

#include "storage/suppress.h"

#define ITEMS_MAX 1000
#define MINUTE_MS 60000

struct batch {
    struct storage_feedback *items;
    size_t count;
};

static int to_bounced(struct storage *storage, struct storage_feedback *item, int64_t delivery_id, struct error *err)
{
    struct db *db = &storage->db;
    int failed =
        db_run(db, err,
               "INSERT INTO attempt (delivery_id, state, uncertain, attempts, next_attempt, updated, code, stage, tls,"
               " duration, enhanced, reply, mx_host, source, path_id, times) SELECT id, state, uncertain, attempts,"
               " next_attempt, updated, code, stage, tls, duration, enhanced, reply, mx_host, source, path_id, times"
               " FROM delivery WHERE id = ? AND stage IS NOT NULL",
               DB_I(delivery_id));
    if (!failed)
        failed = db_run(db, err,
                        "UPDATE delivery SET state = ?2, updated = ?3, code = ?4, enhanced = ?5, reply = ?6,"
                        " mx_host = iif(?7 = '', mx_host, ?7), tls = 0, duration = 0, path_id = NULL,"
                        " times = NULL WHERE id = ?1",
                        DB_I(delivery_id), DB_I(DELIVERY_BOUNCED), DB_I(item->at_ms), DB_I(item->code),
                        DB_T(item->enhanced), DB_T(item->text), DB_T(item->mx_host));
    if (!failed)
        failed = db_run(db, err, "UPDATE campaign SET delivered = delivered - 1, bounced = bounced + 1 WHERE id = ?",
                        DB_I(item->campaign_id));
    const int64_t campaigns[] = {item->campaign_id, 0};
    for (size_t i = 0; i < countof(campaigns) && !failed; i++)
        failed = db_run(db, err,
                        "INSERT INTO tally VALUES (?, ?, 0, 0, 1, 0) ON CONFLICT DO UPDATE SET bounced = bounced + 1",
                        DB_I(campaigns[i]), DB_I(item->at_ms - item->at_ms % MINUTE_MS));
    item->bounced = item->changed = !failed;
    if (failed)
        return failed;
    return event_write(storage,
                       &(struct storage_event){.kind = EVENT_BOUNCED,
                                               .campaign_id = item->campaign_id,
                                               .recipient_id = item->recipient_id,
                                               .at_ms = item->at_ms,
                                               .code = item->code,
                                               .enhanced = item->enhanced,
                                               .mx_host = item->mx_host,
                                               .detail = item->text},
                       err);
}

/* New entries are counted in meta. */
static int suppress(struct db *db, struct storage_feedback *item, const char *reason, struct error *err)
{
    if (item->keep_address)
        return 0;
    int rc = suppress_recipient(db, item->recipient_id, reason, item->origin, item->at_ms, err);
    if (rc <= 0)
        return rc;
    item->suppressed = true;
    return db_run(db, err, "UPDATE meta SET suppressions = suppressions + 1");
}

static int count_soft(struct db *db, struct storage_feedback *item, struct error *err)
{
    const struct suppress_soft soft = {.campaign_id = item->campaign_id,
                                       .recipient_id = item->recipient_id,
                                       .at_ms = item->at_ms,
                                       .window_ms = item->soft_window_ms,
                                       .limit = item->soft_limit,
                                       .origin = item->origin};
    int rc = suppress_soft(db, &soft, &item->suppressed, err);
    if (rc <= 0)
        return rc;
    item->changed = true;
    return item->suppressed ? db_run(db, err, "UPDATE meta SET suppressions = suppressions + 1") : 0;
}

/* Each of these holds once for a pair, so that a suppression that a person took back is not made anew by the same
 * report. */
static int note_hard(struct db *db, struct storage_feedback *item, struct error *err)
{
    int failed = db_run(db, err, "INSERT INTO hard_bounce VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                        DB_I(item->campaign_id), DB_I(item->recipient_id), DB_I(item->at_ms));
    if (failed || db_changes(db) == 0)
        return failed;
    item->changed = true;
    if (item->bounced)
        failed = db_run(db, err, "UPDATE campaign SET hard_bounced = hard_bounced + 1 WHERE id = ?",
                        DB_I(item->campaign_id));
    return failed ? failed : suppress(db, item, "hard-bounce", err);
}

static int complain(struct storage *storage, struct storage_feedback *item, struct error *err)
{
    struct db *db = &storage->db;
    int failed = db_run(db, err, "INSERT INTO complaint VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                        DB_I(item->campaign_id), DB_I(item->recipient_id), DB_I(item->at_ms));
    if (failed || db_changes(db) == 0)
        return failed;
    item->changed = true;
    failed = db_run(db, err, "UPDATE campaign SET complained = complained + 1 WHERE id = ?", DB_I(item->campaign_id));
    if (!failed)
        failed = event_write_plain(storage, EVENT_COMPLAINED, item->campaign_id, item->recipient_id, item->at_ms,
                                   item->origin, err);
    return failed ? failed : suppress(db, item, "complaint", err);
}

static int apply(struct storage *storage, struct storage_feedback *item, struct error *err)
{
    struct db *db = &storage->db;
    sqlite3_stmt *row = db_query(
        db, err,
        "SELECT d.id, d.state FROM campaign c JOIN recipient r ON r.id = " RECIPIENT_OF(
            "?1") " LEFT JOIN delivery d ON d.recipient_id = ?1 AND d.campaign_id = c.id WHERE c.id = ?2",
        DB_I(item->recipient_id), DB_I(item->campaign_id));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more < 0)
        return more;
    bool recorded = more > 0 && sqlite3_column_type(row, 0) == SQLITE_INTEGER;
    int64_t delivery_id = recorded ? db_int(row, 0) : 0, state = recorded ? db_int(row, 1) : DELIVERY_FAILED;
    if (more > 0)
        db_end(row);
    item->unknown = more == 0 || (item->kind == FEEDBACK_BOUNCED && !recorded);
    if (item->unknown)
        return 0;
    int failed = 0;
    if (item->kind != FEEDBACK_COMPLAINT && state == DELIVERY_DELIVERED)
        failed = to_bounced(storage, item, delivery_id, err);
    if (failed)
        return failed;
    switch (item->kind) {
    case FEEDBACK_BOUNCED:
        return 0;
    case FEEDBACK_SOFT:
        return count_soft(db, item, err);
    case FEEDBACK_HARD:
        return note_hard(db, item, err);
    case FEEDBACK_COMPLAINT:
        return complain(storage, item, err);
    }
    return 0;
}

static int apply_run(struct storage *storage, void *arg, struct error *err)
{
    struct batch *batch = arg;
    for (size_t i = 0; i < batch->count; i++) {
        struct storage_feedback *item = &batch->items[i];
        item->unknown = item->changed = item->bounced = item->suppressed =
            false; /* a retried transaction starts anew */
        int failed = apply(storage, item, err);
        if (failed)
            return failed;
    }
    return 0;
}

int storage_feedback_apply(struct storage *storage, struct storage_feedback *items, size_t count, struct error *err)
{
    assure(count <= ITEMS_MAX);
    struct batch batch = {.items = items, .count = count};
    return count == 0 ? 0 : storage_call(storage, apply_run, &batch, err);
}
