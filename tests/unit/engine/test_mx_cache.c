/*
 * test_mx_cache.c - how long answers live, how failing domains are backed off, what is thrown away first.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/net/mx_cache.h"

/* A set with nothing in it but what the cache looks at. */
static struct mx_set *make_set(enum mx_status status, uint32_t ttl_s, bool partial)
{
    struct mx_set *set = calloc(1, sizeof *set);
    assert_non_null(set);
    *set = (struct mx_set){.status = status,
                           .ttl_s = ttl_s,
                           .partial = partial,
                           .bytes = sizeof *set,
                           .references = 1,
                           .text = "",
                           .site_key = ""};
    return set;
}

static int64_t put(struct mx_cache *cache, const char *domain, enum mx_status status, uint32_t ttl_s, bool partial,
                   int64_t now_ms)
{
    struct mx_set *set = make_set(status, ttl_s, partial);
    int64_t lifetime_ms = mx_cache_put(cache, domain, set, now_ms);
    mx_set_release(set);
    return lifetime_ms;
}

static bool known(struct mx_cache *cache, const char *domain, int64_t now_ms)
{
    int64_t lifetime_ms = -1;
    struct mx_set *set = mx_cache_get(cache, domain, now_ms, &lifetime_ms);
    assert_true(set == NULL || lifetime_ms > 0);
    return set != NULL;
}

static void lifetimes(void **state)
{
    (void)state;
    static const struct {
        enum mx_status status;
        uint32_t ttl_s;
        bool partial;
        int64_t lifetime_ms;
    } table[] = {
        {MX_OK, 300, false, 300000},        {MX_OK, 0, false, 30000},         {MX_OK, UINT32_MAX, false, 3600000},
        {MX_OK, 300, true, 60000},          {MX_OK, 5, true, 30000},          {MX_NO_DOMAIN, 900, false, 900000},
        {MX_NULL, 86400, false, 3600000},   {MX_NO_ADDRESS, 1, false, 30000}, {MX_REFUSED, 60, false, 60000},
        {MX_TEMPORARY, 9999, false, 15000},
    };
    for (size_t i = 0; i < countof(table); i++) {
        struct mx_cache cache;
        mx_cache_init(&cache, &MX_CACHE_LIMITS_DEFAULT);
        assert_int_equal(put(&cache, "d.test", table[i].status, table[i].ttl_s, table[i].partial, 1000),
                         table[i].lifetime_ms);
        assert_true(known(&cache, "d.test", 1000 + table[i].lifetime_ms - 1));
        assert_false(known(&cache, "d.test", 1000 + table[i].lifetime_ms));
        assert_false(known(&cache, "e.test", 1000));
        mx_cache_finish(&cache);
    }
}

static void failures_in_a_row_double_the_wait(void **state)
{
    (void)state;
    static const int64_t waits_s[] = {15, 30, 60, 120, 240, 480, 600, 600, 600};
    struct mx_cache cache;
    int64_t now_ms = 5;
    mx_cache_init(&cache, &MX_CACHE_LIMITS_DEFAULT);
    for (size_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < countof(waits_s); i++) {
            int64_t wait_ms = put(&cache, "d.test", MX_TEMPORARY, 0, false, now_ms);
            assert_int_equal(wait_ms, waits_s[i] * 1000);
            now_ms += wait_ms;
        }
        assert_int_equal(put(&cache, "d.test", round == 0 ? MX_OK : MX_NO_DOMAIN, 60, false, now_ms), 60000);
    }
    assert_int_equal(put(&cache, "d.test", MX_TEMPORARY, 0, false, now_ms), 15000);
    mx_cache_finish(&cache);
}

static void what_was_not_used_longest_goes_first(void **state)
{
    (void)state;
    struct mx_cache_limits limits = MX_CACHE_LIMITS_DEFAULT;
    struct mx_cache cache;
    limits.entries_max = 3;
    mx_cache_init(&cache, &limits);
    (void)put(&cache, "a.test", MX_OK, 300, false, 0);
    (void)put(&cache, "b.test", MX_OK, 300, false, 1);
    (void)put(&cache, "c.test", MX_OK, 300, false, 2);
    assert_true(known(&cache, "a.test", 3));
    (void)put(&cache, "d.test", MX_OK, 300, false, 4);
    assert_false(known(&cache, "b.test", 5));
    assert_true(known(&cache, "a.test", 5) && known(&cache, "c.test", 5) && known(&cache, "d.test", 5));
    mx_cache_finish(&cache);
}

static void bytes_are_bounded_and_balanced(void **state)
{
    (void)state;
    struct mx_cache_limits limits = MX_CACHE_LIMITS_DEFAULT;
    struct mx_cache cache;
    limits.bytes_max = 10000;
    mx_cache_init(&cache, &limits);
    for (int i = 0; i < 5000; i++) {
        char domain[64];
        (void)snprintf(domain, sizeof domain, "d%d.test", i % 700);
        (void)put(&cache, domain, i % 3 == 0 ? MX_TEMPORARY : MX_OK, 300, false, i);
        assert_true(cache.bytes <= 10000);
        assert_true(known(&cache, domain, i));
    }
    assert_true(cache.map.count > 10);
    limits.bytes_max = 1;
    cache.limits = limits;
    (void)put(&cache, "last.test", MX_OK, 300, false, 0);
    assert_int_equal(cache.map.count, 1);
    mx_cache_finish(&cache);
    assert_int_equal(cache.bytes, 0);
}

static void a_set_in_use_outlives_its_entry(void **state)
{
    (void)state;
    struct mx_cache cache;
    int64_t lifetime_ms;
    mx_cache_init(&cache, &MX_CACHE_LIMITS_DEFAULT);
    (void)put(&cache, "d.test", MX_OK, 300, false, 0);
    struct mx_set *set = mx_set_hold(mx_cache_get(&cache, "d.test", 1, &lifetime_ms));
    (void)put(&cache, "d.test", MX_NO_DOMAIN, 300, false, 1);
    mx_cache_finish(&cache);
    assert_int_equal(set->references, 1);
    assert_int_equal(set->status, MX_OK);
    mx_set_release(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lifetimes),
        cmocka_unit_test(failures_in_a_row_double_the_wait),
        cmocka_unit_test(what_was_not_used_longest_goes_first),
        cmocka_unit_test(bytes_are_bounded_and_balanced),
        cmocka_unit_test(a_set_in_use_outlives_its_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
