/*
 * guard.c - a campaign that bounces or annoys too much stops by itself, before the providers stop it.
 *
 * Judged is what came since the launch, or since a person last let it go on: else a campaign that was once above its
 * limit could never run again. Dead addresses are counted against all that is known to have arrived or not, complaints
 * against what arrived. Deliveries still in the air when it pauses end as they end.
 */
#include "storage/guard.h"

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "storage/event_write.h"
#include "storage/writer.h"

struct judgement {
    int64_t id;
    const struct storage_guard *guard;
    char *reason;
};

static bool above(int64_t part, int64_t whole, uint32_t ppm, uint32_t after)
{
    return ppm > 0 && whole >= (int64_t)after && part * 1000000 > whole * (int64_t)ppm;
}

static void tell(char reason[STORAGE_GUARD_REASON_BYTES], const char *what, const char *of, int64_t part, int64_t whole,
                 uint32_t ppm)
{
    (void)snprintf(reason, STORAGE_GUARD_REASON_BYTES, "%s are %.2f%% (%lld of %lld %s), more than %g%%", what,
                   100.0 * (double)part / (double)whole, (long long)part, (long long)whole, of, (double)ppm / 10000);
}

/* 1 = too much. */
static int judge(struct db *db, const struct judgement *it, struct error *err)
{
    sqlite3_stmt *row = db_query(db, err,
                                 "SELECT delivered - guard_delivered, bounced - guard_bounced,"
                                 " hard_bounced - guard_hard, complained - guard_complained FROM campaign"
                                 " WHERE id = ? AND status = ?",
                                 DB_I(it->id), DB_I(CAMPAIGN_RUNNING));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more <= 0)
        return more;
    int64_t delivered = db_int(row, 0), ended = delivered + db_int(row, 1);
    int64_t hard = db_int(row, 2), complained = db_int(row, 3);
    db_end(row);
    const struct storage_guard *guard = it->guard;
    if (above(hard, ended, guard->hard_bounces_ppm, guard->after)) {
        tell(it->reason, "hard bounces", "delivered or bounced", hard, ended, guard->hard_bounces_ppm);
        return 1;
    }
    if (above(complained, delivered, guard->complaints_ppm, guard->after)) {
        tell(it->reason, "complaints", "delivered", complained, delivered, guard->complaints_ppm);
        return 1;
    }
    return 0;
}

int storage_campaign_judge(struct storage_reader *reader, int64_t id, const struct storage_guard *guard,
                           char reason[STORAGE_GUARD_REASON_BYTES], struct error *err)
{
    const struct judgement judgement = {.id = id, .guard = guard, .reason = reason};
    reason[0] = '\0';
    return judge(&reader->db, &judgement, err);
}

static int guard_run(struct storage *storage, void *arg, struct error *err)
{
    struct judgement *it = arg;
    it->reason[0] = '\0';
    int rc = judge(&storage->db, it, err);
    if (rc <= 0)
        return rc;
    int failed = db_run(&storage->db, err, "UPDATE campaign SET status = ?2, pause_reason = ?3 WHERE id = ?1",
                        DB_I(it->id), DB_I(CAMPAIGN_PAUSED), DB_T(it->reason));
    return failed ? failed
                  : event_write_plain(storage, EVENT_GUARD_PAUSED, it->id, 0, clock_wall_ms(), it->reason, err);
}

int storage_campaign_guard(struct storage *storage, int64_t id, const struct storage_guard *guard,
                           char reason[STORAGE_GUARD_REASON_BYTES], struct error *err)
{
    struct judgement judgement = {.id = id, .guard = guard, .reason = reason};
    int rc = storage_call(storage, guard_run, &judgement, err);
    return rc < 0 ? rc : reason[0] != '\0';
}

int guard_begin(struct db *db, int64_t campaign_id, struct error *err)
{
    return db_run(db, err,
                  "UPDATE campaign SET status = ?2, pause_reason = '', guard_delivered = delivered,"
                  " guard_bounced = bounced, guard_hard = hard_bounced, guard_complained = complained WHERE id = ?1",
                  DB_I(campaign_id), DB_I(CAMPAIGN_RUNNING));
}
