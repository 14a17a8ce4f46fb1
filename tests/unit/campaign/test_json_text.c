/*
 * test_json_text.c - one allocation of jansson's fails, then the next: what is read is whole or nothing.
 *
 * Linked with --wrap, so that campaign/json_text.c allocates here.
 */
#include "campaign/json_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void *__wrap_malloc(size_t bytes);
void *__real_malloc(size_t bytes);

static long before = -1; /* allocations that still succeed; negative: all do */

void *__wrap_malloc(size_t bytes)
{
    return before >= 0 && before-- == 0 ? NULL : __real_malloc(bytes);
}

/* Names and values long enough to enlarge the token several times. */
static const char text[] = "{\"from\":{\"email\":\"news@a-domain-of-some-length.test\",\"name\":\"N\\u00e9ws\"},"
                           "\"numbers\":[1,2.5,12345678901234567],\"empty\":{},\"what\":true}";

static void what_is_read_is_whole_or_nothing(void **state)
{
    (void)state;
    json_t *whole = json_text_reads(text, 0, NULL);
    assert_non_null(whole);
    int failures = 0;
    for (;; failures++) {
        json_error_t why;
        before = failures;
        json_t *value = json_text_reads(text, 0, &why);
        bool all_succeeded = before >= 0;
        before = -1;
        if (all_succeeded) {
            assert_true(json_equal(value, whole));
            json_decref(value);
            break;
        }
        if (value == NULL)
            assert_int_equal(json_error_code(&why), json_error_out_of_memory);
        else
            fail_msg("allocation %d failed, and something was read: %s", failures, json_dumps(value, JSON_COMPACT));
    }
    assert_true(failures > 20);
    json_decref(whole);
}

static int gather(const char *piece, size_t len, void *context)
{
    (void)strncat(context, piece, len);
    return 0;
}

static void what_is_written_is_whole_or_nothing(void **state)
{
    (void)state;
    json_t *value = json_text_reads(text, 0, NULL);
    char *whole = json_text_write(value, JSON_COMPACT);
    assert_non_null(whole);
    int failures = 0;
    for (bool more = true; more; failures++) {
        before = failures;
        char *written = json_text_write(value, JSON_COMPACT);
        more = before < 0;
        before = failures;
        char pieces[sizeof text * 2] = "";
        int rc = json_text_write_to(value, gather, pieces, JSON_COMPACT);
        before = -1;
        if (written != NULL)
            assert_string_equal(written, whole);
        if (rc == 0)
            assert_string_equal(pieces, whole);
        assert_true(written != NULL || more);
        free(written);
    }
    assert_true(failures > 5);
    free(whole);
    json_decref(value);
}

static void a_fault_in_the_text_is_not_for_want_of_memory(void **state)
{
    (void)state;
    json_error_t why;
    before = 0;
    assert_null(json_text_reads("{}", 0, &why)); /* an earlier failure is not remembered */
    before = -1;
    assert_null(json_text_read("{\"a\":nul}", 9, 0, &why));
    assert_int_equal(json_error_code(&why), json_error_invalid_syntax);
    assert_int_equal(why.line, 1);
    json_t *value = json_text_read("[1]xyz", 3, 0, NULL);
    assert_int_equal(json_array_size(value), 1);
    json_decref(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_is_whole_or_nothing),
        cmocka_unit_test(what_is_written_is_whole_or_nothing),
        cmocka_unit_test(a_fault_in_the_text_is_not_for_want_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
