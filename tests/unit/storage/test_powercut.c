/*
 * test_powercut.c - the power fails at random moments, two hundred times, over one database.
 *
 * An outcome whose `done` was called is promised. After each cut the file must pass the check, hold every promised
 * outcome, and the books must add up; what was not promised may be there or not. Cuts fall into commits, checkpoints,
 * recoveries and the opening itself.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/writer.h"
#include "tests/unit/storage/faulty_vfs.h"
#include "tests/unit/storage/powercut.h"
#include "tests/unit/storage/support.h"

enum { PEOPLE = 600, CAMPAIGNS = 60, ROUNDS = 200, BATCH = 40, RECORDS = 4000 };

static _Atomic int promised[CAMPAIGNS + 1][PEOPLE + 1]; /* attempts acknowledged, negative = the last one delivered */
static struct storage_outcome *records[RECORDS];        /* of this round: those without `done` stay the test's */
static int record_count;

static void promise(struct list *posted)
{
    for (struct list *node; (node = list_take_first(posted)) != NULL;) {
        const struct storage_outcome *record = list_entry(node, struct storage_outcome, node);
        promised[record->campaign_id][record->recipient_id] =
            record->state == DELIVERY_DELIVERED ? -record->attempts : record->attempts;
    }
}

static void answer(struct fixture *fixture, const struct storage_claim *claim)
{
    struct list posted = LIST_INIT(posted);
    for (int i = 0; i < claim->job_count && record_count < RECORDS; i++) {
        enum delivery_state state = random() % 3 ? DELIVERY_DELIVERED : DELIVERY_DEFERRED;
        struct storage_outcome *record = make_outcome(&claim->jobs[i], state, NULL);
        record->done = promise;
        record->next_attempt_ms = 1;
        records[record_count++] = record;
        list_append(&posted, &record->node);
    }
    storage_outcomes_post(fixture->storage, &posted);
}

/* One claim of the lane, or of the retries; false: the campaign has no more for us. */
static bool work(struct fixture *fixture, int64_t campaign, int64_t lane)
{
    struct storage_claim claim = {.campaign_id = campaign, .lane = lane, .max = BATCH, .now_ms = 5000};
    claim_wait(fixture->storage, &claim);
    bool some = claim.status == 0 && claim.job_count > 0;
    if (some)
        answer(fixture, &claim);
    arena_finish(&claim.arena);
    return some;
}

/* Beside the writer, as the keeper does. */
static void checkpoint(const struct fixture *fixture)
{
    char path[128];
    sqlite3 *db;
    (void)snprintf(path, sizeof(path), "%s/posthaste.db", fixture->dir);
    if (sqlite3_open(path, &db) == SQLITE_OK)
        (void)sqlite3_wal_checkpoint_v2(db, NULL, random() % 2 ? SQLITE_CHECKPOINT_PASSIVE : SQLITE_CHECKPOINT_RESTART,
                                        NULL, NULL);
    sqlite3_close(db);
}

static bool try_open(struct fixture *fixture)
{
    struct error err = {.text = ""};
    struct storage_recovery found;
    if (storage_open(&(struct storage_options){.data_dir = fixture->dir, .server = true}, &fixture->storage, &err) != 0)
        return false;
    fixture->storage->commit_ms = 1; /* most of the test would be waiting for company */
    fixture->storage->retry_ms = 5;
    return storage_recover(fixture->storage, false, 1, &found, &err) == 0 &&
           storage_reader_open(fixture->storage, &fixture->reader, &err) == 0;
}

/* Until the power goes, which it does at the latest at the end. */
static void traffic(struct fixture *fixture, int64_t list, int64_t *campaign, int64_t *lane)
{
    struct error err = {.text = ""};
    int steps = 5 + (int)(random() % 20);
    for (int step = 0; step < steps && !powercut_is_off() && record_count + BATCH <= RECORDS; step++) {
        struct storage_campaign fresh = {.name = "cut", .spec = "{}", .lists = {list}, .list_count = 1};
        if (random() % 4 == 0)
            checkpoint(fixture);
        if (*campaign != 0 && (work(fixture, *campaign, *lane) || work(fixture, *campaign, STORAGE_LANE_RETRIES)))
            continue;
        int64_t id;
        if (*campaign >= CAMPAIGNS || storage_campaign_create(fixture->storage, &fresh, 1000, &id, &err) != 0 ||
            storage_campaign_move(fixture->storage, id, CAMPAIGN_RUNNING, 0, 2000, NULL, &err) != 0)
            continue;
        assert_in_range(id, 1, CAMPAIGNS);
        *campaign = id;
    }
    powercut_off();
}

static void verify(struct fixture *fixture, int round)
{
    struct error err = {.text = ""};
    struct storage_recovery found;
    fixture_reopen(fixture, true);
    int checked = storage_check(fixture->reader, false, &err);
    if (checked != 0)
        fail_msg("round %d: %d %s", round, checked, err.text);
    must(storage_recover(fixture->storage, false, 1, &found, &err));
    sqlite3_stmt *rows =
        db_query(&fixture->reader->db, &err, "SELECT campaign_id, recipient_id, state, attempts FROM delivery");
    assert_non_null(rows);
    int64_t kept = 0, owed = 0;
    while (db_step(&fixture->reader->db, rows, &err) > 0) {
        int64_t campaign = db_int(rows, 0), recipient = db_int(rows, 1), state = db_int(rows, 2);
        assert_in_range(campaign, 1, CAMPAIGNS);
        assert_in_range(recipient, 1, PEOPLE);
        int promise = promised[campaign][recipient];
        if (promise == 0)
            continue;
        kept++;
        if (promise < 0 && state != DELIVERY_DELIVERED)
            fail_msg("round %d: campaign %lld recipient %lld was acknowledged as delivered, and is %s", round,
                     (long long)campaign, (long long)recipient, delivery_state_name((enum delivery_state)state));
        if (db_int(rows, 3) < abs(promise))
            fail_msg("round %d: attempt %d of recipient %lld is lost", round, abs(promise), (long long)recipient);
    }
    for (int campaign = 1; campaign <= CAMPAIGNS; campaign++) {
        for (int i = 1; i <= PEOPLE; i++)
            owed += promised[campaign][i] != 0;
    }
    if (kept != owed)
        fail_msg("round %d: %lld acknowledged deliveries have no row", round, (long long)(owed - kept));
    int64_t campaigns = sql_int(fixture, "SELECT count(*) FROM campaign");
    for (int64_t id = 1; id <= campaigns; id++) {
        struct storage_campaign now = stats(fixture, id);
        assert_adds_up(&now);
        assert_int_equal(now.states[DELIVERY_SENDING], 0);
    }
    assert_blocks(fixture);
    assert_int_equal(sql_int(fixture, "SELECT sum(sending + delivered + deferred) FROM campaign"),
                     sql_int(fixture, "SELECT nullif(count(*), 0) FROM delivery"));
}

static void no_acknowledged_outcome_is_lost(void **state)
{
    (void)state;
    struct fixture fixture;
    srandom(19831117);
    fixture_open(&fixture, true);
    int64_t list = make_list(&fixture, "news"), campaign = 0;
    int64_t lane =
        (import_range(&fixture, list, "u", "a.test", 0, PEOPLE), sql_int(&fixture, "SELECT lane FROM recipient"));
    fixture_close(&fixture);
    int64_t total = 0, opened = 0;
    for (int round = 0; round < ROUNDS; round++) {
        /* A quarter of the cuts come early, in the opening and the recovery. */
        powercut_watch(1 + (int)(random() % (round % 4 == 0 ? 30 : 400)));
        if (try_open(&fixture)) {
            opened++;
            traffic(&fixture, list, &campaign, &lane);
        }
        powercut_off();
        fixture_close(&fixture);
        powercut_settle();
        total += record_count;
        while (record_count > 0)
            free(records[--record_count]);
        if (round % 3 == 1 && round + 1 < ROUNDS)
            continue; /* and again, before anybody has recovered */
        powercut_watch(0); /* no cut now, but no waiting for the real disk either */
        verify(&fixture, round);
        campaign = sql_int(&fixture, "SELECT coalesce(max(id), 0) FROM campaign WHERE status = 2");
        fixture_close(&fixture);
        powercut_settle();
    }
    assert_true(opened > ROUNDS / 2); /* the test has tested something */
    assert_true(total > ROUNDS * 20);
    print_message("rounds=%d opened=%lld outcomes=%lld campaigns=%lld\n", ROUNDS, (long long)opened, (long long)total,
                  (long long)campaign);
    fixture_remove(&fixture);
}

int main(void)
{
    faulty_vfs_install();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_acknowledged_outcome_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
