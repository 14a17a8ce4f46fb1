/*
 * test_via.c - what a source at a site waits for: the time, and who is told to hold it up.
 */
#include "base/clock.h"
#include "base/log.h"
#include "engine/site/site.h"
#include "tests/unit/engine/unit.h"

#define SECOND ((int64_t)1000000)

static bool memory_is_short;

struct quota_entry *__real_shaping_quota(struct shaping *shaping, const char *key, uint32_t count, int64_t period_us);
struct quota_entry *__wrap_shaping_quota(struct shaping *shaping, const char *key, uint32_t count, int64_t period_us);

struct quota_entry *__wrap_shaping_quota(struct shaping *shaping, const char *key, uint32_t count, int64_t period_us)
{
    return memory_is_short ? NULL : __real_shaping_quota(shaping, key, count, period_us);
}

static const char *const no_wait = "nothing";

/* Only what via.c looks at; no loop runs. */
struct setting {
    struct test_config test;
    struct engine_callbacks callbacks;
    struct shaping shaping;
    struct dispatch dispatch;
    struct source source, *sources[1];
    struct site site;
    struct via *via;
};

static struct setting *begin(const struct config_profile *limits)
{
    static char name[] = "a", site_name[] = "mx.example";
    struct setting *s = calloc(1, sizeof *s);
    assert_non_null(s);
    test_config_init(&s->test, 25);
    s->test.profile.source_rate = limits->source_rate;
    s->test.profile.source_connections = limits->source_connections;
    assert_int_equal(shaping_init(&s->shaping, &s->callbacks, NULL), 0);
    s->source.name = name;
    s->sources[0] = &s->source;
    s->dispatch.shaping = &s->shaping;
    s->dispatch.config = &s->test.config;
    s->dispatch.sources = (struct source_pool){.sources = s->sources, .count = 1, .room = 1};
    s->dispatch.begun_us = s->dispatch.now_us = clock_monotonic_us();
    s->site.dispatch = &s->dispatch;
    s->site.name = site_name;
    s->site.profile = &s->test.profile;
    s->via = via_get(&s->site, &s->source);
    assert_non_null(s->via);
    return s;
}

static void end(struct setting *s)
{
    via_finish_all(&s->site);
    shaping_finish(&s->shaping);
    free(s);
}

static void measure(struct setting *s, enum limit_scope scope, const char *target, const char *source)
{
    struct engine_measure measure = {.scope = scope, .what = WHAT_RATE, .rate = {1, 60 * SECOND}};
    (void)snprintf(measure.target, sizeof measure.target, "%s", target);
    (void)snprintf(measure.source, sizeof measure.source, "%s", source);
    assert_int_equal(shaping_measure_set(&s->shaping, &measure), 0);
}

static void held_by(struct setting *s, const char *name)
{
    struct gate gate = GATE_OPEN;
    int64_t until = via_wait_until_us(&s->site, &s->source, s->via, &gate);
    assert_string_equal(gate_name(&gate), name);
    assert_int_equal(gate.until_us, until > 0 ? until : INT64_MAX);
    assert_int_equal(until > 0, strcmp(name, no_wait) != 0);
}

/* A gate that is not named is none, and then nobody sets a timer for it. */
static void who_holds_it_up_is_named(void **state)
{
    (void)state;
    struct setting *s = begin(&(struct config_profile){0});
    held_by(s, no_wait);
    measure(s, SCOPE_SITE_SOURCE, "mx.example", "a");
    held_by(s, "source at site rate");
    end(s);
    s = begin(&(struct config_profile){0});
    measure(s, SCOPE_SOURCE, "a", "");
    held_by(s, "source rate");
    end(s);
    s = begin(&(struct config_profile){.source_rate = {1, 10 * SECOND}});
    held_by(s, "source at site rate");
    end(s);
}

static void who_holds_up_a_connection_is_named(void **state)
{
    (void)state;
    struct setting *s = begin(&(struct config_profile){.source_connections = 1});
    struct gate gate = GATE_OPEN;
    assert_int_equal(via_connect_wait_us(&s->site, &s->source, s->via, &gate), 0);
    bounds_connected(s->via->bounds, s->dispatch.now_us);
    assert_true(via_connect_wait_us(&s->site, &s->source, s->via, &gate) > 0);
    assert_string_equal(gate_name(&gate), "source at site connections");
    end(s);
}

/* Nothing goes without a quota, and it is not the day that is lost. */
static void a_quota_without_memory_is_asked_for_again(void **state)
{
    (void)state;
    struct config_warmup warmup = {.start = {10, 86400 * SECOND}, .growth = 2, .days = 3};
    struct setting *s = begin(&(struct config_profile){0});
    struct gate gate = GATE_OPEN;
    s->source.warmup = &warmup;
    s->source.warm_begun_us = s->dispatch.now_us;
    memory_is_short = true;
    assert_int_equal(via_wait_until_us(&s->site, &s->source, s->via, &gate), s->dispatch.now_us + SECOND);
    held_by(s, "warm-up");
    assert_false(via_is_closed(&s->site, &s->source, s->via));
    memory_is_short = false;
    s->dispatch.now_us += SECOND;
    held_by(s, no_wait);
    assert_int_equal(s->via->warm_day, 1);
    end(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_holds_it_up_is_named),
        cmocka_unit_test(who_holds_up_a_connection_is_named),
        cmocka_unit_test(a_quota_without_memory_is_asked_for_again),
    };
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
