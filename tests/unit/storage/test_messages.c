/*
 * test_messages.c - single messages in storage: their stream adds up, a claim of them survives a crash, and they end
 * one by one.
 */
#include <stdio.h>
#include <string.h>

#include "tests/unit/storage/support.h"

#define FOR_AGES INT64_MAX / 4

static struct storage_message_made post(struct fixture *fixture, const char *email, const char *content,
                                        bool transactional)
{
    struct error err = {""};
    struct storage_message_made made;
    struct storage_message_new message = {.email = email,
                                          .sender = "sender.test",
                                          .stream_spec = "{}",
                                          .content = content,
                                          .attributes = "{\"n\":2}",
                                          .labels = "{}",
                                          .transactional = transactional,
                                          .now_ms = 1000,
                                          .expires_ms = FOR_AGES};
    message.digest[0] = (uint8_t)content[0];
    must(storage_message_post(fixture->storage, &message, &made, &err));
    return made;
}

static void claim(struct fixture *fixture, const struct storage_message_made *made, struct storage_claim *out)
{
    *out = (struct storage_claim){.campaign_id = made->campaign_id, .lane = made->lane, .max = 100, .now_ms = 2000};
    claim_wait(fixture->storage, out);
    assert_int_equal(out->status, 0);
}

static int keep_state(void *context, const struct storage_message *message)
{
    *(enum delivery_state *)context = message->state;
    return 0;
}

static enum delivery_state state_of(struct fixture *fixture, int64_t id)
{
    struct error err = {""};
    enum delivery_state state = DELIVERY_STATE_COUNT;
    must(storage_message_get(fixture->reader, id, keep_state, &state, &err));
    return state;
}

static void a_stream_is_claimed_as_messages_come(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t list = make_list(&fixture, "news");
    import_one(&fixture, list, "ann@a.test", "{\"n\":1,\"name\":\"Ann\"}");
    struct storage_message_made first = post(&fixture, "ann@a.test", "{}", true);
    struct storage_message_made second = post(&fixture, "ann@a.test", "{}", true);
    assert_true(first.stream_made && !second.stream_made && first.campaign_id == second.campaign_id);
    assert_true(storage_is_message(first.id) && second.id == first.id + 1);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM message_content"), 1);
    assert_states(&fixture, first.campaign_id, "audience=2 pending=2");
    assert_int_equal(state_of(&fixture, first.id), DELIVERY_PENDING);

    struct storage_claim jobs;
    claim(&fixture, &first, &jobs);
    assert_int_equal(jobs.job_count, 2);
    assert_true(jobs.lane_done);
    assert_string_equal(jobs.jobs[0].email, "ann@a.test");
    assert_string_equal(jobs.jobs[0].attributes, "{\"n\":2,\"name\":\"Ann\"}");
    assert_int_equal(jobs.jobs[0].recipient_id, first.id);
    assert_true(jobs.jobs[0].content_id > 0 && jobs.jobs[0].expires_ms == FOR_AGES);
    assert_int_equal(state_of(&fixture, first.id), DELIVERY_SENDING);
    assert_states(&fixture, first.campaign_id, "audience=2 sending=2");
    post_one(&fixture, make_outcome(&jobs.jobs[0], DELIVERY_DELIVERED, NULL));
    post_one(&fixture, make_outcome(&jobs.jobs[1], DELIVERY_DEFERRED, NULL));
    arena_finish(&jobs.arena);

    /* The lane that was at its end goes on with what comes later, and the retry finds the message again. */
    struct storage_message_made third = post(&fixture, "ann@a.test", "x{}", false);
    claim(&fixture, &third, &jobs);
    assert_int_equal(jobs.job_count, 1);
    post_one(&fixture, make_outcome(&jobs.jobs[0], DELIVERY_DELIVERED, NULL));
    arena_finish(&jobs.arena);
    jobs = (struct storage_claim){
        .campaign_id = first.campaign_id, .lane = STORAGE_LANE_RETRIES, .max = 10, .now_ms = FOR_AGES};
    claim_wait(fixture.storage, &jobs);
    assert_int_equal(jobs.job_count, 1);
    assert_int_equal(jobs.jobs[0].recipient_id, second.id);
    assert_int_equal(jobs.jobs[0].attempts, 1);
    assert_true(jobs.jobs[0].content_id > 0);
    assert_string_equal(jobs.jobs[0].attributes, "{\"n\":2,\"name\":\"Ann\"}");
    post_one(&fixture, make_outcome(&jobs.jobs[0], DELIVERY_BOUNCED, NULL));
    arena_finish(&jobs.arena);
    assert_states(&fixture, first.campaign_id, "audience=3 delivered=2 bounced=1");
    struct error err = {""};
    assert_int_equal(storage_campaign_move(fixture.storage, first.campaign_id, CAMPAIGN_CANCELLED, 0, 1, NULL, &err),
                     STORAGE_WRONG_STATE);
    assert_int_equal(storage_campaign_try_finish(fixture.storage, first.campaign_id, 1, &err), STORAGE_WRONG_STATE);
    fixture_remove(&fixture);
}

static void a_claim_of_messages_survives_a_crash(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {""};
    struct storage_recovery found;
    fixture_open(&fixture, true);
    struct storage_message_made made = post(&fixture, "a@a.test", "{}", true);
    (void)post(&fixture, "b@a.test", "{}", true);
    struct storage_claim jobs;
    claim(&fixture, &made, &jobs);
    assert_int_equal(jobs.job_count, 2);
    arena_finish(&jobs.arena);
    (void)post(&fixture, "c@a.test", "{}", true); /* behind the claim: stays pending */
    fixture_close(&fixture);
    fixture_reopen(&fixture, true);
    must(storage_recover(fixture.storage, false, 3000, &found, &err));
    assert_int_equal(found.deliveries, 2);
    assert_states(&fixture, made.campaign_id, "audience=3 pending=1 deferred=2");
    fixture_remove(&fixture);
}

static void suppress(struct fixture *fixture, const char *email, const char *reason)
{
    struct error err = {""};
    const struct storage_suppression item = {.email = email, .reason = reason, .origin = "test", .created_ms = 1};
    assert_in_range(storage_suppression_add(fixture->storage, &item, &err), 0, STORAGE_EXISTS);
}

static void only_what_was_asked_for_goes_to_who_has_left(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {""};
    fixture_open(&fixture, false);
    suppress(&fixture, "left@a.test", "unsubscribe");
    suppress(&fixture, "dead@a.test", "hard-bounce");
    struct storage_message_made ad = post(&fixture, "left@a.test", "{}", false);
    struct storage_message_made receipt = post(&fixture, "left@a.test", "{}", true);
    struct storage_message_made dead = post(&fixture, "dead@a.test", "{}", true);
    struct storage_claim jobs;
    claim(&fixture, &receipt, &jobs);
    assert_int_equal(jobs.job_count, 1);
    assert_int_equal(jobs.jobs[0].recipient_id, receipt.id);
    post_one(&fixture, make_outcome(&jobs.jobs[0], DELIVERY_DELIVERED, NULL));
    arena_finish(&jobs.arena);
    assert_int_equal(state_of(&fixture, ad.id), DELIVERY_SUPPRESSED);
    assert_int_equal(state_of(&fixture, dead.id), DELIVERY_SUPPRESSED);
    assert_states(&fixture, ad.campaign_id, "audience=3 delivered=1 suppressed=2");

    /* Soft bounces are of the person, whichever messages they came of. */
    for (int i = 0; i < 2; i++) {
        struct storage_message_made made = post(&fixture, "full@a.test", "{}", true);
        claim(&fixture, &made, &jobs);
        struct storage_outcome *record = make_outcome(&jobs.jobs[0], DELIVERY_BOUNCED, NULL);
        record->soft_limit = 2;
        record->soft_window_ms = FOR_AGES;
        post_one(&fixture, record);
        arena_finish(&jobs.arena);
    }
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM suppression WHERE email = 'full@a.test'"), 1);

    /* To unsubscribe from a message is to be on the list. */
    struct storage_message_made made = post(&fixture, "bob@a.test", "{}", false);
    claim(&fixture, &made, &jobs);
    post_one(&fixture, make_outcome(&jobs.jobs[0], DELIVERY_DELIVERED, NULL));
    arena_finish(&jobs.arena);
    must(storage_unsubscribe(fixture.storage, made.campaign_id, made.id, 5, &err));
    must(storage_unsubscribe(fixture.storage, made.campaign_id, made.id, 6, &err));
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM suppression WHERE reason = 'unsubscribe'"), 2);
    /* Somebody allowed him again, and he says it again. */
    must(storage_suppression_remove(fixture.storage, "bob@a.test", 0, &err));
    must(storage_unsubscribe(fixture.storage, made.campaign_id, made.id, 7, &err));
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM suppression WHERE email = 'bob@a.test'"), 1);
    assert_int_equal(stats(&fixture, made.campaign_id).unsubscribed, 1);
    fixture_remove(&fixture);
}

static void old_messages_go_and_the_counters_stay(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {""};
    int64_t removed;
    fixture_open(&fixture, false);
    struct storage_message_made made = post(&fixture, "a@a.test", "a", true);
    (void)post(&fixture, "b@a.test", "b", true);
    (void)post(&fixture, "c@a.test", "b", true);
    struct storage_claim jobs;
    claim(&fixture, &made, &jobs);
    assert_int_equal(jobs.job_count, 3);
    post_one(&fixture, make_outcome(&jobs.jobs[0], DELIVERY_DELIVERED, NULL));
    post_one(&fixture, make_outcome(&jobs.jobs[1], DELIVERY_BOUNCED, NULL));
    post_one(&fixture, make_outcome(&jobs.jobs[2], DELIVERY_DEFERRED, NULL));
    arena_finish(&jobs.arena);
    must(storage_retain(fixture.storage, 10000, 100, 5000, &removed, &err));
    assert_int_equal(removed, 0);
    must(storage_retain(fixture.storage, 1000, 1, 5000, &removed, &err));
    assert_int_equal(removed, 1);
    must(storage_retain(fixture.storage, 1000, 100, 5000, &removed, &err));
    assert_int_equal(removed, 1);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM message"), 1);
    assert_blocks(&fixture);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM delivery"), 1);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM message_content"), 1);
    assert_states(&fixture, made.campaign_id, "audience=3 delivered=1 deferred=1 bounced=1");
    /* No id comes twice, for the tokens are made of it. */
    struct storage_message_made next = post(&fixture, "d@a.test", "d", true);
    assert_int_equal(next.id, made.id + 3);
    fixture_remove(&fixture);
}

static int keep_email(void *context, const struct storage_event *event)
{
    (void)snprintf(context, 64, "%s %lld", event->email, (long long)event->message_id);
    return 0;
}

/* Not even then is it too late to unsubscribe or to complain, as long as links are kept. */
static void a_message_that_is_gone_can_be_unsubscribed_from(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {""};
    int64_t removed;
    struct storage_message_made made[4];
    static const char *const who[] = {"a@a.test", "b@a.test", "c@a.test", "d@a.test"};
    fixture_open(&fixture, false);
    for (size_t i = 0; i < countof(made); i++)
        made[i] = post(&fixture, who[i], "{}", false);
    struct storage_claim jobs;
    claim(&fixture, &made[0], &jobs);
    assert_int_equal(jobs.job_count, countof(made));
    for (size_t i = 0; i < countof(made); i++)
        post_one(&fixture, make_outcome(&jobs.jobs[i], DELIVERY_DELIVERED, NULL));
    arena_finish(&jobs.arena);
    must(storage_retain(fixture.storage, 1000, 100, 5000, &removed, &err));
    assert_int_equal(removed, countof(made));
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM message"), 0);

    must(storage_event_watch(fixture.storage, 1U << EVENT_UNSUBSCRIBED, &err));
    must(storage_unsubscribe(fixture.storage, made[0].campaign_id, made[0].id, 6000, &err));
    must(storage_unsubscribe(fixture.storage, made[0].campaign_id, made[0].id, 6001, &err));
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM suppression WHERE email = 'a@a.test'"), 1);
    assert_int_equal(stats(&fixture, made[0].campaign_id).unsubscribed, 1);
    int64_t reached;
    char told[64] = "", expected[64];
    must(storage_event_page(fixture.reader, 0, 0, 1U << EVENT_UNSUBSCRIBED, 10, keep_email, told, &reached, &err));
    (void)snprintf(expected, sizeof(expected), "a@a.test %lld", (long long)made[0].id);
    assert_string_equal(told, expected);
    static const enum storage_feedback_kind kinds[] = {FEEDBACK_COMPLAINT, FEEDBACK_SOFT};
    for (size_t i = 0; i < countof(kinds); i++) {
        struct storage_feedback item = {.kind = kinds[i],
                                        .campaign_id = made[i + 1].campaign_id,
                                        .recipient_id = made[i + 1].id,
                                        .at_ms = 6000,
                                        .soft_limit = 1,
                                        .soft_window_ms = 1000};
        must(storage_feedback_apply(fixture.storage, &item, 1, &err));
        assert_true(item.suppressed && item.changed && !item.unknown);
    }
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM suppression"), 3);

    must(storage_retain_links(fixture.storage, 5000, 6000, &removed, &err)); /* not older than that */
    assert_int_equal(removed, 0);
    must(storage_retain_links(fixture.storage, 4999, 6000, &removed, &err));
    assert_int_equal(removed, countof(made));
    must(storage_retain_links(fixture.storage, 4999, 6000, &removed, &err));
    assert_int_equal(removed, 0);
    assert_int_equal(storage_unsubscribe(fixture.storage, made[3].campaign_id, made[3].id, 7000, &err),
                     STORAGE_NOT_FOUND);
    fixture_remove(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_is_claimed_as_messages_come),
        cmocka_unit_test(a_claim_of_messages_survives_a_crash),
        cmocka_unit_test(only_what_was_asked_for_goes_to_who_has_left),
        cmocka_unit_test(old_messages_go_and_the_counters_stay),
        cmocka_unit_test(a_message_that_is_gone_can_be_unsubscribed_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
