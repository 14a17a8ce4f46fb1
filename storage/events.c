/*
 * events.c - the outbox: events in, events out, the old away.
 *
 * What is wanted stands in `meta`, so that every process that changes something (a command that takes in bounces, the
 * server) sees it in its own transaction; what the writer read stays true until a call of its own is run or somebody
 * else has written. The first event of each minute leaves a mark; a replay and the removal of the old find their place
 * through the marks, so the table of events needs no second index and an insert stays an append.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "storage/event_write.h"
#include "storage/writer.h"

#define MINUTE_MS INT64_C(60000)
#define DETAIL_MAX_BYTES 2048

#define EVENT_NAME(symbol, name) [symbol] = (name),
static const char *const kind_names[EVENT_KIND_COUNT] = {EVENT_KINDS(EVENT_NAME)};
#undef EVENT_NAME

const char *event_kind_name(enum event_kind kind)
{
    return (unsigned)kind < EVENT_KIND_COUNT ? kind_names[kind] : "unknown";
}

uint32_t event_kinds_parse(const char *name)
{
    size_t len = strlen(name);
    bool group = len >= 2 && strcmp(name + len - 2, ".*") == 0;
    uint32_t kinds = 0;
    if (strcmp(name, "*") == 0)
        return EVENT_ALL;
    for (unsigned i = 0; i < EVENT_KIND_COUNT; i++) {
        bool same = group ? strncmp(kind_names[i], name, len - 1) == 0 : strcmp(kind_names[i], name) == 0;
        if (same)
            kinds |= UINT32_C(1) << i;
    }
    return kinds;
}

/* ---- writing ---- */

int event_write_begin(struct storage *storage, struct error *err)
{
    int64_t kinds = 0;
    storage->event_added = 0;
    if (storage->event_kinds_known && storage->version_left == db_data_version(&storage->db))
        return 0;
    int failed = db_get(&storage->db, err, &kinds, "SELECT event_hooks | event_live FROM meta");
    storage->event_kinds = failed ? 0 : (uint32_t)kinds & EVENT_ALL;
    storage->event_kinds_known = !failed;
    return failed < 0 ? failed : 0;
}

void event_write_called(struct storage *storage)
{
    storage->event_kinds_known = false;
}

void event_write_undone(struct storage *storage)
{
    storage->event_minute_ms = 0; /* its mark may be gone */
}

bool event_wanted(const struct storage *storage, enum event_kind kind)
{
    return (storage->event_kinds >> kind & 1) != 0;
}

/* When it is written counts, not when it happened: the marks follow the ids. */
static int mark_minute(struct storage *storage, int64_t id, struct error *err)
{
    int64_t now_ms = clock_wall_ms(), minute_ms = now_ms - now_ms % MINUTE_MS;
    if (minute_ms == storage->event_minute_ms)
        return 0;
    int failed = db_run(&storage->db, err, "INSERT INTO event_mark VALUES (?, ?) ON CONFLICT DO NOTHING",
                        DB_I(minute_ms), DB_I(id));
    if (!failed)
        storage->event_minute_ms = minute_ms;
    return failed;
}

static struct db_value text_value(const char *text)
{
    return text != NULL ? DB_N(text, strnlen(text, DETAIL_MAX_BYTES)) : DB_T("");
}

int event_write(struct storage *storage, const struct storage_event *event, struct error *err)
{
    if (!event_wanted(storage, event->kind))
        return 0;
    struct db *db = &storage->db;
    int failed = db_run(db, err,
                        "INSERT INTO event (kind, campaign_id, recipient_id, at, attempt, uncertain, code, enhanced,"
                        " mx_host, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        DB_I(event->kind), DB_I(event->campaign_id), DB_I(event->recipient_id), DB_I(event->at_ms),
                        DB_I(event->attempt), DB_I(event->uncertain), DB_I(event->code), text_value(event->enhanced),
                        text_value(event->mx_host), text_value(event->detail));
    if (failed)
        return failed;
    storage->event_added++;
    return mark_minute(storage, db_last_id(db), err);
}

int event_write_plain(struct storage *storage, enum event_kind kind, int64_t campaign_id, int64_t recipient_id,
                      int64_t at_ms, const char *detail, struct error *err)
{
    return event_write(
        storage,
        &(struct storage_event){
            .kind = kind, .campaign_id = campaign_id, .recipient_id = recipient_id, .at_ms = at_ms, .detail = detail},
        err);
}

/* ---- reading ---- */

static void fill(sqlite3_stmt *row, struct storage_event *out)
{
    int64_t kind = db_int(row, 1);
    *out = (struct storage_event){
        .id = db_int(row, 0),
        .kind = kind >= 0 && kind < EVENT_KIND_COUNT ? (enum event_kind)kind : EVENT_KIND_COUNT,
        .campaign_id = db_int(row, 2),
        .recipient_id = db_int(row, 3),
        .at_ms = db_int(row, 4),
        .attempt = (int)MIN_OF(db_count(row, 5), INT32_MAX),
        .uncertain = db_int(row, 6) != 0,
        .code = (int)MIN_OF(db_count(row, 7), 999),
        .enhanced = db_text(row, 8),
        .mx_host = db_text(row, 9),
        .detail = db_text(row, 10),
        .email = db_text(row, 11),
        .campaign_name = db_text(row, 12),
        .labels = db_text(row, 14),
    };
    if (storage_is_message(out->recipient_id)) {
        out->message_id = out->recipient_id;
        out->recipient_id = db_count(row, 13); /* 0 = nothing of the message is kept any more */
    }
}

int storage_event_page(struct storage_reader *reader, int64_t after, int64_t until, uint32_t kinds, int limit,
                       storage_event_cb *each, void *context, int64_t *reached, struct error *err)
{
    struct db *db = &reader->db;
    *reached = after;
    sqlite3_stmt *rows =
        db_query(db, err,
                 "SELECT e.id, e.kind, e.campaign_id, e.recipient_id, e.at, e.attempt, e.uncertain, e.code, e.enhanced,"
                 " e.mx_host, e.detail, r.email, c.name, coalesce(m.recipient_id, g.recipient_id), m.labels"
                 " FROM event e"
                 " LEFT JOIN message m ON m.id = e.recipient_id AND ?3 >> e.kind & 1"
                 " LEFT JOIN message_gone g ON g.id = e.recipient_id AND ?3 >> e.kind & 1"
                 " LEFT JOIN recipient r ON r.id = coalesce(m.recipient_id, g.recipient_id, e.recipient_id)"
                 " AND ?3 >> e.kind & 1"
                 " LEFT JOIN campaign c ON c.id = e.campaign_id AND ?3 >> e.kind & 1"
                 " WHERE e.id > ?1 AND e.id <= ?2 ORDER BY e.id LIMIT ?4",
                 DB_I(after), DB_I(until > 0 ? until : INT64_MAX), DB_I(kinds), DB_I(EVENT_SCAN_MAX));
    if (rows == NULL)
        return -EIO;
    int more = 1;
    while (limit > 0 && (more = db_step(db, rows, err)) > 0) {
        struct storage_event event;
        fill(rows, &event);
        *reached = event.id;
        if (event.kind == EVENT_KIND_COUNT || (kinds >> event.kind & 1) == 0)
            continue;
        limit--;
        if (each(context, &event) != 0)
            break;
    }
    if (more > 0)
        db_end(rows);
    return more < 0 ? more : 0;
}

int storage_event_range(struct storage_reader *reader, int64_t *oldest, int64_t *newest, struct error *err)
{
    struct db *db = &reader->db;
    int failed = db_get(db, err, oldest, "SELECT min(id) FROM event");
    if (failed >= 0)
        failed = db_get(db, err, newest, "SELECT max(id) FROM event");
    return failed < 0 ? failed : 0;
}

int storage_event_before(struct storage_reader *reader, int64_t from_ms, int64_t *position, struct error *err)
{
    int failed = event_place_before(&reader->db, from_ms, position, err);
    return failed < 0 ? failed : 0;
}

int event_place_before(struct db *db, int64_t from_ms, int64_t *position, struct error *err)
{
    int64_t minute_ms = from_ms - from_ms % MINUTE_MS;
    int failed = db_get(db, err, position,
                        "SELECT coalesce((SELECT min(first_id) - 1 FROM event_mark WHERE minute >= ?),"
                        " (SELECT max(id) FROM event), 0)",
                        DB_I(minute_ms));
    return failed < 0 ? failed : 0;
}

/* ---- who wants what ---- */

static int watch_run(struct storage *storage, void *arg, struct error *err)
{
    const uint32_t *kinds = arg;
    return db_run(&storage->db, err, "UPDATE meta SET event_live = ?", DB_I(*kinds));
}

int storage_event_watch(struct storage *storage, uint32_t kinds, struct error *err)
{
    kinds &= EVENT_ALL;
    return storage_call(storage, watch_run, &kinds, err);
}

void storage_event_notify(struct storage *storage, storage_event_notify_cb *notify, void *context)
{
    pthread_mutex_lock(&storage->lock);
    storage->event_notify = notify;
    storage->event_notify_context = context;
    pthread_mutex_unlock(&storage->lock);
}

static int logged_run(struct storage *storage, void *arg, struct error *err)
{
    const int64_t *position = arg;
    return db_run(&storage->db, err, "UPDATE meta SET event_logged = ?", DB_I(*position));
}

int storage_event_set_logged(struct storage *storage, int64_t position, struct error *err)
{
    return storage_call(storage, logged_run, &position, err);
}

int storage_event_logged(struct storage_reader *reader, int64_t *position, struct error *err)
{
    int failed = db_get(&reader->db, err, position, "SELECT event_logged FROM meta");
    return failed < 0 ? failed : 0;
}

/* ---- the old ---- */

struct trim {
    int64_t before_ms, removed;
    bool logging;
    int limit;
};

/* The lowest id that must stay. */
static int lowest_kept(struct db *db, const struct trim *trim, int64_t *keep, struct error *err)
{
    int64_t position, newest, hooks, logged;
    int failed = event_place_before(db, trim->before_ms, &position, err);
    if (failed >= 0)
        failed = db_get(db, err, &newest, "SELECT max(id) FROM event");
    if (failed >= 0)
        failed = db_get(db, err, &hooks,
                        "SELECT coalesce(min(position), 9223372036854775806) FROM webhook"
                        " WHERE disabled = 0");
    if (failed >= 0)
        failed = db_get(db, err, &logged, "SELECT event_logged FROM meta");
    if (failed < 0)
        return failed;
    *keep = MIN_OF(MIN_OF(position, hooks) + 1, newest);
    if (trim->logging)
        *keep = MIN_OF(*keep, logged + 1);
    return 0;
}

static int trim_run(struct storage *storage, void *arg, struct error *err)
{
    struct trim *trim = arg;
    struct db *db = &storage->db;
    int64_t keep;
    int failed = lowest_kept(db, trim, &keep, err);
    if (!failed)
        failed =
            db_run(db, err, "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE id < ? ORDER BY id LIMIT ?)",
                   DB_I(keep), DB_I(trim->limit));
    if (failed)
        return failed;
    trim->removed = db_changes(db);
    return db_run(db, err,
                  "DELETE FROM event_mark WHERE minute < ? AND first_id < coalesce((SELECT min(id) FROM event), 0)",
                  DB_I(trim->before_ms - trim->before_ms % MINUTE_MS));
}

int storage_event_trim(struct storage *storage, int64_t before_ms, bool logging, int limit, int64_t *removed,
                       struct error *err)
{
    struct trim trim = {.before_ms = before_ms, .logging = logging, .limit = MAX_OF(limit, 1)};
    int failed = storage_call(storage, trim_run, &trim, err);
    *removed = failed ? 0 : trim.removed;
    return failed;
}
