/*
 * test_campaigns.c - the life of a campaign, its frozen audience, its claims, retries and recovery.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/storage/support.h"

static struct storage_claim claim_lane(struct fixture *fixture, int64_t campaign, int64_t lane, int max)
{
    struct storage_claim claim = {.campaign_id = campaign, .lane = lane, .max = max, .now_ms = 20000};
    claim_wait(fixture->storage, &claim);
    return claim;
}

/* All lanes, `max` rows each at most; the jobs' records posted with `state`. Returns how many. */
static int claim_and_post(struct fixture *fixture, int64_t campaign, int max, enum delivery_state state)
{
    int64_t lanes[64];
    int count = lanes_of(fixture, campaign, lanes, 64), total = 0;
    for (int i = 0; i < count; i++) {
        struct storage_claim claim = claim_lane(fixture, campaign, lanes[i], max);
        assert_int_equal(claim.status, 0);
        for (int n = 0; n < claim.job_count; n++)
            post_one(fixture, make_outcome(&claim.jobs[n], state, NULL));
        total += claim.job_count;
        arena_finish(&claim.arena);
    }
    return total;
}

static int count_campaign(void *context, const struct storage_campaign *campaign)
{
    (void)campaign;
    ++*(int *)context;
    return 0;
}

static void statuses_move_only_along_the_table(void **state)
{
    (void)state;
    static const char legal[CAMPAIGN_STATUS_COUNT][CAMPAIGN_STATUS_COUNT + 1] = {
        /*             to: d s r p f c */
        [CAMPAIGN_DRAFT] = "=yy--y",  [CAMPAIGN_SCHEDULED] = "y=y--y", [CAMPAIGN_RUNNING] = "--=yyy",
        [CAMPAIGN_PAUSED] = "--y=-y", [CAMPAIGN_FINISHED] = "----=-",  [CAMPAIGN_CANCELLED] = "-----=",
    };
    static const enum campaign_status way[CAMPAIGN_STATUS_COUNT][2] = {
        [CAMPAIGN_SCHEDULED] = {CAMPAIGN_SCHEDULED},
        [CAMPAIGN_RUNNING] = {CAMPAIGN_RUNNING},
        [CAMPAIGN_PAUSED] = {CAMPAIGN_RUNNING, CAMPAIGN_PAUSED},
        [CAMPAIGN_FINISHED] = {CAMPAIGN_RUNNING, CAMPAIGN_FINISHED},
        [CAMPAIGN_CANCELLED] = {CAMPAIGN_CANCELLED},
    };
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    int64_t list = make_list(&fixture, "empty");
    for (int from = 0; from < CAMPAIGN_STATUS_COUNT; from++) {
        for (int to = 0; to < CAMPAIGN_STATUS_COUNT; to++) {
            int64_t id = make_campaign(&fixture, &list, 1, NULL, 0);
            for (int step = 0; step < 2 && way[from][step] != CAMPAIGN_DRAFT; step++)
                must(storage_campaign_move(fixture.storage, id, way[from][step], 7, 9, NULL, &err));
            enum campaign_status was;
            int result = storage_campaign_move(fixture.storage, id, (enum campaign_status)to, 7, 9, &was, &err);
            if (result != (legal[from][to] == '-' ? STORAGE_WRONG_STATE : 0))
                fail_msg("%s -> %s gives %d", campaign_status_name((enum campaign_status)from),
                         campaign_status_name((enum campaign_status)to), result);
            assert_int_equal(was, from);
            assert_int_equal(stats(&fixture, id).status, legal[from][to] == '-' ? from : to);
        }
    }
    assert_int_equal(storage_campaign_move(fixture.storage, 999, CAMPAIGN_RUNNING, 0, 0, NULL, &err),
                     STORAGE_NOT_FOUND);
    int count = 0;
    int64_t total;
    must(storage_campaign_page(fixture.reader, 0, 10, 1u << CAMPAIGN_DRAFT | 1u << CAMPAIGN_PAUSED, count_campaign,
                               &count, &total, &err));
    assert_int_equal(count, MIN_OF(total, 10));
    must(storage_campaign_page(fixture.reader, 5, 10, 0, count_campaign, &count, &total, &err));
    assert_int_equal(total, CAMPAIGN_STATUS_COUNT * CAMPAIGN_STATUS_COUNT);
    fixture_remove(&fixture);
}

static void only_drafts_are_deleted(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    int64_t list = make_list(&fixture, "news"), none = 99;
    int64_t draft = make_campaign(&fixture, &list, 1, NULL, 0), running = make_campaign(&fixture, &list, 1, NULL, 0);
    launch(&fixture, running);
    must(storage_campaign_delete(fixture.storage, draft, &err));
    assert_int_equal(storage_campaign_delete(fixture.storage, draft, &err), STORAGE_NOT_FOUND);
    assert_int_equal(storage_campaign_delete(fixture.storage, running, &err), STORAGE_WRONG_STATE);
    struct storage_campaign unknown = {.name = "x", .spec = "{}", .lists = {none}, .list_count = 1};
    int64_t id;
    assert_int_equal(storage_campaign_create(fixture.storage, &unknown, 1, &id, &err), STORAGE_NOT_FOUND);
    assert_non_null(strstr(err.text, "99"));
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM campaign"), 1); /* nothing half done */
    must(storage_campaign_add_missing(fixture.storage, running, 3, &err));
    assert_int_equal(stats(&fixture, running).missing_attributes, 3);
    assert_int_equal(storage_campaign_add_missing(fixture.storage, 99, 3, &err), STORAGE_NOT_FOUND);
    fixture_remove(&fixture);
}

static void everybody_is_delivered_once(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    int64_t list = make_list(&fixture, "news");
    import_range(&fixture, list, "u", "big.test", 0, 2500);
    for (int i = 0; i < 40; i++) {
        char domain[32];
        (void)snprintf(domain, sizeof(domain), "d%d.test", i);
        import_range(&fixture, list, "u", domain, 0, 20);
    }
    int64_t campaign = make_campaign(&fixture, &list, 1, NULL, 0);
    launch(&fixture, campaign);
    assert_states(&fixture, campaign, "audience=3300 pending=3300");
    assert_int_equal(storage_campaign_try_finish(fixture.storage, campaign, 9, &err), STORAGE_WRONG_STATE);
    assert_int_equal(deliver_all(&fixture, campaign, DELIVERY_DELIVERED), 3300);
    assert_states(&fixture, campaign, "audience=3300 delivered=3300");
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM claim"), 0);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM delivery"), 3300);
    assert_int_equal(sql_int(&fixture, "SELECT delivered FROM tally WHERE campaign_id = 0"), 3300);
    assert_int_equal(sql_int(&fixture, "SELECT delivered FROM tally WHERE campaign_id = 1"), 3300);
    must(storage_campaign_try_finish(fixture.storage, campaign, 99, &err));
    struct storage_campaign found = stats(&fixture, campaign);
    assert_int_equal(found.status, CAMPAIGN_FINISHED);
    assert_int_equal(found.finished_ms, 99);
    assert_int_equal(found.first_delivery_ms, 60000);
    fixture_remove(&fixture);
}

/* Rows are written many at a time; what does not fit is found out one by one. */
static void a_batch_with_outcomes_that_came_before(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t list = make_list(&fixture, "news");
    import_range(&fixture, list, "u", "a.test", 0, 60);
    int64_t campaign = make_campaign(&fixture, &list, 1, NULL, 0), lane;
    launch(&fixture, campaign);
    assert_int_equal(lanes_of(&fixture, campaign, &lane, 1), 1);
    struct storage_claim claim = {.campaign_id = campaign, .lane = lane, .max = 50, .now_ms = 1};
    claim_wait(fixture.storage, &claim);
    assert_int_equal(claim.job_count, 50);
    post_one(&fixture, make_outcome(&claim.jobs[3], DELIVERY_BOUNCED, NULL));
    post_one(&fixture, make_outcome(&claim.jobs[33], DELIVERY_DEFERRED, NULL));
    struct gate gate;
    gate_init(&gate);
    struct list records = LIST_INIT(records);
    for (int i = 0; i < 50; i++)
        list_append(&records, &make_outcome(&claim.jobs[i], DELIVERY_DELIVERED, &gate)->node);
    list_append(&records, &make_outcome(&claim.jobs[49], DELIVERY_BOUNCED, &gate)->node); /* in the air no more */
    storage_outcomes_post(fixture.storage, &records);
    gate_wait(&gate, 51);
    assert_states(&fixture, campaign, "audience=60 pending=10 delivered=49 bounced=1");
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM delivery"), 50);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM delivery WHERE state = 2"), 49);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM attempt"), 1); /* the deferred one's */
    /* A claim that cannot be told to be settled stays until the next start finds nothing missing of it. */
    arena_finish(&claim.arena);
    fixture_close(&fixture);
    fixture_reopen(&fixture, true);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM claim"), 0);
    assert_states(&fixture, campaign, "audience=60 pending=10 delivered=49 bounced=1");
    fixture_remove(&fixture);
}

static void the_audience_is_frozen_at_the_launch(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    int64_t list = make_list(&fixture, "news");
    import_range(&fixture, list, "u", "a.test", 0, 10);
    must(storage_member_set(fixture.storage, list, "u9@a.test", MEMBER_UNSUBSCRIBED, &err)); /* before: not in it */
    int64_t campaign = make_campaign(&fixture, &list, 1, NULL, 0);
    launch(&fixture, campaign);
    import_range(&fixture, list, "late", "a.test", 0, 5);                                       /* after: not in it */
    must(storage_member_set(fixture.storage, list, "late0@a.test", MEMBER_UNSUBSCRIBED, &err)); /* nor as suppressed */
    must(storage_member_set(fixture.storage, list, "u9@a.test", MEMBER_ACTIVE, &err));          /* too late */
    must(storage_member_set(fixture.storage, list, "u0@a.test", MEMBER_UNSUBSCRIBED, &err));    /* honoured */
    must(storage_member_set(fixture.storage, list, "u1@a.test", MEMBER_REMOVED, &err));         /* honoured */
    must(storage_member_set(fixture.storage, list, "u2@a.test", MEMBER_UNSUBSCRIBED,
                            &err)); /* left and came back: in it */
    must(storage_member_set(fixture.storage, list, "u2@a.test", MEMBER_ACTIVE, &err));
    must(storage_suppression_add(fixture.storage,
                                 &(struct storage_suppression){.email = "u3@a.test", .reason = "manual"}, &err));
    assert_int_equal(deliver_all(&fixture, campaign, DELIVERY_DELIVERED), 6);
    assert_states(&fixture, campaign, "audience=9 delivered=6 suppressed=3");
    must(storage_campaign_try_finish(fixture.storage, campaign, 9, &err));
    /* The next campaign sees the list as it is now. */
    int64_t next = make_campaign(&fixture, &list, 1, NULL, 0);
    launch(&fixture, next);
    assert_states(&fixture, next, "audience=12 pending=12");
    deliver_all(&fixture, next, DELIVERY_DELIVERED);
    assert_states(&fixture, next, "audience=12 delivered=11 suppressed=1");
    fixture_remove(&fixture);
}

static void lists_merge_and_exclude(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    int64_t lists[3] = {make_list(&fixture, "a"), make_list(&fixture, "b"), make_list(&fixture, "c")};
    int64_t excluded[2] = {make_list(&fixture, "x"), make_list(&fixture, "y")};
    for (int d = 0; d < 5; d++) {
        char domain[32];
        (void)snprintf(domain, sizeof(domain), "d%d.test", d);
        import_range(&fixture, lists[0], "u", domain, 0, 100);
        import_range(&fixture, lists[1], "u", domain, 50, 150);
        import_range(&fixture, lists[2], "u", domain, 140, 200);
        import_range(&fixture, excluded[0], "u", domain, 0, 10);
        import_range(&fixture, excluded[1], "u", domain, 5, 30);
    }
    must(storage_member_set(fixture.storage, excluded[1], "u29@d0.test", MEMBER_UNSUBSCRIBED, &err)); /* not excluded */
    must(storage_member_set(fixture.storage, lists[0], "u60@d0.test", MEMBER_UNSUBSCRIBED, &err)); /* still on list b */
    must(storage_member_set(fixture.storage, lists[0], "u40@d0.test", MEMBER_UNSUBSCRIBED, &err)); /* on no other */
    int64_t campaign = make_campaign(&fixture, lists, 3, excluded, 2);
    launch(&fixture, campaign);
    assert_states(&fixture, campaign, "audience=850 pending=850"); /* 5 * 170, one more, one less */
    import_range(&fixture, excluded[0], "u", "d1.test", 100, 200); /* too late to exclude */
    must(storage_member_set(fixture.storage, lists[1], "u61@d0.test", MEMBER_UNSUBSCRIBED, &err)); /* still on list a */
    must(storage_member_set(fixture.storage, lists[2], "u199@d0.test", MEMBER_UNSUBSCRIBED, &err));
    assert_int_equal(deliver_all(&fixture, campaign, DELIVERY_DELIVERED), 849);
    assert_states(&fixture, campaign, "audience=850 delivered=849 suppressed=1");
    fixture_remove(&fixture);
}

/* A lane of people who all left is passed in bounded steps, and only its end is the end. */
static void a_lane_of_leavers_is_passed_in_steps(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t list = make_list(&fixture, "news");
    import_range(&fixture, list, "u", "a.test", 0, 12001);
    int64_t campaign = make_campaign(&fixture, &list, 1, NULL, 0), lane;
    launch(&fixture, campaign);
    sql_exec(&fixture, "UPDATE member SET status = 1, epoch = 2 WHERE recipient_id <= 12000");
    assert_int_equal(lanes_of(&fixture, campaign, &lane, 1), 1);
    int steps = 0, jobs = 0;
    struct storage_claim claim = {.lane_done = false};
    for (; !claim.lane_done; steps++) {
        claim = claim_lane(&fixture, campaign, lane, 100);
        assert_int_equal(claim.status, 0);
        for (int i = 0; i < claim.job_count; i++)
            post_one(&fixture, make_outcome(&claim.jobs[i], DELIVERY_DELIVERED, NULL));
        jobs += claim.job_count;
        arena_finish(&claim.arena);
    }
    assert_int_equal(steps, 3);
    assert_int_equal(jobs, 1);
    assert_states(&fixture, campaign, "audience=12001 delivered=1 suppressed=12000");
    fixture_remove(&fixture);
}

static int note_attempt(void *context, const struct storage_delivery *delivery)
{
    char *out = context;
    (void)snprintf(out + strlen(out), 400 - strlen(out), "%s %d %s; ", delivery_state_name(delivery->state),
                   delivery->attempts, delivery->reply);
    return 0;
}

static void retries_fall_due_in_order(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    int64_t list = make_list(&fixture, "news");
    import_range(&fixture, list, "u", "a.test", 0, 4);
    int64_t campaign = make_campaign(&fixture, &list, 1, NULL, 0), lane;
    launch(&fixture, campaign);
    assert_int_equal(lanes_of(&fixture, campaign, &lane, 1), 1);
    struct storage_claim claim = claim_lane(&fixture, campaign, lane, 10);
    assert_int_equal(claim.job_count, 4);
    assert_true(claim.lane_done);
    for (int i = 0; i < 4; i++) {
        struct storage_outcome *record = make_outcome(&claim.jobs[i], DELIVERY_DEFERRED, NULL);
        record->next_attempt_ms = 10000 + (3 - i) * 5000; /* the last one first */
        post_one(&fixture, record);
    }
    arena_finish(&claim.arena);
    assert_states(&fixture, campaign, "audience=4 deferred=4");

    struct storage_claim early = {.campaign_id = campaign, .lane = STORAGE_LANE_RETRIES, .max = 10, .now_ms = 9999};
    claim_wait(fixture.storage, &early);
    assert_int_equal(early.job_count, 0);
    assert_int_equal(early.next_due_ms, 10000);
    assert_true(early.lane_done);
    arena_finish(&early.arena);

    must(storage_member_set(fixture.storage, list, "u2@a.test", MEMBER_UNSUBSCRIBED, &err));
    must(storage_suppression_add(fixture.storage,
                                 &(struct storage_suppression){.email = "u1@a.test", .reason = "manual"}, &err));
    struct storage_claim due = {.campaign_id = campaign, .lane = STORAGE_LANE_RETRIES, .max = 10, .now_ms = 20000};
    claim_wait(fixture.storage, &due);
    assert_int_equal(due.job_count, 1);
    assert_string_equal(due.jobs[0].email, "u3@a.test");
    assert_string_equal(due.jobs[0].domain, "a.test");
    assert_int_equal(due.jobs[0].attempts, 1);
    assert_int_equal(due.jobs[0].claim_id, 0);
    assert_int_equal(due.next_due_ms, 25000);
    assert_states(&fixture, campaign, "audience=4 sending=1 deferred=1 suppressed=2");
    /* Given back untried, then tried, then done: one attempt more than the first. */
    struct storage_outcome *release = make_outcome(&due.jobs[0], DELIVERY_DEFERRED, NULL);
    release->tried = false;
    release->attempts = due.jobs[0].attempts;
    release->next_attempt_ms = 1;
    post_one(&fixture, release);
    arena_finish(&due.arena);
    claim_wait(fixture.storage, &due);
    assert_int_equal(due.job_count, 1);
    assert_int_equal(due.jobs[0].attempts, 1);
    post_one(&fixture, make_outcome(&due.jobs[0], DELIVERY_DELIVERED, NULL));
    arena_finish(&due.arena);
    assert_states(&fixture, campaign, "audience=4 delivered=1 deferred=1 suppressed=2");
    int64_t id = sql_int(&fixture, "SELECT id FROM delivery WHERE state = 2");
    char attempts[400] = "";
    must(storage_delivery_attempts(fixture.reader, id, note_attempt, attempts, &err));
    assert_string_equal(attempts, "deferred 1 attempt 1; delivered 2 attempt 2; ");
    attempts[0] = '\0';
    must(storage_delivery_by_recipient(fixture.reader, recipient_id(&fixture, "u3@a.test"), note_attempt, attempts,
                                       &err));
    assert_string_equal(attempts, "delivered 2 attempt 2; ");
    fixture_remove(&fixture);
}

static void a_second_outcome_changes_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    int64_t list = make_list(&fixture, "news");
    import_range(&fixture, list, "u", "a.test", 0, 3);
    int64_t campaign = make_campaign(&fixture, &list, 1, NULL, 0), lane;
    launch(&fixture, campaign);
    assert_int_equal(lanes_of(&fixture, campaign, &lane, 1), 1);
    struct storage_claim claim = claim_lane(&fixture, campaign, lane, 2);
    post_one(&fixture, make_outcome(&claim.jobs[0], DELIVERY_DELIVERED, NULL));
    post_one(&fixture, make_outcome(&claim.jobs[0], DELIVERY_BOUNCED, NULL));
    post_one(&fixture, make_outcome(&claim.jobs[0], DELIVERY_DELIVERED, NULL));
    assert_states(&fixture, campaign, "audience=3 pending=1 sending=1 delivered=1");
    struct storage_job stray = claim.jobs[0];
    stray.recipient_id = recipient_id(&fixture, "u2@a.test"); /* nobody claimed it */
    post_one(&fixture, make_outcome(&stray, DELIVERY_DELIVERED, NULL));
    stray.claim_id = 0;
    post_one(&fixture, make_outcome(&stray, DELIVERY_DELIVERED, NULL));
    stray.campaign_id = 77;
    post_one(&fixture, make_outcome(&stray, DELIVERY_DELIVERED, NULL));
    assert_states(&fixture, campaign, "audience=3 pending=1 sending=1 delivered=1");
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM claim"), 1); /* still one in flight */
    post_one(&fixture, make_outcome(&claim.jobs[1], DELIVERY_DEFERRED, NULL));
    post_one(&fixture, make_outcome(&claim.jobs[1], DELIVERY_DELIVERED, NULL)); /* late, but it was sent */
    assert_states(&fixture, campaign, "audience=3 pending=1 delivered=2");
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM claim"), 0);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM attempt"), 1);
    arena_finish(&claim.arena);
    must(storage_campaign_move(fixture.storage, campaign, CAMPAIGN_PAUSED, 0, 0, NULL, &err));
    claim = claim_lane(&fixture, campaign, lane, 2);
    assert_int_equal(claim.status, STORAGE_WRONG_STATE);
    fixture_remove(&fixture);
}

static void cancelling_settles_everything(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    int64_t list = make_list(&fixture, "news"), changed;
    import_range(&fixture, list, "u", "a.test", 0, 30);
    int64_t campaign = make_campaign(&fixture, &list, 1, NULL, 0), lane;
    launch(&fixture, campaign);
    claim_and_post(&fixture, campaign, 7, DELIVERY_DEFERRED);
    assert_int_equal(lanes_of(&fixture, campaign, &lane, 1), 1);
    struct storage_claim claim = claim_lane(&fixture, campaign, lane, 3);
    assert_int_equal(storage_campaign_cancel_deferred(fixture.storage, campaign, 5, 9, &changed, &err),
                     STORAGE_WRONG_STATE);
    must(storage_campaign_move(fixture.storage, campaign, CAMPAIGN_CANCELLED, 0, 9, NULL, &err));
    assert_states(&fixture, campaign, "audience=30 sending=3 deferred=7 cancelled=20");
    must(storage_campaign_cancel_deferred(fixture.storage, campaign, 5, 9, &changed, &err));
    assert_int_equal(changed, 5);
    must(storage_campaign_cancel_deferred(fixture.storage, campaign, 5, 9, &changed, &err));
    assert_int_equal(changed, 2);
    post_one(&fixture, make_outcome(&claim.jobs[0], DELIVERY_DELIVERED, NULL));
    post_one(&fixture, make_outcome(&claim.jobs[1], DELIVERY_DEFERRED, NULL));
    assert_states(&fixture, campaign, "audience=30 sending=1 delivered=1 cancelled=28");
    arena_finish(&claim.arena);
    /* The third is lost in a crash. */
    fixture_close(&fixture);
    fixture_reopen(&fixture, true);
    struct storage_recovery found;
    must(storage_recover(fixture.storage, false, 50, &found, &err));
    assert_int_equal(found.claims, 1);
    assert_int_equal(found.deliveries, 1);
    assert_states(&fixture, campaign, "audience=30 delivered=1 cancelled=29");
    fixture_remove(&fixture);
}

static void recovery_finds_who_was_in_flight(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""};
    for (int hold = 0; hold < 2; hold++) {
        fixture_open(&fixture, true);
        int64_t list = make_list(&fixture, "news"), lane;
        import_range(&fixture, list, "u", "a.test", 0, 50);
        int64_t campaign = make_campaign(&fixture, &list, 1, NULL, 0);
        launch(&fixture, campaign);
        assert_int_equal(lanes_of(&fixture, campaign, &lane, 1), 1);
        must(storage_suppression_add(fixture.storage,
                                     &(struct storage_suppression){.email = "u10@a.test", .reason = "manual"}, &err));
        struct storage_claim first = claim_lane(&fixture, campaign, lane, 10),
                             second = claim_lane(&fixture, campaign, lane, 10);
        for (int i = 0; i < 10; i++)
            post_one(&fixture, make_outcome(&first.jobs[i], i < 5 ? DELIVERY_DELIVERED : DELIVERY_DEFERRED, NULL));
        post_one(&fixture, make_outcome(&second.jobs[3], DELIVERY_BOUNCED, NULL));
        struct storage_claim retries = claim_lane(&fixture, campaign, STORAGE_LANE_RETRIES, 2);
        assert_int_equal(retries.job_count, 2);
        must(storage_member_set(fixture.storage, list, second.jobs[4].email, MEMBER_UNSUBSCRIBED, &err));
        assert_states(&fixture, campaign,
                      "audience=50 pending=29 sending=11 delivered=5 deferred=3 bounced=1 suppressed=1");
        arena_finish(&first.arena);
        arena_finish(&second.arena);
        arena_finish(&retries.arena);
        fixture_close(&fixture);
        fixture_reopen(&fixture, true);
        struct storage_recovery found;
        must(storage_recover(fixture.storage, hold, 30000, &found, &err));
        assert_int_equal(found.claims, 1);
        assert_int_equal(found.deliveries, 11);
        assert_states(&fixture, campaign,
                      hold ? "audience=50 pending=29 delivered=5 deferred=3 bounced=1 suppressed=1 uncertain=11"
                           : "audience=50 pending=29 delivered=5 deferred=14 bounced=1 suppressed=1");
        assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM delivery WHERE uncertain = 1"), 11);
        must(storage_recover(fixture.storage, hold, 30000, &found, &err)); /* nothing left */
        assert_int_equal(found.deliveries, 0);
        struct storage_claim again = {
            .campaign_id = campaign, .lane = STORAGE_LANE_RETRIES, .max = 100, .now_ms = 30000};
        claim_wait(fixture.storage, &again);
        assert_int_equal(again.job_count, hold ? 3 : 13); /* one has left the list meanwhile */
        arena_finish(&again.arena);
        fixture_remove(&fixture);
    }
}

static void an_unsubscribe_counts_once(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    int64_t lists[2] = {make_list(&fixture, "a"), make_list(&fixture, "b")}, other = make_list(&fixture, "c");
    for (int i = 0; i < 2; i++)
        import_range(&fixture, lists[i], "u", "a.test", 0, 2);
    import_range(&fixture, other, "u", "a.test", 0, 3);
    int64_t campaign = make_campaign(&fixture, lists, 2, NULL, 0);
    launch(&fixture, campaign);
    deliver_all(&fixture, campaign, DELIVERY_DELIVERED);
    int64_t who = recipient_id(&fixture, "u1@a.test");
    must(storage_unsubscribe(fixture.storage, campaign, who, 70, &err));
    must(storage_unsubscribe(fixture.storage, campaign, who, 80, &err));
    assert_int_equal(stats(&fixture, campaign).unsubscribed, 1);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM member WHERE status = 1"), 2);
    assert_int_equal(sql_int(&fixture, "SELECT at FROM unsubscribe"), 70);
    assert_int_equal(storage_unsubscribe(fixture.storage, campaign, recipient_id(&fixture, "u2@a.test"), 80, &err),
                     STORAGE_NOT_FOUND);
    assert_int_equal(storage_unsubscribe(fixture.storage, campaign, 999, 80, &err), STORAGE_NOT_FOUND);
    assert_int_equal(storage_unsubscribe(fixture.storage, 999, who, 80, &err), STORAGE_NOT_FOUND);
    fixture_remove(&fixture);
}

static void a_hard_bounce_suppresses_in_the_same_commit(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t list = make_list(&fixture, "news"), lane;
    import_range(&fixture, list, "u", "a.test", 0, 1);
    int64_t campaign = make_campaign(&fixture, &list, 1, NULL, 0), second = make_campaign(&fixture, &list, 1, NULL, 0);
    launch(&fixture, campaign);
    launch(&fixture, second);
    assert_int_equal(lanes_of(&fixture, campaign, &lane, 1), 1);
    struct storage_claim claim = claim_lane(&fixture, campaign, lane, 1);
    struct storage_outcome *record = make_outcome(&claim.jobs[0], DELIVERY_BOUNCED, NULL);
    record->suppress_reason = "hard-bounce";
    record->missing_attributes = true;
    post_one(&fixture, record);
    arena_finish(&claim.arena);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM suppression WHERE reason = 'hard-bounce'"), 1);
    assert_int_equal(sql_int(&fixture, "SELECT suppressions FROM meta"), 1);
    assert_int_equal(stats(&fixture, campaign).missing_attributes, 1);
    assert_int_equal(deliver_all(&fixture, second, DELIVERY_DELIVERED), 0);
    assert_states(&fixture, second, "audience=1 suppressed=1");
    fixture_remove(&fixture);
}

static void damaged_rows_are_not_handed_out(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t list = make_list(&fixture, "news");
    import_range(&fixture, list, "u", "a.test", 0, 5);
    int64_t campaign = make_campaign(&fixture, &list, 1, NULL, 0);
    launch(&fixture, campaign);
    sql_exec(&fixture, "UPDATE recipient SET email = 'a@b' || char(13,10) || 'RCPT TO:<x@y>' WHERE id = 1;"
                       "UPDATE recipient SET email = '@' || hex(zeroblob(2000)) WHERE id = 2;"
                       "UPDATE recipient SET attributes = 'x' WHERE id = 3; DELETE FROM recipient WHERE id = 4");
    assert_int_equal(deliver_all(&fixture, campaign, DELIVERY_DELIVERED), 1);
    assert_states(&fixture, campaign, "audience=5 delivered=1 failed=4");
    sql_exec(&fixture, "UPDATE campaign SET delivered = -5, audience = -1");
    assert_int_equal(stats(&fixture, campaign).states[DELIVERY_DELIVERED], 0);
    fixture_remove(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses_move_only_along_the_table),
        cmocka_unit_test(only_drafts_are_deleted),
        cmocka_unit_test(everybody_is_delivered_once),
        cmocka_unit_test(a_batch_with_outcomes_that_came_before),
        cmocka_unit_test(the_audience_is_frozen_at_the_launch),
        cmocka_unit_test(lists_merge_and_exclude),
        cmocka_unit_test(a_lane_of_leavers_is_passed_in_steps),
        cmocka_unit_test(retries_fall_due_in_order),
        cmocka_unit_test(a_second_outcome_changes_nothing),
        cmocka_unit_test(cancelling_settles_everything),
        cmocka_unit_test(recovery_finds_who_was_in_flight),
        cmocka_unit_test(an_unsubscribe_counts_once),
        cmocka_unit_test(a_hard_bounce_suppresses_in_the_same_commit),
        cmocka_unit_test(damaged_rows_are_not_handed_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
