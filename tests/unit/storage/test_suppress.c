/*
 * test_suppress.c - who may not be mailed and for how long, how soft bounces add up and decay, and when a campaign
 * stops by itself.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "support.h"

#define DAY_MS ((int64_t)86400000)

static struct error err;

/* A digest that is none: what is tested here is that it is asked for and compared. */
static int toy_digest(const void *bytes, size_t len, uint8_t out[32])
{
    memset(out, 0, 32);
    for (size_t i = 0; i < len; i++)
        out[i % 32] = (uint8_t)(out[i % 32] * 31 + ((const uint8_t *)bytes)[i]);
    return 0;
}

static int64_t launched(struct fixture *fixture, int64_t list)
{
    int64_t campaign = make_campaign(fixture, &list, 1, NULL, 0);
    launch(fixture, campaign);
    return campaign;
}

static void put(struct fixture *fixture, const char *email, int64_t list, int64_t expires_ms)
{
    const struct storage_suppression item = {
        .email = email, .reason = "manual", .created_ms = 1, .expires_ms = expires_ms, .list_id = list};
    int rc = storage_suppression_add(fixture->storage, &item, &err);
    assert_true(rc == 0 || rc == STORAGE_EXISTS);
}

static void entries_hold_until_they_expire(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t list = make_list(&fixture, "news"), now_ms = clock_wall_ms(), removed;
    import_range(&fixture, list, "u", "a.test", 0, 3);
    put(&fixture, "u0@a.test", 0, 4999); /* the claims of these tests are made at 5000 */
    put(&fixture, "u1@a.test", 0, now_ms + DAY_MS);
    int64_t campaign = launched(&fixture, list);
    assert_int_equal(deliver_all(&fixture, campaign, DELIVERY_DELIVERED), 2);
    assert_states(&fixture, campaign, "audience=3 delivered=2 suppressed=1");
    must(storage_suppression_expire(fixture.storage, now_ms, &removed, &err));
    assert_int_equal(removed, 1);
    assert_int_equal(sql_int(&fixture, "SELECT suppressions FROM meta"), 1);
    /* The one that lasts longer wins, whichever comes first. */
    put(&fixture, "u1@a.test", 0, now_ms + 10);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM suppression WHERE expires > 0"), 1);
    put(&fixture, "u1@a.test", 0, 0);
    put(&fixture, "u1@a.test", 0, now_ms + DAY_MS);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM suppression WHERE expires = 0"), 1);
    assert_int_equal(sql_int(&fixture, "SELECT suppressions FROM meta"), 1);
    fixture_remove(&fixture);
}

/* Who has unsubscribed still gets transactional messages, so what is known since must not be lost behind it. */
static void an_unsubscription_takes_a_graver_reason(void **state)
{
    (void)state;
    static const struct {
        const char *had, *then;
        int64_t had_ms, then_ms; /* until when; 0 = for ever */
        const char *kept;
    } cases[] = {
        {"unsubscribe", "hard-bounce", 0, 0, "hard-bounce"},    {"unsubscribe", "complaint", 0, 0, "complaint"},
        {"unsubscribe", "manual", 9000, 9000, "manual"},        {"unsubscribe", "manual", 0, 9000, "unsubscribe"},
        {"unsubscribe", "manual", 9000, 8000, "unsubscribe"},   {"hard-bounce", "unsubscribe", 0, 0, "hard-bounce"},
        {"hard-bounce", "complaint", 0, 0, "hard-bounce"},      {"unsubscribe", "unsubscribe", 0, 0, "unsubscribe"},
        {"unsubscribe", "soft-bounce", 9000, 0, "soft-bounce"},
    };
    struct fixture fixture;
    fixture_open(&fixture, false);
    for (size_t i = 0; i < countof(cases); i++) {
        char email[32], sql[96];
        (void)snprintf(email, sizeof(email), "u%zu@a.test", i);
        struct storage_suppression item = {
            .email = email, .reason = cases[i].had, .created_ms = 1, .expires_ms = cases[i].had_ms};
        must(storage_suppression_add(fixture.storage, &item, &err));
        item.reason = cases[i].then;
        item.expires_ms = cases[i].then_ms;
        assert_int_equal(storage_suppression_add(fixture.storage, &item, &err), STORAGE_EXISTS);
        (void)snprintf(sql, sizeof(sql), "SELECT reason = '%s' FROM suppression WHERE email = '%s'", cases[i].kept,
                       email);
        assert_int_equal(sql_int(&fixture, sql), 1);
    }
    assert_int_equal(sql_int(&fixture, "SELECT suppressions FROM meta"), countof(cases));
    /* What has taken its place is lifted: the unsubscription still holds, until that is lifted itself. */
    for (size_t i = 0; i < countof(cases); i++) {
        char email[32], sql[128];
        bool left = strcmp(cases[i].had, "unsubscribe") == 0 || strcmp(cases[i].then, "unsubscribe") == 0;
        (void)snprintf(email, sizeof(email), "u%zu@a.test", i);
        (void)snprintf(sql, sizeof(sql), "SELECT reason = 'unsubscribe' AND expires = 0 FROM suppression WHERE email = '%s'",
                       email);
        if (left && strcmp(cases[i].kept, "unsubscribe") != 0) {
            must(storage_suppression_remove(fixture.storage, email, 0, &err));
            assert_int_equal(sql_int(&fixture, sql), 1);
        }
        must(storage_suppression_remove(fixture.storage, email, 0, &err));
        assert_int_equal(storage_suppression_remove(fixture.storage, email, 0, &err), STORAGE_NOT_FOUND);
    }
    assert_int_equal(sql_int(&fixture, "SELECT suppressions FROM meta"), 0);
    fixture_remove(&fixture);
}

static void an_entry_for_one_list_leaves_the_others(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t news = make_list(&fixture, "news"), offers = make_list(&fixture, "offers");
    import_range(&fixture, news, "u", "a.test", 0, 2);
    import_range(&fixture, offers, "u", "a.test", 0, 2);
    put(&fixture, "u0@a.test", offers, 0);
    const struct storage_suppression nowhere = {.email = "u0@a.test", .reason = "manual", .list_id = 99};
    assert_int_equal(storage_suppression_add(fixture.storage, &nowhere, &err), STORAGE_NOT_FOUND);
    int64_t first = launched(&fixture, news), second = launched(&fixture, offers);
    assert_int_equal(deliver_all(&fixture, first, DELIVERY_DELIVERED), 2);
    assert_int_equal(deliver_all(&fixture, second, DELIVERY_DELIVERED), 1);
    assert_states(&fixture, second, "audience=2 delivered=1 suppressed=1");
    must(storage_suppression_remove(fixture.storage, "u0@a.test", offers, &err));
    assert_int_equal(storage_suppression_remove(fixture.storage, "u0@a.test", offers, &err), STORAGE_NOT_FOUND);
    assert_int_equal(deliver_all(&fixture, launched(&fixture, offers), DELIVERY_DELIVERED), 2);
    fixture_remove(&fixture);
}

static int count_entry(void *context, const struct storage_suppression *item)
{
    (void)item;
    ++*(int *)context;
    return 0;
}

/* An entry without its list would pass for one of all lists, wherever it is written down. */
static void entries_go_with_their_list(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t news = make_list(&fixture, "news"), offers = make_list(&fixture, "offers"), total, removed;
    int seen = 0;
    put(&fixture, "u0@a.test", 0, 0);
    put(&fixture, "u0@a.test", news, 0);
    put(&fixture, "u0@a.test", offers, 0);
    put(&fixture, "u1@a.test", offers, 0);
    must(storage_list_delete(fixture.storage, offers, &err));
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM list_suppression"), 1);
    must(storage_suppression_page(fixture.reader, NULL, 10, count_entry, &seen, &total, &err));
    assert_int_equal(seen, 2);
    assert_int_equal(total, 2);
    /* Lists that were deleted before left theirs behind. */
    sql_exec(&fixture, "INSERT INTO list_suppression VALUES ('u2@a.test', 99, 'manual', '', 1, 0);"
                       "UPDATE meta SET suppressions = 3");
    seen = 0;
    must(storage_suppression_page(fixture.reader, NULL, 10, count_entry, &seen, NULL, &err));
    assert_int_equal(seen, 2);
    assert_int_equal(storage_suppression_get(fixture.reader, "u2@a.test", count_entry, &seen, &err), STORAGE_NOT_FOUND);
    must(storage_suppression_expire(fixture.storage, clock_wall_ms(), &removed, &err));
    assert_int_equal(removed, 1);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM list_suppression"), 1);
    assert_int_equal(sql_int(&fixture, "SELECT suppressions FROM meta"), 2);
    fixture_remove(&fixture);
}

static void an_address_may_be_known_by_its_digest_only(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t list = make_list(&fixture, "news"), lane;
    char hash[SUPPRESSION_HASH_BYTES + 1];
    import_range(&fixture, list, "u", "a.test", 0, 3);
    assert_int_equal(storage_suppression_hash(toy_digest, "U1@a.test", hash), 0);
    assert_int_equal(strlen(hash), SUPPRESSION_HASH_BYTES);
    put(&fixture, hash, 0, 0);
    int64_t campaign = launched(&fixture, list);
    /* A program that cannot compare claims nothing, rather than to mail somebody. */
    assert_int_equal(lanes_of(&fixture, campaign, &lane, 1), 1);
    struct storage_claim claim = {.campaign_id = campaign, .lane = lane, .max = 10};
    claim_wait(fixture.storage, &claim);
    assert_true(claim.status < 0);
    storage_set_digest(fixture.storage, toy_digest);
    assert_int_equal(deliver_all(&fixture, campaign, DELIVERY_DELIVERED), 2);
    assert_states(&fixture, campaign, "audience=3 delivered=2 suppressed=1");
    fixture_remove(&fixture);
}

/* ---- soft bounces ---- */

static struct storage_feedback report(struct fixture *fixture, int64_t campaign, enum storage_feedback_kind kind,
                                      int64_t at_ms)
{
    struct storage_feedback item = {.kind = kind,
                                    .campaign_id = campaign,
                                    .recipient_id = recipient_id(fixture, "u0@a.test"),
                                    .at_ms = at_ms,
                                    .soft_limit = 3,
                                    .soft_window_ms = 30 * DAY_MS};
    must(storage_feedback_apply(fixture->storage, &item, 1, &err));
    return item;
}

static void deliver_at(struct fixture *fixture, int64_t campaign, int64_t at_ms)
{
    char sql[160];
    assert_int_equal(deliver_all(fixture, campaign, DELIVERY_DELIVERED), 1);
    (void)snprintf(sql, sizeof(sql), "UPDATE delivery SET updated = %lld WHERE campaign_id = %lld", (long long)at_ms,
                   (long long)campaign);
    sql_exec(fixture, sql);
}

static void soft_bounces_add_up_decay_and_are_wiped_by_a_delivery(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t list = make_list(&fixture, "news"), campaigns[9], day = 20000 * DAY_MS;
    import_range(&fixture, list, "u", "a.test", 0, 1);
    for (int i = 0; i < 9; i++)
        campaigns[i] = launched(&fixture, list);
    deliver_at(&fixture, campaigns[0], day);
    assert_true(report(&fixture, campaigns[0], FEEDBACK_SOFT, day + 1).changed);
    assert_false(report(&fixture, campaigns[0], FEEDBACK_SOFT, day + 2).changed);
    deliver_at(&fixture, campaigns[1], day + 3);
    assert_false(report(&fixture, campaigns[1], FEEDBACK_SOFT, day + 4).suppressed);
    /* Delivered, and no report followed: what was before does not count any more, and told again it is still known. */
    deliver_at(&fixture, campaigns[2], day + 5);
    assert_false(report(&fixture, campaigns[0], FEEDBACK_SOFT, day + 6).changed);
    deliver_at(&fixture, campaigns[3], day + 7);
    assert_false(report(&fixture, campaigns[3], FEEDBACK_SOFT, day + 8).suppressed);
    deliver_at(&fixture, campaigns[4], day + 9);
    assert_false(report(&fixture, campaigns[4], FEEDBACK_SOFT, day + 10).suppressed);
    /* Past the window the first two are forgotten. */
    deliver_at(&fixture, campaigns[5], day + 31 * DAY_MS);
    assert_false(report(&fixture, campaigns[5], FEEDBACK_SOFT, day + 31 * DAY_MS + 1).suppressed);
    deliver_at(&fixture, campaigns[6], day + 31 * DAY_MS + 2);
    assert_false(report(&fixture, campaigns[6], FEEDBACK_SOFT, day + 31 * DAY_MS + 3).suppressed);
    deliver_at(&fixture, campaigns[7], day + 31 * DAY_MS + 4);
    assert_true(report(&fixture, campaigns[7], FEEDBACK_SOFT, day + 31 * DAY_MS + 5).suppressed);
    /* Taken back: the next one does not bring it back at once. */
    must(storage_suppression_remove(fixture.storage, "u0@a.test", 0, &err));
    deliver_at(&fixture, campaigns[8], day + 31 * DAY_MS + 6);
    assert_false(report(&fixture, campaigns[8], FEEDBACK_SOFT, day + 31 * DAY_MS + 7).suppressed);
    fixture_remove(&fixture);
}

static void soft_bounces_of_the_session_count_too(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t list = make_list(&fixture, "news"), lane;
    import_range(&fixture, list, "u", "a.test", 0, 1);
    for (int i = 0; i < 3; i++) {
        int64_t campaign = launched(&fixture, list);
        assert_int_equal(lanes_of(&fixture, campaign, &lane, 1), 1);
        struct storage_claim claim = {.campaign_id = campaign, .lane = lane, .max = 10, .now_ms = clock_wall_ms()};
        claim_wait(fixture.storage, &claim);
        assert_int_equal(claim.job_count, 1);
        struct storage_outcome *record = make_outcome(&claim.jobs[0], DELIVERY_BOUNCED, NULL);
        record->soft_limit = 3;
        record->soft_window_ms = DAY_MS;
        post_one(&fixture, record);
        arena_finish(&claim.arena);
        assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM suppression WHERE reason = 'soft-bounce'"), i == 2);
    }
    assert_int_equal(sql_int(&fixture, "SELECT suppressions FROM meta"), 1);
    fixture_remove(&fixture);
}

static void what_a_person_took_back_the_same_report_does_not_bring_back(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t list = make_list(&fixture, "news");
    import_range(&fixture, list, "u", "a.test", 0, 1);
    int64_t campaign = launched(&fixture, list);
    deliver_at(&fixture, campaign, 1);
    static const enum storage_feedback_kind kinds[] = {FEEDBACK_HARD, FEEDBACK_COMPLAINT};
    for (size_t i = 0; i < countof(kinds); i++) {
        assert_true(report(&fixture, campaign, kinds[i], 10).suppressed);
        must(storage_suppression_remove(fixture.storage, "u0@a.test", 0, &err));
        struct storage_feedback again = report(&fixture, campaign, kinds[i], 11);
        assert_false(again.suppressed || again.changed || again.bounced);
    }
    struct storage_campaign seen = stats(&fixture, campaign);
    assert_int_equal(seen.hard_bounced, 1);
    assert_int_equal(seen.complained, 1);
    struct storage_feedback kept = {.kind = FEEDBACK_HARD,
                                    .campaign_id = launched(&fixture, list),
                                    .recipient_id = recipient_id(&fixture, "u0@a.test"),
                                    .keep_address = true};
    deliver_at(&fixture, kept.campaign_id, 20);
    must(storage_feedback_apply(fixture.storage, &kept, 1, &err));
    assert_true(kept.bounced && !kept.suppressed);
    fixture_remove(&fixture);
}

/* Reports are taken for as long as links are kept, which may be longer than deliveries are. */
static void a_report_about_a_delivery_that_retention_removed_suppresses(void **state)
{
    (void)state;
    static const struct {
        enum storage_feedback_kind kind;
        bool unknown, suppressed;
        int64_t complained;
    } table[] = {{FEEDBACK_HARD, false, true, 0},
                 {FEEDBACK_COMPLAINT, false, true, 1},
                 {FEEDBACK_SOFT, false, true, 0},
                 {FEEDBACK_BOUNCED, true, false, 0}};
    for (size_t i = 0; i < countof(table); i++) {
        struct fixture fixture;
        int64_t removed;
        fixture_open(&fixture, false);
        int64_t list = make_list(&fixture, "news");
        import_range(&fixture, list, "u", "a.test", 0, 1);
        int64_t campaign = launched(&fixture, list);
        deliver_at(&fixture, campaign, 1);
        must(storage_campaign_try_finish(fixture.storage, campaign, 5000, &err));
        must(storage_retain(fixture.storage, 1000, 100, 9000, &removed, &err));
        assert_int_equal(removed, 1);
        struct storage_feedback item = {.kind = table[i].kind,
                                        .campaign_id = campaign,
                                        .recipient_id = recipient_id(&fixture, "u0@a.test"),
                                        .at_ms = 10000,
                                        .soft_limit = 1,
                                        .soft_window_ms = DAY_MS};
        must(storage_feedback_apply(fixture.storage, &item, 1, &err));
        assert_int_equal(item.unknown, table[i].unknown);
        assert_int_equal(item.suppressed, table[i].suppressed);
        assert_int_equal(item.changed, table[i].suppressed);
        assert_false(item.bounced);
        assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM suppression"), table[i].suppressed);
        assert_states(&fixture, campaign, "audience=1 delivered=1");
        assert_int_equal(stats(&fixture, campaign).hard_bounced, 0);
        assert_int_equal(stats(&fixture, campaign).complained, table[i].complained);
        /* Of nobody, or of no campaign, it proves nothing. */
        struct storage_feedback nobody[] = {item, item};
        nobody[0].recipient_id += 1000;
        nobody[1].campaign_id += 1000;
        must(storage_feedback_apply(fixture.storage, nobody, countof(nobody), &err));
        assert_true(nobody[0].unknown && nobody[1].unknown && !nobody[0].changed && !nobody[1].changed);
        fixture_remove(&fixture);
    }
}

/* ---- the guard ---- */

static int look(struct fixture *fixture, int64_t campaign, char *reason)
{
    static const struct storage_guard guard = {.hard_bounces_ppm = 50000, .complaints_ppm = 1000, .after = 1000};
    char seen[STORAGE_GUARD_REASON_BYTES];
    int judged = storage_campaign_judge(fixture->reader, campaign, &guard, seen, &err);
    int paused = storage_campaign_guard(fixture->storage, campaign, &guard, reason, &err);
    assert_int_equal(judged, paused);
    assert_string_equal(seen, reason);
    return paused;
}

static void a_campaign_stops_above_its_limits_and_goes_on_when_told(void **state)
{
    (void)state;
    struct fixture fixture;
    char reason[STORAGE_GUARD_REASON_BYTES];
    fixture_open(&fixture, false);
    int64_t list = make_list(&fixture, "news");
    import_range(&fixture, list, "u", "a.test", 0, 1);
    int64_t campaign = launched(&fixture, list);
    sql_exec(&fixture, "UPDATE campaign SET delivered = 900, bounced = 99, hard_bounced = 99");
    assert_int_equal(look(&fixture, campaign, reason), 0); /* not yet a thousand */
    sql_exec(&fixture, "UPDATE campaign SET delivered = 950, bounced = 50, hard_bounced = 50");
    assert_int_equal(look(&fixture, campaign, reason), 0); /* 5% is not above 5% */
    sql_exec(&fixture, "UPDATE campaign SET delivered = 949, bounced = 51, hard_bounced = 51");
    assert_int_equal(look(&fixture, campaign, reason), 1);
    assert_string_equal(reason, "hard bounces are 5.10% (51 of 1000 delivered or bounced), more than 5%");
    assert_int_equal(sql_int(&fixture, "SELECT status FROM campaign"), CAMPAIGN_PAUSED);
    assert_int_equal(sql_int(&fixture, "SELECT length(pause_reason) > 0 FROM campaign"), 1);
    assert_int_equal(look(&fixture, campaign, reason), 0); /* it does not run */
    /* Somebody lets it go on: what is past is past. */
    must(storage_campaign_move(fixture.storage, campaign, CAMPAIGN_RUNNING, 0, 1, NULL, &err));
    assert_int_equal(sql_int(&fixture, "SELECT length(pause_reason) FROM campaign"), 0);
    assert_int_equal(look(&fixture, campaign, reason), 0);
    sql_exec(&fixture, "UPDATE campaign SET delivered = 1949, complained = 1");
    assert_int_equal(look(&fixture, campaign, reason), 0);
    sql_exec(&fixture, "UPDATE campaign SET complained = 2");
    assert_int_equal(look(&fixture, campaign, reason), 1);
    assert_string_equal(reason, "complaints are 0.20% (2 of 1000 delivered), more than 0.1%");
    sql_exec(&fixture,
             "UPDATE campaign SET delivered = 0, bounced = 0, hard_bounced = 0, complained = 0, audience = 1");
    fixture_remove(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_hold_until_they_expire),
        cmocka_unit_test(an_unsubscription_takes_a_graver_reason),
        cmocka_unit_test(an_entry_for_one_list_leaves_the_others),
        cmocka_unit_test(entries_go_with_their_list),
        cmocka_unit_test(an_address_may_be_known_by_its_digest_only),
        cmocka_unit_test(soft_bounces_add_up_decay_and_are_wiped_by_a_delivery),
        cmocka_unit_test(soft_bounces_of_the_session_count_too),
        cmocka_unit_test(what_a_person_took_back_the_same_report_does_not_bring_back),
        cmocka_unit_test(a_report_about_a_delivery_that_retention_removed_suppresses),
        cmocka_unit_test(a_campaign_stops_above_its_limits_and_goes_on_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
