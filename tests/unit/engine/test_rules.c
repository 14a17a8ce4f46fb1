/*
 * test_rules.c - the shipped automation rules: every sample is decided by its own rule, and no rule is without one.
 */
#include <errno.h>

#include "base/buffer.h"
#include "campaign/bounce/classify.h"
#include "engine/site/rules.h"
#include "tests/unit/engine/unit.h"

struct shipped {
    const struct rules *rules;
    size_t samples, failures;
};

static void check_sample(void *context, const struct rule *rule, const char *mx, const char *sample)
{
    struct shipped *shipped = context;
    struct bounce_line line;
    if (sample == NULL) {
        print_error("line %d: the rule \"%s\" has no sample\n", rule_line(rule), rule_name(rule));
        shipped->failures++;
        return;
    }
    bounce_line_split(sample, &line);
    const struct rule *found = rules_match(shipped->rules, mx, line.code, line.enhanced, line.text);
    shipped->samples++;
    if (found == rule)
        return;
    print_error("line %d: the sample \"%s\" of \"%s\" is decided by %s%s\n", rule_line(rule), sample, rule_name(rule),
                found != NULL ? "the rule " : "no rule", found != NULL ? rule_name(found) : "");
    shipped->failures++;
}

static void every_sample_is_decided_by_its_own_rule(void **state)
{
    (void)state;
    struct rules *rules;
    struct error err = {""};
    assert_int_equal(rules_load(SHAPING_RULES, &rules, &err), 0);
    struct shipped shipped = {.rules = rules};
    rules_samples(rules, check_sample, &shipped);
    assert_int_equal(shipped.failures, 0);
    assert_true(shipped.samples >= 40);
    rules_free(rules);
}

static void a_full_mailbox_slows_nothing_down(void **state)
{
    (void)state;
    static const char *const replies[] = {"452 4.2.2 The recipient's inbox is out of storage space",
                                          "450 4.2.1 greylisted, try again later",
                                          "550 5.1.1 no such user",
                                          "451 4.3.0 internal error",
                                          "421 4.4.2 idle timeout",
                                          "452 4.1.1 mailbox exceeded its limit"};
    struct rules *rules;
    struct error err = {""};
    assert_int_equal(rules_load(SHAPING_RULES, &rules, &err), 0);
    for (size_t i = 0; i < countof(replies); i++) {
        struct bounce_line line;
        bounce_line_split(replies[i], &line);
        const struct rule *rule = rules_match(rules, "mx.example.net", line.code, line.enhanced, line.text);
        if (rule != NULL)
            fail_msg("%s is decided by %s", replies[i], rule_name(rule));
    }
    rules_free(rules);
}

/* What the benches and most servers say: a measure at the first of them would leave nothing to adapt. */
static void ordinary_throttling_is_left_to_the_adaptive_rate(void **state)
{
    (void)state;
    static const char *const replies[] = {"421 4.7.0 rate limited",
                                          "450 4.7.1 You are sending too fast, please slow down",
                                          "451 4.7.1 Message temporarily deferred",
                                          "451 4.7.1 Message rate limit exceeded",
                                          "421 4.7.0 Too many connections from your host"};
    struct rules *rules;
    struct error err = {""};
    assert_int_equal(rules_load(SHAPING_RULES, &rules, &err), 0);
    for (size_t i = 0; i < countof(replies); i++) {
        struct bounce_line line;
        size_t count;
        bounce_line_split(replies[i], &line);
        const struct rule *rule = rules_match(rules, "mx.example.net", line.code, line.enhanced, line.text);
        assert_non_null(rule);
        const struct rule_do *dos = rule_dos(rule, &count);
        assert_true(count > 0 && dos[0].action == RULE_SLOW);
        for (size_t j = 1; j < count; j++) {
            if (dos[j].times < 3)
                fail_msg("%s: %s", replies[i], rule_name(rule));
        }
    }
    rules_free(rules);
}

static void a_fault_of_the_sending_domain_stops_no_source(void **state)
{
    (void)state;
    static const struct {
        const char *mx, *reply;
    } cases[] = {
        {"outlook-com.olc.protection.outlook.com",
         "550 5.7.515 Access denied, sending domain example.org does not meet the required authentication level."},
        {"outlook-com.olc.protection.outlook.com",
         "550 5.7.509 Access denied, sending domain example.org does not pass DMARC verification"},
        {"outlook-com.olc.protection.outlook.com", "550 5.4.1 Recipient address rejected: Access denied"},
        {"gmail-smtp-in.l.google.com",
         "550-5.7.26 This mail has been blocked because the sender is unauthenticated. Gmail requires all senders to "
         "authenticate with either SPF or DKIM."},
    };
    struct rules *rules;
    struct error err = {""};
    assert_int_equal(rules_load(SHAPING_RULES, &rules, &err), 0);
    for (size_t i = 0; i < countof(cases); i++) {
        struct bounce_line line;
        bounce_line_split(cases[i].reply, &line);
        const struct rule *rule = rules_match(rules, cases[i].mx, line.code, line.enhanced, line.text);
        if (rule != NULL)
            fail_msg("%s is decided by %s", cases[i].reply, rule_name(rule));
    }
    rules_free(rules);
}

static void what_is_not_understood_names_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"    text x\n", "f:1: a condition before the first rule: \"text\""},
        {"a\n    text x\n", "f:1: no action in the rule \"a\""},
        {"a\n    do slow\n", "f:1: no condition in the rule \"a\""},
        {"a\n    text (\n    do slow\n", "f:2: the pattern \"(\": "},
        {"a\n    code 421\n    do sleep\n", "f:3: not an action: \"sleep\""},
        {"a\n    code 421\n    do suspend\n", "f:3: not a scope for this action: \"\""},
        {"a\n    code 421\n    do suspend site\n", "f:3: expected \"for TIME\", found \"\""},
        {"a\n    code 421\n    do suspend site for ever\n", "f:3: expected \"for TIME\", found \"ever\""},
        {"a\n    code 421\n    do rate fast site for 1h\n", "f:3: not a rate: \"fast\""},
        {"a\n    code 421\n    do connections 0 site for 1h\n", "f:3: not a number: \"0\""},
        {"a\n    code 421\n    do connections 1 campaign for 1h\n", "f:3: not a scope for this action: \"campaign\""},
        {"a\n    code 421\n    do 0 in 1h: slow\n", "f:3: not a number from 1 to 100: \"0\""},
        {"a\n    code 421\n    do 3 per 1h: slow\n", "f:3: expected \"N in TIME:\""},
        {"a\n    code 421\n    do slow down\n", "f:3: more than was expected: \"down\""},
        {"a\n    reply 421\n", "f:2: not a condition: \"reply\""},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct rules *rules;
        struct error err = {""};
        assert_int_equal(rules_parse("f", cases[i].text, &rules, &err), -EINVAL);
        if (strncmp(err.text, cases[i].message, strlen(cases[i].message)) != 0)
            fail_msg("%s: %s", cases[i].message, err.text);
        assert_null(rules);
    }
}

static void note_sentence(void *context, const char *sentence)
{
    struct buffer *all = context;
    buffer_append_str(all, sentence);
    buffer_append_char(all, '\n');
}

static void what_can_never_decide_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says; /* "" = nothing */
    } cases[] = {
        {"a\n mx .one.test\n text busy\n do slow\nb\n mx .two.test\n text busy\n do slow\n", ""},
        {"a\n mx .one.test.\n text x\n do slow\n", "f:1: the rule \"a\": no server's name fits \".one.test.\""},
        {"a\n code 421 250\n do slow\n", "f:1: the rule \"a\": no refusal has the code \"250\""},
        {"a\n text HCM1\\\\d\n do slow\n sample 451 HCM12\n", "f:4: no rule fits the sample of \"a\""},
        {"a\n text busy\n do slow\nb\n text very busy\n do slow\n sample mx=m.test 421 4.7.0 very busy\n",
         "f:7: the sample of \"b\" is decided by \"a\" in line 1"},
        {"a\n code 4xx\n do slow\n\nb\n mx .one.test\n code 421\n text x\n do slow\n",
         "f:5: the rule \"b\" never decides: \"a\" in line 1 fits whatever it fits"},
        {"a\n mx .test\n text x\n text y\n do slow\nb\n mx one.test\n text y\n do slow\n", "f:6: the rule \"b\" never decides"},
        {"a\n code 4xx\n not-text quota\n do slow\nb\n code 452\n do slow\n", ""},
        {"a\n code 421\n do slow\nb\n code 4xx\n do slow\n", ""},
        {"a\n mx one.test\n code 421\n do slow\nb\n code 421\n do slow\n", ""},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct rules *rules;
        struct error err = {""};
        struct buffer all = BUFFER_INIT(0);
        assert_int_equal(rules_parse("f", cases[i].text, &rules, &err), 0);
        assert_int_equal(rules_check(rules, note_sentence, &all), 0);
        if (cases[i].says[0] == '\0' ? all.len > 0 : strstr(buffer_text(&all), cases[i].says) == NULL)
            fail_msg("case %zu: \"%s\"", i, buffer_text(&all));
        buffer_finish(&all);
        rules_free(rules);
    }
    struct rules *rules;
    struct error err = {""};
    struct buffer all = BUFFER_INIT(0);
    assert_int_equal(rules_load(SHAPING_RULES, &rules, &err), 0);
    assert_int_equal(rules_check(rules, note_sentence, &all), 0);
    assert_string_equal(buffer_text(&all), ""); /* the shipped ones */
    buffer_finish(&all);
    rules_free(rules);
}

static void the_nth_within_the_time_counts(void **state)
{
    (void)state;
    struct tally tally;
    tally_init(&tally);
    assert_true(tally_count(&tally, "once", 1, 0, 5));
    assert_false(tally_count(&tally, "a", 3, 1000, 0));
    assert_false(tally_count(&tally, "a", 3, 1000, 500));
    assert_false(tally_count(&tally, "a", 3, 1000, 1100)); /* the first is out */
    assert_false(tally_count(&tally, "b", 3, 1000, 1100));
    assert_true(tally_count(&tally, "a", 3, 1000, 1200));
    assert_false(tally_count(&tally, "a", 3, 1000, 1200)); /* anew */
    for (int i = 0; i < 10000; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%d", i);
        assert_false(tally_count(&tally, key, 2, 1000, 1300));
    }
    assert_true(tally.count <= 4096);
    tally_finish(&tally);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sample_is_decided_by_its_own_rule),
        cmocka_unit_test(a_full_mailbox_slows_nothing_down),
        cmocka_unit_test(ordinary_throttling_is_left_to_the_adaptive_rate),
        cmocka_unit_test(a_fault_of_the_sending_domain_stops_no_source),
        cmocka_unit_test(what_is_not_understood_names_its_line),
        cmocka_unit_test(what_can_never_decide_is_told),
        cmocka_unit_test(the_nth_within_the_time_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
