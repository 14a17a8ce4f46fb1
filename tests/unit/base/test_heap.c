/* test_heap.c - order, removal from the middle, and a random walk against the plain minimum. */
#include "unit.h"

#include "base/heap.h"

static void first_is_the_smallest(void **state)
{
    (void)state;
    struct heap heap = {0};
    assert_null(heap_first(&heap));
    struct heap_node nodes[5] = {0};
    const int64_t keys[5] = {5, INT64_MIN, 7, INT64_MAX, -3};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(heap_insert(&heap, &nodes[i], keys[i]), 0);
    static const size_t order[5] = {1, 4, 0, 2, 3};
    for (size_t i = 0; i < 5; i++) {
        assert_ptr_equal(heap_first(&heap), &nodes[order[i]]);
        heap_remove(&heap, &nodes[order[i]]);
        heap_remove(&heap, &nodes[order[i]]); /* in none by now: harmless */
    }
    assert_null(heap_first(&heap));
    heap_finish(&heap);
}

static void random_walk_keeps_the_minimum(void **state)
{
    (void)state;
    enum { N = 300 };
    struct heap heap = {0};
    struct heap_node nodes[N] = {0};
    uint64_t seed = 11;
    for (int step = 0; step < 40000; step++) {
        struct heap_node *node = &nodes[random_below(&seed, N)];
        int64_t key = (int64_t)random_below(&seed, 500);
        if (node->place == 0)
            assert_int_equal(heap_insert(&heap, node, key), 0);
        else if (random_below(&seed, 2) == 0)
            heap_update(&heap, node, key);
        else
            heap_remove(&heap, node);
        size_t in = 0;
        int64_t least = INT64_MAX;
        for (size_t i = 0; i < N; i++) {
            if (nodes[i].place == 0)
                continue;
            in++;
            least = MIN_OF(least, nodes[i].key);
            assert_ptr_equal(heap.nodes[nodes[i].place - 1], &nodes[i]);
        }
        assert_int_equal(heap.count, in);
        if (in > 0)
            assert_true(heap_first(&heap)->key == least);
        else
            assert_null(heap_first(&heap));
    }
    heap_finish(&heap);
    assert_null(heap.nodes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_is_the_smallest),
        cmocka_unit_test(random_walk_keeps_the_minimum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
