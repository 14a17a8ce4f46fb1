/* test_hashmap.c - SipHash against its published vectors, and a random walk against a plain array. */
#include "unit.h"

#include <stdbool.h>

#include "base/hashmap.h"

static void siphash_matches_the_paper(void **state)
{
    (void)state;
    /* Appendix A of the paper: key 00..0f, message 00..0e; and the first entries of the authors' vectors. */
    uint8_t key[16];
    uint8_t message[64];
    for (size_t i = 0; i < 16; i++)
        key[i] = (uint8_t)i;
    for (size_t i = 0; i < 64; i++)
        message[i] = (uint8_t)i;
    assert_true(siphash24(key, message, 15) == UINT64_C(0xa129ca6149be45e5));
    assert_true(siphash24(key, message, 0) == UINT64_C(0x726fdb47dd0e0e31));
    assert_true(siphash24(key, message, 1) == UINT64_C(0x74f839c593dc67fd));
    assert_true(siphash24(key, message, 8) == UINT64_C(0x93f5f5799a932462));
}

static void put_get_remove(void **state)
{
    (void)state;
    struct hashmap map = HASHMAP_INIT;
    int one = 1;
    int two = 2;
    assert_null(hashmap_get(&map, "a", 1));
    assert_null(hashmap_remove(&map, "a", 1));
    assert_int_equal(hashmap_put(&map, "a", 1, &one), 0);
    assert_int_equal(hashmap_put(&map, "a", 1, &two), 1);
    assert_ptr_equal(hashmap_get(&map, "a", 1), &one);
    assert_int_equal(hashmap_put(&map, "", 0, &two), 0); /* the empty key is a key */
    assert_ptr_equal(hashmap_get(&map, NULL, 0), &two);
    assert_null(hashmap_get(&map, "A", 1));
    assert_null(hashmap_get(&map, "ab", 2));
    assert_int_equal(hashmap_put(&map, "a\0b", 3, &two), 0);
    assert_ptr_equal(hashmap_get(&map, "a\0b", 3), &two);
    assert_int_equal(map.count, 3);
    assert_ptr_equal(hashmap_remove(&map, "a", 1), &one);
    assert_null(hashmap_get(&map, "a", 1));
    hashmap_finish(&map);
    assert_int_equal(map.count, 0);
}

static void random_walk_equals_an_array(void **state)
{
    (void)state;
    enum { N = 500 };
    struct entry {
        char key[24];
        bool in;
    };
    struct entry *entries = calloc(N, sizeof(*entries));
    assert_non_null(entries);
    for (size_t i = 0; i < N; i++)
        snprintf(entries[i].key, sizeof(entries[i].key), "domain%zu.example", i);
    struct hashmap map = HASHMAP_INIT;
    uint64_t seed = 17;
    size_t in = 0;
    for (int step = 0; step < 100000; step++) {
        struct entry *entry = &entries[random_below(&seed, N)];
        size_t len = strlen(entry->key);
        switch (random_below(&seed, 3)) {
        case 0:
            assert_int_equal(hashmap_put(&map, entry->key, len, entry), entry->in ? 1 : 0);
            in += entry->in ? 0 : 1;
            entry->in = true;
            break;
        case 1:
            assert_ptr_equal(hashmap_remove(&map, entry->key, len), entry->in ? entry : NULL);
            in -= entry->in ? 1 : 0;
            entry->in = false;
            break;
        default:
            assert_ptr_equal(hashmap_get(&map, entry->key, len), entry->in ? entry : NULL);
        }
        assert_int_equal(map.count, in);
    }
    size_t cursor = 0;
    size_t seen = 0;
    for (struct entry *entry; (entry = hashmap_next(&map, &cursor)) != NULL; seen++)
        assert_true(entry->in);
    assert_int_equal(seen, in);
    for (size_t i = 0; i < N; i++)
        assert_ptr_equal(hashmap_get(&map, entries[i].key, strlen(entries[i].key)), entries[i].in ? &entries[i] : NULL);
    hashmap_finish(&map);
    free(entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_matches_the_paper),
        cmocka_unit_test(put_get_remove),
        cmocka_unit_test(random_walk_equals_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
