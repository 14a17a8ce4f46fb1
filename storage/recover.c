/*
 * recover.c - after a crash: whoever was in flight gets a row.
 *
 * In flight are the audience members of an open claim without a delivery row, and the retries that rest in `sending`.
 * How far each had come is in the flight journal, if one was kept: not sent yet, sent without a reply, or answered.
 * Where it cannot tell, the message counts as sent. All in one transaction: a crash in the middle of it starts over,
 * with the journal still there; the journal is removed after the commit.
 */
#include <errno.h>
#include <string.h>

#include "base/crash_point.h"
#include "base/log.h"
#include "storage/audience.h"
#include "storage/claims.h"
#include "storage/writer.h"

struct recovery {
    bool hold;
    int64_t now_ms;
    struct storage_recovery *found;
    struct journal_past past;
};

struct lost_claim {
    int64_t id, campaign_id, lane, lo, hi, epoch;
    bool picked; /* its row tells its members one by one */
};

/* The outcome that the journal holds, as it would have been posted; the text went with the process. */
static void fill_recorded(struct storage_outcome *record, const struct journal_slot *slot)
{
    record->state = (enum delivery_state)slot->state;
    record->next_attempt_ms = slot->next_attempt_ms;
    record->tried = (slot->flags & JOURNAL_TRIED) != 0;
    record->uncertain = (slot->flags & JOURNAL_UNCERTAIN) != 0;
    record->missing_attributes = (slot->flags & JOURNAL_MISSING) != 0;
    record->attempts += record->tried;
    record->suppress_reason = slot->reason[0] != '\0' ? slot->reason : NULL;
    outcome_set(&record->outcome, OUTCOME_RELEASED, (enum outcome_stage)slot->stage,
                "the reply came as the server went down; its text is lost");
    record->outcome.code = slot->code;
    memcpy(record->outcome.enhanced, slot->enhanced, sizeof(record->outcome.enhanced));
    record->outcome.tls = (slot->flags & JOURNAL_TLS) != 0;
    record->outcome.duration_ms = slot->duration_ms;
    record->outcome.ended_wall_ms = slot->ended_ms;
}

/* Gives one delivery its row: 1 = done, 0 = there was nothing to do. */
static int recover_one(struct storage *storage, struct recovery *recovery, int64_t campaign_id, int64_t recipient_id,
                       int64_t attempts, bool retry, struct error *err)
{
    int made = (int)MIN_OF(MAX_OF(attempts, 0), INT32_MAX - 1);
    struct storage_outcome record = {.campaign_id = campaign_id,
                                     .recipient_id = recipient_id,
                                     .state = DELIVERY_DEFERRED,
                                     .next_attempt_ms = recovery->now_ms,
                                     .attempts = made,
                                     .outcome = {.ended_wall_ms = recovery->now_ms}};
    const struct journal_slot *slot = journal_past_find(&recovery->past, campaign_id, recipient_id, made + 1);
    int64_t *count = &recovery->found->unsent;
    if (slot != NULL && slot->outcome_check != 0) {
        fill_recorded(&record, slot);
        count = &recovery->found->recorded;
    } else if (slot != NULL || !recovery->past.complete) {
        record.uncertain = true;
        if (recovery->hold)
            record.state = DELIVERY_UNCERTAIN;
        count = &recovery->found->uncertain;
    }
    int stored = outcome_recover(storage, &record, retry, err);
    if (stored > 0) {
        ++*count;
        recovery->found->deliveries++;
    }
    return stored;
}

/* The members that the claim's row holds (claims.c: pack_members). */
static int recover_picked(struct storage *storage, struct recovery *recovery, const struct lost_claim *claim,
                          struct error *err)
{
    struct db *db = &storage->db;
    sqlite3_stmt *row = db_query(db, err, "SELECT members FROM claim WHERE id = ?", DB_I(claim->id));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more <= 0)
        return more;
    const uint8_t *at = sqlite3_column_blob(row, 0), *end = at + sqlite3_column_bytes(row, 0);
    uint64_t id = (uint64_t)claim->lo;
    for (;;) {
        more = recover_one(storage, recovery, claim->campaign_id, (int64_t)id, 0, false, err);
        if (more < 0 || at == end)
            break;
        uint64_t step = 0;
        for (unsigned shift = 0; at < end; shift += 7) {
            step |= (uint64_t)(*at & 0x7f) << MIN_OF(shift, 63u);
            if ((*at++ & 0x80) == 0)
                break;
        }
        id += step;
    }
    db_end(row);
    return MIN_OF(more, 0);
}

/* Those whom the range holds. */
static int recover_range(struct storage *storage, struct recovery *recovery, const struct lost_claim *claim,
                         struct error *err)
{
    struct db *db = &storage->db;
    struct audience audience;
    const struct audience_span span = {
        .campaign_id = claim->campaign_id, .epoch = claim->epoch, .lane = claim->lane, .after = claim->lo - 1};
    int failed = audience_open(&audience, db, &span, err);
    if (failed)
        return failed;
    struct audience_member member;
    int more;
    /* Who left since the claim was made is in flight all the same; the retry will see it. */
    while ((more = audience_next(&audience, &member, err)) > 0 && member.recipient_id <= claim->hi) {
        if (member.verdict == AUDIENCE_OUTSIDE)
            continue;
        more = recover_one(storage, recovery, claim->campaign_id, member.recipient_id, 0, false, err);
        if (more < 0)
            break;
    }
    audience_close(&audience);
    return MIN_OF(more, 0);
}

static int recover_claim(struct storage *storage, struct recovery *recovery, const struct lost_claim *claim,
                         struct error *err)
{
    struct db *db = &storage->db;
    int failed =
        claim->picked ? recover_picked(storage, recovery, claim, err) : recover_range(storage, recovery, claim, err);
    if (failed)
        return failed;
    recovery->found->claims++;
    failed = ledger_flush(&storage->ledger, db, err);
    return failed ? failed : db_run(db, err, "DELETE FROM claim WHERE id = ?", DB_I(claim->id));
}

/* The lowest open claim: 1 = found. One at a time, so that no list of them need fit into memory. */
static int next_claim(struct db *db, struct lost_claim *claim, int64_t after, struct error *err)
{
    sqlite3_stmt *row =
        db_query(db, err,
                 "SELECT l.id, l.campaign_id, l.lane, l.lo, l.hi, c.epoch, l.members IS NOT NULL FROM claim l"
                 " LEFT JOIN campaign c ON c.id = l.campaign_id WHERE l.id > ? ORDER BY l.id LIMIT 1",
                 DB_I(after));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more > 0) {
        *claim = (struct lost_claim){.id = db_int(row, 0),
                                     .campaign_id = db_int(row, 1),
                                     .lane = db_int(row, 2),
                                     .lo = db_int(row, 3),
                                     .hi = db_int(row, 4),
                                     .epoch = db_int(row, 5),
                                     .picked = db_int(row, 6) != 0};
        db_end(row);
    }
    return more;
}

/* The next retry that was out: 1 = it has left `sending`. */
static int recover_retry(struct storage *storage, struct recovery *recovery, int64_t campaign_id, struct error *err)
{
    sqlite3_stmt *row = db_query(&storage->db, err,
                                 "SELECT recipient_id, attempts FROM delivery"
                                 " WHERE campaign_id = ? AND state = 1 AND state <> 2 LIMIT 1",
                                 DB_I(campaign_id));
    int more = row == NULL ? -EIO : db_step(&storage->db, row, err);
    if (more <= 0)
        return more;
    int64_t recipient_id = db_int(row, 0), attempts = db_int(row, 1);
    db_end(row);
    more = recover_one(storage, recovery, campaign_id, recipient_id, attempts, true, err);
    return more == 0 ? error_set(err, -EIO, "%s: the index of campaign %lld's deliveries is damaged", storage->db.path,
                                 (long long)campaign_id)
                     : more;
}

/* Retries that were out, and then what the counter still says (members whose list is gone since a cancel): 1 = one
 * campaign done. */
static int recover_campaign(struct storage *storage, struct recovery *recovery, struct error *err)
{
    struct db *db = &storage->db;
    int64_t id, sending;
    int missing = db_get(db, err, &id, "SELECT id FROM campaign WHERE sending <> 0 LIMIT 1");
    if (missing)
        return missing < 0 ? missing : 0;
    int more;
    while ((more = recover_retry(storage, recovery, id, err)) > 0)
        ;
    if (more == 0)
        more = ledger_flush(&storage->ledger, db, err);
    if (more == 0)
        more = db_get(db, err, &sending, "SELECT sending FROM campaign WHERE id = ?", DB_I(id));
    if (more != 0 || sending == 0)
        return more < 0 ? more : 1;
    log_warn("storage", "campaign %lld recovery_difference deliveries=%lld", (long long)id, (long long)sending);
    more =
        db_run(db, err, "UPDATE campaign SET sending = 0, cancelled = cancelled + iif(status = 5, ?2, 0) WHERE id = ?1",
               DB_I(id), DB_I(sending));
    return more < 0 ? more : 1;
}

static int recover_in_flight(struct storage *storage, struct recovery *recovery, struct error *err)
{
    struct lost_claim claim = {.id = INT64_MIN};
    int more;
    while ((more = next_claim(&storage->db, &claim, claim.id, err)) > 0) {
        if (hashmap_get(&storage->ledger.claims, &claim.id, sizeof(claim.id)) != NULL)
            continue; /* made by this process, and alive */
        int failed = recover_claim(storage, recovery, &claim, err);
        if (failed)
            return failed;
    }
    if (more < 0 || storage->ledger.claims.count > 0)
        return more;
    while ((more = recover_campaign(storage, recovery, err)) > 0)
        ;
    return more;
}

/* The journal is a former run's only while this one has none. */
static int read_past(struct storage *storage, struct recovery *recovery, struct error *err)
{
    if (!storage->server || storage_journal(storage) != NULL)
        return 0;
    uint8_t run[JOURNAL_RUN_BYTES] = {0};
    sqlite3_stmt *row = db_query(&storage->db, err, "SELECT run FROM meta");
    int more = row == NULL ? -EIO : db_step(&storage->db, row, err);
    if (more < 0)
        return more;
    if (more > 0) {
        if (sqlite3_column_bytes(row, 0) == JOURNAL_RUN_BYTES)
            memcpy(run, sqlite3_column_blob(row, 0), sizeof(run));
        db_end(row);
    }
    return journal_past_read(storage->data_dir, run, &recovery->past, err);
}

static int recover_all(struct storage *storage, void *arg, struct error *err)
{
    struct recovery *recovery = arg;
    int failed = read_past(storage, recovery, err);
    if (!failed)
        failed = recover_in_flight(storage, recovery, err);
    CRASH_POINT("recover-rows");
    journal_past_finish(&recovery->past);
    if (failed)
        paths_forget(&storage->paths);
    if (failed)
        ledger_forget(&storage->ledger); /* the savepoint takes the rows back, and the sums go with them */
    return failed;
}

int storage_recover(struct storage *storage, bool hold, int64_t now_ms, struct storage_recovery *found,
                    struct error *err)
{
    *found = (struct storage_recovery){0};
    struct recovery recovery = {.hold = hold, .now_ms = now_ms, .found = found};
    int failed = storage_call(storage, recover_all, &recovery, err);
    if (failed)
        *found = (struct storage_recovery){0};
    CRASH_POINT("recovered");
    if (!failed && storage->server && storage_journal(storage) == NULL)
        failed = journal_past_remove(storage->data_dir, err);
    return failed;
}
