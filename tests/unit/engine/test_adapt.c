/*
 * test_adapt.c - the adaptive rate against a model of a destination that refuses what is above its limit.
 */
#include <math.h>

#include "engine/site/adapt.h"
#include "tests/unit/engine/unit.h"

struct run {
    struct adapt adapt;
    double limit; /* the destination's, messages in any second */
    int64_t now_ms;
    int64_t accepted_ms[1000];
    size_t accepted, refused, sent;
    double credit;
};

/* One millisecond at a time, at the rate that the adaptation allows (or 100/s). */
static void run_for(struct run *run, int seconds)
{
    for (int64_t end = run->now_ms + seconds * INT64_C(1000); run->now_ms < end; run->now_ms++) {
        double rate = run->adapt.rate > 0 ? run->adapt.rate : 100;
        run->credit = MIN_OF(run->credit + rate / 1000, 1.5);
        if (run->credit < 1)
            continue;
        run->credit -= 1;
        run->sent++;
        size_t limit = (size_t)run->limit;
        bool over = run->accepted >= limit && run->accepted_ms[(run->accepted - limit) % 1000] > run->now_ms - 1000;
        if (over) {
            run->refused++;
            (void)adapt_refused(&run->adapt, "421 rate limited", run->now_ms, run->now_ms);
        } else {
            run->accepted_ms[run->accepted++ % 1000] = run->now_ms;
            (void)adapt_taken(&run->adapt, run->now_ms);
        }
    }
}

static void settles_and_recovers(void **state)
{
    (void)state;
    static const double limits[] = {2, 5, 20, 50, 80};
    for (size_t i = 0; i < countof(limits); i++) {
        struct run run = {.limit = limits[i], .now_ms = 1000};
        adapt_init(&run.adapt, 100);
        run_for(&run, 60);
        size_t sent = run.sent, refused = run.refused, accepted = run.accepted;
        run_for(&run, 300);
        double rate = (double)(run.accepted - accepted) / 300;
        double share = (double)(run.refused - refused) / (double)(run.sent - sent);
        print_message("limit %.0f/s: %.2f/s, refused %.2f %%\n", limits[i], rate, share * 100);
        assert_true(rate > 0.9 * limits[i]);
        if (limits[i] >= 20)
            assert_true(share < 0.02);
        run.limit = 900;
        run_for(&run, 120);
        if (limits[i] >= 20)
            assert_true(run.adapt.rate <= 0 || run.adapt.rate >= 95);
    }
}

static void never_above_what_is_configured(void **state)
{
    (void)state;
    struct adapt adapt;
    adapt_init(&adapt, 50);
    assert_true(adapt_refused(&adapt, "421", 1000, 1));
    for (int64_t now = 1000; now < 1000000; now += 10) {
        (void)adapt_taken(&adapt, now);
        assert_true(adapt.rate <= 50);
    }
    assert_true(adapt.rate <= 0); /* nothing is lowered any more */
}

static void an_unused_rate_does_not_grow(void **state)
{
    (void)state;
    struct adapt adapt;
    adapt_init(&adapt, 100);
    (void)adapt_refused(&adapt, "421", 1000, 1);
    double rate = adapt.rate;
    for (int64_t now = 2000; now < 600000; now += 1000)
        (void)adapt_taken(&adapt, now); /* one a second */
    assert_true(fabs(adapt.rate - rate) < 0.001);
}

static void survives_as_text(void **state)
{
    (void)state;
    struct adapt adapt, again;
    char text[ADAPT_TEXT_BYTES];
    adapt_init(&adapt, 100);
    (void)adapt_refused(&adapt, "421 4.7.0 slow down, please", 5000, 1700000000000);
    adapt_write(&adapt, text);
    adapt_init(&again, 100);
    assert_int_equal(adapt_read(&again, text, 77), 0);
    assert_true(fabs(again.rate - adapt.rate) < 0.001 && fabs(again.knee - adapt.knee) < 0.001);
    assert_string_equal(again.why, "421 4.7.0 slow down, please");
    assert_true(again.since_wall_ms == 1700000000000);
    static const char *const damaged[] = {"", "x", "1 2", "nan 1 1 0 5 x", "-5 1 1 0 5 x", "1 1 0.5 0 5 x"};
    for (size_t i = 0; i < countof(damaged); i++)
        assert_true(adapt_read(&again, damaged[i], 77) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settles_and_recovers),
        cmocka_unit_test(never_above_what_is_configured),
        cmocka_unit_test(an_unused_rate_does_not_grow),
        cmocka_unit_test(survives_as_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
