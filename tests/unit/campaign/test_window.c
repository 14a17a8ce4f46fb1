/*
 * test_window.c - send windows: the hours of a day, days that end at midnight or not, and the nights on which clocks
 * are changed.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/str.h"
#include "campaign/schedule/plan.h"

static int64_t at(const char *text)
{
    int64_t ms = 0;
    assert_int_equal(time_parse_rfc3339(text, &ms), 0);
    return ms;
}

static struct window parse(const char *text)
{
    struct problem problem = {.count = 0};
    struct window window;
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    if (!window_parse(json, &window, &problem))
        fail_msg("%s: %s %s", text, problem.fields[0].field, problem.fields[0].message);
    json_decref(json);
    return window;
}

static void opens_when_it_says(void **state)
{
    (void)state;
    static const struct {
        const char *window, *from, *opens,
            *closes; /* "" = closed within the horizon; next opening from there, and its end */
    } cases[] = {
        {"{}", "2026-11-26T10:00:00Z", "2026-11-26T10:00:00Z", NULL},
        {"{\"from\":\"09:00\",\"to\":\"18:00\",\"time_zone\":\"Europe/Berlin\"}", "2026-11-26T07:59:59Z",
         "2026-11-26T08:00:00Z", "2026-11-26T17:00:00Z"},
        {"{\"from\":\"09:00\",\"to\":\"18:00\",\"time_zone\":\"Europe/Berlin\"}", "2026-07-26T07:59:59Z",
         "2026-07-26T07:59:59Z", "2026-07-26T16:00:00Z"},
        /* Friday evening to Monday morning, over the change of the clocks in New York */
        {"{\"days\":[\"mon\",\"tue\",\"wed\",\"thu\",\"fri\"],\"from\":\"09:00\",\"to\":\"18:00\",\"time_zone\":"
         "\"America/New_York\"}",
         "2026-10-30T22:00:00Z", "2026-11-02T14:00:00Z", "2026-11-02T23:00:00Z"},
        {"{\"days\":[\"fri\"],\"from\":\"22:00\",\"to\":\"00:00\"}", "2026-11-27T12:00:00Z", "2026-11-27T22:00:00Z",
         "2026-11-28T00:00:00Z"},
        /* over midnight: Friday's window lasts into Saturday, Saturday has none */
        {"{\"days\":[\"fri\"],\"from\":\"22:00\",\"to\":\"02:00\"}", "2026-11-27T12:00:00Z", "2026-11-27T22:00:00Z",
         "2026-11-28T02:00:00Z"},
        {"{\"days\":[\"fri\"],\"from\":\"22:00\",\"to\":\"02:00\"}", "2026-11-28T01:59:00Z", "2026-11-28T01:59:00Z",
         "2026-11-28T02:00:00Z"},
        {"{\"days\":[\"fri\"],\"from\":\"22:00\",\"to\":\"02:00\"}", "2026-11-28T22:30:00Z", "2026-12-04T22:00:00Z",
         "2026-12-05T02:00:00Z"},
        /* 02:00 to 03:00 is skipped in Berlin on 2027-03-28: the window of that day is not there */
        {"{\"from\":\"02:15\",\"to\":\"02:45\",\"time_zone\":\"Europe/Berlin\"}", "2027-03-28T00:00:00Z",
         "2027-03-29T00:15:00Z", "2027-03-29T00:45:00Z"},
        {"{\"from\":\"01:30\",\"to\":\"03:30\",\"time_zone\":\"Europe/Berlin\"}", "2027-03-28T00:00:00Z",
         "2027-03-28T00:30:00Z", "2027-03-28T01:30:00Z"},
        /* and is there twice on 2026-10-25 */
        {"{\"from\":\"02:00\",\"to\":\"03:00\",\"time_zone\":\"Europe/Berlin\"}", "2026-10-24T23:00:00Z",
         "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z"},
        /* half an hour of summer time, and a zone a day ahead */
        {"{\"from\":\"09:00\",\"to\":\"09:30\",\"time_zone\":\"Australia/Lord_Howe\"}", "2026-12-01T00:00:00Z",
         "2026-12-01T22:00:00Z", "2026-12-01T22:30:00Z"},
        {"{\"days\":[\"sun\"],\"from\":\"00:00\",\"to\":\"24:00\",\"time_zone\":\"Pacific/Kiritimati\"}",
         "2026-11-26T00:00:00Z", "2026-11-28T10:00:00Z", "2026-11-29T10:00:00Z"},
    };
    struct zones zones = ZONES_INIT;
    for (size_t i = 0; i < countof(cases); i++) {
        struct window window = parse(cases[i].window);
        const struct timezone_data *zone;
        assert_int_equal(zones_find(&zones, window.time_zone, &zone), 0);
        int64_t opens = window_next_open_ms(&window, zone, at(cases[i].from));
        int64_t closes = window_next_close_ms(&window, zone, opens);
        if (opens != at(cases[i].opens) || closes != (cases[i].closes != NULL ? at(cases[i].closes) : INT64_MAX)) {
            char open[RFC3339_BYTES], close[RFC3339_BYTES];
            fail_msg("%s from %s: %s to %s", cases[i].window, cases[i].from, time_format_rfc3339(opens, open),
                     closes == INT64_MAX ? "never" : time_format_rfc3339(closes, close));
        }
    }
    zones_finish(&zones);
}

static const struct timezone_data *found(struct zones *zones, const char *name)
{
    const struct timezone_data *zone;
    assert_int_equal(zones_find(zones, name, &zone), 0);
    assert_non_null(zone);
    return zone;
}

static void recipients_have_their_own_zone(void **state)
{
    (void)state;
    struct zones zones = ZONES_INIT;
    struct plan plan = {.has_window = true,
                        .window = parse("{\"time_zone\":\"Asia/Tokyo\",\"time_zone_attribute\":\"tz\"}")};
    const struct timezone_data *tokyo = found(&zones, "Asia/Tokyo"), *berlin = found(&zones, "Europe/Berlin"), *zone;
    assert_int_equal(plan_zone(&plan, &zones, "{\"tz\":\"Europe/Berlin\"}", &zone), 0);
    assert_ptr_equal(zone, berlin);
    static const char *const others[] = {
        "{}", "{\"tz\":\"Mars/Olympus\"}", "{\"tz\":\"Europe\"}", "{\"tz\":7}", "{\"tz\":\"\"}", "[]", "no JSON", NULL};
    for (size_t i = 0; i < countof(others); i++) {
        assert_int_equal(plan_zone(&plan, &zones, others[i], &zone), 0);
        assert_ptr_equal(zone, tokyo);
    }
    zones_finish(&zones);
}

/* Names that somebody invents do not fill the memory, and neither push out nor keep out those that are there. */
static void invented_names_do_no_harm(void **state)
{
    (void)state;
    struct zones zones = ZONES_INIT;
    const struct timezone_data *berlin = found(&zones, "Europe/Berlin"), *zone;
    for (int i = 0; i < 5000; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "Nowhere/N%d", i);
        assert_int_equal(zones_find(&zones, name, &zone), -ENOENT);
        assert_null(zone);
    }
    assert_true(zones.by_name.count + zones.unknown.count < 2000);
    assert_ptr_equal(found(&zones, "Europe/Berlin"), berlin);
    struct plan plan = {.has_window = true, .window = parse("{\"time_zone\":\"Asia/Tokyo\"}")};
    assert_int_equal(plan_zone(&plan, &zones, NULL, &zone), 0);
    assert_int_equal(timezone_offset_s(zone, 1800000000), 9 * 3600);
    zones_finish(&zones);
}

/* A zone that cannot be read is not a zone that is not there: no other's hours are taken for it, and it is asked again. */
static void want_of_descriptors_hides_no_zone(void **state)
{
    (void)state;
    struct zones zones = ZONES_INIT;
    struct plan plan = {.has_window = true,
                        .window = parse("{\"time_zone\":\"Asia/Tokyo\",\"time_zone_attribute\":\"tz\"}")};
    const struct timezone_data *zone, *tokyo = found(&zones, "Asia/Tokyo");
    struct rlimit was, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int own = plan_zone(&plan, &zones, "{\"tz\":\"Europe/Berlin\"}", &zone);
    int campaigns = plan_zone(&plan, &zones, "{}", &zone);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    assert_int_equal(own, -EMFILE);
    assert_int_equal(campaigns, 0);
    assert_ptr_equal(zone, tokyo);
    assert_int_equal(plan_zone(&plan, &zones, "{\"tz\":\"Europe/Berlin\"}", &zone), 0);
    assert_ptr_equal(zone, found(&zones, "Europe/Berlin"));
    zones_finish(&zones);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_when_it_says),
        cmocka_unit_test(recipients_have_their_own_zone),
        cmocka_unit_test(invented_names_do_no_harm),
        cmocka_unit_test(want_of_descriptors_hides_no_zone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
