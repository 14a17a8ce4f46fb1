/*
 * test_events.c - the outbox: an event is there exactly when its cause is, nobody pays who does not ask, and a reader
 * that remembers its place misses nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "tests/unit/storage/support.h"

struct seen {
    int64_t ids[5000];
    enum event_kind kinds[5000];
    char detail[64], email[64], campaign[64];
    int code, attempt;
    size_t count;
};

static int see(void *context, const struct storage_event *event)
{
    struct seen *seen = context;
    assert_true(seen->count < countof(seen->ids));
    seen->ids[seen->count] = event->id;
    seen->kinds[seen->count++] = event->kind;
    (void)snprintf(seen->detail, sizeof(seen->detail), "%s", event->detail);
    (void)snprintf(seen->email, sizeof(seen->email), "%s", event->email);
    (void)snprintf(seen->campaign, sizeof(seen->campaign), "%s", event->campaign_name);
    seen->code = event->code;
    seen->attempt = event->attempt;
    return 0;
}

static int64_t read_events(struct fixture *fixture, int64_t after, uint32_t kinds, int limit, struct seen *seen)
{
    struct error err = {""};
    int64_t reached;
    memset(seen, 0, sizeof(*seen));
    must(storage_event_page(fixture->reader, after, 0, kinds, limit, see, seen, &reached, &err));
    return reached;
}

#define URL "https://a.example/"

static int64_t add_webhook(struct fixture *fixture, uint32_t kinds)
{
    struct error err = {""};
    int64_t id;
    const struct storage_webhook webhook = {
        .url = URL, .description = "", .kinds = kinds, .batch = 100, .secret = "whsec_x"};
    must(storage_webhook_create(fixture->storage, &webhook, clock_wall_ms(), &id, &err));
    return id;
}

static int64_t three(struct fixture *fixture)
{
    int64_t list = make_list(fixture, "l");
    (void)import_range(fixture, list, "u", "a.example", 0, 3);
    return make_campaign(fixture, &list, 1, NULL, 0);
}

static void names_and_groups_are_parsed(void **state)
{
    (void)state;
    assert_int_equal(event_kinds_parse("*"), EVENT_ALL);
    assert_int_equal(event_kinds_parse("delivered"), 1u << EVENT_DELIVERED);
    assert_int_equal(event_kinds_parse("guard.*"), 1u << EVENT_GUARD_PAUSED);
    assert_int_equal(__builtin_popcount(event_kinds_parse("campaign.*")), 5);
    assert_int_equal(event_kinds_parse("campaign"), 0);
    assert_int_equal(event_kinds_parse(""), 0);
    assert_int_equal(event_kinds_parse(".*"), 0);
    for (unsigned i = 0; i < EVENT_KIND_COUNT; i++)
        assert_int_equal(event_kinds_parse(event_kind_name((enum event_kind)i)), 1u << i);
}

static void nothing_is_written_for_nobody(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {""};
    fixture_open(&fixture, true);
    int64_t campaign = three(&fixture);
    launch(&fixture, campaign);
    assert_int_equal(deliver_all(&fixture, campaign, DELIVERY_DELIVERED), 3);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM event"), 0);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM event_mark"), 0);
    int64_t id = add_webhook(&fixture, event_kinds_parse("campaign.*"));
    must(storage_campaign_try_finish(fixture.storage, campaign, 7, &err));
    struct seen seen;
    (void)read_events(&fixture, 0, EVENT_ALL, 100, &seen);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.kinds[0], EVENT_CAMPAIGN_FINISHED);
    must(storage_webhook_delete(fixture.storage, id, &err));
    assert_int_equal(sql_int(&fixture, "SELECT event_hooks FROM meta"), 0);
    must(storage_event_watch(fixture.storage, UINT32_MAX, &err));
    assert_int_equal(sql_int(&fixture, "SELECT event_live FROM meta"), EVENT_ALL);
    fixture_remove(&fixture);
}

static void a_delivery_tells_its_story_in_order(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {""};
    fixture_open(&fixture, true);
    int64_t campaign = three(&fixture);
    (void)add_webhook(&fixture, EVENT_ALL);
    launch(&fixture, campaign);
    assert_int_equal(deliver_all(&fixture, campaign, DELIVERY_DELIVERED), 3);
    struct storage_feedback item = {.kind = FEEDBACK_HARD,
                                    .campaign_id = campaign,
                                    .recipient_id = recipient_id(&fixture, "u1@a.example"),
                                    .at_ms = 50,
                                    .code = 550,
                                    .text = "gone",
                                    .origin = "a report"};
    must(storage_feedback_apply(fixture.storage, &item, 1, &err));
    must(storage_feedback_apply(fixture.storage, &item, 1, &err)); /* again: no second event */
    item = (struct storage_feedback){.kind = FEEDBACK_COMPLAINT,
                                     .campaign_id = campaign,
                                     .recipient_id = recipient_id(&fixture, "u2@a.example"),
                                     .at_ms = 51};
    must(storage_feedback_apply(fixture.storage, &item, 1, &err));
    for (int i = 0; i < 2; i++)
        must(storage_unsubscribe(fixture.storage, campaign, recipient_id(&fixture, "u0@a.example"), 52, &err));
    must(storage_campaign_try_finish(fixture.storage, campaign, 53, &err));
    static const enum event_kind expected[] = {EVENT_CAMPAIGN_STARTED, EVENT_DELIVERED,        EVENT_DELIVERED,
                                               EVENT_DELIVERED,        EVENT_BOUNCED,          EVENT_COMPLAINED,
                                               EVENT_UNSUBSCRIBED,     EVENT_CAMPAIGN_FINISHED};
    struct seen seen;
    (void)read_events(&fixture, 0, EVENT_ALL, 100, &seen);
    assert_int_equal(seen.count, countof(expected));
    for (size_t i = 0; i < countof(expected); i++) {
        assert_int_equal(seen.kinds[i], expected[i]);
        assert_true(i == 0 || seen.ids[i] > seen.ids[i - 1]);
    }
    assert_string_equal(seen.email, "");
    (void)read_events(&fixture, 0, 1u << EVENT_BOUNCED, 100, &seen);
    assert_int_equal(seen.count, 1);
    assert_string_equal(seen.email, "u1@a.example");
    assert_string_equal(seen.detail, "gone");
    assert_string_equal(seen.campaign, "test");
    assert_int_equal(seen.code, 550);
    fixture_remove(&fixture);
}

static void suppressed_members_are_told_as_dropped(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {""};
    fixture_open(&fixture, true);
    int64_t campaign = three(&fixture);
    (void)add_webhook(&fixture, 1u << EVENT_DROPPED);
    const struct storage_suppression suppression = {
        .email = "u1@a.example", .reason = "manual", .origin = "", .created_ms = 1};
    must(storage_suppression_add(fixture.storage, &suppression, &err));
    launch(&fixture, campaign);
    (void)deliver_all(&fixture, campaign, DELIVERY_DELIVERED);
    struct seen seen;
    (void)read_events(&fixture, 0, EVENT_ALL, 100, &seen);
    assert_int_equal(seen.count, 1);
    assert_string_equal(seen.email, "u1@a.example");
    assert_string_equal(seen.detail, "suppressed: manual");
    fixture_remove(&fixture);
}

static void a_refused_move_tells_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {""};
    fixture_open(&fixture, true);
    int64_t campaign = three(&fixture);
    (void)add_webhook(&fixture, EVENT_ALL);
    assert_int_equal(storage_campaign_move(fixture.storage, campaign, CAMPAIGN_PAUSED, 0, 1, NULL, &err),
                     STORAGE_WRONG_STATE);
    launch(&fixture, campaign);
    launch(&fixture, campaign);
    assert_int_equal(storage_campaign_try_finish(fixture.storage, campaign, 1, &err), STORAGE_WRONG_STATE);
    must(storage_campaign_move(fixture.storage, campaign, CAMPAIGN_PAUSED, 0, 1, NULL, &err));
    must(storage_campaign_move(fixture.storage, campaign, CAMPAIGN_RUNNING, 0, 1, NULL, &err));
    must(storage_campaign_move(fixture.storage, campaign, CAMPAIGN_CANCELLED, 0, 1, NULL, &err));
    static const enum event_kind expected[] = {EVENT_CAMPAIGN_STARTED, EVENT_CAMPAIGN_PAUSED, EVENT_CAMPAIGN_RESUMED,
                                               EVENT_CAMPAIGN_CANCELLED};
    struct seen seen;
    (void)read_events(&fixture, 0, EVENT_ALL, 100, &seen);
    assert_int_equal(seen.count, countof(expected));
    for (size_t i = 0; i < countof(expected); i++)
        assert_int_equal(seen.kinds[i], expected[i]);
    fixture_remove(&fixture);
}

static int keep_webhook(void *context, const struct storage_webhook *webhook)
{
    struct storage_webhook *copy = context;
    *copy = *webhook;
    copy->url = copy->description = copy->secret = copy->old_secret = copy->reason = copy->last_error = NULL;
    return 0;
}

static struct storage_webhook webhook_of(struct fixture *fixture, int64_t id)
{
    struct error err = {""};
    struct storage_webhook webhook = {0};
    must(storage_webhook_get(fixture->reader, id, keep_webhook, &webhook, &err));
    return webhook;
}

/* Pages by `limit`, with a scan that passes what is not wanted. */
static void pages_lead_through_everything(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {""};
    fixture_open(&fixture, true);
    int64_t list = make_list(&fixture, "l");
    (void)import_range(&fixture, list, "u", "a.example", 0, 500);
    int64_t campaign = make_campaign(&fixture, &list, 1, NULL, 0);
    int64_t id = add_webhook(&fixture, EVENT_ALL);
    launch(&fixture, campaign);
    (void)deliver_all(&fixture, campaign, DELIVERY_DELIVERED);
    int64_t after = 0, last = 0;
    size_t pages = 0, count = 0;
    struct seen seen;
    for (;;) {
        int64_t reached = read_events(&fixture, after, 1u << EVENT_DELIVERED, 7, &seen);
        if (reached == after)
            break;
        for (size_t i = 0; i < seen.count; i++) {
            assert_true(seen.ids[i] > last);
            last = seen.ids[i];
        }
        count += seen.count;
        pages++;
        after = reached;
    }
    assert_int_equal(count, 500);
    assert_int_equal(pages, 72);
    int64_t oldest, newest;
    must(storage_event_range(fixture.reader, &oldest, &newest, &err));
    assert_int_equal(newest - oldest, 500);
    assert_int_equal(webhook_of(&fixture, id).position, 0);
    fixture_remove(&fixture);
}

static void a_place_moves_only_from_where_it_was(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {""};
    fixture_open(&fixture, true);
    int64_t campaign = three(&fixture);
    int64_t id = add_webhook(&fixture, EVENT_ALL);
    launch(&fixture, campaign);
    (void)deliver_all(&fixture, campaign, DELIVERY_DELIVERED);
    const struct storage_webhook_failure failure = {
        .id = id, .url = URL, .batch_end = 2, .next_attempt_ms = 99, .code = 500, .error = "HTTP 500"};
    struct storage_webhook_failure second = failure;
    second.attempts = 1;
    must(storage_webhook_failed(fixture.storage, &failure, 10, &err));
    must(storage_webhook_failed(fixture.storage, &second, 20, &err));
    struct storage_webhook now = webhook_of(&fixture, id);
    assert_int_equal(now.attempts, 2);
    assert_int_equal(now.failing_since_ms, 10);
    assert_int_equal(now.batch_end, 2);
    must(storage_webhook_taken(fixture.storage, id, 0, 2, 2, 204, 30, &err));
    assert_int_equal(storage_webhook_taken(fixture.storage, id, 0, 3, 3, 204, 31, &err), STORAGE_WRONG_STATE);
    assert_int_equal(storage_webhook_failed(fixture.storage, &failure, 32, &err), STORAGE_WRONG_STATE);
    now = webhook_of(&fixture, id);
    assert_int_equal(now.position, 2);
    assert_int_equal(now.attempts, 0);
    assert_int_equal(now.failing_since_ms, 0);
    assert_int_equal(now.taken, 2);
    assert_int_equal(now.last_success_ms, 30);
    int64_t again;
    must(storage_webhook_replay(fixture.storage, id, clock_wall_ms() - 120000, &again, &err));
    assert_int_equal(webhook_of(&fixture, id).position, 0);
    assert_int_equal(again, 4);
    must(storage_webhook_replay(fixture.storage, id, clock_wall_ms() + 120000, &again, &err));
    assert_int_equal(again, 0);
    assert_int_equal(webhook_of(&fixture, id).position, 4);
    assert_int_equal(storage_webhook_replay(fixture.storage, 99, 0, &again, &err), STORAGE_NOT_FOUND);
    fixture_remove(&fixture);
}

static void a_failure_is_not_put_on_another_address(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {""};
    fixture_open(&fixture, true);
    int64_t id = add_webhook(&fixture, EVENT_ALL);
    struct storage_webhook_failure failure = {.id = id, .url = URL, .next_attempt_ms = 99, .error = "HTTP 500"};
    must(storage_webhook_failed(fixture.storage, &failure, 10, &err));
    const struct storage_webhook other = {
        .id = id, .url = "https://b.example/", .description = "", .kinds = EVENT_ALL, .batch = 1};
    must(storage_webhook_update(fixture.storage, &other, &err));
    failure.disable = true;
    assert_int_equal(storage_webhook_failed(fixture.storage, &failure, 20, &err), STORAGE_WRONG_STATE);
    /* Nor on the same one, put in anew, what came of the attempts before. */
    failure.url = other.url;
    failure.attempts = 1;
    assert_int_equal(storage_webhook_failed(fixture.storage, &failure, 20, &err), STORAGE_WRONG_STATE);
    struct storage_webhook now = webhook_of(&fixture, id);
    assert_false(now.disabled);
    assert_int_equal(now.attempts, 0);
    assert_int_equal(now.next_attempt_ms, 0);
    fixture_remove(&fixture);
}

static void a_disabled_one_is_written_for_no_more(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {""};
    fixture_open(&fixture, true);
    int64_t campaign = three(&fixture);
    int64_t id = add_webhook(&fixture, EVENT_ALL);
    const struct storage_webhook_failure gone = {
        .id = id, .url = URL, .code = 410, .error = "gone", .disable = true};
    must(storage_webhook_failed(fixture.storage, &gone, 10, &err));
    launch(&fixture, campaign);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM event"), 0);
    assert_true(webhook_of(&fixture, id).disabled);
    const struct storage_webhook enable = {
        .id = id, .url = "https://b.example/", .description = "", .kinds = EVENT_ALL, .batch = 1};
    must(storage_webhook_update(fixture.storage, &enable, &err));
    (void)deliver_all(&fixture, campaign, DELIVERY_BOUNCED);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM event WHERE kind = 2"), 3);
    must(storage_webhook_rotate(fixture.storage, id, "whsec_y", 77, &err));
    assert_int_equal(webhook_of(&fixture, id).old_until_ms, 77);
    const struct storage_webhook wrong = {.id = id, .url = "x", .description = "", .batch = 0};
    assert_int_equal(storage_webhook_update(fixture.storage, &wrong, &err), -EINVAL);
    fixture_remove(&fixture);
}

/* A command in another process adds a webhook, and removes it: from the next transaction on. */
static void what_another_process_wants_is_written(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, true);
    int64_t campaign = three(&fixture), lane;
    launch(&fixture, campaign);
    assert_int_equal(lanes_of(&fixture, campaign, &lane, 1), 1);
    struct storage_claim claim = {.campaign_id = campaign, .lane = lane, .max = 3, .now_ms = 1};
    claim_wait(fixture.storage, &claim);
    assert_int_equal(claim.job_count, 3);
    static const struct {
        const char *sql;
        int events;
    } steps[] = {{"UPDATE meta SET event_hooks = 0", 0},
                 {"UPDATE meta SET event_hooks = -1", 1},
                 {"UPDATE meta SET event_hooks = 0", 1}};
    for (size_t i = 0; i < countof(steps); i++) {
        sql_exec(&fixture, steps[i].sql);
        post_one(&fixture, make_outcome(&claim.jobs[i], DELIVERY_DELIVERED, NULL));
        assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM event"), steps[i].events);
    }
    arena_finish(&claim.arena);
    fixture_remove(&fixture);
}

static void the_old_goes_when_everybody_has_it(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {""};
    int64_t removed, later = clock_wall_ms() + 3600000;
    fixture_open(&fixture, true);
    int64_t campaign = three(&fixture);
    int64_t id = add_webhook(&fixture, EVENT_ALL);
    launch(&fixture, campaign);
    (void)deliver_all(&fixture, campaign, DELIVERY_DELIVERED); /* 4 events */
    must(storage_event_trim(fixture.storage, later, false, 100, &removed, &err));
    assert_int_equal(removed, 0);
    must(storage_webhook_taken(fixture.storage, id, 0, 2, 2, 200, 30, &err));
    must(storage_event_trim(fixture.storage, 0, false, 100, &removed, &err));
    assert_int_equal(removed, 0); /* not old yet */
    must(storage_event_trim(fixture.storage, later, true, 100, &removed, &err));
    assert_int_equal(removed, 0); /* the log has not got them */
    must(storage_event_trim(fixture.storage, later, false, 1, &removed, &err));
    assert_int_equal(removed, 1);
    must(storage_event_trim(fixture.storage, later, false, 100, &removed, &err));
    assert_int_equal(removed, 1);
    must(storage_webhook_taken(fixture.storage, id, 2, 4, 2, 200, 30, &err));
    must(storage_event_set_logged(fixture.storage, 4, &err));
    must(storage_event_trim(fixture.storage, later, true, 100, &removed, &err));
    assert_int_equal(removed, 1); /* the newest stays, so that its id is not given again */
    assert_int_equal(sql_int(&fixture, "SELECT min(id) FROM event"), 4);
    must(storage_campaign_try_finish(fixture.storage, campaign, 1, &err));
    assert_int_equal(sql_int(&fixture, "SELECT max(id) FROM event"), 5);
    fixture_remove(&fixture);
}

/* The mark of a minute must not go with a change that was taken back. */
static void a_mark_survives_a_refused_change(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {""};
    fixture_open(&fixture, true);
    int64_t campaign = three(&fixture);
    int64_t id = add_webhook(&fixture, EVENT_ALL);
    /* The launch fails after nothing else of it can: its event has no table any more to go to. */
    sql_exec(&fixture, "CREATE TRIGGER t AFTER INSERT ON event_mark WHEN (SELECT count(*) FROM secret) = 0"
                       " BEGIN SELECT raise(FAIL, 'no'); END");
    assert_true(storage_campaign_move(fixture.storage, campaign, CAMPAIGN_RUNNING, 0, 1, NULL, &err) < 0);
    sql_exec(&fixture, "DROP TRIGGER t");
    launch(&fixture, campaign);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM event_mark"), 1);
    int64_t again;
    must(storage_webhook_replay(fixture.storage, id, clock_wall_ms() - 120000, &again, &err));
    assert_int_equal(again, 1);
    fixture_remove(&fixture);
}

static void pass(void *context)
{
    gate_pass(context);
}

static void whoever_listens_is_told_after_the_commit(void **state)
{
    (void)state;
    struct fixture fixture;
    struct gate gate;
    gate_init(&gate);
    fixture_open(&fixture, true);
    int64_t campaign = three(&fixture);
    storage_event_notify(fixture.storage, pass, &gate);
    (void)add_webhook(&fixture, 1u << EVENT_DELIVERED);
    launch(&fixture, campaign);
    assert_int_equal(gate.count, 0);
    (void)deliver_all(&fixture, campaign, DELIVERY_DELIVERED);
    gate_wait(&gate, 1);
    storage_event_notify(fixture.storage, NULL, NULL);
    fixture_remove(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_groups_are_parsed),
        cmocka_unit_test(nothing_is_written_for_nobody),
        cmocka_unit_test(a_delivery_tells_its_story_in_order),
        cmocka_unit_test(suppressed_members_are_told_as_dropped),
        cmocka_unit_test(a_refused_move_tells_nothing),
        cmocka_unit_test(pages_lead_through_everything),
        cmocka_unit_test(a_place_moves_only_from_where_it_was),
        cmocka_unit_test(a_failure_is_not_put_on_another_address),
        cmocka_unit_test(a_disabled_one_is_written_for_no_more),
        cmocka_unit_test(what_another_process_wants_is_written),
        cmocka_unit_test(the_old_goes_when_everybody_has_it),
        cmocka_unit_test(a_mark_survives_a_refused_change),
        cmocka_unit_test(whoever_listens_is_told_after_the_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
