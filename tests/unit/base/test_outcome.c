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

static void tls_results_pack_into_seven_bits(void **state)
{
    (void)state;
    assert_int_equal(tls_pack(false, TLS_RULE_NONE, TLS_RESULT_NONE), 0);
    assert_int_equal(tls_pack(true, TLS_RULE_NONE, TLS_RESULT_NONE), 1);
    for (int rule = 0; rule < TLS_RULE_COUNT; rule++) {
        for (int result = 0; result < TLS_RESULT_COUNT; result++) {
            bool tls = false;
            enum tls_rule rule_back;
            enum tls_result result_back;
            uint8_t packed = tls_pack(true, (enum tls_rule)rule, (enum tls_result)result);
            assert_true(packed < 128);
            assert_non_null(tls_rule_name((enum tls_rule)rule));
            assert_non_null(tls_result_name((enum tls_result)result));
            tls_unpack(packed, &tls, &rule_back, &result_back);
            assert_true(tls && (int)rule_back == rule && (int)result_back == result);
        }
    }
    /* What a newer program, or damage, may have left. */
    static const int64_t odd[] = {-1, 127, 128, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < countof(odd); i++) {
        bool tls;
        enum tls_rule rule;
        enum tls_result result;
        tls_unpack(odd[i], &tls, &rule, &result);
        assert_true(rule < TLS_RULE_COUNT && result < TLS_RESULT_COUNT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_class_and_stage_has_a_name),
        cmocka_unit_test(set_zeroes_the_rest),
        cmocka_unit_test(hostile_text_is_bounded_and_clean),
        cmocka_unit_test(tls_results_pack_into_seven_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
