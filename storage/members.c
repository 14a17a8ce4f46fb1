/*
 * members.c - memberships: their changes, unsubscribing, and the pages of a list.
 *
 * Members lie by lane, people read them by recipient. A page takes from each lane what could still be among the first
 * `limit` and stops at the first that cannot, so it costs about limit + lanes rows, whatever the size of the list.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "storage/members.h"
#include "storage/suppress.h"
#include "storage/writer.h"

#define PAGE_MAX 10000

struct member_change member_transition(struct member_row *row, enum member_status to, int64_t epoch, int64_t now_ms)
{
    struct member_change change = {
        .active = (to == MEMBER_ACTIVE) - (row->status == MEMBER_ACTIVE),
        .total = (to != MEMBER_REMOVED) - (row->status != MEMBER_REMOVED),
    };
    bool was = row->status == MEMBER_ACTIVE, is = to == MEMBER_ACTIVE;
    if (is && !was) {
        /* Gone and back without a launch in between: for every campaign it was never away. */
        if (row->epoch != epoch)
            row->since = epoch;
        row->epoch = epoch;
        row->joined_ms = now_ms;
    } else if (was && !is) {
        row->epoch = epoch;
    }
    row->status = to;
    return change;
}

int member_read(struct db *db, struct member_row *row, struct error *err)
{
    sqlite3_stmt *statement = db_query(db, err,
                                       "SELECT status, epoch, since, joined FROM member"
                                       " WHERE list_id = ? AND lane = ? AND recipient_id = ?",
                                       DB_I(row->list_id), DB_I(row->lane), DB_I(row->recipient_id));
    int more = statement == NULL ? -EIO : db_step(db, statement, err);
    if (more <= 0)
        return more;
    row->status = db_int(statement, 0);
    row->epoch = db_int(statement, 1);
    row->since = db_int(statement, 2);
    row->joined_ms = db_int(statement, 3);
    db_end(statement);
    return 1;
}

int member_update(struct db *db, const struct member_row *row, struct error *err)
{
    return db_run(db, err,
                  "UPDATE member SET status = ?4, epoch = ?5, since = ?6, joined = ?7"
                  " WHERE list_id = ?1 AND lane = ?2 AND recipient_id = ?3",
                  DB_I(row->list_id), DB_I(row->lane), DB_I(row->recipient_id), DB_I(row->status), DB_I(row->epoch),
                  DB_I(row->since), DB_I(row->joined_ms));
}

int member_count(struct db *db, int64_t list_id, int64_t lane, int64_t active, int64_t total, struct error *err)
{
    return db_run(db, err,
                  "INSERT INTO list_lane VALUES (?1, ?2, max(0, ?3), max(0, ?4)) ON CONFLICT DO UPDATE SET"
                  " n = max(0, n + ?3), total = max(0, total + ?4)",
                  DB_I(list_id), DB_I(lane), DB_I(active), DB_I(total));
}

static int change_status(struct db *db, struct member_row *row, enum member_status to, int64_t now_ms,
                         struct error *err)
{
    int64_t epoch;
    int failed = db_get(db, err, &epoch, "SELECT epoch FROM meta");
    if (failed)
        return failed < 0 ? failed : error_set(err, -EIO, "%s: has no epoch", db->path);
    struct member_change change = member_transition(row, to, epoch, now_ms);
    failed = member_update(db, row, err);
    return failed ? failed : member_count(db, row->list_id, row->lane, change.active, change.total, err);
}

struct set {
    int64_t list_id;
    const char *email;
    enum member_status status;
};

static int set_run(struct storage *storage, void *arg, struct error *err)
{
    const struct set *set = arg;
    struct db *db = &storage->db;
    sqlite3_stmt *found = db_query(db, err, "SELECT id, lane FROM recipient WHERE email = ?", DB_T(set->email));
    int more = found == NULL ? -EIO : db_step(db, found, err);
    if (more <= 0)
        return more < 0 ? more : STORAGE_NOT_FOUND;
    struct member_row row = {.list_id = set->list_id, .recipient_id = db_int(found, 0), .lane = db_int(found, 1)};
    db_end(found);
    more = member_read(db, &row, err);
    if (more <= 0 || row.status == MEMBER_REMOVED)
        return more < 0 ? more : STORAGE_NOT_FOUND;
    return row.status == (int64_t)set->status ? 0 : change_status(db, &row, set->status, clock_wall_ms(), err);
}

int storage_member_set(struct storage *storage, int64_t list_id, const char *email, enum member_status status,
                       struct error *err)
{
    assure((unsigned)status <= MEMBER_REMOVED);
    struct set set = {.list_id = list_id, .email = email, .status = status};
    return storage_call(storage, set_run, &set, err);
}

struct unsubscribe {
    int64_t campaign_id, recipient_id, now_ms;
};

/* Off every list of the campaign; *known becomes true when it is, or was, on one of them. */
static int leave_lists(struct db *db, const struct unsubscribe *request, int64_t lane, bool *known, struct error *err)
{
    sqlite3_stmt *lists = db_query(db, err, "SELECT list_id FROM campaign_list WHERE campaign_id = ? AND excluded = 0",
                                   DB_I(request->campaign_id));
    if (lists == NULL)
        return -EIO;
    int more;
    while ((more = db_step(db, lists, err)) > 0) {
        struct member_row row = {.list_id = db_int(lists, 0), .lane = lane, .recipient_id = request->recipient_id};
        int found = member_read(db, &row, err);
        int failed = MIN_OF(found, 0);
        if (found > 0) {
            *known = true;
            if (row.status == MEMBER_ACTIVE)
                failed = change_status(db, &row, MEMBER_UNSUBSCRIBED, request->now_ms, err);
        }
        if (failed) {
            db_end(lists);
            return failed;
        }
    }
    return more;
}

/* A message has no list that could be left: the address is put among the suppressions. */
static int leave_all(struct db *db, const struct unsubscribe *request, struct error *err)
{
    int added = suppress_recipient(db, request->recipient_id, "unsubscribe", "message", request->now_ms, err);
    return added <= 0 ? added : db_run(db, err, "UPDATE meta SET suppressions = suppressions + 1");
}

static int unsubscribe_run(struct storage *storage, void *arg, struct error *err)
{
    const struct unsubscribe *request = arg;
    struct db *db = &storage->db;
    int64_t lane, mailed;
    int missing = db_get(db, err, &lane, "SELECT lane FROM recipient WHERE id = " RECIPIENT_OF("?1"),
                         DB_I(request->recipient_id));
    if (missing)
        return missing;
    missing = db_get(db, err, &mailed,
                     "SELECT 1 FROM delivery WHERE recipient_id = ?1 AND campaign_id = ?2"
                     " UNION ALL SELECT 1 FROM message_gone WHERE id = ?1 LIMIT 1",
                     DB_I(request->recipient_id), DB_I(request->campaign_id));
    if (missing < 0)
        return missing;
    bool known = missing == 0;
    int failed = leave_lists(db, request, lane, &known, err);
    if (failed)
        return failed;
    if (!known)
        return STORAGE_NOT_FOUND;
    if (storage_is_message(request->recipient_id)) /* again, if somebody has lifted it since */
        failed = leave_all(db, request, err);
    if (!failed)
        failed = db_run(db, err, "INSERT INTO unsubscribe VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                        DB_I(request->campaign_id), DB_I(request->recipient_id), DB_I(request->now_ms));
    if (failed || db_changes(db) == 0)
        return failed;
    failed =
        db_run(db, err, "UPDATE campaign SET unsubscribed = unsubscribed + 1 WHERE id = ?", DB_I(request->campaign_id));
    return failed ? failed
                  : event_write_plain(storage, EVENT_UNSUBSCRIBED, request->campaign_id, request->recipient_id,
                                      request->now_ms, "", err);
}

int storage_unsubscribe(struct storage *storage, int64_t campaign_id, int64_t recipient_id, int64_t now_ms,
                        struct error *err)
{
    struct unsubscribe request = {.campaign_id = campaign_id, .recipient_id = recipient_id, .now_ms = now_ms};
    return storage_call(storage, unsubscribe_run, &request, err);
}

/* The smallest recipients found so far, in order. */
struct page {
    struct member_row *rows;
    size_t count, limit;
};

/* False: the page is full of smaller ones. */
static bool page_insert(struct page *page, const struct member_row *row)
{
    size_t low = 0, high = page->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (page->rows[middle].recipient_id < row->recipient_id)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == page->limit)
        return false;
    size_t moved = MIN_OF(page->count, page->limit - 1) - low;
    memmove(&page->rows[low + 1], &page->rows[low], moved * sizeof(*page->rows));
    page->rows[low] = *row;
    page->count = MIN_OF(page->count + 1, page->limit);
    return true;
}

static int page_lane(struct db *db, struct page *page, int64_t list_id, int64_t lane, int64_t after, struct error *err)
{
    sqlite3_stmt *rows = db_query(db, err,
                                  "SELECT recipient_id, status, joined FROM member WHERE list_id = ? AND lane = ?"
                                  " AND recipient_id > ? AND status <> 2 ORDER BY recipient_id",
                                  DB_I(list_id), DB_I(lane), DB_I(after));
    if (rows == NULL)
        return -EIO;
    int more;
    while ((more = db_step(db, rows, err)) > 0) {
        struct member_row row = {.list_id = list_id,
                                 .lane = lane,
                                 .recipient_id = db_int(rows, 0),
                                 .status = db_int(rows, 1),
                                 .joined_ms = db_int(rows, 2)};
        if (!page_insert(page, &row)) {
            db_end(rows);
            return 0;
        }
    }
    return more;
}

static int page_fill(struct db *db, struct page *page, int64_t list_id, int64_t after, struct error *err)
{
    sqlite3_stmt *lanes =
        db_query(db, err, "SELECT lane FROM list_lane WHERE list_id = ? AND total > 0", DB_I(list_id));
    if (lanes == NULL)
        return -EIO;
    int more;
    while ((more = db_step(db, lanes, err)) > 0) {
        int failed = page_lane(db, page, list_id, db_int(lanes, 0), after, err);
        if (failed) {
            db_end(lanes);
            return failed;
        }
    }
    return more;
}

static enum member_status status_of(int64_t value)
{
    return value == MEMBER_ACTIVE ? MEMBER_ACTIVE : value == MEMBER_UNSUBSCRIBED ? MEMBER_UNSUBSCRIBED : MEMBER_REMOVED;
}

static int page_show(struct db *db, const struct page *page, storage_member_cb *each, void *context, struct error *err)
{
    for (size_t i = 0; i < page->count; i++) {
        const struct member_row *row = &page->rows[i];
        sqlite3_stmt *found = db_query(db, err,
                                       "SELECT r.email, r.attributes, l.name FROM recipient r"
                                       " LEFT JOIN list l ON l.id = ?2 WHERE r.id = ?1",
                                       DB_I(row->recipient_id), DB_I(row->list_id));
        int more = found == NULL ? -EIO : db_step(db, found, err);
        if (more < 0)
            return more;
        if (more == 0)
            continue;
        struct storage_member member = {.recipient_id = row->recipient_id,
                                        .list_id = row->list_id,
                                        .email = db_text(found, 0),
                                        .attributes = db_text(found, 1),
                                        .list_name = db_text(found, 2),
                                        .status = status_of(row->status),
                                        .joined_ms = row->joined_ms};
        bool stop = each(context, &member) != 0;
        db_end(found);
        if (stop)
            break;
    }
    return 0;
}

int storage_member_page(struct storage_reader *reader, int64_t list_id, int64_t after, int limit,
                        storage_member_cb *each, void *context, int64_t *total, struct error *err)
{
    struct db *db = &reader->db;
    if (total != NULL) {
        int failed =
            db_get(db, err, total, "SELECT coalesce(sum(total), 0) FROM list_lane WHERE list_id = ?", DB_I(list_id));
        if (failed)
            return failed;
    }
    if (limit < 1)
        return 0;
    struct page page = {.limit = (size_t)MIN_OF(limit, PAGE_MAX)};
    page.rows = calloc(page.limit, sizeof(*page.rows));
    if (page.rows == NULL)
        return error_memory(err);
    int failed = page_fill(db, &page, list_id, after, err);
    if (!failed)
        failed = page_show(db, &page, each, context, err);
    free(page.rows);
    return failed;
}

int storage_recipient_memberships(struct storage_reader *reader, int64_t recipient_id, storage_member_cb *each,
                                  void *context, struct error *err)
{
    struct db *db = &reader->db;
    sqlite3_stmt *rows = db_query(db, err,
                                  "SELECT m.list_id, r.email, l.name, r.attributes, m.status, m.joined"
                                  " FROM recipient r CROSS JOIN list l CROSS JOIN member m ON m.list_id = l.id"
                                  " AND m.lane = r.lane AND m.recipient_id = r.id"
                                  " WHERE r.id = " RECIPIENT_OF("?1") " AND m.status <> 2 ORDER BY l.id",
                                  DB_I(recipient_id));
    if (rows == NULL)
        return -EIO;
    int more;
    while ((more = db_step(db, rows, err)) > 0) {
        struct storage_member member = {.recipient_id = recipient_id,
                                        .list_id = db_int(rows, 0),
                                        .email = db_text(rows, 1),
                                        .list_name = db_text(rows, 2),
                                        .attributes = db_text(rows, 3),
                                        .status = status_of(db_int(rows, 4)),
                                        .joined_ms = db_int(rows, 5)};
        if (each(context, &member) != 0) {
            db_end(rows);
            return 0;
        }
    }
    return more;
}
