/*
 * test_source.c - which source a connection comes from.
 */
#include <errno.h>
#include <sys/socket.h>

#include "base/log.h"
#include "engine/site/source.h"
#include "tests/unit/engine/unit.h"

static char name_a[] = "a", name_b[] = "b", name_six[] = "six", pool_name[] = "default";
static char v4[] = "192.0.2.1", v6[] = "2001:db8::1", host[] = "a.example", none[] = "";

struct setting {
    struct test_config test;
    struct config_source sources[3];
    char *names[3];
    struct config_pool pool;
    struct source_pool pooled;
};

static void begin(struct setting *s)
{
    *s = (struct setting){.sources = {{.name = name_a, .address = v4, .hostname = host, .weight = 3},
                                      {.name = name_b, .address = v4, .hostname = none, .weight = 1},
                                      {.name = name_six, .address = v6, .hostname = none}},
                          .names = {name_a, name_b, name_six}};
    test_config_init(&s->test, 25);
    s->pool = (struct config_pool){.name = pool_name, .sources = s->names, .source_count = 3};
    s->test.config.sources = s->sources;
    s->test.config.source_count = 3;
    s->test.config.pools = &s->pool;
    s->test.config.pool_count = 1;
    assert_int_equal(source_pool_init(&s->pooled, &s->test.config, NULL), 0);
}

static void shares_follow_the_weights(void **state)
{
    (void)state;
    struct setting s;
    struct source *source;
    uint64_t seed = 7;
    size_t counts[2] = {0, 0};
    begin(&s);
    for (int i = 0; i < 40000; i++) {
        uint32_t random = (uint32_t)random_below(&seed, INT32_MAX);
        assert_int_equal(source_pick(&s.pooled, AF_INET, 0, random, NULL, NULL, &source), SOURCE_FOUND);
        counts[source == s.pooled.sources[1]]++;
    }
    assert_in_range(counts[0], 29000, 31000);
    assert_string_equal(s.pooled.sources[0]->ehlo_name, "a.example");
    assert_string_equal(s.pooled.sources[1]->ehlo_name, "client.example");
    assert_int_equal(source_pick(&s.pooled, AF_INET6, 0, 1, NULL, NULL, &source), SOURCE_FOUND);
    assert_string_equal(source->name, "six");
    source_pool_finish(&s.pooled);
}

static void busy_and_suspended_ones_are_passed_over(void **state)
{
    (void)state;
    struct setting s;
    struct source *source;
    begin(&s);
    log_set_level(LOG_LEVEL_ERROR);
    source_suspend(s.pooled.sources[0], 1000, -EADDRNOTAVAIL);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(source_pick(&s.pooled, AF_INET, 1000, i, NULL, NULL, &source), SOURCE_FOUND);
        assert_string_equal(source->name, "b");
    }
    s.pooled.sources[1]->conn_max = s.pooled.sources[1]->conn_count = 2;
    assert_int_equal(source_pick(&s.pooled, AF_INET, 1000, 1, NULL, NULL, &source), SOURCE_BUSY);
    source_suspend(s.pooled.sources[1], 1000, -EADDRNOTAVAIL);
    assert_int_equal(source_pick(&s.pooled, AF_INET, 1000, 1, NULL, NULL, &source), SOURCE_SUSPENDED);
    assert_null(source);
    assert_int_equal(source_pick(&s.pooled, AF_INET, s.pooled.sources[0]->suspended_until_ms, 1, NULL, NULL, &source),
                     SOURCE_FOUND);
    s.pool.source_count = 2;
    source_pool_finish(&s.pooled);
    assert_int_equal(source_pool_init(&s.pooled, &s.test.config, NULL), 0);
    assert_int_equal(source_pick(&s.pooled, AF_INET6, 0, 1, NULL, NULL, &source), SOURCE_NONE);
    source_pool_finish(&s.pooled);
}

static void without_a_pool_the_system_chooses(void **state)
{
    (void)state;
    struct setting s;
    struct source *source;
    begin(&s);
    source_pool_finish(&s.pooled);
    s.test.config.pool_count = 0;
    assert_int_equal(source_pool_init(&s.pooled, &s.test.config, NULL), 0);
    assert_int_equal(source_pick(&s.pooled, AF_INET6, 0, 1, NULL, NULL, &source), SOURCE_FOUND);
    assert_int_equal(source->address.len, 0);
    assert_string_equal(source->name, "");
    source_pool_finish(&s.pooled);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_follow_the_weights),
        cmocka_unit_test(busy_and_suspended_ones_are_passed_over),
        cmocka_unit_test(without_a_pool_the_system_chooses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
