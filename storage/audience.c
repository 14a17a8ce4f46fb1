/*
 * audience.c - a k-way merge over member(list_id, lane, recipient_id).
 *
 * A member row knows when its present status began (`epoch`) and when its present or last active time began (`since`);
 * that is enough to tell what it was at any launch, except for one who left and came back with a launch in between
 * each: such a one counts as joined anew, so the older campaign passes it over.
 */
#include <errno.h>

#include "storage/audience.h"

static enum audience_verdict judge(int64_t status, int64_t epoch, int64_t since, int64_t launch_epoch)
{
    if (since > launch_epoch)
        return AUDIENCE_OUTSIDE;
    if (status == MEMBER_ACTIVE)
        return AUDIENCE_MAIL;
    return epoch > launch_epoch ? AUDIENCE_LEFT : AUDIENCE_OUTSIDE;
}

static int advance(struct audience *audience, struct audience_list *list, struct error *err)
{
    int more = db_step(audience->db, list->statement, err);
    if (more <= 0) {
        list->statement = NULL;
        return more;
    }
    list->recipient_id = db_int(list->statement, 0);
    list->verdict =
        judge(db_int(list->statement, 1), db_int(list->statement, 2), db_int(list->statement, 3), audience->epoch);
    return 0;
}

static int read_lists(struct audience *audience, int64_t campaign_id, int64_t ids[CAMPAIGN_LISTS_MAX],
                      struct error *err)
{
    sqlite3_stmt *rows = db_query(
        audience->db, err, "SELECT list_id, excluded FROM campaign_list WHERE campaign_id = ?", DB_I(campaign_id));
    if (rows == NULL)
        return -EIO;
    int more;
    while ((more = db_step(audience->db, rows, err)) > 0) {
        if (db_int(rows, 1) != 0 && audience->excluded_count < CAMPAIGN_LISTS_MAX)
            audience->excluded[audience->excluded_count++] = db_int(rows, 0);
        else if (db_int(rows, 1) == 0 && audience->list_count < CAMPAIGN_LISTS_MAX)
            ids[audience->list_count++] = db_int(rows, 0);
    }
    return more;
}

static int read_split(struct audience *audience, struct error *err)
{
    sqlite3_stmt *row = db_query(audience->db, err, "SELECT share, rest FROM campaign_split WHERE campaign_id = ?",
                                 DB_I(audience->campaign_id));
    int more = row == NULL ? -EIO : db_step(audience->db, row, err);
    if (more <= 0)
        return more;
    audience->split_share = (int)MIN_OF(db_count(row, 0), SPLIT_SLOTS);
    audience->split_rest = db_int(row, 1) != 0;
    db_end(row);
    return 0;
}

static int advance_messages(struct audience *audience, struct error *err)
{
    int more = db_step(audience->db, audience->messages, err);
    if (more <= 0)
        audience->messages = NULL;
    return MIN_OF(more, 0);
}

/* A stream has no lists: its audience is the messages that were posted. */
static int open_stream(struct audience *audience, int64_t after, struct error *err)
{
    audience->messages = db_query(audience->db, err,
                                  "SELECT id FROM message INDEXED BY message_lane WHERE campaign_id = ? AND lane = ?"
                                  " AND id > ? ORDER BY id",
                                  DB_I(audience->campaign_id), DB_I(audience->lane), DB_I(after));
    return audience->messages == NULL ? -EIO : advance_messages(audience, err);
}

static int next_message(struct audience *audience, struct audience_member *out, struct error *err)
{
    if (audience->messages == NULL)
        return 0;
    *out = (struct audience_member){.recipient_id = db_int(audience->messages, 0), .verdict = AUDIENCE_MAIL};
    int failed = advance_messages(audience, err);
    return failed ? failed : 1;
}

int audience_open(struct audience *audience, struct db *db, int64_t campaign_id, int64_t epoch, int64_t lane,
                  int64_t after, struct error *err)
{
    *audience = (struct audience){.db = db, .campaign_id = campaign_id, .epoch = epoch, .lane = lane};
    int64_t ids[CAMPAIGN_LISTS_MAX] = {0}, stream;
    int missing = db_get(db, err, &stream, "SELECT 1 FROM message_stream WHERE campaign_id = ?", DB_I(campaign_id));
    if (missing < 0)
        return missing;
    audience->stream = missing == 0;
    if (audience->stream)
        return open_stream(audience, after, err);
    int failed = read_lists(audience, campaign_id, ids, err);
    for (int i = 0; !failed && i < audience->list_count; i++) {
        struct audience_list *list = &audience->lists[i];
        list->statement = db_query(db, err,
                                   "SELECT recipient_id, status, epoch, since FROM member"
                                   " WHERE list_id = ? AND lane = ? AND recipient_id > ? ORDER BY recipient_id",
                                   DB_I(ids[i]), DB_I(lane), DB_I(after));
        failed = list->statement == NULL ? -EIO : advance(audience, list, err);
    }
    if (!failed)
        failed = read_split(audience, err);
    if (!failed)
        failed = segment_load(db, campaign_id, &audience->segment, err);
    if (failed)
        audience_close(audience);
    return failed;
}

void audience_close(struct audience *audience)
{
    db_end(audience->messages);
    audience->messages = NULL;
    for (int i = 0; i < audience->list_count; i++) {
        if (audience->lists[i].statement != NULL)
            db_end(audience->lists[i].statement);
        audience->lists[i].statement = NULL;
    }
    segment_free(audience->segment);
    audience->segment = NULL;
}

bool audience_ended(const struct audience *audience)
{
    if (audience->messages != NULL)
        return false;
    for (int i = 0; i < audience->list_count; i++) {
        if (audience->lists[i].statement != NULL)
            return false;
    }
    return true;
}

/* 1 = was on an excluded list when the campaign was launched. */
static int is_excluded(struct audience *audience, int64_t recipient_id, struct error *err)
{
    for (int i = 0; i < audience->excluded_count; i++) {
        sqlite3_stmt *row = db_query(audience->db, err,
                                     "SELECT status, epoch, since FROM member"
                                     " WHERE list_id = ? AND lane = ? AND recipient_id = ?",
                                     DB_I(audience->excluded[i]), DB_I(audience->lane), DB_I(recipient_id));
        int more = row == NULL ? -EIO : db_step(audience->db, row, err);
        if (more < 0)
            return more;
        if (more == 0)
            continue;
        enum audience_verdict verdict = judge(db_int(row, 0), db_int(row, 1), db_int(row, 2), audience->epoch);
        db_end(row);
        if (verdict != AUDIENCE_OUTSIDE)
            return 1;
    }
    return 0;
}

int audience_next(struct audience *audience, struct audience_member *out, struct error *err)
{
    bool found = false;
    if (audience->stream)
        return next_message(audience, out, err);
    for (int i = 0; i < audience->list_count; i++) {
        const struct audience_list *list = &audience->lists[i];
        if (list->statement != NULL && (!found || list->recipient_id < out->recipient_id)) {
            out->recipient_id = list->recipient_id;
            found = true;
        }
    }
    if (!found)
        return 0;
    out->verdict = AUDIENCE_OUTSIDE;
    for (int i = 0; i < audience->list_count; i++) {
        struct audience_list *list = &audience->lists[i];
        if (list->statement == NULL || list->recipient_id != out->recipient_id)
            continue;
        if (list->verdict == AUDIENCE_MAIL || out->verdict == AUDIENCE_OUTSIDE)
            out->verdict = list->verdict; /* one list that still has it is enough */
        int failed = advance(audience, list, err);
        if (failed)
            return failed;
    }
    if (audience->split_share > 0 &&
        (split_slot(audience->campaign_id, out->recipient_id) < audience->split_share) == audience->split_rest)
        out->verdict = AUDIENCE_OUTSIDE;
    if (out->verdict != AUDIENCE_OUTSIDE && audience->excluded_count > 0) {
        int excluded = is_excluded(audience, out->recipient_id, err);
        if (excluded < 0)
            return excluded;
        if (excluded)
            out->verdict = AUDIENCE_OUTSIDE;
    }
    if (out->verdict != AUDIENCE_OUTSIDE && audience->segment != NULL) {
        int inside = segment_match(audience->db, audience->segment, out->recipient_id, err);
        if (inside < 0)
            return inside;
        if (!inside)
            out->verdict = AUDIENCE_OUTSIDE;
    }
    return 1;
}
