/*
 * test_run.c - the windows of the lanes: what is hungry when, how the window and the size of a claim follow the pace, and the ring of rates.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "campaign/schedule/run.h"

static struct run run;
static struct lane lane;

static int setup(void **state)
{
    (void)state;
    memset(&run, 0, sizeof(run));
    lane = (struct lane){.window = LANE_WINDOW_MIN, .id = 20};
    list_init(&run.hungry);
    list_init(&lane.hungry);
    return 0;
}

static void claim(int count, int64_t now_ms)
{
    lane.claiming = true;
    lane_check(&run, &lane);
    assert_true(list_empty(&lane.hungry)); /* never two claims of one lane at once */
    lane_claimed(&run, &lane, count, now_ms);
    lane_began(&run, &lane, count, now_ms);
    lane.bulk = 0; /* how much it brings is another test's */
    lane_check(&run, &lane);
}

static void credit(int count)
{
    while (count-- > 0)
        lane_credit(&run, &lane);
}

static void hungry_at_half_the_window(void **state)
{
    (void)state;
    lane_check(&run, &lane);
    assert_false(list_empty(&run.hungry));
    claim(64, 10);
    lane.window = 64;
    lane_check(&run, &lane);
    assert_true(list_empty(&run.hungry));
    credit(31);
    assert_true(list_empty(&run.hungry));
    credit(1);
    assert_false(list_empty(&run.hungry));
    assert_int_equal(run.out, 32);
}

static void what_came_back_untried_makes_the_window_small(void **state)
{
    (void)state;
    lane.window = LANE_WINDOW_MAX;
    claim(LANE_WINDOW_MAX, 10);
    credit(LANE_WINDOW_MAX / 2);
    assert_false(list_empty(&run.hungry));
    lane_shrink(&run, &lane);
    assert_int_equal(lane.window, LANE_WINDOW_MIN);
    assert_true(list_empty(&run.hungry)); /* it has more than that in memory */
    lane.window = LANE_HOLD_MAX;
    lane.shared = true;
    lane_shrink(&run, &lane);
    assert_int_equal(lane.window, LANE_HOLD_MAX);
}

static void done_lane_is_never_hungry(void **state)
{
    (void)state;
    lane.done = true;
    lane_check(&run, &lane);
    assert_true(list_empty(&run.hungry));
    lane.done = false;
    lane_check(&run, &lane);
    lane.done = true;
    lane_check(&run, &lane);
    assert_true(list_empty(&run.hungry));
}

static void starved_lane_gets_a_larger_window(void **state)
{
    (void)state;
    int64_t now_ms = 0;
    for (int i = 0; i < 20; i++) {
        claim(lane.window - lane.out, now_ms += 10);
        credit(lane.out);
        now_ms += 10;
    }
    assert_int_equal(lane.window, LANE_WINDOW_MAX);
}

static void steady_lane_keeps_its_window(void **state)
{
    (void)state;
    claim(64, 0);
    int window = lane.window;
    for (int64_t now_ms = 10; now_ms < 1000; now_ms += 10) {
        credit(lane.out - window / 2);
        claim(window - lane.out, now_ms);
        assert_int_equal(lane.window, window);
    }
}

/* A lane with `rate` deliveries a second for ten seconds, given what its window lets out as soon as it is hungry; the number of claims. */
static int run_steadily(int rate, int64_t *now_ms)
{
    int claims = 0;
    for (int64_t end_ms = *now_ms + 10000; *now_ms < end_ms; *now_ms += 1000 / rate) {
        if (lane_claims(&lane)) {
            int room = lane.window - lane.out;
            claims++;
            lane.claiming = true;
            lane_check(&run, &lane);
            lane_claimed(&run, &lane, (room > 0 ? room : 0) + lane.bulk, *now_ms);
        }
        int room = lane.window - lane_begun(&lane);
        if (!list_empty(&lane.hungry) && room > 0)
            lane_began(&run, &lane, room < lane.unbegun ? room : lane.unbegun, *now_ms);
        assert_in_range(lane_begun(&lane), 1, 2 * LANE_WINDOW_MIN);
        lane_credit(&run, &lane);
    }
    return claims;
}

static void busy_lane_claims_more_at_a_time(void **state)
{
    (void)state;
    int64_t now_ms = 0;
    lane_check(&run, &lane);
    (void)run_steadily(200, &now_ms);
    int claims = run_steadily(200, &now_ms);
    assert_in_range(claims, 4, 12); /* 32 at a time would make 62 */
    for (int i = 0; i < 40; i++)
        (void)run_steadily(5, &now_ms); /* a minute and more for a claim */
    assert_true(lane.bulk < LANE_WINDOW_MIN);
}

static void unbegun_are_given_before_more_is_claimed(void **state)
{
    (void)state;
    lane.claiming = true;
    lane_claimed(&run, &lane, 100, 10);
    lane.window = 64;
    assert_int_equal(lane_begun(&lane), 0);
    assert_false(list_empty(&run.hungry));
    lane_began(&run, &lane, 64, 10);
    assert_true(list_empty(&run.hungry));
    credit(32);
    assert_false(list_empty(&run.hungry)); /* for the 36 */
    assert_false(lane_claims(&lane));
    lane.done = true;
    lane_began(&run, &lane, 32, 20);
    credit(32);
    assert_false(list_empty(&run.hungry)); /* the last four of a lane that has no more */
    lane_began(&run, &lane, 4, 30);
    assert_true(list_empty(&run.hungry));
    assert_int_equal(run.unbegun, 0);
    assert_int_equal(run.out, 36);
}

static void slow_lane_shrinks(void **state)
{
    (void)state;
    lane.window = LANE_WINDOW_MAX;
    claim(2000, 0);
    lane.window = LANE_WINDOW_MAX;
    for (int64_t now_ms = 5000; now_ms < 100000; now_ms += 5000) {
        credit(lane.out - lane.window / 2 > 0 ? lane.out - lane.window / 2 : 0);
        if (!list_empty(&lane.hungry))
            claim(1, now_ms);
    }
    assert_int_equal(lane.window, LANE_WINDOW_MIN);
}

static void stuck_shared_lane_may_hold_more_but_not_all(void **state)
{
    (void)state;
    lane.shared = true;
    claim(64, 0);
    lane.window = 64;
    lane_check(&run, &lane);
    int64_t now_ms = 0;
    bool full = false;
    for (int i = 0; i < 30 && !full; i++) {
        full = lane_stuck(&run, &lane, now_ms += 1500);
        assert_true(lane.window <= LANE_HOLD_MAX);
        if (!list_empty(&lane.hungry)) {
            int window = lane.window;
            claim(window - lane.out, now_ms);
            lane.window = window;
        }
    }
    assert_true(full);
    assert_int_equal(lane.out, LANE_HOLD_MAX);
}

/* Its last claim brought more than the window, and slow sites hold that: the others' are begun all the same. */
static void stuck_shared_lane_begins_what_is_left(void **state)
{
    (void)state;
    lane.shared = lane.done = true;
    lane_claimed(&run, &lane, 200, 0);
    lane.window = 64;
    lane_began(&run, &lane, 64, 0);
    assert_true(list_empty(&run.hungry));
    assert_false(lane_stuck(&run, &lane, 1500));
    assert_int_equal(lane.window, 128);
    assert_false(list_empty(&run.hungry));
    lane_began(&run, &lane, 136, 1500);
    assert_false(lane_stuck(&run, &lane, 5000));
    assert_int_equal(lane.window, 128); /* nothing is left that would need more */
}

static void own_lane_waits_with_its_window(void **state)
{
    (void)state;
    claim(64, 0);
    lane.window = 64;
    lane_check(&run, &lane);
    assert_false(lane_stuck(&run, &lane, 100000));
    assert_int_equal(lane.window, 64);
}

static void rate_counts_the_last_five_seconds(void **state)
{
    (void)state;
    for (int64_t second = 1000; second < 1010; second++) {
        for (int i = 0; i < 40; i++)
            run_count_delivered(&run, second);
    }
    assert_true(run_rate(&run, 1010) > 39.9 && run_rate(&run, 1010) < 40.1);
    assert_true(run_rate(&run, 1013) > 15.9 && run_rate(&run, 1013) < 16.1);
    assert_true(run_rate(&run, 1016) < 0.1);
    assert_true(run_rate(&run, 1010 + 4096 + 100) < 0.1);
}

/* Nothing else is known of the campaign then: neither its storage nor its content is touched. */
static void a_campaign_does_not_run_without_its_zone(void **state)
{
    (void)state;
    struct storage_campaign campaign = {.id = 1, .status = CAMPAIGN_RUNNING, .spec = "{\"window\":{\"time_zone\":\"Asia/Tokyo\",\"from\":\"09:00\"}}"};
    struct zones zones = ZONES_INIT;
    struct run *made = NULL;
    struct error err = {""};
    struct rlimit was, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int result = run_create(&campaign, NULL, NULL, &zones, &made, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    assert_int_equal(result, -EMFILE); /* which passes; UTC's hours, or none, would not */
    assert_null(made);
    assert_int_equal(run_create(&campaign, NULL, NULL, &zones, &made, &err), 0);
    assert_true(made->plan.has_window);
    assert_string_equal(made->plan.window.time_zone, "Asia/Tokyo");
    run_free(made);
    campaign.spec = "{\"window\":{\"time_zone\":\"Mars/Olympus\"}}"; /* it was there once */
    assert_int_equal(run_create(&campaign, NULL, NULL, &zones, &made, &err), -EINVAL);
    assert_non_null(strstr(err.text, "Mars/Olympus"));
    campaign.status = CAMPAIGN_SCHEDULED; /* its time may come, or be missed, all the same */
    assert_int_equal(run_create(&campaign, NULL, NULL, &zones, &made, &err), 0);
    run_free(made);
    campaign.status = CAMPAIGN_RUNNING;
    campaign.spec = "{\"window\":{\"from\":\"09:00\"}}";
    assert_int_equal(run_create(&campaign, NULL, NULL, &zones, &made, &err), 0);
    run_free(made);
    zones_finish(&zones);
}

static void goes_out(const struct timezone_data *zone, int64_t wall_ms)
{
    const struct zone_hours hours = run_hours(&run, zone, wall_ms);
    assert_true(hours.open);
    run_window_open(&run, &hours);
}

/* The engine may hold it for hours: for the rate, or for its site. */
static void what_waits_comes_back_when_the_first_own_window_closes(void **state)
{
    (void)state;
    const int64_t minute_ms = 60000, day_ms = 1440 * minute_ms, noon_ms = 20000 * day_ms + 720 * minute_ms;
    struct zones zones = ZONES_INIT;
    run.plan = (struct plan){.has_window = true, .window = {.days = 0x7f, .from_min = 540, .to_min = 1080, .time_zone = "UTC", .attribute = "tz"}};
    run.deadline_ms = INT64_MAX;
    run.own_close_ms = INT64_MAX;
    const struct timezone_data *utc, *west;
    assert_int_equal(zones_find(&zones, "UTC", &utc), 0);
    assert_int_equal(zones_find(&zones, "Etc/GMT+1", &west), 0);
    for (int round = 0; round < 3; round++) {
        int64_t day = noon_ms + round * day_ms;
        assert_false(run_window(&run, &zones, day));
        for (int i = 0; i < 100; i++)
            goes_out(i % 2 == 0 ? west : utc, day + i);
        assert_false(run_window(&run, &zones, day + 360 * minute_ms - 1));
        assert_true(run_window(&run, &zones, day + 360 * minute_ms)); /* 18:00 in UTC */
        assert_false(atomic_load(&run.closed));
        assert_true(atomic_load(&run.taken_back_ms) > 0);
        goes_out(west, day + 361 * minute_ms);
        assert_false(run_window(&run, &zones, day + 420 * minute_ms - 1));
        assert_true(run_window(&run, &zones, day + 420 * minute_ms)); /* 18:00 an hour behind it */
        assert_false(run_window(&run, &zones, day + 480 * minute_ms));
    }
    run_forget_hours(&run);
    zones_finish(&zones);
}

/* What is kept of each zone is what the window says of it, in whatever order they are met. */
static void hours_of_many_zones(void **state)
{
    (void)state;
    const int64_t begin_ms = 20000 * (int64_t)86400000;
    struct zones zones = ZONES_INIT;
    const struct window window = {.days = 0x3e, .from_min = 540, .to_min = 1080, .time_zone = "UTC", .attribute = "tz"};
    run.plan = (struct plan){.has_window = true, .window = window};
    for (int i = 0; i < 4000; i++) {
        char name[16];
        const struct timezone_data *zone;
        (void)snprintf(name, sizeof(name), "Etc/GMT%+d", i * 7 % 27 - 14);
        assert_int_equal(zones_find(&zones, name, &zone), i * 7 % 27 - 14 > 12 ? -ENOENT : 0);
        int64_t wall_ms = begin_ms + (int64_t)i * 170000 - (i % 50 == 0 ? 7200000 : 0); /* the clock is set back now and then */
        const struct zone_hours hours = run_hours(&run, zone, wall_ms);
        bool open = window_is_open(&window, zone, wall_ms);
        assert_int_equal(hours.open, open);
        assert_true(hours.until_ms == (open ? window_next_close_ms(&window, zone, wall_ms) : window_next_open_ms(&window, zone, wall_ms)));
    }
    assert_true(run.hours.count <= 27);
    run_forget_hours(&run);
    zones_finish(&zones);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(hungry_at_half_the_window, setup),
        cmocka_unit_test_setup(what_came_back_untried_makes_the_window_small, setup),
        cmocka_unit_test_setup(done_lane_is_never_hungry, setup),
        cmocka_unit_test_setup(starved_lane_gets_a_larger_window, setup),
        cmocka_unit_test_setup(steady_lane_keeps_its_window, setup),
        cmocka_unit_test_setup(busy_lane_claims_more_at_a_time, setup),
        cmocka_unit_test_setup(unbegun_are_given_before_more_is_claimed, setup),
        cmocka_unit_test_setup(slow_lane_shrinks, setup),
        cmocka_unit_test_setup(stuck_shared_lane_may_hold_more_but_not_all, setup),
        cmocka_unit_test_setup(stuck_shared_lane_begins_what_is_left, setup),
        cmocka_unit_test_setup(own_lane_waits_with_its_window, setup),
        cmocka_unit_test_setup(a_campaign_does_not_run_without_its_zone, setup),
        cmocka_unit_test_setup(what_waits_comes_back_when_the_first_own_window_closes, setup),
        cmocka_unit_test_setup(hours_of_many_zones, setup),
        cmocka_unit_test_setup(rate_counts_the_last_five_seconds, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
