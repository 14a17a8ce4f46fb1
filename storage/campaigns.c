/*
 * campaigns.c - the life of a campaign: launched, paused, cancelled, finished. Before that it is a draft (drafts.c).
 *
 * The launch freezes the audience by taking the current epoch and raising it; nobody is copied. One row per lane is
 * made (a few hundred at the most), which also fixes the set of lanes that must be worked off before the campaign is
 * finished. Whether a campaign may be launched at all (content, key, schedule) is campaign/'s to judge.
 */
#include <errno.h>
#include <string.h>

#include "storage/audience.h"
#include "storage/guard.h"
#include "storage/writer.h"

#define LAUNCH_COUNT_MAX 2000 /* members that a launch looks at to count them at once: a few milliseconds */

/* The lanes with somebody in them, each from its beginning. */
static int make_lanes(struct db *db, int64_t id, struct error *err)
{
    return db_run(db, err,
                  "INSERT INTO campaign_lane SELECT DISTINCT ?1, n.lane, 0, 0 FROM campaign_list l"
                  " JOIN list_lane n ON n.list_id = l.list_id"
                  " WHERE l.campaign_id = ?1 AND l.excluded = 0 AND n.n > 0 ON CONFLICT DO NOTHING",
                  DB_I(id));
}

/* 1 = counted all of the lane; 0 = more members than `budget`, which is used up then. */
static int count_lane(struct db *db, int64_t id, int64_t epoch, int64_t lane, int *budget, int64_t *count,
                      struct error *err)
{
    struct audience audience;
    int failed = audience_open(
        &audience, db, &(struct audience_span){.campaign_id = id, .epoch = epoch, .lane = lane, .after = INT64_MIN},
        err);
    if (failed)
        return failed;
    audience_whole(&audience);
    struct audience_member member;
    int more = 1;
    for (; *budget > 0 && (more = audience_next(&audience, &member, err)) > 0; --*budget)
        *count += member.verdict == AUDIENCE_MAIL;
    audience_close(&audience);
    return more < 0 ? more : more == 0;
}

/* Several lists, excluded ones or a segment: walks them as the claims will, so that the count is theirs. 1 = it is
 * exact, 0 = the audience is too large to be counted while others wait. */
static int count_merged(struct db *db, int64_t id, int64_t epoch, int64_t *count, struct error *err)
{
    int64_t lane = INT64_MIN;
    int missing, budget = LAUNCH_COUNT_MAX;
    while ((missing = db_get(db, err, &lane,
                             "SELECT lane FROM campaign_lane WHERE campaign_id = ? AND lane > ? ORDER BY lane LIMIT 1",
                             DB_I(id), DB_I(lane))) == 0) {
        int whole = count_lane(db, id, epoch, lane, &budget, count, err);
        if (whole <= 0)
            return whole;
    }
    return missing < 0 ? missing : 1;
}

/* 1 = exact, 0 = an upper bound: whoever is on two lists, on an excluded one or outside the segment is counted still.
 */
static int count_audience(struct db *db, int64_t id, int64_t epoch, int64_t *count, struct error *err)
{
    int64_t lists;
    int result = db_get(db, err, &lists,
                        "SELECT (SELECT count(*) FROM campaign_list WHERE campaign_id = ?1)"
                        " + (SELECT count(*) FROM campaign_segment WHERE campaign_id = ?1)",
                        DB_I(id));
    if (result == 0 && lists > 1)
        result = count_merged(db, id, epoch, count, err);
    if (result != 0)
        return result;
    result = db_get(db, err, count,
                    "SELECT coalesce(sum(n.n), 0) FROM campaign_list l JOIN list_lane n ON n.list_id = l.list_id"
                    " WHERE l.campaign_id = ? AND l.excluded = 0",
                    DB_I(id));
    return result != 0 ? result : lists <= 1;
}

static int launch(struct db *db, int64_t id, int64_t now_ms, bool *counting, struct error *err)
{
    int64_t epoch, audience = 0;
    int failed = db_get(db, err, &epoch, "SELECT epoch FROM meta");
    if (!failed)
        failed = db_run(db, err, "UPDATE meta SET epoch = epoch + 1");
    if (!failed)
        failed = make_lanes(db, id, err);
    if (!failed) /* a segment counts back from it */
        failed = db_run(db, err, "UPDATE campaign SET launched = ?2 WHERE id = ?1", DB_I(id), DB_I(now_ms));
    if (failed)
        return failed > 0 ? error_set(err, -EIO, "%s: has no epoch", db->path) : failed;
    int exact = count_audience(db, id, epoch, &audience, err);
    if (exact < 0)
        return exact;
    *counting = exact == 0;
    return db_run(db, err,
                  "UPDATE campaign SET status = ?2, epoch = ?3, audience = ?4, audience_exact = ?5, launched = ?6"
                  " WHERE id = ?1",
                  DB_I(id), DB_I(CAMPAIGN_RUNNING), DB_I(epoch), DB_I(audience), DB_I(exact), DB_I(now_ms));
}

#define SUM_OF_STATES "(sending + delivered + deferred + bounced + failed + suppressed + cancelled + uncertain)"

/* 0, STORAGE_WRONG_STATE = not yet. */
static int finish(struct db *db, int64_t id, int64_t now_ms, struct error *err)
{
    int failed = db_run(db, err,
                        "UPDATE campaign SET status = ?2, finished = ?3, audience_exact = 1, audience = " SUM_OF_STATES
                        " WHERE id = ?1 AND status = ?4 AND sending = 0 AND deferred = 0 AND NOT EXISTS"
                        " (SELECT 1 FROM campaign_lane WHERE campaign_id = ?1 AND done = 0) AND NOT EXISTS"
                        " (SELECT 1 FROM campaign_split WHERE campaign_id = ?1 AND rest = 0)",
                        DB_I(id), DB_I(CAMPAIGN_FINISHED), DB_I(now_ms), DB_I(CAMPAIGN_RUNNING));
    if (failed)
        return failed;
    return db_changes(db) == 1 ? 0 : STORAGE_WRONG_STATE;
}

static int cancel(struct db *db, int64_t id, int64_t now_ms, struct error *err)
{
    return db_run(
        db, err,
        "UPDATE campaign SET status = ?2, finished = ?3, cancelled = cancelled + max(0, audience - " SUM_OF_STATES
        ") WHERE id = ?1",
        DB_I(id), DB_I(CAMPAIGN_CANCELLED), DB_I(now_ms));
}

struct move {
    int64_t id, scheduled_ms, now_ms;
    enum campaign_status to, was;
    bool counting; /* launched with an upper bound */
};

static bool legal(enum campaign_status from, enum campaign_status to)
{
    static const unsigned moves[CAMPAIGN_STATUS_COUNT] = {
        [CAMPAIGN_DRAFT] = 1u << CAMPAIGN_SCHEDULED | 1u << CAMPAIGN_RUNNING | 1u << CAMPAIGN_CANCELLED,
        [CAMPAIGN_SCHEDULED] = 1u << CAMPAIGN_DRAFT | 1u << CAMPAIGN_RUNNING | 1u << CAMPAIGN_CANCELLED,
        [CAMPAIGN_RUNNING] = 1u << CAMPAIGN_PAUSED | 1u << CAMPAIGN_FINISHED | 1u << CAMPAIGN_CANCELLED,
        [CAMPAIGN_PAUSED] = 1u << CAMPAIGN_RUNNING | 1u << CAMPAIGN_CANCELLED,
    };
    return (unsigned)from < CAMPAIGN_STATUS_COUNT && (moves[from] >> to & 1u) != 0;
}

static int move_to(struct storage *storage, struct move *move, struct error *err)
{
    struct db *db = &storage->db;
    switch (move->to) {
    case CAMPAIGN_RUNNING:
        if (move->was != CAMPAIGN_PAUSED)
            return launch(db, move->id, move->now_ms, &move->counting, err);
        return guard_begin(db, move->id, err);
    case CAMPAIGN_FINISHED:
        return finish(db, move->id, move->now_ms, err);
    case CAMPAIGN_CANCELLED:
        return cancel(db, move->id, move->now_ms, err);
    case CAMPAIGN_SCHEDULED:
    case CAMPAIGN_DRAFT:
        return db_run(db, err, "UPDATE campaign SET status = ?2, scheduled = ?3 WHERE id = ?1", DB_I(move->id),
                      DB_I(move->to), DB_I(move->to == CAMPAIGN_DRAFT ? 0 : move->scheduled_ms));
    case CAMPAIGN_PAUSED:
    case CAMPAIGN_STATUS_COUNT:
        break;
    }
    return db_run(db, err, "UPDATE campaign SET status = ?2, pause_reason = '' WHERE id = ?1", DB_I(move->id),
                  DB_I(move->to));
}

/* What a move is to those who are told of it; EVENT_KIND_COUNT = nothing. */
static enum event_kind event_of(enum campaign_status from, enum campaign_status to)
{
    switch (to) {
    case CAMPAIGN_RUNNING:
        return from == CAMPAIGN_PAUSED ? EVENT_CAMPAIGN_RESUMED : EVENT_CAMPAIGN_STARTED;
    case CAMPAIGN_PAUSED:
        return EVENT_CAMPAIGN_PAUSED;
    case CAMPAIGN_FINISHED:
        return EVENT_CAMPAIGN_FINISHED;
    case CAMPAIGN_CANCELLED:
        return EVENT_CAMPAIGN_CANCELLED;
    case CAMPAIGN_DRAFT:
    case CAMPAIGN_SCHEDULED:
    case CAMPAIGN_STATUS_COUNT:
        break;
    }
    return EVENT_KIND_COUNT;
}

static int tell_move(struct storage *storage, const struct move *move, struct error *err)
{
    enum event_kind kind = event_of(move->was, move->to);
    return kind == EVENT_KIND_COUNT ? 0 : event_write_plain(storage, kind, move->id, 0, move->now_ms, "", err);
}

static int move_run(struct storage *storage, void *arg, struct error *err)
{
    struct move *move = arg;
    int64_t status;
    int missing = db_get(&storage->db, err, &status, "SELECT status FROM campaign WHERE id = ?", DB_I(move->id));
    if (missing)
        return missing;
    move->was = (enum campaign_status)status;
    if (move->was == move->to)
        return 0;
    if (move->to == CAMPAIGN_CANCELLED) {
        int64_t stream;
        missing =
            db_get(&storage->db, err, &stream, "SELECT 1 FROM message_stream WHERE campaign_id = ?", DB_I(move->id));
        if (missing < 0)
            return missing;
        if (missing == 0) {
            (void)error_set(err, -EINVAL, "a stream of single messages does not end; pause it in place of it");
            return STORAGE_WRONG_STATE;
        }
    }
    if (!legal(move->was, move->to)) {
        (void)error_set(err, -EINVAL, "the state of the campaign is %s, which does not allow this",
                        campaign_status_name(move->was));
        return STORAGE_WRONG_STATE;
    }
    int failed = move_to(storage, move, err);
    return failed ? failed : tell_move(storage, move, err);
}

int storage_campaign_move(struct storage *storage, int64_t id, enum campaign_status to, int64_t scheduled_ms,
                          int64_t now_ms, enum campaign_status *was, struct error *err)
{
    assure((unsigned)to < CAMPAIGN_STATUS_COUNT);
    struct move move = {.id = id, .to = to, .scheduled_ms = scheduled_ms, .now_ms = now_ms};
    int result = storage_call(storage, move_run, &move, err);
    if (result == 0 && move.counting)
        keeper_wake(storage, KEEPER_COUNT);
    if (was != NULL)
        *was = move.was;
    return result;
}

struct set_audience {
    int64_t id, audience;
};

/* A cancel in the meantime has taken the upper bound for true: so many too many are in `cancelled`. */
static int set_audience_run(struct storage *storage, void *arg, struct error *err)
{
    const struct set_audience *set = arg;
    struct db *db = &storage->db;
    int failed = db_run(db, err,
                        "UPDATE campaign SET cancelled = max(0, cancelled - max(0, audience - ?2))"
                        " WHERE id = ?1 AND audience_exact = 0 AND status = ?3",
                        DB_I(set->id), DB_I(set->audience), DB_I(CAMPAIGN_CANCELLED));
    return failed ? failed
                  : db_run(db, err,
                           "UPDATE campaign SET audience_exact = 1, audience = max(?2, " SUM_OF_STATES
                           ") WHERE id = ?1 AND audience_exact = 0",
                           DB_I(set->id), DB_I(set->audience));
}

int campaign_set_audience(struct storage *storage, int64_t id, int64_t audience, struct error *err)
{
    struct set_audience set = {.id = id, .audience = audience};
    return storage_call(storage, set_audience_run, &set, err);
}

struct cancel_slice {
    int64_t id, now_ms, changed;
    int limit;
};

static int cancel_slice_run(struct storage *storage, void *arg, struct error *err)
{
    struct cancel_slice *slice = arg;
    struct db *db = &storage->db;
    int64_t status;
    int failed = db_get(db, err, &status, "SELECT status FROM campaign WHERE id = ?", DB_I(slice->id));
    if (failed)
        return failed;
    if (status != CAMPAIGN_CANCELLED)
        return STORAGE_WRONG_STATE;
    failed = db_run(db, err,
                    "UPDATE delivery SET state = 7, next_attempt = 0, updated = ?2 WHERE id IN"
                    " (SELECT id FROM delivery WHERE campaign_id = ?1 AND state = 3 LIMIT ?3)",
                    DB_I(slice->id), DB_I(slice->now_ms), DB_I(slice->limit));
    if (failed)
        return failed;
    slice->changed = db_changes(db);
    return db_run(db, err, "UPDATE campaign SET deferred = deferred - ?2, cancelled = cancelled + ?2 WHERE id = ?1",
                  DB_I(slice->id), DB_I(slice->changed));
}

int storage_campaign_cancel_deferred(struct storage *storage, int64_t id, int limit, int64_t now_ms, int64_t *changed,
                                     struct error *err)
{
    *changed = 0;
    if (limit < 1)
        return error_set(err, -EINVAL, "a slice of %d rows", limit);
    struct cancel_slice slice = {.id = id, .limit = limit, .now_ms = now_ms};
    int result = storage_call(storage, cancel_slice_run, &slice, err);
    if (result == 0)
        *changed = slice.changed;
    return result;
}

static int try_finish_run(struct storage *storage, void *arg, struct error *err)
{
    const struct move *move = arg;
    int64_t id;
    int missing = db_get(&storage->db, err, &id, "SELECT id FROM campaign WHERE id = ?", DB_I(move->id));
    if (!missing)
        missing = finish(&storage->db, move->id, move->now_ms, err);
    return missing ? missing : tell_move(storage, move, err);
}

int storage_campaign_try_finish(struct storage *storage, int64_t id, int64_t now_ms, struct error *err)
{
    struct move move = {.id = id, .now_ms = now_ms, .was = CAMPAIGN_RUNNING, .to = CAMPAIGN_FINISHED};
    return storage_call(storage, try_finish_run, &move, err);
}

static int delete_run(struct storage *storage, void *arg, struct error *err)
{
    struct db *db = &storage->db;
    int64_t id = *(const int64_t *)arg, status;
    int failed = db_get(db, err, &status, "SELECT status FROM campaign WHERE id = ?", DB_I(id));
    if (failed)
        return failed;
    if (status != CAMPAIGN_DRAFT)
        return STORAGE_WRONG_STATE;
    failed = db_run(db, err, "DELETE FROM campaign_list WHERE campaign_id = ?", DB_I(id));
    if (!failed)
        failed = db_run(db, err, "DELETE FROM campaign_spec WHERE campaign_id = ?", DB_I(id));
    if (!failed)
        failed = db_run(db, err, "DELETE FROM campaign_segment WHERE campaign_id = ?", DB_I(id));
    if (!failed)
        failed = db_run(db, err, "DELETE FROM campaign_frozen WHERE campaign_id = ?", DB_I(id));
    if (!failed)
        failed = db_run(db, err, "DELETE FROM campaign_link WHERE campaign_id = ?", DB_I(id));
    if (!failed)
        failed = db_run(db, err, "DELETE FROM campaign_split WHERE campaign_id = ?", DB_I(id));
    return failed ? failed : db_run(db, err, "DELETE FROM campaign WHERE id = ?", DB_I(id));
}

int storage_campaign_delete(struct storage *storage, int64_t id, struct error *err)
{
    return storage_call(storage, delete_run, &id, err);
}

static int add_missing_run(struct storage *storage, void *arg, struct error *err)
{
    const int64_t *values = arg;
    int failed =
        db_run(&storage->db, err, "UPDATE campaign SET missing_attributes = missing_attributes + ?2 WHERE id = ?1",
               DB_I(values[0]), DB_I(values[1]));
    if (failed)
        return failed;
    return db_changes(&storage->db) == 1 ? 0 : STORAGE_NOT_FOUND;
}

int storage_campaign_add_missing(struct storage *storage, int64_t id, int64_t renderings, struct error *err)
{
    int64_t values[2] = {id, renderings};
    return storage_call(storage, add_missing_run, values, err);
}
