/*
 * test_policy.c - what follows from each outcome, by table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "base/str.h"

#include "campaign/outcome/policy.h"

#define MINUTE_MS ((int64_t)60000)

static struct policy policy = {.retry_first_ms = 5 * MINUTE_MS, .retry_max_ms = 240 * MINUTE_MS, .suppress_hard = true};

static struct outcome make(enum outcome_class class_, enum outcome_stage stage, int code, const char *enhanced, const char *text)
{
    struct outcome outcome;
    outcome_set(&outcome, class_, stage, "%s", text);
    outcome.code = (uint16_t)code;
    assert_true(str_copy(outcome.enhanced, sizeof(outcome.enhanced), enhanced));
    return outcome;
}

static struct policy_case at(int attempts_before)
{
    return (struct policy_case){.now_ms = 1000000, .deadline_ms = 1000000 + 72 * 60 * MINUTE_MS, .attempts_before = attempts_before, .jitter_seed = 7};
}

static void each_class_has_its_state(void **state)
{
    (void)state;
    static const struct {
        enum outcome_class class_;
        enum delivery_state state;
        bool tried, uncertain;
        int attempts; /* in total; two were made before */
    } table[] = {
        {OUTCOME_DELIVERED, DELIVERY_DELIVERED, true, false, 3}, {OUTCOME_TEMPORARY, DELIVERY_DEFERRED, true, false, 3},
        {OUTCOME_TRANSPORT, DELIVERY_DEFERRED, true, false, 3},  {OUTCOME_PERMANENT, DELIVERY_BOUNCED, true, false, 3},
        {OUTCOME_UNCERTAIN, DELIVERY_DEFERRED, true, true, 3},   {OUTCOME_COMPOSE, DELIVERY_FAILED, true, false, 3},
        {OUTCOME_EXPIRED, DELIVERY_FAILED, true, false, 2},      {OUTCOME_RELEASED, DELIVERY_DEFERRED, false, false, 2},
    };
    for (size_t i = 0; i < countof(table); i++) {
        struct outcome outcome = make(table[i].class_, STAGE_CONTENT, 0, "", "x");
        struct policy_case now = at(2);
        struct verdict verdict = policy_judge(&policy, &outcome, &now);
        assert_int_equal(verdict.state, table[i].state);
        assert_int_equal(verdict.tried, table[i].tried);
        assert_int_equal(verdict.uncertain, table[i].uncertain);
        assert_int_equal(verdict.attempts, table[i].attempts);
        assert_null(verdict.suppress_reason);
    }
}

static void uncertain_is_held_when_asked(void **state)
{
    (void)state;
    struct policy hold = policy;
    hold.on_uncertain = UNCERTAIN_HOLD;
    struct outcome outcome = make(OUTCOME_UNCERTAIN, STAGE_CONTENT, 0, "", "connection lost");
    struct policy_case now = at(0);
    struct verdict verdict = policy_judge(&hold, &outcome, &now);
    assert_int_equal(verdict.state, DELIVERY_UNCERTAIN);
    assert_true(verdict.uncertain);
}

static void delay_doubles_to_its_maximum(void **state)
{
    (void)state;
    static const int64_t minutes[] = {5, 10, 20, 40, 80, 160, 240, 240, 240};
    for (uint64_t seed = 0; seed < 500; seed++) {
        for (int i = 0; i < (int)countof(minutes); i++) {
            int64_t delay_ms = policy_retry_delay_ms(&policy, i + 1, seed);
            assert_true(delay_ms <= minutes[i] * MINUTE_MS);
            assert_true(delay_ms > minutes[i] * MINUTE_MS * 4 / 5 - 1);
            assert_int_equal(delay_ms, policy_retry_delay_ms(&policy, i + 1, seed));
        }
    }
    assert_true(policy_retry_delay_ms(&policy, 1000000, 1) <= policy.retry_max_ms);
}

static void jitter_spreads_recipients(void **state)
{
    (void)state;
    int64_t least = INT64_MAX, most = 0;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        int64_t delay_ms = policy_retry_delay_ms(&policy, 1, seed);
        least = MIN_OF(least, delay_ms);
        most = MAX_OF(most, delay_ms);
    }
    assert_true(most - least > 50 * 1000); /* of the 60 s that a fifth of 5 min allows */
}

static void last_attempt_is_made_at_the_deadline(void **state)
{
    (void)state;
    struct outcome outcome = make(OUTCOME_TEMPORARY, STAGE_RCPT, 451, "4.3.0", "later");
    struct policy_case now = at(0);
    now.deadline_ms = now.now_ms + 1000;
    struct verdict verdict = policy_judge(&policy, &outcome, &now);
    assert_int_equal(verdict.state, DELIVERY_DEFERRED);
    assert_int_equal(verdict.next_attempt_ms, now.deadline_ms);
    now.now_ms = now.deadline_ms;
    verdict = policy_judge(&policy, &outcome, &now);
    assert_int_equal(verdict.state, DELIVERY_FAILED);
}

static void released_goes_on_as_its_reason_says(void **state)
{
    (void)state;
    struct outcome outcome = make(OUTCOME_RELEASED, STAGE_NONE, 0, "", "held back");
    struct policy_case now = at(1);
    now.release = RELEASE_HELD_BACK;
    struct verdict verdict = policy_judge(&policy, &outcome, &now);
    assert_int_equal(verdict.state, DELIVERY_DEFERRED);
    assert_int_equal(verdict.next_attempt_ms, now.now_ms);
    now.release = RELEASE_WAITED;
    verdict = policy_judge(&policy, &outcome, &now);
    assert_true(verdict.next_attempt_ms >= now.now_ms + 30000 && verdict.next_attempt_ms < now.now_ms + 90000);
    outcome.wait_ms = 600000;
    verdict = policy_judge(&policy, &outcome, &now);
    assert_true(verdict.next_attempt_ms >= now.now_ms + 600000 && verdict.next_attempt_ms < now.now_ms + 660000);
    now.deadline_ms = now.now_ms + 1000; /* and not behind the end */
    verdict = policy_judge(&policy, &outcome, &now);
    assert_int_equal(verdict.next_attempt_ms, now.deadline_ms);
    now.release = RELEASE_CANCELLED;
    verdict = policy_judge(&policy, &outcome, &now);
    assert_int_equal(verdict.state, DELIVERY_CANCELLED);
    assert_int_equal(verdict.attempts, 1);
}

static void only_dead_addresses_are_suppressed(void **state)
{
    (void)state;
    static const struct {
        enum outcome_stage stage;
        int code;
        const char *enhanced, *text;
        bool hard;
    } table[] = {
        {STAGE_RCPT, 550, "5.1.1", "<x@y>: Recipient address rejected: User unknown", true},
        {STAGE_CONTENT, 550, "5.1.1", "The email account that you tried to reach does not exist.", true},
        {STAGE_RCPT, 550, "5.1.2", "bad destination system", true},
        {STAGE_DNS, 556, "5.1.10", "null MX", true},
        {STAGE_RCPT, 550, "", "No such user here", true},
        {STAGE_RCPT, 553, "", "sorry, unknown recipient", true},
        {STAGE_RCPT, 550, "5.7.1", "user unknown, or so our spam filter says", false},
        {STAGE_RCPT, 550, "5.7.515", "Access denied, sending domain does not meet the required authentication level", false},
        {STAGE_RCPT, 552, "5.2.2", "mailbox full", false},
        {STAGE_RCPT, 550, "5.2.1", "mailbox disabled", false},
        {STAGE_RCPT, 554, "", "user unknown", false},
        {STAGE_MAIL, 550, "", "sender does not exist", false},
        {STAGE_CONTENT, 550, "", "this message does not exist in our culture", false},
        {STAGE_RCPT, 550, "", "Blocked by Spamhaus", false},
        {STAGE_RCPT, 550, "5.1.8", "sender's address does not exist", false},
    };
    for (size_t i = 0; i < countof(table); i++) {
        struct outcome outcome = make(OUTCOME_PERMANENT, table[i].stage, table[i].code, table[i].enhanced, table[i].text);
        struct policy_case now = at(0);
        struct verdict verdict = policy_judge(&policy, &outcome, &now);
        assert_int_equal(verdict.state, DELIVERY_BOUNCED);
        if (table[i].hard)
            assert_string_equal(verdict.suppress_reason, "hard-bounce");
        else if (verdict.suppress_reason != NULL)
            fail_msg("suppressed for %d %s %s", table[i].code, table[i].enhanced, table[i].text);
        outcome.class_ = OUTCOME_TEMPORARY;
        assert_false(policy_is_hard_bounce(&policy, &outcome));
    }
}

static struct bounce_rules *rules;

static int load_rules(void **state)
{
    (void)state;
    struct error err;
    int failed = bounce_rules_load(POSTHASTE_SOURCE_ROOT "/share/bounce-rules.conf", &rules, &err);
    policy.rules = rules;
    return failed;
}

static int free_rules(void **state)
{
    (void)state;
    bounce_rules_free(rules);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_class_has_its_state),
        cmocka_unit_test(uncertain_is_held_when_asked),
        cmocka_unit_test(delay_doubles_to_its_maximum),
        cmocka_unit_test(jitter_spreads_recipients),
        cmocka_unit_test(last_attempt_is_made_at_the_deadline),
        cmocka_unit_test(released_goes_on_as_its_reason_says),
        cmocka_unit_test(only_dead_addresses_are_suppressed),
    };
    return cmocka_run_group_tests(tests, load_rules, free_rules);
}
