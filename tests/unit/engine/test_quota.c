/*
 * test_quota.c - counts that survive: never above, whatever happens and however often; and nearly reached.
 */
#include "engine/site/quota.h"
#include "tests/unit/engine/unit.h"

#define SECOND ((int64_t)1000000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)
#define TAKEN_MAX 100000

static int64_t taken_us[TAKEN_MAX];

static size_t most_in_a_window(size_t count, int64_t window_us)
{
    size_t most = 0, first = 0;
    for (size_t i = 0; i < count; i++) {
        while (taken_us[i] - taken_us[first] >= window_us)
            first++;
        most = MAX_OF(most, i - first + 1);
    }
    return most;
}

/* Runs for `days`, with crashes (and orderly ends) in between; the disk is `saved`. */
static size_t run(uint32_t limit, int days, uint32_t crash_percent, uint64_t *seed)
{
    struct quota quota;
    char saved[QUOTA_TEXT_BYTES] = "", pending[QUOTA_TEXT_BYTES] = "";
    int64_t now = 5 * SECOND, saved_us = 0, pending_us = 0, until, wait;
    size_t count = 0;
    quota_init(&quota, limit, DAY, now);
    for (int64_t end = now + days * DAY; now < end && count < TAKEN_MAX; now += wait) {
        wait = SECOND * (int64_t)(1 + random_below(seed, 120));
        if (random_below(seed, 1000) < crash_percent) {
            if (random_below(seed, 3) == 0) { /* an orderly end */
                quota_write(&quota, now, true, saved);
                saved_us = now;
            } else if (quota.asked > 0 && random_below(seed, 2) == 0) { /* written, but we did not hear of it */
                memcpy(saved, pending, sizeof saved);
                saved_us = pending_us;
            }
            now += (int64_t)random_below(seed, 7200) * SECOND;
            quota_init(&quota, limit, DAY, now);
            if (saved[0] != '\0')
                assert_int_equal(quota_read(&quota, saved, now - saved_us, now), 0);
        }
        if (quota.asked > 0 && random_below(seed, 2) == 0) {
            memcpy(saved, pending, sizeof saved);
            saved_us = pending_us;
            quota_saved(&quota);
        }
        if (quota_wants_slice(&quota, now)) {
            quota_write(&quota, now, false, pending);
            pending_us = now;
        }
        for (size_t n = random_below(seed, 40); n > 0 && quota_ask(&quota, now, &until) == QUOTA_OPEN; n--) {
            quota_take(&quota, now);
            taken_us[count++] = now;
        }
    }
    return count;
}

static void never_above_whatever_ends_it(void **state)
{
    (void)state;
    uint64_t seed = 4711;
    static const uint32_t limits[] = {1, 7, 100, 5000};
    for (size_t i = 0; i < countof(limits); i++) {
        for (int round = 0; round < 20; round++) {
            size_t count = run(limits[i], 6, 5, &seed);
            assert_true(count > 0);
            assert_true(most_in_a_window(count, DAY) <= limits[i]);
        }
    }
}

static void nearly_reached_in_peace(void **state)
{
    (void)state;
    uint64_t seed = 1;
    size_t count = run(1000, 10, 0, &seed);
    assert_true(most_in_a_window(count, DAY) == 1000);
    assert_true(count >= 9500);
}

static void a_day_of_warm_up_ends_for_good(void **state)
{
    (void)state;
    struct quota quota;
    char text[QUOTA_TEXT_BYTES];
    int64_t until;
    quota_init(&quota, 3, 0, HOUR);
    for (int i = 0; i < 3; i++) {
        if (quota_wants_slice(&quota, HOUR)) {
            quota_write(&quota, HOUR, false, text);
            quota_saved(&quota);
        }
        assert_int_equal(quota_ask(&quota, HOUR, &until), QUOTA_OPEN);
        quota_take(&quota, HOUR);
    }
    assert_int_equal(quota_ask(&quota, 400 * DAY, &until), QUOTA_FULL);
    assert_true(until == INT64_MAX);
    quota_write(&quota, 2 * HOUR, true, text);
    quota_init(&quota, 3, 0, 5);
    assert_int_equal(quota_read(&quota, text, 30 * DAY, 5), 0);
    assert_int_equal(quota_left(&quota, 5), 0);
}

static void a_damaged_record_counts_as_full(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "x", "1 2 x", "-1", "5 99999999999", "1,2"};
    for (size_t i = 0; i < countof(texts); i++) {
        struct quota quota;
        quota_init(&quota, 10, DAY, HOUR);
        assert_true(quota_read(&quota, texts[i], 0, HOUR) < 0);
        assert_int_equal(quota_left(&quota, HOUR), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_above_whatever_ends_it),
        cmocka_unit_test(nearly_reached_in_peace),
        cmocka_unit_test(a_day_of_warm_up_ends_for_good),
        cmocka_unit_test(a_damaged_record_counts_as_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
