/*
 * test_timezone.c - every zone that differs in kind against the C library's answer, moment by moment, and damaged
 * files.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "base/timezone.h"
#include "tests/unit/base/unit.h"

static struct timezone_data *load(const char *name)
{
    struct error err = {""};
    struct timezone_data *zone;
    int result = timezone_load(name, &zone, &err);
    if (result != 0)
        fail_msg("%s: %d %s", name, result, err.text);
    return zone;
}

static void agrees_with_the_c_library(void **state)
{
    (void)state;
    static const char *const names[] = {"UTC",
                                        "Europe/Berlin",
                                        "Europe/London",
                                        "Europe/Dublin",
                                        "America/New_York",
                                        "America/Sao_Paulo",
                                        "America/Santiago",
                                        "Asia/Kolkata",
                                        "Asia/Kathmandu",
                                        "Asia/Tehran",
                                        "Asia/Gaza",
                                        "Africa/Casablanca",
                                        "Africa/Cairo",
                                        "Australia/Lord_Howe",
                                        "Australia/Sydney",
                                        "Pacific/Apia",
                                        "Pacific/Chatham",
                                        "Pacific/Kiritimati",
                                        "America/St_Johns",
                                        "Antarctica/Troll",
                                        "Asia/Pyongyang",
                                        "Europe/Moscow",
                                        "America/Caracas",
                                        "Etc/GMT+12",
                                        "America/Nuuk",
                                        "Asia/Tokyo"};
    uint64_t seed = 17;
    for (size_t i = 0; i < countof(names); i++) {
        struct timezone_data *zone = load(names[i]);
        assert_int_equal(setenv("TZ", names[i], 1), 0);
        tzset();
        for (int n = 0; n < 4000; n++) {
            /* 1970 to 2080; every fourth close to the hours in which clocks are changed */
            time_t at = (time_t)random_below(&seed, (size_t)3471292800);
            if (n % 4 == 0)
                at = at / 3600 * 3600 + (time_t)random_below(&seed, 3) - 1;
            struct tm tm;
            assert_non_null(localtime_r(&at, &tm));
            if (timezone_offset_s(zone, at) != tm.tm_gmtoff)
                fail_msg("%s at %lld: %d, not %ld", names[i], (long long)at, timezone_offset_s(zone, at), tm.tm_gmtoff);
        }
        timezone_free(zone);
    }
}

static void refuses_what_is_no_zone(void **state)
{
    (void)state;
    static const char *const names[] = {"",
                                        "Mars/Olympus",
                                        "../../etc/passwd",
                                        "/etc/localtime",
                                        "Europe",
                                        "Europe//Berlin",
                                        "Europe/Ber lin",
                                        "zone.tab",
                                        "tzdata.zi",
                                        "0123456789012345678901234567890123456789012345678901234567890123456789"};
    for (size_t i = 0; i < countof(names); i++) {
        struct error err = {""};
        struct timezone_data *zone;
        int result = timezone_load(names[i], &zone, &err);
        assert_true(result == -ENOENT || result == -EINVAL);
        assert_null(zone);
        assert_true(err.text[0] != '\0');
    }
    timezone_free(NULL);
}

/* What cannot be opened now is not said to be missing. */
static void want_of_descriptors_is_told_as_such(void **state)
{
    (void)state;
    struct error err = {""};
    struct timezone_data *zone;
    struct rlimit was, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int result = timezone_load("Europe/Berlin", &zone, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    assert_int_equal(result, -EMFILE);
    assert_null(zone);
}

/* Cut short, and with every byte changed: an answer or a refusal, never more. */
static void survives_damaged_files(void **state)
{
    (void)state;
    static unsigned char bytes[100000];
    FILE *file = fopen("/usr/share/zoneinfo/America/New_York", "rb");
    assert_non_null(file);
    size_t len = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    uint64_t seed = 5;
    for (size_t i = 0; i < len; i++) {
        struct error err = {""};
        struct timezone_data *zone;
        unsigned char was = bytes[i];
        unsigned char *exact = malloc(i + 1);
        assert_non_null(exact);
        memcpy(exact, bytes, i);
        if (timezone_parse(exact, i, &zone, &err) == 0)
            timezone_free(zone);
        free(exact);
        bytes[i] = (unsigned char)random_next(&seed);
        if (timezone_parse(bytes, len, &zone, &err) == 0) {
            (void)timezone_offset_s(zone, (int64_t)random_below(&seed, (size_t)4000000000));
            timezone_free(zone);
        }
        bytes[i] = was;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_c_library),
        cmocka_unit_test(refuses_what_is_no_zone),
        cmocka_unit_test(want_of_descriptors_is_told_as_such),
        cmocka_unit_test(survives_damaged_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
