/*
 * recover.c - after a crash: whoever was in flight gets a row.
 *
 * In flight are the audience members of an open claim without a delivery row, and the retries that rest in `sending`.
 * Whether their messages went out is not known here, so they are flagged uncertain. All in one transaction: a crash in
 * the middle of it starts over.
 */
#include <errno.h>

#include "base/log.h"
#include "storage/audience.h"
#include "storage/claims.h"
#include "storage/writer.h"

struct recovery {
    bool hold;
    int64_t now_ms;
    struct storage_recovery *found;
};

struct lost_claim {
    int64_t id, campaign_id, lane, lo, hi, epoch;
    enum campaign_status status;
};

static enum delivery_state state_after(const struct recovery *recovery, int64_t status)
{
    if (recovery->hold)
        return DELIVERY_UNCERTAIN;
    return status == CAMPAIGN_CANCELLED ? DELIVERY_CANCELLED : DELIVERY_DEFERRED;
}

static int move_counters(struct db *db, int64_t campaign_id, int64_t count, enum delivery_state state,
                         struct error *err)
{
    return db_run(db, err,
                  "UPDATE campaign SET sending = sending - ?2, deferred = deferred + iif(?3 = 3, ?2, 0),"
                  " cancelled = cancelled + iif(?3 = 7, ?2, 0), uncertain = uncertain + iif(?3 = 8, ?2, 0)"
                  " WHERE id = ?1",
                  DB_I(campaign_id), DB_I(count), DB_I(state));
}

static int recover_member(struct db *db, const struct recovery *recovery, const struct lost_claim *claim,
                          int64_t recipient_id, enum delivery_state state, int64_t *count, struct error *err)
{
    int failed = db_run(db, err,
                        "INSERT INTO delivery (campaign_id, recipient_id, state, uncertain, attempts, next_attempt,"
                        " updated, code, stage, tls, duration, enhanced, reply, mx_host, source)"
                        " VALUES (?, ?, ?, 1, 0, ?, ?, 0, NULL, 0, 0, '', '', '', '') ON CONFLICT DO NOTHING",
                        DB_I(claim->campaign_id), DB_I(recipient_id), DB_I(state),
                        DB_I(state == DELIVERY_DEFERRED ? recovery->now_ms : 0), DB_I(recovery->now_ms));
    if (!failed)
        *count += db_changes(db);
    return failed;
}

static int recover_claim(struct db *db, struct recovery *recovery, const struct lost_claim *claim, struct error *err)
{
    struct audience audience;
    int failed = audience_open(&audience, db, claim->campaign_id, claim->epoch, claim->lane, claim->lo - 1, err);
    if (failed)
        return failed;
    enum delivery_state state = state_after(recovery, claim->status);
    struct audience_member member;
    int64_t count = 0;
    int more;
    /* Who left since the claim was made is in flight all the same; the retry will see it. */
    while ((more = audience_next(&audience, &member, err)) > 0 && member.recipient_id <= claim->hi) {
        if (member.verdict == AUDIENCE_OUTSIDE)
            continue;
        failed = recover_member(db, recovery, claim, member.recipient_id, state, &count, err);
        if (failed) {
            more = failed;
            break;
        }
    }
    audience_close(&audience);
    if (more < 0)
        return more;
    recovery->found->claims++;
    recovery->found->deliveries += count;
    failed = move_counters(db, claim->campaign_id, count, state, err);
    return failed ? failed : db_run(db, err, "DELETE FROM claim WHERE id = ?", DB_I(claim->id));
}

/* The lowest open claim: 1 = found. One at a time, so that no list of them need fit into memory. */
static int next_claim(struct db *db, struct lost_claim *claim, int64_t after, struct error *err)
{
    sqlite3_stmt *row = db_query(db, err,
                                 "SELECT l.id, l.campaign_id, l.lane, l.lo, l.hi, c.epoch, c.status FROM claim l"
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
                                     .status = (enum campaign_status)db_int(row, 6)};
        db_end(row);
    }
    return more;
}

/* Retries that were out, and then what the counter still says (members whose list is gone since a cancel): 1 = one
 * campaign done. */
static int recover_campaign(struct db *db, struct recovery *recovery, struct error *err)
{
    sqlite3_stmt *row = db_query(db, err, "SELECT id, status, sending FROM campaign WHERE sending <> 0 LIMIT 1");
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more <= 0)
        return more;
    int64_t id = db_int(row, 0), status = db_int(row, 1), sending = db_int(row, 2);
    db_end(row);
    enum delivery_state state = state_after(recovery, status);
    int failed =
        db_run(db, err,
               "UPDATE delivery SET state = ?2, uncertain = 1, next_attempt = ?3, updated = ?4"
               " WHERE campaign_id = ?1 AND state = 1 AND state <> 2",
               DB_I(id), DB_I(state), DB_I(state == DELIVERY_DEFERRED ? recovery->now_ms : 0), DB_I(recovery->now_ms));
    if (failed)
        return failed;
    int64_t count = db_changes(db);
    recovery->found->deliveries += count;
    failed = move_counters(db, id, count, state, err);
    if (failed || count == sending)
        return failed ? failed : 1;
    log_warn("storage", "campaign %lld recovery_difference deliveries=%lld", (long long)id,
             (long long)(sending - count));
    failed =
        db_run(db, err, "UPDATE campaign SET sending = 0, cancelled = cancelled + iif(status = 5, ?2, 0) WHERE id = ?1",
               DB_I(id), DB_I(sending - count));
    return failed ? failed : 1;
}

static int recover_all(struct storage *storage, void *arg, struct error *err)
{
    struct recovery *recovery = arg;
    struct lost_claim claim = {.id = INT64_MIN};
    int more;
    while ((more = next_claim(&storage->db, &claim, claim.id, err)) > 0) {
        if (hashmap_get(&storage->ledger.claims, &claim.id, sizeof(claim.id)) != NULL)
            continue; /* made by this process, and alive */
        int failed = recover_claim(&storage->db, recovery, &claim, err);
        if (failed)
            return failed;
    }
    if (more < 0 || storage->ledger.claims.count > 0)
        return more;
    while ((more = recover_campaign(&storage->db, recovery, err)) > 0)
        ;
    return more;
}

int storage_recover(struct storage *storage, bool hold, int64_t now_ms, struct storage_recovery *found,
                    struct error *err)
{
    *found = (struct storage_recovery){0};
    struct recovery recovery = {.hold = hold, .now_ms = now_ms, .found = found};
    int failed = storage_call(storage, recover_all, &recovery, err);
    if (failed)
        *found = (struct storage_recovery){0};
    return failed;
}
