/* test_time.c - dates as text, compared with the C library's calendar over ten thousand years. */
#include "unit.h"

#include <errno.h>
#include <time.h>

#include "base/str.h"

static void formats_known_times(void **state)
{
    (void)state;
    char out[RFC5322_DATE_BYTES];
    char iso[RFC3339_BYTES];
    assert_string_equal(time_format_rfc3339(0, iso), "1970-01-01T00:00:00.000Z");
    assert_string_equal(time_format_rfc3339(INT64_C(1795454709123), iso), "2026-11-23T17:25:09.123Z");
    assert_string_equal(time_format_rfc5322(INT64_C(1795454709123), out), "Mon, 23 Nov 2026 17:25:09 +0000");
    assert_string_equal(time_format_rfc3339(-1, iso), "1969-12-31T23:59:59.999Z");
    assert_string_equal(time_format_rfc3339(INT64_C(951782400000), iso), "2000-02-29T00:00:00.000Z");
}

static void clamps_what_cannot_be_said(void **state)
{
    (void)state;
    char iso[RFC3339_BYTES];
    assert_string_equal(time_format_rfc3339(INT64_MAX, iso), "9999-12-31T23:59:59.999Z");
    assert_string_equal(time_format_rfc3339(INT64_MIN, iso), "0000-01-01T00:00:00.000Z");
}

static void agrees_with_libc_and_reads_itself_back(void **state)
{
    (void)state;
    uint64_t seed = 42;
    for (int i = 0; i < 50000; i++) {
        int64_t wall_ms = INT64_C(-62167219200000) + (int64_t)(random_next(&seed) % UINT64_C(315569520000000));
        int64_t seconds = wall_ms / 1000 - (wall_ms % 1000 < 0 ? 1 : 0);
        time_t t = (time_t)seconds;
        struct tm tm;
        assert_non_null(gmtime_r(&t, &tm));
        char expected[64];
        assert_true(strftime(expected, sizeof(expected), "%a, %d %b ", &tm) > 0);
        snprintf(expected + strlen(expected), 48, "%04d %02d:%02d:%02d +0000", tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
                 tm.tm_sec);
        char out[RFC5322_DATE_BYTES];
        assert_string_equal(time_format_rfc5322(wall_ms, out), expected);
        char iso[RFC3339_BYTES];
        int64_t back;
        assert_int_equal(time_parse_rfc3339(time_format_rfc3339(wall_ms, iso), &back), 0);
        assert_true(back == wall_ms);
    }
}

static void parses_offsets_fractions_and_leap_seconds(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"1985-04-12T23:20:50.52Z", INT64_C(482196050520)}, /* the examples of RFC 3339 section 5.8 */
        {"1996-12-19T16:39:57-08:00", INT64_C(851042397000)},
        {"1990-12-31T23:59:60Z", INT64_C(662688000000)},
        {"1990-12-31T15:59:60-08:00", INT64_C(662688000000)},
        {"1937-01-01T12:00:27.87+00:20", INT64_C(-1041337172130)},
        {"1970-01-01t00:00:00z", 0},
        {"1970-01-01T00:00:00.123456789Z", 123},
        {"1970-01-01T00:00:00-00:00", 0},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        int64_t ms = -1;
        assert_int_equal(time_parse_rfc3339(cases[i].text, &ms), 0);
        assert_true(ms == cases[i].ms);
    }
}

static void refuses_what_is_not_rfc3339(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "2026",
                                      "2026-11-23",
                                      "2026-11-23T17:25:09",
                                      "2026-11-23 17:25:09Z",
                                      "2026-11-23T17:25Z",
                                      "2026-02-29T00:00:00Z",
                                      "1900-02-29T00:00:00Z",
                                      "2026-13-01T00:00:00Z",
                                      "2026-00-01T00:00:00Z",
                                      "2026-04-31T00:00:00Z",
                                      "2026-01-00T00:00:00Z",
                                      "2026-01-01T24:00:00Z",
                                      "2026-01-01T00:60:00Z",
                                      "2026-01-01T00:00:61Z",
                                      "2026-01-01T00:00:00.Z",
                                      "2026-01-01T00:00:00+24:00",
                                      "2026-01-01T00:00:00+0000",
                                      "2026-01-01T00:00:00Zx",
                                      " 2026-01-01T00:00:00Z",
                                      "+026-01-01T00:00:00Z",
                                      "2026-1-1T00:00:00Z",
                                      "2026-01-01T00:00:00,5Z",
                                      "2026-01-01T-1:00:00Z"};
    int64_t ms;
    for (size_t i = 0; i < countof(bad); i++)
        assert_int_equal(time_parse_rfc3339(bad[i], &ms), -EINVAL);
    assert_int_equal(time_parse_rfc3339(NULL, &ms), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_known_times),
        cmocka_unit_test(clamps_what_cannot_be_said),
        cmocka_unit_test(agrees_with_libc_and_reads_itself_back),
        cmocka_unit_test(parses_offsets_fractions_and_leap_seconds),
        cmocka_unit_test(refuses_what_is_not_rfc3339),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
