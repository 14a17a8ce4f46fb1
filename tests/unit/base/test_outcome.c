/* test_outcome.c - names, and that a server's text cannot bring control bytes or broken UTF-8 into the books. */
#include "unit.h"

#include "base/outcome.h"
#include "base/str.h"

static void every_class_and_stage_has_a_name(void **state)
{
    (void)state;
    for (int i = OUTCOME_DELIVERED; i <= OUTCOME_RELEASED; i++)
        assert_true(strlen(outcome_class_name((enum outcome_class)i)) > 0);
    for (int i = STAGE_NONE; i < STAGE_COUNT; i++)
        assert_true(strlen(outcome_stage_name((enum outcome_stage)i)) > 0);
    assert_string_equal(outcome_class_name(OUTCOME_RELEASED), "released");
    assert_string_equal(outcome_stage_name(STAGE_NONE), "none");
    assert_string_equal(outcome_stage_name(STAGE_CONTENT), "content");
}

static void set_zeroes_the_rest(void **state)
{
    (void)state;
    struct outcome outcome;
    memset(&outcome, 0x5a, sizeof(outcome));
    outcome_set(&outcome, OUTCOME_TEMPORARY, STAGE_RCPT, "mailbox %s", "busy");
    assert_int_equal(outcome.class_, OUTCOME_TEMPORARY);
    assert_int_equal(outcome.stage, STAGE_RCPT);
    assert_string_equal(outcome.text, "mailbox busy");
    assert_int_equal(outcome.code, 0);
    assert_string_equal(outcome.enhanced, "");
    assert_string_equal(outcome.mx_host, "");
    assert_string_equal(outcome.source, "");
    assert_int_equal(outcome.duration_ms, 0);
    assert_true(outcome.ended_wall_ms == 0);
}

static void hostile_text_is_bounded_and_clean(void **state)
{
    (void)state;
    struct outcome outcome;
    outcome_set(&outcome, OUTCOME_PERMANENT, STAGE_DATA, "no\r\n250 forged\x1b[0m\xff");
    assert_string_equal(outcome.text, "no  250 forged [0m?");
    char text[4000];
    memset(text, 'y', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    outcome_set(&outcome, OUTCOME_PERMANENT, STAGE_DATA, "%s", text);
    assert_int_equal(strlen(outcome.text), sizeof(outcome.text) - 1);
    outcome_set(&outcome, OUTCOME_PERMANENT, STAGE_DATA, "x%.5s", outcome.text); /* an argument inside the struct */
    assert_string_equal(outcome.text, "xyyyyy");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_class_and_stage_has_a_name),
        cmocka_unit_test(set_zeroes_the_rest),
        cmocka_unit_test(hostile_text_is_bounded_and_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
