/*
 * test_limits.c - rates are exact: by our clock, by a receiver's clock with jitter, at large clock values, and they are
 * also reached.
 */
#include "engine/site/limits.h"
#include "tests/unit/engine/unit.h"

#define SECOND ((int64_t)1000000)
#define STARTS_MAX 20000

static int64_t starts[STARTS_MAX], accepted[STARTS_MAX];

/* Starts as often as the limit lets it, looking once a millisecond or so like a loop does; returns how many started
 * within `span_us`. */
static size_t run(struct rate rate, int64_t begin_us, int64_t span_us, int64_t delay_us, int64_t jitter_us,
                  uint64_t *seed)
{
    struct limit limit;
    limit_init(&limit, rate);
    size_t count = 0, ended = 0;
    static uint64_t tickets[STARTS_MAX];
    for (int64_t now = begin_us; now < begin_us + span_us && count < STARTS_MAX;) {
        while (ended < count && accepted[ended] + delay_us <= now) {
            limit_done(&limit, tickets[ended], accepted[ended] + delay_us);
            ended++;
        }
        int64_t until = limit_wait_until_us(&limit, now);
        if (until != 0) {
            assert_true(until > now);
            now += MIN_OF(until - now, SECOND / 1000) + (int64_t)random_below(seed, 300);
            continue;
        }
        assert_int_equal(limit_take(&limit, now, &tickets[count]), 0);
        starts[count] = now;
        accepted[count] = now + delay_us + (int64_t)random_below(seed, (size_t)jitter_us + 1);
        if (count > 0 && accepted[count] < accepted[count - 1])
            accepted[count] = accepted[count - 1];
        count++;
    }
    limit_finish(&limit);
    return count;
}

/* The most that fall into any window of `window_us`. */
static size_t most_in_a_window(const int64_t *times, size_t count, int64_t window_us)
{
    size_t most = 0, first = 0;
    for (size_t i = 0; i < count; i++) {
        while (times[i] - times[first] >= window_us)
            first++;
        most = MAX_OF(most, i - first + 1);
    }
    return most;
}

static void never_above_and_nearly_reached(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 3, 7, 50, 100, 999};
    static const int64_t begins[] = {0, 1, 123456789, INT64_MAX / 8, INT64_MAX / 4 - 100 * SECOND};
    uint64_t seed = 1;
    for (size_t c = 0; c < countof(counts); c++) {
        for (size_t b = 0; b < countof(begins); b++) {
            struct rate rate = {counts[c], SECOND};
            size_t count = run(rate, begins[b], 10 * SECOND, 0, 0, &seed);
            assert_true(most_in_a_window(starts, count, SECOND) <= counts[c]);
            assert_true(count >= (size_t)(counts[c] * 10 * 98 / 100));
        }
    }
}

static void jitter_does_not_let_the_receiver_count_more(void **state)
{
    (void)state;
    uint64_t seed = 2;
    for (int64_t delay_ms = 0; delay_ms <= 100; delay_ms += 50) {
        for (int64_t jitter_ms = 0; jitter_ms <= 100; jitter_ms += 20) {
            struct rate rate = {50, SECOND};
            size_t count = run(rate, 5 * SECOND, 20 * SECOND, delay_ms * 1000, jitter_ms * 1000, &seed);
            assert_true(most_in_a_window(accepted, count, SECOND) <= 50);
            assert_true(count >= 20 * 50 * 85 / 100);
        }
    }
}

static void constant_delay_costs_little_rate(void **state)
{
    (void)state;
    uint64_t seed = 3;
    struct rate rate = {50, SECOND};
    size_t count = run(rate, 0, 60 * SECOND, 200000, 0, &seed);
    assert_true(most_in_a_window(accepted, count, SECOND) <= 50);
    assert_true(count >= 60 * 50 * 95 / 100);
}

static void fast_rates_have_room_for_jitter(void **state)
{
    (void)state;
    uint64_t seed = 4;
    struct rate rate = {5000, SECOND};
    size_t count = run(rate, 0, 3 * SECOND, 0, 5000, &seed);
    assert_true(most_in_a_window(starts, count, SECOND) <= 5000);
    assert_true(count >= 3 * 5000 * 95 / 100);
}

static void long_periods_are_spaced_too(void **state)
{
    (void)state;
    static const struct rate rates[] = {{60, 60 * SECOND}, {5000, 24 * 3600 * SECOND}, {100, 3600 * SECOND}};
    for (size_t i = 0; i < countof(rates); i++) {
        struct limit limit;
        uint64_t ticket;
        limit_init(&limit, rates[i]);
        int64_t now = 77 * SECOND, least = INT64_MAX, begin = now, last = 0;
        for (size_t n = 0; n < 2 * rates[i].count; n++) {
            int64_t until = limit_wait_until_us(&limit, now);
            if (until != 0)
                now = until;
            assert_int_equal(limit_take(&limit, now, &ticket), 0);
            if (n > 0)
                least = MIN_OF(least, now - last);
            last = now;
        }
        assert_true(last - begin >= rates[i].period_us * 19 / 10);
        assert_true(least >= rates[i].period_us / rates[i].count * 9 / 10);
        limit_finish(&limit);
    }
}

static void a_pause_saves_up_nothing(void **state)
{
    (void)state;
    struct limit limit;
    uint64_t ticket;
    limit_init(&limit, (struct rate){10, SECOND});
    assert_int_equal(limit_take(&limit, 0, &ticket), 0);
    limit_done(&limit, ticket, 1000);
    assert_int_equal(limit_wait_until_us(&limit, 1000 * SECOND), 0);
    assert_int_equal(limit_take(&limit, 1000 * SECOND, &ticket), 0);
    assert_true(limit_wait_until_us(&limit, 1000 * SECOND) > 1000 * SECOND + SECOND / 20);
    limit_finish(&limit);
}

/* A busy machine lets the loop run late again and again. */
static void what_came_late_is_made_up_for(void **state)
{
    (void)state;
    static const struct rate rates[] = {{5, SECOND}, {100, SECOND}, {300, SECOND}, {300, 60 * SECOND}};
    static const int64_t stalls_ms[] = {190, 150, 450}; /* the last for limits per second only */
    for (size_t i = 0; i < countof(rates); i++) {
        struct limit limit;
        uint64_t ticket;
        limit_init(&limit, rates[i]);
        size_t count = 0, stalls = rates[i].period_us == SECOND ? countof(stalls_ms) : 2;
        int64_t begin = 5 * SECOND, now = begin, span = 60 * SECOND;
        for (int64_t stall = 1; now < begin + span;) {
            if (now >= begin + stall * SECOND) {
                now += stalls_ms[(size_t)stall % stalls] * 1000;
                stall++;
            }
            if (limit_wait_until_us(&limit, now) != 0) {
                now += 1000;
                continue;
            }
            assert_int_equal(limit_take(&limit, now, &ticket), 0);
            limit_done(&limit, ticket, now);
            assert_true(count < STARTS_MAX);
            starts[count++] = now;
        }
        assert_true(most_in_a_window(starts, count, rates[i].period_us) <= rates[i].count);
        double wanted = (double)rates[i].count * (double)span / (double)rates[i].period_us;
        assert_true((double)count >= wanted * 0.97 && (double)count <= wanted * 1.01);
        limit_finish(&limit);
    }
}

static void keeps_its_distance_to_an_earlier_process(void **state)
{
    (void)state;
    static const struct {
        struct rate rate;
        int64_t wait_us;
    } table[] = {
        {{40, SECOND}, SECOND / 40},
        {{1, 60 * SECOND}, 60 * SECOND},
        {{1, 3600 * SECOND}, 60 * SECOND},
    };
    for (size_t i = 0; i < countof(table); i++) {
        struct limit limit;
        limit_init(&limit, table[i].rate);
        limit_follow(&limit, 7 * SECOND);
        assert_true(limit_wait_until_us(&limit, 7 * SECOND) > 7 * SECOND);
        assert_int_equal(limit_wait_until_us(&limit, 7 * SECOND + table[i].wait_us + SECOND), 0);
        limit_finish(&limit);
    }
    struct limit unlimited;
    limit_init(&unlimited, RATE_UNLIMITED);
    limit_follow(&unlimited, 7 * SECOND);
    assert_int_equal(limit_wait_until_us(&unlimited, 7 * SECOND), 0);
    limit_finish(&unlimited);
}

static void unlimited_never_waits(void **state)
{
    (void)state;
    struct limit limit;
    uint64_t ticket;
    limit_init(&limit, RATE_UNLIMITED);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(limit_wait_until_us(&limit, 5), 0);
        assert_int_equal(limit_take(&limit, 5, &ticket), 0);
        limit_done(&limit, ticket, 6);
    }
    assert_true(limit_is_idle(&limit, 7));
    limit_finish(&limit);
}

static void a_stuck_message_does_not_stop_the_site(void **state)
{
    (void)state;
    struct limit limit;
    uint64_t ticket;
    limit_init(&limit, (struct rate){2, SECOND});
    assert_int_equal(limit_take(&limit, 0, &ticket), 0); /* never done */
    int64_t until = limit_wait_until_us(&limit, SECOND / 2);
    int64_t now = until == 0 ? SECOND / 2 : until;
    assert_int_equal(limit_take(&limit, now, &ticket), 0);
    assert_int_equal(limit_wait_until_us(&limit, 2 * SECOND), 0);
    assert_true(limit_is_idle(&limit, 5 * SECOND));
    limit_finish(&limit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_above_and_nearly_reached),
        cmocka_unit_test(jitter_does_not_let_the_receiver_count_more),
        cmocka_unit_test(constant_delay_costs_little_rate),
        cmocka_unit_test(fast_rates_have_room_for_jitter),
        cmocka_unit_test(long_periods_are_spaced_too),
        cmocka_unit_test(a_pause_saves_up_nothing),
        cmocka_unit_test(what_came_late_is_made_up_for),
        cmocka_unit_test(keeps_its_distance_to_an_earlier_process),
        cmocka_unit_test(unlimited_never_waits),
        cmocka_unit_test(a_stuck_message_does_not_stop_the_site),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
