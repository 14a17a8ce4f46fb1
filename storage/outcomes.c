/*
 * outcomes.c - one outcome becomes, or changes, one delivery row.
 *
 * A first outcome inserts the row (its claim covers it; nothing was there before). A later one, of a retry, updates it,
 * and the attempt that the row held moves to `attempt`. Whatever does not fit (a second outcome for a delivery that has
 * ended, a recipient nobody claimed) changes nothing and is logged: the counters can only ever move together with a
 * row.
 *
 * First outcomes are gathered, and written together (outcome_rows.c): before anything else of the same delivery, before
 * a soft bounce is counted against a person who may have been delivered to meanwhile, and at the end.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "storage/outcome_rows.h"
#include "storage/suppress.h"

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
    int failed = outcome_row_update(storage, delivery_id, record, state, err);
    if (failed)
        return failed;
    line->states[was]--;
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
        rc = suppress_recipient(&storage->db, record->recipient_id, record->suppress_reason, origin,
                                outcome_ended_ms(record), err);
        suppressed = rc > 0;
    } else {
        const struct suppress_soft soft = {.campaign_id = record->campaign_id,
                                           .recipient_id = record->recipient_id,
                                           .at_ms = outcome_ended_ms(record),
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
                                               .at_ms = outcome_ended_ms(record),
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
        note_delivery_time(line, outcome_ended_ms(record));
    line->hard_bounced +=
        record->hard_bounce || (record->suppress_reason != NULL && strcmp(record->suppress_reason, "hard-bounce") == 0);
    int failed = blame(storage, record, err);
    if (!failed)
        failed = tell(storage, record, state, err);
    if (failed)
        return failed;
    return record->tried ? ledger_minute(&storage->ledger, &storage->db, record->campaign_id, record->state,
                                         outcome_ended_ms(record), err)
                         : 0;
}

static enum delivery_state state_for(const struct ledger_campaign *line, const struct storage_outcome *record)
{
    assure(record->state > DELIVERY_SENDING && record->state < DELIVERY_STATE_COUNT);
    return line->status == CAMPAIGN_CANCELLED && record->state == DELIVERY_DEFERRED ? DELIVERY_CANCELLED
                                                                                    : record->state;
}

/* The row stands; the counters go with it. 1, or negative. */
static int settle_first(struct storage *storage, const struct storage_outcome *record, enum delivery_state state,
                        struct error *err)
{
    struct ledger_campaign *line = ledger_campaign(&storage->ledger, &storage->db, record->campaign_id, err);
    if (line == NULL)
        return -EIO;
    line->states[DELIVERY_SENDING]--;
    line->states[state]++;
    int failed = account(storage, line, record, state, err);
    return failed ? failed : 1;
}

/* As update_row(), with all that follows. */
static int write_later(struct storage *storage, const struct storage_outcome *record, enum delivery_state state,
                       struct error *err)
{
    struct ledger_campaign *line = ledger_campaign(&storage->ledger, &storage->db, record->campaign_id, err);
    if (line == NULL)
        return -EIO;
    int stored = update_row(storage, line, record, state, err);
    if (stored <= 0)
        return stored;
    int failed = account(storage, line, record, state, err);
    return failed ? failed : 1;
}

/* First outcomes that wait to be written, and the claims that count on them. */
struct gathered {
    struct outcome_rows rows;
    struct open_claim *claims[OUTCOME_ROWS_MAX];
};

static int write_gathered(struct storage *storage, struct gathered *gathered, struct error *err)
{
    bool stored[OUTCOME_ROWS_MAX];
    struct outcome_rows *rows = &gathered->rows;
    int done = outcome_rows_insert(storage, rows, stored, err);
    for (size_t i = 0; done >= 0 && i < rows->count; i++) {
        if (stored[i]) {
            done = settle_first(storage, rows->records[i], rows->states[i], err);
        } else {
            ledger_claim_unsettle(gathered->claims[i]);
            done = write_later(storage, rows->records[i], rows->states[i], err);
        }
    }
    rows->count = 0;
    return MIN_OF(done, 0);
}

static bool is_gathered(const struct outcome_rows *rows, const struct storage_outcome *record)
{
    for (size_t i = 0; i < rows->count; i++) {
        if (rows->records[i]->recipient_id == record->recipient_id &&
            rows->records[i]->campaign_id == record->campaign_id)
            return true;
    }
    return false;
}

/* The claim that still waits for this outcome's row; NULL: there is a row, or should be. */
static struct open_claim *waiting_claim(struct storage *storage, const struct storage_outcome *record)
{
    struct open_claim *claim = record->claim_id == 0 ? NULL
                                                     : ledger_claim(&storage->ledger, record->claim_id,
                                                                    record->campaign_id, record->recipient_id);
    return claim == NULL || claim->settled == claim->remaining ? NULL : claim;
}

static int write_one(struct storage *storage, struct gathered *gathered, const struct storage_outcome *record,
                     struct error *err)
{
    struct outcome_rows *rows = &gathered->rows;
    const struct ledger_campaign *line = ledger_campaign(&storage->ledger, &storage->db, record->campaign_id, err);
    if (line == NULL)
        return -EIO;
    if (!line->known) {
        log_stray(record, "no such campaign");
        return 0;
    }
    enum delivery_state state = state_for(line, record);
    struct open_claim *claim = waiting_claim(storage, record);
    /* A claim that seems to be settled may have one back when the gathered are written. */
    bool doubtful = claim == NULL && (record->claim_id != 0 || record->soft_limit > 0);
    if (rows->count == OUTCOME_ROWS_MAX || doubtful || is_gathered(rows, record)) {
        int failed = write_gathered(storage, gathered, err);
        if (failed)
            return failed;
        claim = waiting_claim(storage, record);
    }
    if (claim == NULL)
        return MIN_OF(write_later(storage, record, state, err), 0);
    ledger_claim_settle(&storage->ledger, claim);
    outcome_rows_expect(record);
    gathered->claims[rows->count] = claim;
    rows->states[rows->count] = state;
    rows->records[rows->count++] = record;
    return 0;
}

int outcomes_write(struct storage *storage, const struct list *records, struct error *err)
{
    struct gathered gathered = {.rows.count = 0};
    list_for_each(node, records)
    {
        int failed = write_one(storage, &gathered, list_entry(node, struct storage_outcome, node), err);
        if (failed)
            return failed;
    }
    return write_gathered(storage, &gathered, err);
}

int outcome_recover(struct storage *storage, const struct storage_outcome *record, bool retry, struct error *err)
{
    const struct ledger_campaign *line = ledger_campaign(&storage->ledger, &storage->db, record->campaign_id, err);
    if (line == NULL)
        return -EIO;
    if (!line->known)
        return 0;
    enum delivery_state state = state_for(line, record);
    if (retry)
        return write_later(storage, record, state, err);
    const struct outcome_rows rows = {.records = {record}, .states = {state}, .count = 1};
    bool stored[OUTCOME_ROWS_MAX];
    int failed = outcome_rows_insert(storage, &rows, stored, err);
    return failed || !stored[0] ? failed : settle_first(storage, record, state, err);
}
