/*
 * outcomes.c - one outcome becomes, or changes, one delivery row.
 *
 * A first outcome inserts the row (its claim covers it; nothing was there before). A later one, of a retry, updates it,
 * and the attempt that the row held moves to `attempt`. Whatever does not fit (a second outcome for a delivery that has
 * ended, a recipient nobody claimed) changes nothing and is logged: the counters can only ever move together with a
 * row.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "storage/suppress.h"

#define STAGE_TIME_BYTES 24

static const char insert_sql[] =
    "INSERT INTO delivery (campaign_id, recipient_id, state, uncertain, attempts, next_attempt, updated, code, stage,"
    " tls, duration, enhanced, reply, mx_host, source, path_id, times) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,"
    " ?11, ?12, ?13, ?14, ?15, ?16, ?17) ON CONFLICT DO NOTHING";
static const char update_sql[] =
    "UPDATE delivery SET state = ?3, uncertain = uncertain OR ?4, attempts = ?5, next_attempt = ?6, updated = ?7,"
    " code = ?8, stage = ?9, tls = ?10, duration = ?11, enhanced = ?12, reply = ?13, mx_host = ?14, source = ?15,"
    " path_id = ?16, times = ?17 WHERE campaign_id = ?1 AND recipient_id = ?2";
static const char release_sql[] = "UPDATE delivery SET state = ?3, uncertain = uncertain OR ?4, attempts = ?5,"
                                  " next_attempt = ?6, updated = ?7 WHERE campaign_id = ?1 AND recipient_id = ?2";

static int64_t ended_ms(const struct storage_outcome *record)
{
    return record->outcome.ended_wall_ms > 0 ? record->outcome.ended_wall_ms : clock_wall_ms();
}

static int bind_text(sqlite3_stmt *statement, int index, const char *text, size_t size)
{
    return sqlite3_bind_text(statement, index, text, (int)strnlen(text, size), SQLITE_STATIC);
}

/* "mail:12 rcpt:12 content:40": the stages of whose replies there is a time. By hand, for it is done for each message
 * and snprintf() takes a tenth of the time of the whole row. */
static void write_times(const uint32_t times_ms[STAGE_COUNT], char out[STAGE_COUNT * STAGE_TIME_BYTES])
{
    char *at = out;
    for (enum outcome_stage stage = STAGE_NONE; stage < STAGE_COUNT; stage++) {
        if (times_ms[stage] == 0)
            continue;
        const char *name = outcome_stage_name(stage);
        char digits[10];
        size_t count = 0;
        for (uint32_t left = times_ms[stage]; left > 0; left /= 10)
            digits[count++] = (char)('0' + left % 10);
        size_t len = strlen(name);
        assure(len + count + 2 < STAGE_TIME_BYTES);
        if (at != out)
            *at++ = ' ';
        memcpy(at, name, len);
        at += len;
        *at++ = ':';
        while (count > 0)
            *at++ = digits[--count];
    }
    *at = '\0';
}

/* The values that the statements above share; untried ones have no reply to tell. */
static int run_bound(struct storage *storage, const char *sql, const struct storage_outcome *record,
                     enum delivery_state state, struct error *err)
{
    static const struct outcome nothing;
    struct db *db = &storage->db;
    const struct outcome *outcome = record->tried ? &record->outcome : &nothing;
    char times[STAGE_COUNT * STAGE_TIME_BYTES];
    int64_t path_id = 0;
    int missing = sql != release_sql ? paths_id(&storage->paths, db, outcome, &path_id, err) : 0;
    sqlite3_stmt *statement = missing ? NULL : db_prepare(db, sql, err);
    if (statement == NULL)
        return -EIO;
    write_times(outcome->times_ms, times);
    int failed = sqlite3_bind_int64(statement, 1, record->campaign_id) |
                 sqlite3_bind_int64(statement, 2, record->recipient_id) | sqlite3_bind_int(statement, 3, (int)state) |
                 sqlite3_bind_int(statement, 4, record->uncertain) |
                 sqlite3_bind_int(statement, 5, MAX_OF(record->attempts, 0)) |
                 sqlite3_bind_int64(statement, 6, state == DELIVERY_DEFERRED ? record->next_attempt_ms : 0) |
                 sqlite3_bind_int64(statement, 7, ended_ms(record));
    if (sql != release_sql) {
        failed |=
            sqlite3_bind_int(statement, 8, outcome->code) |
            (record->tried ? sqlite3_bind_int(statement, 9, (int)outcome->stage) : sqlite3_bind_null(statement, 9)) |
            sqlite3_bind_int(statement, 10, tls_pack(outcome->tls, outcome->tls_rule, outcome->tls_result)) |
            sqlite3_bind_int64(statement, 11, outcome->duration_ms) |
            bind_text(statement, 12, outcome->enhanced, sizeof(outcome->enhanced)) |
            bind_text(statement, 13, outcome->text, sizeof(outcome->text)) |
            bind_text(statement, 14, outcome->mx_host, sizeof(outcome->mx_host)) |
            bind_text(statement, 15, outcome->source, sizeof(outcome->source)) |
            (path_id != 0 ? sqlite3_bind_int64(statement, 16, path_id) : sqlite3_bind_null(statement, 16)) |
            (times[0] != '\0' ? bind_text(statement, 17, times, sizeof(times)) : sqlite3_bind_null(statement, 17));
    }
    assure(failed == 0); /* binding can only fail for a wrong index or size: our own bug */
    return db_step(db, statement, err);
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

static void log_stray(const struct storage_outcome *record, const char *why)
{
    log_warn("storage", "campaign %lld stray_outcome recipient=%lld claim=%lld state=%s why=%s",
             (long long)record->campaign_id, (long long)record->recipient_id, (long long)record->claim_id,
             delivery_state_name(record->state), LOG_QUOTE(why));
}

/* 1 = done; 0 = the outcome does not fit and nothing was changed. */
static int update_row(struct storage *storage, struct ledger_campaign *line, const struct storage_outcome *record,
                      enum delivery_state state, struct error *err)
{
    struct db *db = &storage->db;
    sqlite3_stmt *row = db_query(db, err, "SELECT id, state FROM delivery WHERE recipient_id = ? AND campaign_id = ?",
                                 DB_I(record->recipient_id), DB_I(record->campaign_id));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more <= 0) {
        if (more == 0)
            log_stray(record, "nobody claimed it");
        return more;
    }
    int64_t delivery_id = db_int(row, 0), was = db_int(row, 1);
    db_end(row);
    if (was != DELIVERY_SENDING && was != DELIVERY_DEFERRED && was != DELIVERY_UNCERTAIN) {
        log_stray(record, "the delivery has ended");
        return 0;
    }
    int failed = record->tried ? keep_attempt(db, delivery_id, err) : 0;
    if (!failed)
        failed = run_bound(storage, record->tried ? update_sql : release_sql, record, state, err);
    if (failed)
        return failed;
    line->states[was]--;
    line->states[state]++;
    return 1;
}

/* As update_row(). */
static int insert_row(struct storage *storage, struct ledger_campaign *line, const struct storage_outcome *record,
                      enum delivery_state state, struct error *err)
{
    struct open_claim *claim = record->claim_id == 0 ? NULL
                                                     : ledger_claim(&storage->ledger, record->claim_id,
                                                                    record->campaign_id, record->recipient_id);
    if (claim == NULL || claim->settled == claim->remaining)
        return update_row(storage, line, record, state, err);
    int failed = run_bound(storage, insert_sql, record, state, err);
    if (failed)
        return failed;
    if (db_changes(&storage->db) == 0)
        return update_row(storage, line, record, state, err);
    ledger_claim_settle(&storage->ledger, claim);
    line->states[DELIVERY_SENDING]--;
    line->states[state]++;
    return 1;
}

/* Puts the address on the list for good, or counts a soft bounce against it. */
static int blame(struct storage *storage, const struct storage_outcome *record, struct error *err)
{
    if (record->suppress_reason == NULL && record->soft_limit <= 0)
        return 0;
    const struct outcome *outcome = &record->outcome;
    char origin[600];
    bool suppressed = false;
    int rc = 0;
    (void)snprintf(origin, sizeof(origin), "campaign %lld: %u%s%.*s %.*s", (long long)record->campaign_id,
                   (unsigned)outcome->code, outcome->enhanced[0] != '\0' ? " " : "", (int)sizeof(outcome->enhanced) - 1,
                   outcome->enhanced, (int)sizeof(outcome->text) - 1, outcome->text);
    if (record->suppress_reason != NULL) {
        rc = suppress_recipient(&storage->db, record->recipient_id, record->suppress_reason, origin, ended_ms(record),
                                err);
        suppressed = rc > 0;
    } else {
        const struct suppress_soft soft = {.campaign_id = record->campaign_id,
                                           .recipient_id = record->recipient_id,
                                           .at_ms = ended_ms(record),
                                           .window_ms = record->soft_window_ms,
                                           .limit = record->soft_limit,
                                           .origin = origin};
        rc = suppress_soft(&storage->db, &soft, &suppressed, err);
    }
    storage->ledger.suppressions += suppressed;
    return MIN_OF(rc, 0);
}

static void note_delivery_time(struct ledger_campaign *line, int64_t at_ms)
{
    if (line->first_delivery_ms == 0 || at_ms < line->first_delivery_ms)
        line->first_delivery_ms = at_ms;
    line->last_delivery_ms = MAX_OF(line->last_delivery_ms, at_ms);
}

/* Untried ones are no news, except for their end. */
static int tell(struct storage *storage, const struct storage_outcome *record, enum delivery_state state,
                struct error *err)
{
    static const enum event_kind kinds[DELIVERY_STATE_COUNT] = {
        [DELIVERY_PENDING] = EVENT_KIND_COUNT,  [DELIVERY_SENDING] = EVENT_KIND_COUNT,
        [DELIVERY_DELIVERED] = EVENT_DELIVERED, [DELIVERY_DEFERRED] = EVENT_DEFERRED,
        [DELIVERY_BOUNCED] = EVENT_BOUNCED,     [DELIVERY_FAILED] = EVENT_FAILED,
        [DELIVERY_SUPPRESSED] = EVENT_DROPPED,  [DELIVERY_CANCELLED] = EVENT_KIND_COUNT,
        [DELIVERY_UNCERTAIN] = EVENT_DEFERRED,
    };
    const struct outcome *outcome = &record->outcome;
    bool news = record->tried || state == DELIVERY_FAILED || state == DELIVERY_SUPPRESSED;
    if (!news || kinds[state] == EVENT_KIND_COUNT || !event_wanted(storage, kinds[state]))
        return 0;
    return event_write(storage,
                       &(struct storage_event){.kind = kinds[state],
                                               .campaign_id = record->campaign_id,
                                               .recipient_id = record->recipient_id,
                                               .at_ms = ended_ms(record),
                                               .attempt = record->attempts,
                                               .uncertain = record->uncertain,
                                               .code = outcome->code,
                                               .enhanced = outcome->enhanced,
                                               .mx_host = outcome->mx_host,
                                               .detail = outcome->text},
                       err);
}

/* What a stored outcome adds up to beside the row. The line is not used after the minute, which may move it. */
static int account(struct storage *storage, struct ledger_campaign *line, const struct storage_outcome *record,
                   enum delivery_state state, struct error *err)
{
    line->missing_attributes += record->missing_attributes;
    if (state == DELIVERY_DELIVERED)
        note_delivery_time(line, ended_ms(record));
    line->hard_bounced +=
        record->hard_bounce || (record->suppress_reason != NULL && strcmp(record->suppress_reason, "hard-bounce") == 0);
    int failed = blame(storage, record, err);
    if (!failed)
        failed = tell(storage, record, state, err);
    if (failed)
        return failed;
    return record->tried ? ledger_minute(&storage->ledger, &storage->db, record->campaign_id, record->state,
                                         ended_ms(record), err)
                         : 0;
}

static enum delivery_state state_for(const struct ledger_campaign *line, const struct storage_outcome *record)
{
    assure(record->state > DELIVERY_SENDING && record->state < DELIVERY_STATE_COUNT);
    return line->status == CAMPAIGN_CANCELLED && record->state == DELIVERY_DEFERRED ? DELIVERY_CANCELLED
                                                                                    : record->state;
}

int outcome_write(struct storage *storage, const struct storage_outcome *record, struct error *err)
{
    struct ledger_campaign *line = ledger_campaign(&storage->ledger, &storage->db, record->campaign_id, err);
    if (line == NULL)
        return -EIO;
    if (!line->known) {
        log_stray(record, "no such campaign");
        return 0;
    }
    enum delivery_state state = state_for(line, record);
    int stored = insert_row(storage, line, record, state, err);
    return stored <= 0 ? stored : account(storage, line, record, state, err);
}

int outcome_recover(struct storage *storage, const struct storage_outcome *record, bool retry, struct error *err)
{
    struct ledger_campaign *line = ledger_campaign(&storage->ledger, &storage->db, record->campaign_id, err);
    if (line == NULL)
        return -EIO;
    if (!line->known)
        return 0;
    enum delivery_state state = state_for(line, record);
    if (retry) {
        int stored = update_row(storage, line, record, state, err);
        if (stored <= 0)
            return stored;
    } else {
        int failed = run_bound(storage, insert_sql, record, state, err);
        if (failed || db_changes(&storage->db) == 0)
            return failed;
        line->states[DELIVERY_SENDING]--;
        line->states[state]++;
    }
    int failed = account(storage, line, record, state, err);
    return failed ? failed : 1;
}
