/*
 * test_plans.c - what people look at while a campaign runs must not sort it. Every statement that the reader has
 * prepared for a page is explained: none may use a temporary b-tree, none may scan a large table.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "storage/writer.h"
#include "tests/unit/storage/support.h"

static void check_plan(sqlite3 *db, const char *sql)
{
    char explain[4000];
    sqlite3_stmt *plan;
    (void)snprintf(explain, sizeof(explain), "EXPLAIN QUERY PLAN %s", sql);
    assert_int_equal(sqlite3_prepare_v2(db, explain, -1, &plan, NULL), SQLITE_OK);
    while (sqlite3_step(plan) == SQLITE_ROW) {
        const char *detail = (const char *)sqlite3_column_text(plan, 3);
        static const char *const large[] = {"SCAN d",        "SCAN r",      "SCAN m",
                                            "SCAN delivery", "SCAN member", "SCAN recipient"};
        bool bad = strstr(detail, "TEMP B-TREE") != NULL;
        for (size_t i = 0; i < countof(large); i++)
            bad = bad || (strncmp(detail, large[i], strlen(large[i])) == 0 &&
                          (detail[strlen(large[i])] == ' ' || detail[strlen(large[i])] == '\0'));
        if (bad)
            fail_msg("%s\n%s", detail, sql);
    }
    sqlite3_finalize(plan);
}

static void check_plans(struct db *db)
{
    int checked = 0;
    for (size_t i = 0; i < DB_STATEMENTS; i++) {
        const char *sql = db->statements[i].sql;
        if (sql == NULL || strncmp(sql, "SELECT", 6) != 0)
            continue;
        check_plan(db->handle, sql);
        checked++;
    }
    assert_true(checked > 3);
}

struct seen {
    int64_t last;
    int count;
};

static int see(void *context, const struct storage_delivery *delivery)
{
    struct seen *seen = context;
    assert_true(delivery->id > seen->last);
    seen->last = delivery->id;
    seen->count++;
    return 0;
}

static int see_any(void *context, const struct storage_delivery *delivery)
{
    *(int64_t *)context = delivery->id;
    return 0;
}

static int see_member(void *context, const struct storage_member *member)
{
    *(int64_t *)context = member->recipient_id;
    return 0;
}

static int see_campaign(void *context, const struct storage_campaign *campaign)
{
    (void)context;
    (void)campaign;
    return 0;
}

static int page(struct fixture *fixture, int64_t campaign, int state, const char *domain)
{
    struct error err = {.text = ""};
    struct seen seen = {0};
    int before;
    do { /* three pages in a row, from where the one before ended */
        before = seen.count;
        must(storage_delivery_page(fixture->reader, campaign, state, domain, seen.last, 50, see, &seen, &err));
    } while (seen.count > before && seen.count < 150);
    return seen.count;
}

static void pages_of_a_large_campaign_do_not_sort(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    int64_t list = make_list(&fixture, "news"), total;
    import_range(&fixture, list, "u", "a.test", 0, 60000);
    import_range(&fixture, list, "u", "b.test", 0, 40000);
    import_range(&fixture, list, "u", "c.test", 0, 40);
    int64_t first = make_campaign(&fixture, &list, 1, NULL, 0), second = make_campaign(&fixture, &list, 1, NULL, 0);
    launch(&fixture, first);
    launch(&fixture, second);
    assert_int_equal(deliver_all(&fixture, first, DELIVERY_DELIVERED), 100040);
    assert_int_equal(deliver_all(&fixture, second, DELIVERY_DEFERRED), 100040);
    struct storage_claim retries = {.campaign_id = second, .lane = STORAGE_LANE_RETRIES, .max = 70, .now_ms = 99999};
    claim_wait(fixture.storage, &retries);
    assert_int_equal(retries.job_count, 70);
    arena_finish(&retries.arena);

    int64_t begun_us = clock_monotonic_us();
    assert_int_equal(page(&fixture, first, -1, NULL), 150);
    assert_int_equal(page(&fixture, first, DELIVERY_DELIVERED, NULL), 150);
    assert_int_equal(page(&fixture, first, DELIVERY_BOUNCED, NULL), 0);
    assert_int_equal(page(&fixture, first, DELIVERY_DEFERRED, NULL), 0);
    assert_int_equal(page(&fixture, second, DELIVERY_DEFERRED, NULL), 150);
    assert_int_equal(page(&fixture, second, DELIVERY_SENDING, NULL), 70);
    assert_int_equal(page(&fixture, second, DELIVERY_DEFERRED, "a.test"), 150);
    assert_int_equal(page(&fixture, second, -1, "a.test"), 150);
    assert_int_equal(page(&fixture, first, DELIVERY_DELIVERED, "b.test"), 150);
    assert_int_equal(page(&fixture, first, -1, "none.test"), 0);
    int64_t last = 0;
    must(storage_member_page(fixture.reader, list, 0, 50, see_member, &last, &total, &err));
    must(storage_member_page(fixture.reader, list, last, 50, see_member, &last, &total, &err));
    must(storage_delivery_by_recipient(fixture.reader, 5, see_any, &last, &err));
    must(storage_campaign_page(fixture.reader, 0, 50, 0, see_campaign, NULL, &total, &err));
    must(storage_recipient_memberships(fixture.reader, 5, see_member, &last, &err));
    /* Far below what a sort of 100,000 rows a page would take, far above what these take (a few ms). */
    assert_in_range(clock_monotonic_us() - begun_us, 0, 3000000);
    check_plans(&fixture.reader->db);
    check_plans(&fixture.storage->db); /* the writer's own, claims among them */
    fixture_remove(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_of_a_large_campaign_do_not_sort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
