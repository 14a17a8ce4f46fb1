/* test_arena.c - alignment, zeroing, the limit, and that neighbours do not overlap. */
#include "unit.h"

#include "base/arena.h"

static void memory_is_aligned_zeroed_and_apart(void **state)
{
    (void)state;
    struct arena arena = ARENA_INIT(0);
    uint64_t seed = 3;
    unsigned char *pieces[400];
    size_t sizes[400];
    for (size_t i = 0; i < countof(pieces); i++) {
        sizes[i] = random_below(&seed, i % 50 == 0 ? 100000 : 300);
        pieces[i] = arena_alloc(&arena, sizes[i]);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
        for (size_t j = 0; j < sizes[i]; j++)
            assert_int_equal(pieces[i][j], 0);
        memset(pieces[i], (int)(i & 0xff), sizes[i]);
    }
    for (size_t i = 0; i < countof(pieces); i++) {
        for (size_t j = 0; j < sizes[i]; j++)
            assert_int_equal(pieces[i][j], i & 0xff);
    }
    arena_finish(&arena);
    assert_null(arena.blocks);
    assert_int_equal(arena.used_bytes, 0);
}

static void limit_is_kept_and_survives_finish(void **state)
{
    (void)state;
    struct arena arena = ARENA_INIT(1024);
    assert_null(arena_alloc(&arena, 1025));
    assert_non_null(arena_alloc(&arena, 1000));
    assert_null(arena_alloc(&arena, 100));
    assert_non_null(arena_alloc(&arena, 16));
    assert_null(arena_alloc(&arena, 1));
    assert_true(arena.used_bytes <= 1024);
    arena_finish(&arena);
    assert_null(arena_alloc(&arena, 1025));
    assert_non_null(arena_alloc(&arena, 1024));
    arena_finish(&arena);
}

static void sizes_that_wrap_are_refused(void **state)
{
    (void)state;
    struct arena arena = ARENA_INIT(SIZE_MAX);
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_alloc(&arena, SIZE_MAX - 8));
    assert_null(arena_dup_len(&arena, "", SIZE_MAX));
    arena_finish(&arena);
}

static void texts_are_copied(void **state)
{
    (void)state;
    struct arena arena = ARENA_INIT(0);
    char text[] = "hello";
    char *a = arena_dup(&arena, text);
    char *b = arena_dup_len(&arena, text, 2);
    char *c = arena_dup_len(&arena, NULL, 0);
    text[0] = 'X';
    assert_string_equal(a, "hello");
    assert_string_equal(b, "he");
    assert_string_equal(c, "");
    arena_finish(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_zeroed_and_apart),
        cmocka_unit_test(limit_is_kept_and_survives_finish),
        cmocka_unit_test(sizes_that_wrap_are_refused),
        cmocka_unit_test(texts_are_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
