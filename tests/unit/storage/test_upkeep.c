/*
 * test_upkeep.c - what runs beside the sending: counting audiences, check, backup, vacuum, retention.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "storage/writer.h"
#include "tests/unit/storage/support.h"

/* news: u0..u3999, extra: u2000..u4999, without: u4500..u4999: 4500 people on lists of 7000. */
static int64_t overlapping(struct fixture *fixture)
{
    int64_t lists[2] = {make_list(fixture, "news"), make_list(fixture, "extra")};
    int64_t without = make_list(fixture, "without");
    import_range(fixture, lists[0], "u", "a.test", 0, 4000);
    import_range(fixture, lists[1], "u", "a.test", 2000, 5000);
    import_range(fixture, without, "u", "a.test", 4500, 5000);
    return make_campaign(fixture, lists, 2, &without, 1);
}

static void a_large_audience_is_counted_beside_the_launch(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t campaign = overlapping(&fixture);
    launch(&fixture, campaign);
    struct storage_campaign now = stats(&fixture, campaign);
    assert_int_equal(now.audience, now.audience_exact ? 4500 : 7000);
    wait_exact(&fixture, campaign);
    assert_states(&fixture, campaign, "audience=4500 pending=4500");
    assert_int_equal(deliver_all(&fixture, campaign, DELIVERY_DELIVERED), 4500);
    assert_states(&fixture, campaign, "audience=4500 delivered=4500");
    fixture_remove(&fixture);
}

static void a_small_audience_is_exact_at_once(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t lists[2] = {make_list(&fixture, "news"), make_list(&fixture, "extra")};
    import_range(&fixture, lists[0], "u", "a.test", 0, 600);
    import_range(&fixture, lists[1], "u", "a.test", 300, 900);
    int64_t campaign = make_campaign(&fixture, lists, 2, NULL, 0);
    launch(&fixture, campaign);
    assert_true(stats(&fixture, campaign).audience_exact);
    assert_states(&fixture, campaign, "audience=900 pending=900");
    fixture_remove(&fixture);
}

/* Puts the campaign back to where a kill during the count leaves it. */
static void uncount(struct fixture *fixture)
{
    fixture_close(fixture);
    sql_exec(fixture, "UPDATE campaign SET audience_exact = 0, audience = 7000");
}

static void counting_goes_on_after_a_restart(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t campaign = overlapping(&fixture);
    launch(&fixture, campaign);
    deliver_all(&fixture, campaign, DELIVERY_DELIVERED);
    wait_exact(&fixture, campaign);
    uncount(&fixture);
    fixture_reopen(&fixture, true);
    wait_exact(&fixture, campaign);
    assert_states(&fixture, campaign, "audience=4500 delivered=4500");
    fixture_remove(&fixture);
}

/* The cancel counts everybody of the upper bound as cancelled; the count puts it right. */
static void cancelled_while_it_is_counted(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""};
    fixture_open(&fixture, false);
    int64_t campaign = overlapping(&fixture);
    launch(&fixture, campaign);
    wait_exact(&fixture, campaign);
    struct storage_claim claim = {.campaign_id = campaign, .lane = 0, .max = 10, .now_ms = 1};
    assert_int_equal(lanes_of(&fixture, campaign, &claim.lane, 1), 1);
    claim_wait(fixture.storage, &claim);
    for (int i = 0; i < claim.job_count; i++)
        post_one(&fixture, make_outcome(&claim.jobs[i], DELIVERY_DELIVERED, NULL));
    arena_finish(&claim.arena);
    uncount(&fixture);
    fixture_reopen(&fixture, false);
    must(storage_campaign_move(fixture.storage, campaign, CAMPAIGN_CANCELLED, 0, 3000, NULL, &err));
    assert_states(&fixture, campaign, "audience=7000 delivered=10 cancelled=6990");
    fixture_close(&fixture);
    fixture_reopen(&fixture, true);
    wait_exact(&fixture, campaign);
    assert_states(&fixture, campaign, "audience=4500 delivered=10 cancelled=4490");
    fixture_remove(&fixture);
}

/* Who leaves while it is counted stays in the frozen audience; who joins stays out of it. */
static void the_count_is_of_the_frozen_audience(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""};
    fixture_open(&fixture, false);
    int64_t campaign = overlapping(&fixture);
    launch(&fixture, campaign);
    wait_exact(&fixture, campaign);
    must(storage_member_set(fixture.storage, 1, "u7@a.test", MEMBER_UNSUBSCRIBED, &err));
    import_range(&fixture, 1, "late", "a.test", 0, 100);
    uncount(&fixture);
    fixture_reopen(&fixture, true);
    wait_exact(&fixture, campaign);
    assert_states(&fixture, campaign, "audience=4500 pending=4500");
    fixture_remove(&fixture);
}

/* ---- check, backup, vacuum ---- */

static int64_t finished_campaign(struct fixture *fixture, int people, const char *prefix)
{
    struct error err = {.text = ""};
    int64_t list = make_list(fixture, prefix);
    import_range(fixture, list, prefix, "a.test", 0, people);
    int64_t campaign = make_campaign(fixture, &list, 1, NULL, 0);
    launch(fixture, campaign);
    deliver_all(fixture, campaign, DELIVERY_DELIVERED);
    must(storage_campaign_try_finish(fixture->storage, campaign, 5000, &err));
    return campaign;
}

static void check_tells_sound_from_damaged(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""};
    fixture_open(&fixture, false);
    finished_campaign(&fixture, 5000, "u");
    must(storage_check(fixture.reader, true, &err));
    must(storage_check(fixture.reader, false, &err));
    sql_exec(&fixture, "PRAGMA wal_checkpoint(TRUNCATE)");
    int64_t page = sql_int(&fixture, "SELECT rootpage FROM sqlite_schema WHERE name = 'delivery_pair'");
    fixture_close(&fixture);
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/posthaste.db", fixture.dir);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, (page - 1) * 4096, SEEK_SET), 0);
    for (int i = 0; i < 2000; i++)
        assert_int_not_equal(fputc(0xee, file), EOF);
    assert_int_equal(fclose(file), 0);
    fixture_reopen(&fixture, false);
    assert_int_equal(storage_check(fixture.reader, false, &err), STORAGE_DAMAGED);
    assert_non_null(strstr(err.text, "posthaste.db: the database is damaged: "));
    assert_null(strchr(err.text, '\n'));
    fixture_remove(&fixture);
}

struct busy_backup {
    struct fixture *fixture;
    int64_t list, last_bytes;
    int calls, stop_after;
};

/* The server goes on writing: a copy that began anew at each commit would never end. */
static int write_meanwhile(void *context, int64_t done_bytes, int64_t total_bytes)
{
    struct busy_backup *busy = context;
    assert_in_range(done_bytes, busy->last_bytes, total_bytes);
    busy->last_bytes = done_bytes;
    char name[32];
    (void)snprintf(name, sizeof(name), "during%d", busy->calls++);
    import_one(busy->fixture, busy->list, "late@a.test", "{}");
    make_list(busy->fixture, name);
    return busy->calls == busy->stop_after;
}

static void a_backup_is_one_snapshot_under_load(void **state)
{
    (void)state;
    struct fixture fixture, copy = {.storage = NULL};
    struct error err = {.text = ""};
    fixture_open(&fixture, true);
    must(storage_journal_begin(fixture.storage, 100, &err));
    int64_t campaign = finished_campaign(&fixture, 20000, "u");
    struct busy_backup busy = {.fixture = &fixture, .list = 1};
    make_dir(copy.dir);
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/posthaste.db", copy.dir);
    must(storage_backup(fixture.reader, path, write_meanwhile, &busy, &err));
    assert_in_range(busy.calls, 5, 100000);
    assert_int_equal(storage_backup(fixture.reader, path, NULL, NULL, &err), -EEXIST);
    fixture_reopen(&copy, true);
    must(storage_check(copy.reader, false, &err));
    assert_int_equal(sql_int(&copy, "SELECT count(*) FROM recipient"), 20000);
    assert_int_equal(sql_int(&copy, "SELECT count(*) FROM list"), 1);
    assert_int_equal(sql_int(&copy, "SELECT length(run) FROM meta"), 0);
    assert_int_equal(sql_int(&fixture, "SELECT length(run) FROM meta"), 16);
    assert_states(&copy, campaign, "audience=20000 delivered=20000");
    fixture_remove(&copy);
    fixture_remove(&fixture);
}

static void a_stopped_backup_leaves_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""};
    fixture_open(&fixture, false);
    finished_campaign(&fixture, 5000, "u");
    struct busy_backup busy = {.fixture = &fixture, .list = 1, .stop_after = 1};
    char path[128], part[136];
    (void)snprintf(path, sizeof(path), "%s/copy.db", fixture.dir);
    (void)snprintf(part, sizeof(part), "%s.part", path);
    assert_int_equal(storage_backup(fixture.reader, path, write_meanwhile, &busy, &err), -ECANCELED);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(access(part, F_OK), -1);
    must(storage_backup(fixture.reader, path, NULL, NULL, &err)); /* the reader is free again */
    assert_int_equal(storage_backup(fixture.reader, "/nonexistent/copy.db", NULL, NULL, &err), -ENOENT);
    fixture_remove(&fixture);
}

static void vacuum_shrinks_and_waits_for_no_server(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""};
    int64_t before, after, wal, removed;
    fixture_open(&fixture, false);
    finished_campaign(&fixture, 20000, "u");
    do {
        must(storage_retain(fixture.storage, 0, 10000, 9000, &removed, &err));
    } while (removed == 10000);
    sql_exec(&fixture, "PRAGMA wal_checkpoint(TRUNCATE)");
    must(storage_sizes(fixture.storage, &before, &wal));
    must(storage_vacuum(fixture.storage, &err));
    must(storage_sizes(fixture.storage, &after, &wal));
    assert_true(after < before * 3 / 4);
    must(storage_check(fixture.reader, false, &err));
    fixture_close(&fixture);
    fixture_reopen(&fixture, true);
    assert_int_equal(storage_vacuum(fixture.storage, &err), -EBUSY);
    fixture_remove(&fixture);
}

/* ---- retention ---- */

static void links_have_a_time_of_their_own(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""};
    int64_t removed;
    fixture_open(&fixture, false);
    (void)finished_campaign(&fixture, 30, "u");
    (void)finished_campaign(&fixture, 20, "v");
    sql_exec(&fixture, "UPDATE campaign SET finished = id * 100000");
    sql_exec(&fixture, "INSERT OR REPLACE INTO campaign_frozen SELECT id, '{}', 0 FROM campaign");
    sql_exec(&fixture,
             "INSERT INTO campaign_link (campaign_id, number, url) SELECT id, 1, 'https://a.test/' FROM campaign");
    sql_exec(&fixture, "INSERT INTO hit SELECT recipient_id, campaign_id, 1, 1, 1, 1, 0 FROM delivery");
    must(storage_retain(fixture.storage, 50000, 300, 200000, &removed, &err)); /* the hits go with the deliveries */
    assert_int_equal(removed, 30);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM hit WHERE campaign_id = 1"), 0);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM hit"), 20);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM campaign_link"), 2); /* the links stay */
    must(storage_retain_links(fixture.storage, 100000, 200000, &removed, &err));  /* not older than that */
    assert_int_equal(removed, 0);
    must(storage_retain_links(fixture.storage, 99999, 200000, &removed, &err));
    assert_int_equal(removed, 1);
    assert_int_equal(sql_int(&fixture, "SELECT min(campaign_id) FROM campaign_link"), 2);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM campaign_frozen"), 1);
    must(storage_retain_links(fixture.storage, 99999, 200000, &removed, &err));
    assert_int_equal(removed, 0);
    fixture_remove(&fixture);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STALL_MAX_US 1000000
#else
#define STALL_MAX_US 250000
#endif

/* Somebody reads for so long (a backup, a slow page) that the WAL cannot begin again. When that ends, a long log is
 * there to be carried over, and no commit may wait for all of it. */
static void a_long_reader_stalls_no_commit(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t database_bytes, wal_bytes = 0;
    int64_t list = make_list(&fixture, "news");
    import_range(&fixture, list, "u", "a.test", 0, 40000);
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/posthaste.db", fixture.dir);
    sqlite3 *reader;
    assert_int_equal(sqlite3_open(path, &reader), SQLITE_OK);
    assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM meta", NULL, NULL, NULL), SQLITE_OK);
    while (wal_bytes < (int64_t)3 * KEEPER_WAL_PAGES * 4096) {
        int64_t campaign = make_campaign(&fixture, &list, 1, NULL, 0);
        launch(&fixture, campaign);
        assert_int_equal(deliver_all(&fixture, campaign, DELIVERY_DELIVERED), 40000);
        assert_int_equal(storage_sizes(fixture.storage, &database_bytes, &wal_bytes), 0);
    }
    assert_int_equal(sqlite3_close(reader), SQLITE_OK);
    for (int n = 0; n < 2; n++) {
        int64_t campaign = make_campaign(&fixture, &list, 1, NULL, 0);
        launch(&fixture, campaign);
        assert_int_equal(deliver_all(&fixture, campaign, DELIVERY_DELIVERED), 40000);
    }
    struct storage_commits commits;
    storage_commits(fixture.storage, &commits);
    assert_in_range(commits.max_us, 0, STALL_MAX_US);
    /* The log begins again: what is carried over is written over. */
    int64_t later_bytes;
    assert_int_equal(storage_sizes(fixture.storage, &database_bytes, &later_bytes), 0);
    assert_in_range(later_bytes, 0, wal_bytes + (int64_t)KEEPER_WAL_PAGES * 4096);
    fixture_remove(&fixture);
}

/* The keeper carries the log of a load over beside it, and it begins again, many times. */
static void a_long_load_keeps_its_log_short(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t database_bytes, wal_bytes;
    import_range(&fixture, make_list(&fixture, "news"), "u", "a.test", 0, 850000);
    assert_int_equal(storage_sizes(fixture.storage, &database_bytes, &wal_bytes), 0);
    assert_in_range(database_bytes, (int64_t)2 * KEEPER_WAL_PAGES * 4096, INT64_MAX);
    assert_in_range(wal_bytes, 0, (int64_t)2 * KEEPER_WAL_PAGES * 4096);
    fixture_remove(&fixture);
}

static void retention_keeps_the_totals(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""};
    int64_t removed, slices = 0;
    fixture_open(&fixture, false);
    int64_t old = finished_campaign(&fixture, 1000, "u");
    sql_exec(
        &fixture,
        "INSERT INTO attempt SELECT id, id, 3, 0, 1, 0, 0, 451, 11, 0, 0, '', '', '', '', NULL, NULL FROM delivery");
    int64_t young = finished_campaign(&fixture, 50, "v");
    sql_exec(&fixture, "UPDATE campaign SET finished = 100000 WHERE id = 2");
    int64_t list = make_list(&fixture, "running");
    import_range(&fixture, list, "w", "a.test", 0, 20);
    int64_t running = make_campaign(&fixture, &list, 1, NULL, 0);
    launch(&fixture, running);
    deliver_all(&fixture, running, DELIVERY_DEFERRED);
    must(storage_retain(fixture.storage, 100000, 300, 100000, &removed, &err)); /* not old enough */
    assert_int_equal(removed, 0);
    do {
        must(storage_retain(fixture.storage, 50000, 300, 100000, &removed, &err));
        assert_in_range(removed, 0, 300);
        slices++;
    } while (removed == 300);
    assert_int_equal(slices, 4);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM delivery WHERE campaign_id = 1"), 0);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM attempt"), 0);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM delivery"), 70);
    assert_blocks(&fixture);
    assert_states(&fixture, old, "audience=1000 delivered=1000");
    assert_states(&fixture, young, "audience=50 delivered=50");
    assert_states(&fixture, running, "audience=20 deferred=20");
    /* A cancelled campaign whose deferred rows still wait for their turn is left alone until they had it. */
    must(storage_campaign_move(fixture.storage, running, CAMPAIGN_CANCELLED, 0, 5000, NULL, &err));
    must(storage_retain(fixture.storage, 0, 300, 90000, &removed, &err));
    assert_int_equal(removed, 0);
    int64_t changed;
    must(storage_campaign_cancel_deferred(fixture.storage, running, 100, 5000, &changed, &err));
    must(storage_retain(fixture.storage, 0, 300, 90000, &removed, &err));
    assert_int_equal(removed, 20);
    assert_states(&fixture, running, "audience=20 cancelled=20");
    assert_int_equal(storage_retain(fixture.storage, 0, 0, 90000, &removed, &err), -EINVAL);
    fixture_remove(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_audience_is_counted_beside_the_launch),
        cmocka_unit_test(a_small_audience_is_exact_at_once),
        cmocka_unit_test(counting_goes_on_after_a_restart),
        cmocka_unit_test(cancelled_while_it_is_counted),
        cmocka_unit_test(the_count_is_of_the_frozen_audience),
        cmocka_unit_test(check_tells_sound_from_damaged),
        cmocka_unit_test(a_backup_is_one_snapshot_under_load),
        cmocka_unit_test(a_stopped_backup_leaves_nothing),
        cmocka_unit_test(vacuum_shrinks_and_waits_for_no_server),
        cmocka_unit_test(a_long_reader_stalls_no_commit),
        cmocka_unit_test(a_long_load_keeps_its_log_short),
        cmocka_unit_test(retention_keeps_the_totals),
        cmocka_unit_test(links_have_a_time_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
