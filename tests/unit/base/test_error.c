/* test_error.c - one sentence, one line, always terminated; NULL means that nobody reads it. */
#include "unit.h"

#include <errno.h>

#include "base/error.h"

static void set_returns_the_code(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(error_set(&err, -EINVAL, "line %d: %s", 4, "bad"), -EINVAL);
    assert_string_equal(err.text, "line 4: bad");
    assert_int_equal(error_set(NULL, -EPERM, "nobody reads this"), -EPERM);
    assert_int_equal(error_errno(NULL, -EPERM, "nor this"), -EPERM);
    assert_int_equal(error_prefix(NULL, -EPERM, "nor this"), -EPERM);
    assert_int_equal(error_memory(NULL), -ENOMEM);
}

static void errno_text_is_appended(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(error_errno(&err, -ENOENT, "cannot open %s", "x.csv"), -ENOENT);
    assert_string_equal(err.text, "cannot open x.csv: No such file or directory");
    assert_int_equal(error_errno(&err, -99999, "odd"), -99999);
    assert_memory_equal(err.text, "odd: ", 5);
}

static void prefix_goes_in_front(void **state)
{
    (void)state;
    struct error err = {0};
    error_set(&err, -EINVAL, "no '@'");
    assert_int_equal(error_prefix(&err, -EINVAL, "people.csv:%d", 17), -EINVAL);
    assert_string_equal(err.text, "people.csv:17: no '@'");
    error_set(&err, -EINVAL, "again: %s", err.text); /* an argument that lies in the struct itself */
    assert_string_equal(err.text, "again: people.csv:17: no '@'");
}

static void long_and_dirty_text_is_cut_and_made_safe(void **state)
{
    (void)state;
    struct error err;
    char text[2000];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    error_set(&err, -EINVAL, "%s", text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    error_prefix(&err, -EINVAL, "front");
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    assert_memory_equal(err.text, "front: xxx", 10);
    error_set(&err, -EINVAL, "a\nb\r\x1b[2J%s", "\xff");
    assert_string_equal(err.text, "a b  [2J?");
    for (size_t i = 0; i + 2 < sizeof(text); i += 2)
        memcpy(text + i, "\xc3\xa4", 3);
    error_set(&err, -EINVAL, "%s", text); /* cut inside a character: that one goes */
    assert_int_equal(strlen(err.text), sizeof(err.text) - 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_returns_the_code),
        cmocka_unit_test(errno_text_is_appended),
        cmocka_unit_test(prefix_goes_in_front),
        cmocka_unit_test(long_and_dirty_text_is_cut_and_made_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
