/*
 * campaigns_read.c - campaigns, their counters and the minute totals, as people read them.
 *
 * `pending` is what the audience has more than the stored states have together; a campaign that is being finished or
 * repaired can be a few short for a moment, so it is never below zero.
 */
#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "storage/writer.h"

static const char *const status_names[CAMPAIGN_STATUS_COUNT] = {"draft",  "scheduled", "running",
                                                                "paused", "finished",  "cancelled"};
static const char *const state_names[DELIVERY_STATE_COUNT] = {
    "pending", "sending", "delivered", "deferred", "bounced", "failed", "suppressed", "cancelled", "uncertain"};

const char *campaign_status_name(enum campaign_status status)
{
    return (unsigned)status < CAMPAIGN_STATUS_COUNT ? status_names[status] : "unknown";
}

const char *delivery_state_name(enum delivery_state state)
{
    return (unsigned)state < DELIVERY_STATE_COUNT ? state_names[state] : "unknown";
}

int delivery_state_parse(const char *name, enum delivery_state *out)
{
    for (unsigned i = 0; i < DELIVERY_STATE_COUNT; i++) {
        if (strcmp(name, state_names[i]) == 0) {
            *out = (enum delivery_state)i;
            return 0;
        }
    }
    return -EINVAL;
}

/* In the order of fill_campaign(). The states follow enum delivery_state from SENDING on. */
#define CAMPAIGN_COLUMNS                                                                                               \
    "SELECT c.id, c.name, s.spec, c.status, c.created, c.scheduled, c.launched, c.finished, c.expires_after,"          \
    " c.audience, c.opened, c.clicked, c.unsubscribed, c.complained, c.missing_attributes, c.first_delivery,"          \
    " c.last_delivery, c.sending, c.delivered, c.deferred, c.bounced, c.failed, c.suppressed, c.cancelled,"            \
    " c.uncertain, c.audience_exact, c.hard_bounced, c.pause_reason, EXISTS (SELECT 1 FROM message_stream t WHERE "    \
    "t.campaign_id = c.id) FROM campaign c LEFT JOIN campaign_spec s ON s.campaign_id = c.id "
enum { COLUMN_SENDING = 17, COLUMN_EXACT = COLUMN_SENDING + DELIVERY_STATE_COUNT - DELIVERY_SENDING };

static int fill_lists(struct db *db, struct storage_campaign *campaign, struct error *err)
{
    sqlite3_stmt *rows = db_query(db, err,
                                  "SELECT excluded, list_id FROM campaign_list WHERE campaign_id = ?"
                                  " ORDER BY excluded, list_id",
                                  DB_I(campaign->id));
    if (rows == NULL)
        return -EIO;
    int more;
    while ((more = db_step(db, rows, err)) > 0) {
        bool excluded = db_int(rows, 0) != 0;
        int64_t *ids = excluded ? campaign->excluded : campaign->lists;
        int *count = excluded ? &campaign->excluded_count : &campaign->list_count;
        if (*count < CAMPAIGN_LISTS_MAX)
            ids[(*count)++] = db_int(rows, 1);
    }
    return more;
}

/* Returns the audience: what has a state is in it, also where a segment has let in more since it was counted. */
static int64_t derive_pending(int64_t audience, int64_t states[DELIVERY_STATE_COUNT])
{
    int64_t known = 0;
    for (int i = DELIVERY_SENDING; i < DELIVERY_STATE_COUNT; i++)
        known += states[i];
    states[DELIVERY_PENDING] = MAX_OF(audience - known, 0);
    return MAX_OF(audience, known);
}

static int fill_campaign(struct db *db, sqlite3_stmt *row, struct storage_campaign *out, struct error *err)
{
    *out = (struct storage_campaign){
        .id = db_int(row, 0),
        .name = db_text(row, 1),
        .spec = db_text(row, 2),
        .created_ms = db_int(row, 4),
        .scheduled_ms = db_int(row, 5),
        .launched_ms = db_int(row, 6),
        .finished_ms = db_int(row, 7),
        .expires_after_ms = db_count(row, 8),
        .audience = db_count(row, 9),
        .opened = db_count(row, 10),
        .clicked = db_count(row, 11),
        .unsubscribed = db_count(row, 12),
        .complained = db_count(row, 13),
        .missing_attributes = db_count(row, 14),
        .first_delivery_ms = db_int(row, 15),
        .last_delivery_ms = db_int(row, 16),
        .audience_exact = db_int(row, COLUMN_EXACT) != 0,
        .hard_bounced = db_count(row, COLUMN_EXACT + 1),
        .pause_reason = db_text(row, COLUMN_EXACT + 2),
        .messages = db_int(row, COLUMN_EXACT + 3) != 0,
    };
    int64_t status = db_int(row, 3);
    if (status < 0 || status >= CAMPAIGN_STATUS_COUNT)
        return error_set(err, -EIO, "%s: campaign %lld has the unknown status %lld", db->path, (long long)out->id,
                         (long long)status);
    out->status = (enum campaign_status)status;
    for (int i = DELIVERY_SENDING; i < DELIVERY_STATE_COUNT; i++)
        out->states[i] = db_count(row, COLUMN_SENDING + i - DELIVERY_SENDING);
    out->audience = derive_pending(out->audience, out->states);
    return fill_lists(db, out, err);
}

/* Hands every row to `each`: how many there were, or negative. */
static int walk(struct db *db, sqlite3_stmt *rows, storage_campaign_cb *each, void *context, struct error *err)
{
    if (rows == NULL)
        return -EIO;
    int count = 0, more;
    while ((more = db_step(db, rows, err)) > 0) {
        struct storage_campaign campaign;
        int failed = fill_campaign(db, rows, &campaign, err);
        bool stop = failed || each(context, &campaign) != 0;
        count++;
        if (stop) {
            db_end(rows);
            return failed ? failed : count;
        }
    }
    return more < 0 ? more : count;
}

int storage_campaign_get(struct storage_reader *reader, int64_t id, storage_campaign_cb *each, void *context,
                         struct error *err)
{
    int count =
        walk(&reader->db, db_query(&reader->db, err, CAMPAIGN_COLUMNS "WHERE c.id = ?", DB_I(id)), each, context, err);
    return count < 0 ? count : count == 0 ? STORAGE_NOT_FOUND : 0;
}

int storage_campaign_name(struct storage_reader *reader, int64_t id, char **name, struct error *err)
{
    *name = NULL;
    sqlite3_stmt *row = db_query(&reader->db, err, "SELECT name FROM campaign WHERE id = ?", DB_I(id));
    int more = row == NULL ? -EIO : db_step(&reader->db, row, err);
    if (more <= 0)
        return more < 0 ? more : STORAGE_NOT_FOUND;
    *name = str_dup(db_text(row, 0));
    db_end(row);
    return *name != NULL ? 0 : error_memory(err);
}

int storage_campaign_page(struct storage_reader *reader, int64_t before, int limit, unsigned statuses,
                          storage_campaign_cb *each, void *context, int64_t *total, struct error *err)
{
    struct db *db = &reader->db;
    int64_t wanted = statuses == 0 ? (1 << CAMPAIGN_STATUS_COUNT) - 1 : (int64_t)statuses;
    if (total != NULL) {
        int failed = db_get(db, err, total, "SELECT count(*) FROM campaign WHERE ?1 >> status & 1", DB_I(wanted));
        if (failed)
            return failed;
    }
    int count =
        walk(db,
             db_query(db, err, CAMPAIGN_COLUMNS "WHERE c.id < ?1 AND ?2 >> c.status & 1 ORDER BY c.id DESC LIMIT ?3",
                      DB_I(before == 0 ? INT64_MAX : before), DB_I(wanted), DB_I(MAX_OF(limit, 0))),
             each, context, err);
    return count < 0 ? count : 0;
}

int storage_campaign_lanes(struct storage_reader *reader, int64_t campaign_id, storage_lane_cb *each, void *context,
                           struct error *err)
{
    struct db *db = &reader->db;
    int64_t launched;
    int missing = db_get(db, err, &launched, "SELECT launched FROM campaign WHERE id = ?", DB_I(campaign_id));
    if (missing)
        return missing;
    /* Before the launch: the lanes as they would be. */
    sqlite3_stmt *rows =
        launched != 0
            ? db_query(db, err,
                       "SELECT c.lane, c.done, d.name, (SELECT sum(n.n) FROM campaign_list l JOIN list_lane n"
                       " ON n.list_id = l.list_id AND n.lane = c.lane WHERE l.campaign_id = c.campaign_id"
                       " AND l.excluded = 0) FROM campaign_lane c LEFT JOIN domain d ON d.id = c.lane - 16"
                       " WHERE c.campaign_id = ? ORDER BY c.lane",
                       DB_I(campaign_id))
            : db_query(db, err,
                       "SELECT n.lane, 0, d.name, sum(n.n) FROM campaign_list l JOIN list_lane n"
                       " ON n.list_id = l.list_id LEFT JOIN domain d ON d.id = n.lane - 16"
                       " WHERE l.campaign_id = ? AND l.excluded = 0 AND n.n > 0 GROUP BY n.lane ORDER BY n.lane",
                       DB_I(campaign_id));
    if (rows == NULL)
        return -EIO;
    int more;
    while ((more = db_step(db, rows, err)) > 0) {
        bool own = sqlite3_column_type(rows, 2) == SQLITE_TEXT;
        struct storage_lane lane = {.campaign_id = campaign_id,
                                    .lane = db_int(rows, 0),
                                    .done = db_int(rows, 1) != 0,
                                    .domain = own ? db_text(rows, 2) : NULL,
                                    .member_count = db_count(rows, 3)};
        if (each(context, &lane) != 0) {
            db_end(rows);
            return 0;
        }
    }
    return more;
}

int storage_timeseries(struct storage_reader *reader, int64_t campaign_id, int64_t from_ms, int64_t to_ms,
                       storage_minute_cb *each, void *context, struct error *err)
{
    struct db *db = &reader->db;
    sqlite3_stmt *rows = db_query(db, err,
                                  "SELECT minute, delivered, deferred, bounced, failed FROM tally"
                                  " WHERE campaign_id = ? AND minute >= ? AND minute < ? ORDER BY minute",
                                  DB_I(campaign_id), DB_I(from_ms), DB_I(to_ms));
    if (rows == NULL)
        return -EIO;
    int more;
    while ((more = db_step(db, rows, err)) > 0) {
        struct storage_minute minute = {.minute_ms = db_int(rows, 0),
                                        .delivered = db_count(rows, 1),
                                        .deferred = db_count(rows, 2),
                                        .bounced = db_count(rows, 3),
                                        .failed = db_count(rows, 4)};
        if (each(context, &minute) != 0) {
            db_end(rows);
            return 0;
        }
    }
    return more;
}

static int sum_states(struct db *db, int64_t states[DELIVERY_STATE_COUNT], struct error *err)
{
    sqlite3_stmt *row = db_query(db, err,
                                 "SELECT sum(max(0, audience - (sending + delivered + deferred + bounced + failed"
                                 " + suppressed + cancelled + uncertain))) FILTER (WHERE status IN (2, 3)),"
                                 " sum(sending), sum(delivered), sum(deferred), sum(bounced), sum(failed),"
                                 " sum(suppressed), sum(cancelled), sum(uncertain) FROM campaign");
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more < 0)
        return more;
    for (int i = 0; i < DELIVERY_STATE_COUNT; i++)
        states[i] = more > 0 ? db_count(row, i) : 0;
    db_end(row);
    return 0;
}

int storage_totals(struct storage_reader *reader, int64_t states[DELIVERY_STATE_COUNT], int64_t *recipients,
                   int64_t *lists, int64_t *suppressions, struct error *err)
{
    struct db *db = &reader->db;
    int failed = sum_states(db, states, err);
    if (!failed)
        failed = db_get(db, err, recipients, "SELECT recipients FROM meta");
    if (!failed)
        failed = db_get(db, err, lists, "SELECT count(*) FROM list");
    if (!failed)
        failed = db_get(db, err, suppressions, "SELECT suppressions FROM meta");
    return failed > 0 ? error_set(err, -EIO, "%s: has no totals", db->path) : failed;
}
