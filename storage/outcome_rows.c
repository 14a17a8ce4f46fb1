/*
 * outcome_rows.c - outcomes into delivery rows, many to a statement.
 *
 * A third of what a row costs is starting and ending its statement, so first outcomes, nearly all, go in 32 or 8 at a
 * time. Nearly all of them say the same in seven columns, which the statements for those hold as constants. A row that
 * is there already is passed over, and rows get their ids one after another: should some have been passed over, the ids
 * tell which were not.
 */
#include "storage/outcome_rows.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "storage/stage_times.h"

#define VALUES_8(row) row "," row "," row "," row "," row "," row "," row "," row
#define VALUES_32(row) VALUES_8(row) "," VALUES_8(row) "," VALUES_8(row) "," VALUES_8(row)
#define INSERT                                                                                                         \
    "INSERT OR IGNORE INTO delivery (campaign_id, recipient_id, state, uncertain, attempts, next_attempt, updated,"    \
    " code, stage, tls, duration, enhanced, reply, mx_host, source, path_id, times) VALUES "
#define ROW "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
#define COLUMNS 17

/* Of one campaign, ?1; delivered by the first attempt with a plain 250. */
#define USUAL_ROW "(?1,?,2,0,1,0,?,250,11,?,?,?,?,?,?,?,?)"
#define USUAL_CODE 250
#define USUAL_COLUMNS 10
_Static_assert(DELIVERY_DELIVERED == 2 && STAGE_CONTENT == 11, "as in the usual row");

static const char insert_one[] = INSERT ROW;
static const char insert_8[] = INSERT VALUES_8(ROW);
static const char insert_32[] = INSERT VALUES_32(ROW);
static const char insert_usual_8[] = INSERT VALUES_8(USUAL_ROW);
static const char insert_usual_32[] = INSERT VALUES_32(USUAL_ROW);
static const struct insert {
    size_t rows;
    const char *sql, *usual_sql;
} inserts[] = {{32, insert_32, insert_usual_32}, {8, insert_8, insert_usual_8}, {1, insert_one, NULL}};
_Static_assert(OUTCOME_ROWS_MAX == 32, "the widest statement takes a full group");

static const char update_sql[] =
    "UPDATE delivery SET state = ?3, uncertain = uncertain OR ?4, attempts = ?5, next_attempt = ?6, updated = ?7,"
    " code = ?8, stage = ?9, tls = ?10, duration = ?11, enhanced = ?12, reply = ?13, mx_host = ?14, source = ?15,"
    " path_id = ?16, times = ?17 WHERE campaign_id = ?1 AND recipient_id = ?2";
static const char release_sql[] = "UPDATE delivery SET state = ?3, uncertain = uncertain OR ?4, attempts = ?5,"
                                  " next_attempt = ?6, updated = ?7 WHERE campaign_id = ?1 AND recipient_id = ?2";

int64_t outcome_ended_ms(const struct storage_outcome *record)
{
    return record->outcome.ended_wall_ms > 0 ? record->outcome.ended_wall_ms : clock_wall_ms();
}

static int bind_text(sqlite3_stmt *statement, int index, const char *text, size_t size)
{
    return sqlite3_bind_text(statement, index, text, (int)strnlen(text, size), SQLITE_STATIC);
}

/* What every statement sets, from parameter *at on, which moves behind it; returns a bit set when SQLite refused one.
 */
static int bind_state(sqlite3_stmt *statement, int *at, const struct storage_outcome *record, enum delivery_state state,
                      bool usual)
{
    int failed = usual ? 0 : sqlite3_bind_int64(statement, (*at)++, record->campaign_id);
    failed |= sqlite3_bind_int64(statement, (*at)++, record->recipient_id);
    if (!usual) {
        failed |= sqlite3_bind_int(statement, (*at)++, (int)state);
        failed |= sqlite3_bind_int(statement, (*at)++, record->uncertain);
        failed |= sqlite3_bind_int(statement, (*at)++, MAX_OF(record->attempts, 0));
        failed |= sqlite3_bind_int64(statement, (*at)++, state == DELIVERY_DEFERRED ? record->next_attempt_ms : 0);
    }
    return failed | sqlite3_bind_int64(statement, (*at)++, outcome_ended_ms(record));
}

/* All COLUMNS or USUAL_COLUMNS, from parameter `at` on; untried ones have no reply to tell. `times` must live as long
 * as the binding. */
static int bind_row(struct storage *storage, sqlite3_stmt *statement, int at, const struct storage_outcome *record,
                    enum delivery_state state, bool usual, char times[STAGE_TIMES_BYTES], struct error *err)
{
    static const struct outcome nothing;
    const struct outcome *outcome = record->tried ? &record->outcome : &nothing;
    int64_t path_id = 0;
    int missing = paths_id(&storage->paths, &storage->db, outcome, &path_id, err);
    if (missing)
        return missing;
    stage_times_write(outcome->times_ms, times);
    int failed = bind_state(statement, &at, record, state, usual);
    if (!usual) {
        failed |= sqlite3_bind_int(statement, at++, outcome->code);
        failed |=
            record->tried ? sqlite3_bind_int(statement, at, (int)outcome->stage) : sqlite3_bind_null(statement, at);
        at++;
    }
    failed |= sqlite3_bind_int(statement, at, tls_pack(outcome->tls, outcome->tls_rule, outcome->tls_result)) |
              sqlite3_bind_int64(statement, at + 1, outcome->duration_ms) |
              bind_text(statement, at + 2, outcome->enhanced, sizeof(outcome->enhanced)) |
              bind_text(statement, at + 3, outcome->text, sizeof(outcome->text)) |
              bind_text(statement, at + 4, outcome->mx_host, sizeof(outcome->mx_host)) |
              bind_text(statement, at + 5, outcome->source, sizeof(outcome->source)) |
              (path_id != 0 ? sqlite3_bind_int64(statement, at + 6, path_id) : sqlite3_bind_null(statement, at + 6)) |
              (times[0] != '\0' ? bind_text(statement, at + 7, times, STAGE_TIMES_BYTES)
                                : sqlite3_bind_null(statement, at + 7));
    assure(failed == 0); /* binding can only fail for a wrong index or size: our own bug */
    return 0;
}

/* What bind_row() reads, wherever in the record it lies. */
void outcome_rows_expect(const struct storage_outcome *record)
{
    const struct outcome *outcome = &record->outcome;
    const char *const begins[] = {(const char *)outcome, outcome->enhanced, outcome->source,
                                  outcome->address,      outcome->mx_host,  outcome->text};
    for (size_t i = 0; i < countof(begins); i++)
        __builtin_prefetch(begins[i]);
}

static int delivery_id(struct db *db, const struct storage_outcome *record, int64_t *id, struct error *err)
{
    return db_get(db, err, id, "SELECT id FROM delivery WHERE recipient_id = ? AND campaign_id = ?",
                  DB_I(record->recipient_id), DB_I(record->campaign_id));
}

/* The statement made `made` of these rows, the last of them as number `last_id`. Notes their blocks. */
static int tell_stored(struct storage *storage, const struct storage_outcome *const *records, size_t count, size_t made,
                       int64_t last_id, bool *stored, struct error *err)
{
    struct db *db = &storage->db;
    int64_t next_id = last_id - (int64_t)made + 1;
    for (size_t i = 0; i < count; i++) {
        int64_t id = 0;
        int missing = made > 0 && made < count ? delivery_id(db, records[i], &id, err) : 0;
        if (missing < 0)
            return missing;
        stored[i] = made == count || (missing == 0 && id > last_id - (int64_t)made && id <= last_id);
        int failed =
            stored[i] ? delivery_blocks_note(&storage->blocks, db, records[i]->campaign_id, next_id++, err) : 0;
        if (failed)
            return failed;
    }
    return 0;
}

static bool are_usual(const struct outcome_rows *rows, size_t from, size_t count)
{
    for (size_t i = from; i < from + count; i++) {
        const struct storage_outcome *record = rows->records[i];
        if (record->campaign_id != rows->records[from]->campaign_id || rows->states[i] != DELIVERY_DELIVERED ||
            !record->tried || record->uncertain || record->attempts != 1 || record->outcome.code != USUAL_CODE ||
            record->outcome.stage != STAGE_CONTENT)
            return false;
    }
    return true;
}

static int insert_some(struct storage *storage, const struct insert *insert, const struct outcome_rows *rows,
                       size_t from, bool *stored, struct error *err)
{
    struct db *db = &storage->db;
    char times[OUTCOME_ROWS_MAX][STAGE_TIMES_BYTES];
    size_t count = insert->rows;
    bool usual = insert->usual_sql != NULL && are_usual(rows, from, count);
    sqlite3_stmt *statement = db_prepare(db, usual ? insert->usual_sql : insert->sql, err);
    int failed = statement == NULL ? -EIO : 0, at = 1;
    if (!failed && usual)
        assure(sqlite3_bind_int64(statement, at++, rows->records[from]->campaign_id) == SQLITE_OK);
    for (size_t i = 0; !failed && i < count; i++, at += usual ? USUAL_COLUMNS : COLUMNS)
        failed =
            bind_row(storage, statement, at, rows->records[from + i], rows->states[from + i], usual, times[i], err);
    if (!failed)
        failed = db_step(db, statement, err);
    return failed
               ? failed
               : tell_stored(storage, &rows->records[from], count, (size_t)db_changes(db), db_last_id(db), stored, err);
}

int outcome_rows_insert(struct storage *storage, const struct outcome_rows *rows, bool stored[OUTCOME_ROWS_MAX],
                        struct error *err)
{
    size_t done = 0;
    for (size_t i = 0; i < countof(inserts); i++) {
        while (rows->count - done >= inserts[i].rows) {
            int failed = insert_some(storage, &inserts[i], rows, done, &stored[done], err);
            if (failed)
                return failed;
            done += inserts[i].rows;
        }
    }
    return 0;
}

/* Moves the attempt that the row holds out of the way of a new one. What it led to was a retry, whatever the row says
 * now. */
static int keep_attempt(struct db *db, int64_t delivery_id, struct error *err)
{
    return db_run(
        db, err,
        "INSERT INTO attempt (delivery_id, state, uncertain, attempts, next_attempt, updated, code, stage, tls,"
        " duration, enhanced, reply, mx_host, source, path_id, times) SELECT id, iif(state = ?2, ?3, state), uncertain,"
        " attempts, next_attempt, updated, code, stage, tls, duration, enhanced, reply, mx_host, source, path_id, times"
        " FROM delivery WHERE id = ?1 AND stage IS NOT NULL",
        DB_I(delivery_id), DB_I(DELIVERY_SENDING), DB_I(DELIVERY_DEFERRED));
}

int outcome_row_update(struct storage *storage, int64_t id, const struct storage_outcome *record,
                       enum delivery_state state, struct error *err)
{
    struct db *db = &storage->db;
    char times[STAGE_TIMES_BYTES];
    int failed = record->tried ? keep_attempt(db, id, err) : 0;
    if (failed)
        return failed;
    sqlite3_stmt *statement = db_prepare(db, record->tried ? update_sql : release_sql, err);
    if (statement == NULL)
        return -EIO;
    int at = 1;
    if (record->tried)
        failed = bind_row(storage, statement, at, record, state, false, times, err);
    else
        assure(bind_state(statement, &at, record, state, false) == 0);
    return failed ? failed : db_step(db, statement, err);
}
