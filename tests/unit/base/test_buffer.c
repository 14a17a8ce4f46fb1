/* test_buffer.c - growth, the limit, and that a failed append leaves no half of itself behind. */
#include "unit.h"

#include <errno.h>

#include "base/buffer.h"

static void empty_buffer_is_empty_text(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT(0);
    assert_string_equal(buffer_text(&buffer), "");
    buffer_append(&buffer, NULL, 0);
    assert_false(buffer.failed);
    size_t len = 9;
    char *text = buffer_steal(&buffer, &len);
    assert_string_equal(text, "");
    assert_int_equal(len, 0);
    free(text);
    buffer_finish(&buffer);
}

static void appends_grow_and_terminate(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT(0);
    for (int i = 0; i < 1000; i++) {
        buffer_append_str(&buffer, "ab");
        buffer_append_char(&buffer, 'c');
        buffer_printf(&buffer, "%03d", i);
        assert_int_equal(buffer.data[buffer.len], 0);
    }
    assert_int_equal(buffer.len, 6000);
    assert_memory_equal(buffer.data + 5994, "abc999", 7);
    buffer_consume(&buffer, 5997);
    assert_string_equal(buffer_text(&buffer), "999");
    buffer_consume(&buffer, 3);
    assert_string_equal(buffer_text(&buffer), "");
    buffer_append(&buffer, "a\0b", 3);
    assert_int_equal(buffer.len, 3);
    buffer_finish(&buffer);
    assert_null(buffer.data);
}

static void printf_longer_than_the_room(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT(0);
    buffer_printf(&buffer, "%0500d", 1);
    assert_int_equal(buffer.len, 500);
    assert_int_equal(buffer.data[499], '1');
    buffer_finish(&buffer);
}

static void past_the_limit_nothing_is_appended(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT(10);
    buffer_append_str(&buffer, "0123456789");
    assert_false(buffer.failed);
    buffer_append_char(&buffer, 'x');
    assert_true(buffer.failed);
    assert_string_equal(buffer_text(&buffer), "0123456789");
    buffer_clear(&buffer);
    assert_false(buffer.failed);
    buffer_append_str(&buffer, "0123456");
    buffer_printf(&buffer, "%s", "too long for it");
    assert_true(buffer.failed);
    assert_string_equal(buffer_text(&buffer), "0123456");
    buffer_append_str(&buffer, "x"); /* would fit, but the text has a hole by now */
    assert_string_equal(buffer_text(&buffer), "0123456");
    assert_null(buffer_steal(&buffer, NULL));
    assert_false(buffer.failed);
    buffer_append_str(&buffer, "again");
    assert_string_equal(buffer_text(&buffer), "again");
    buffer_finish(&buffer);
}

static void sizes_that_wrap_are_refused(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT(0);
    buffer_append_str(&buffer, "x");
    assert_int_equal(buffer_reserve(&buffer, SIZE_MAX), -ENOMEM);
    buffer_clear(&buffer);
    assert_int_equal(buffer_reserve(&buffer, BUFFER_LIMIT_DEFAULT + 1), -ENOMEM);
    buffer_finish(&buffer);
    buffer.limit_bytes = SIZE_MAX;
    assert_int_equal(buffer_reserve(&buffer, SIZE_MAX), -ENOMEM);
    buffer_finish(&buffer);
}

static void random_appends_equal_a_plain_copy(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int round = 0; round < 200; round++) {
        struct buffer buffer = BUFFER_INIT(0);
        char model[4096];
        size_t model_len = 0;
        for (int step = 0; step < 60; step++) {
            char piece[64];
            size_t len = random_below(&seed, sizeof(piece));
            memset(piece, (int)('a' + random_below(&seed, 26)), sizeof(piece));
            if (random_below(&seed, 4) == 0) {
                size_t drop = MIN_OF(len, model_len);
                buffer_consume(&buffer, drop);
                model_len -= drop;
                memmove(model, model + drop, model_len);
            } else {
                buffer_append(&buffer, piece, len);
                memcpy(model + model_len, piece, len);
                model_len += len;
            }
            assert_int_equal(buffer.len, model_len);
            assert_memory_equal(buffer_text(&buffer), model, model_len);
        }
        buffer_finish(&buffer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_buffer_is_empty_text),  cmocka_unit_test(appends_grow_and_terminate),
        cmocka_unit_test(printf_longer_than_the_room), cmocka_unit_test(past_the_limit_nothing_is_appended),
        cmocka_unit_test(sizes_that_wrap_are_refused), cmocka_unit_test(random_appends_equal_a_plain_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
