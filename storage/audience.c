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
    list->given = false;
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

#define SUPPRESSED "(SELECT s.reason FROM suppression s WHERE s.email = r.email AND (s.expires = 0 OR s.expires > ?4)"
#define MESSAGE_LANE " WHERE m.campaign_id = ?1 AND m.lane = ?2 AND m.id > ?3 ORDER BY m.id"
#define MEMBER_LANE " WHERE m.list_id = ?1 AND m.lane = ?2 AND m.recipient_id > ?3 ORDER BY m.recipient_id"

/* The columns of a person, or the first four of them; a message counts as an active member since ever. */
static const char member_ids[] = "SELECT m.recipient_id, m.status, m.epoch, m.since FROM member m" MEMBER_LANE;
static const char member_people[] =
    "SELECT m.recipient_id, m.status, m.epoch, m.since, r.email, r.attributes, " SUPPRESSED "), NULL, NULL, NULL"
    " FROM member m LEFT JOIN recipient r ON r.id = m.recipient_id" MEMBER_LANE;
static const char message_ids[] = "SELECT m.id, 0, 0, 0 FROM message m INDEXED BY message_lane" MESSAGE_LANE;
static const char message_people[] =
    "SELECT m.id, 0, 0, 0, r.email, " MESSAGE_ATTRIBUTES ", " SUPPRESSED
    " AND NOT (m.transactional AND s.reason = 'unsubscribe')), m.transactional, m.content_id, m.expires"
    " FROM message m INDEXED BY message_lane LEFT JOIN recipient r ON r.id = m.recipient_id" MESSAGE_LANE;
_Static_assert(MEMBER_ACTIVE == 0, "what stands for the status of a message");

/* `of`: the list, or the stream's campaign. */
static int open_list(struct audience *audience, struct audience_list *list, bool stream, int64_t of,
                     const struct audience_span *span, struct error *err)
{
    list->statement = span->depth == AUDIENCE_PEOPLE
                          ? db_query(audience->db, err, stream ? message_people : member_people, DB_I(of),
                                     DB_I(span->lane), DB_I(span->after), DB_I(span->now_ms))
                          : db_query(audience->db, err, stream ? message_ids : member_ids, DB_I(of), DB_I(span->lane),
                                     DB_I(span->after));
    return list->statement == NULL ? -EIO : advance(audience, list, err);
}

static int open_lists(struct audience *audience, const struct audience_span *span, struct error *err)
{
    int64_t ids[CAMPAIGN_LISTS_MAX] = {0}, stream;
    int missing = db_get(audience->db, err, &stream, "SELECT 1 FROM message_stream WHERE campaign_id = ?",
                         DB_I(span->campaign_id));
    if (missing < 0)
        return missing;
    int failed = 0;
    if (missing == 0)
        ids[audience->list_count++] = span->campaign_id;
    else
        failed = read_lists(audience, span->campaign_id, ids, err);
    for (int i = 0; !failed && i < audience->list_count; i++)
        failed = open_list(audience, &audience->lists[i], missing == 0, ids[i], span, err);
    return failed;
}

int audience_open(struct audience *audience, struct db *db, const struct audience_span *span, struct error *err)
{
    *audience = (struct audience){.db = db, .campaign_id = span->campaign_id, .epoch = span->epoch, .lane = span->lane};
    int failed = open_lists(audience, span, err);
    if (!failed)
        failed = read_split(audience, err);
    if (!failed)
        failed = segment_load(db, span->campaign_id, &audience->segment, err);
    if (failed)
        audience_close(audience);
    return failed;
}

void audience_close(struct audience *audience)
{
    for (int i = 0; i < audience->list_count; i++) {
        if (audience->lists[i].statement != NULL)
            db_end(audience->lists[i].statement);
        audience->lists[i].statement = NULL;
    }
    segment_free(audience->segment);
    audience->segment = NULL;
}

/* Those whose row was given out stand on the next one after this, or are at their end. */
static int move_on(struct audience *audience, struct error *err)
{
    for (int i = 0; i < audience->list_count; i++) {
        struct audience_list *list = &audience->lists[i];
        int failed = list->statement != NULL && list->given ? advance(audience, list, err) : 0;
        if (failed)
            return failed;
    }
    return 0;
}

int audience_ended(struct audience *audience, struct error *err)
{
    int failed = move_on(audience, err);
    if (failed)
        return failed;
    for (int i = 0; i < audience->list_count; i++) {
        if (audience->lists[i].statement != NULL)
            return 0;
    }
    return 1;
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
    int failed = move_on(audience, err);
    if (failed)
        return failed;
    for (int i = 0; i < audience->list_count; i++) {
        const struct audience_list *list = &audience->lists[i];
        if (list->statement != NULL && (!found || list->recipient_id < out->recipient_id)) {
            out->recipient_id = list->recipient_id;
            out->person = list->statement;
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
        list->given = true;
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
