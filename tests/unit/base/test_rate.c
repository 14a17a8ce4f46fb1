/* test_rate.c - every unit there and back, and what is no rate. */
#include "unit.h"

#include <errno.h>

#include "base/rate.h"

static void good_rates_round_trip(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t count;
        int64_t period_us;
        double per_second;
    } cases[] = {
        {"100/s", 100, 1000000, 100},
        {"10/min", 10, 60000000, 10.0 / 60},
        {"5000/h", 5000, INT64_C(3600000000), 5000.0 / 3600},
        {"20000/d", 20000, INT64_C(86400000000), 20000.0 / 86400},
        {"4294967295/s", UINT32_MAX, 1000000, 4294967295.0},
        {"unlimited", 0, 0, 0},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct rate rate;
        char text[RATE_TEXT_BYTES];
        assert_int_equal(rate_parse(cases[i].text, &rate), 0);
        assert_int_equal(rate.count, cases[i].count);
        assert_true(rate.period_us == cases[i].period_us);
        assert_string_equal(rate_format(rate, text), cases[i].text);
        double difference = rate_per_second(rate) - cases[i].per_second;
        assert_true(difference < 1e-9 && difference > -1e-9);
        assert_int_equal(rate_is_unlimited(rate), cases[i].count == 0);
    }
}

static void bad_rates_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "fast",
                                      "100",
                                      "100/",
                                      "/s",
                                      "0/s",
                                      "-1/s",
                                      "+1/s",
                                      "1.5/s",
                                      "100/S",
                                      "100/sec",
                                      "100 /s",
                                      "100/ s",
                                      " 100/s",
                                      "100/s ",
                                      "4294967296/s",
                                      "99999999999999999999/s",
                                      "100/m",
                                      "unlimited/s",
                                      "Unlimited",
                                      "0x10/s",
                                      "1/s/s"};
    for (size_t i = 0; i < countof(bad); i++) {
        struct rate rate;
        assert_int_equal(rate_parse(bad[i], &rate), -EINVAL);
    }
    struct rate rate;
    assert_int_equal(rate_parse(NULL, &rate), -EINVAL);
}

static void odd_periods_are_still_told(void **state)
{
    (void)state;
    char text[RATE_TEXT_BYTES];
    assert_string_equal(rate_format((struct rate){1, 2000000}, text), "0.5/s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_rates_round_trip),
        cmocka_unit_test(bad_rates_are_refused),
        cmocka_unit_test(odd_periods_are_still_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
