/*
 * test_throttle.c - nobody gets more than the rate, nobody pays for another, and the table never grows.
 */
#include "tests/unit/api/unit.h"

#include "api/http/throttle.h"

#define SECOND_US INT64_C(1000000)

static bool take(struct throttle *throttle, const char *key, int64_t now_us, int64_t *wait_ms)
{
    return throttle_take(throttle, key, strlen(key), now_us, wait_ms);
}

static void test_burst_and_rate(void **state)
{
    (void)state;
    struct throttle *throttle = throttle_create((struct rate){10, SECOND_US});
    int64_t wait_ms;
    int taken = 0;
    for (int i = 0; i < 100; i++)
        taken += take(throttle, "a", 5 * SECOND_US, &wait_ms);
    assert_int_equal(taken, 10);
    assert_int_equal(wait_ms, 100);
    assert_false(take(throttle, "a", 5 * SECOND_US + 99000, &wait_ms));
    assert_int_equal(wait_ms, 1);
    assert_true(take(throttle, "a", 5 * SECOND_US + 100000, &wait_ms));
    assert_true(take(throttle, "b", 5 * SECOND_US, &wait_ms)); /* another one's bucket */
    for (int64_t now = 6 * SECOND_US; now < 16 * SECOND_US; now += 1000)
        taken += take(throttle, "c", now, &wait_ms);
    assert_in_range(taken, 10 + 10 + 98, 10 + 10 + 101);
    assert_true(take(throttle, "a", 1000 * SECOND_US, &wait_ms)); /* full again, not fuller */
    taken = 1;
    for (int i = 0; i < 100; i++)
        taken += take(throttle, "a", 1000 * SECOND_US, &wait_ms);
    assert_int_equal(taken, 10);
    throttle_free(throttle);
}

static void test_slow_rates_and_none(void **state)
{
    (void)state;
    int64_t wait_ms;
    struct throttle *throttle = throttle_create((struct rate){1, 60 * SECOND_US});
    assert_true(take(throttle, "a", SECOND_US, &wait_ms));
    assert_false(take(throttle, "a", 2 * SECOND_US, &wait_ms));
    assert_int_equal(wait_ms, 59000);
    throttle_free(throttle);
    throttle = throttle_create(RATE_UNLIMITED);
    for (int i = 0; i < 100000; i++)
        assert_true(take(throttle, "a", SECOND_US, &wait_ms));
    throttle_free(throttle);
    throttle_free(NULL);
}

/* A crowd of addresses cannot push a busy caller out of its place for long, nor make the table grow. */
static void test_a_crowd(void **state)
{
    (void)state;
    struct throttle *throttle = throttle_create((struct rate){100, SECOND_US});
    char key[32];
    int64_t wait_ms;
    int taken = 0;
    for (int i = 0; i < 200000; i++) {
        (void)snprintf(key, sizeof(key), "address %d", i);
        assert_true(take(throttle, key, SECOND_US, &wait_ms));
        if (i % 100 == 0)
            taken += take(throttle, "busy", SECOND_US, &wait_ms);
    }
    assert_in_range(taken, 100, 400);
    throttle_free(throttle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_burst_and_rate),
                                       cmocka_unit_test(test_slow_rates_and_none), cmocka_unit_test(test_a_crowd)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
