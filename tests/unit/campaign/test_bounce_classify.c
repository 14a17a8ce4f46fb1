/*
 * test_bounce_classify.c - the rules against their own samples, the reader against bad files, and what must never be a
 * dead address.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "campaign/bounce/classify.h"

static struct bounce_rules *rules;
static int misses;

static struct bounce_class classify(const char *line, const char *mx, enum outcome_stage stage)
{
    struct bounce_line split;
    struct bounce_class found;
    bounce_line_split(line, &split);
    struct bounce_reply reply = {
        .code = split.code, .enhanced = split.enhanced, .text = split.text, .stage = stage, .mx = mx};
    bounce_classify(rules, &reply, &found);
    return found;
}

static int check_sample(void *context, const struct bounce_sample *sample)
{
    (void)context;
    struct bounce_class found = classify(sample->line_text, sample->mx, sample->stage);
    if (found.line != sample->rule_line) {
        fprintf(stderr, "bounce-rules.conf:%d: the rule of line %d decides in place of %d: %s\n", sample->line,
                found.line, sample->rule_line, sample->line_text);
        misses++;
    }
    return 0;
}

static int check_sampled(void *context, int line)
{
    (void)context;
    fprintf(stderr, "bounce-rules.conf:%d: this rule has no sample\n", line);
    misses++;
    return 0;
}

static void each_rule_decides_its_samples(void **state)
{
    (void)state;
    misses = 0;
    assert_int_equal(bounce_rules_samples(rules, check_sample, NULL), 0);
    assert_int_equal(bounce_rules_unsampled(rules, check_sampled, NULL), 0);
    assert_int_equal(misses, 0);
}

/* The copy that is compiled in is the file. */
static void the_builtin_rules_are_the_file(void **state)
{
    (void)state;
    struct bounce_rules *builtin;
    struct error err;
    if (access("/etc/posthaste/bounce-rules.conf", F_OK) == 0)
        skip();
    assert_int_equal(bounce_rules_load(NULL, &builtin, &err), 0);
    assert_non_null(strstr(bounce_rules_file(builtin), "bounce-rules.conf"));
    bounce_rules_free(builtin);
}

static void a_block_never_is_a_dead_address(void **state)
{
    (void)state;
    static const char *const replies[] = {
        "550 5.7.1 user unknown, or so our spam filter says",
        "550 5.7.515 Access denied, sending domain does not meet the required authentication level",
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org; no such user",
        "550 5.7.1 Blocked: user unknown",
        "550 5.7.606 Access denied, banned sending IP [192.0.2.1]",
        "550 Blocked by Spamhaus",
        "553 5.1.8 Domain of sender address x@example.org does not exist",
        "550 5.1.8 sender's address does not exist",
        "552 5.2.2 mailbox full",
        "550 5.2.1 mailbox disabled",
        "421 4.7.0 user unknown for now",
        "450 4.1.1 user unknown in local table, try again",
        "452 4.2.2 over quota",
        "550 message rejected as spam",
        "550 5.7.26 unauthenticated mail is not accepted",
        "550 5.7.25 no PTR record",
        "554 5.7.1 relay access denied",
        "550 too many invalid recipients",
        "550 Requested action not taken",
        "550 Requested action not taken: mailbox unavailable",
        "550 Invalid domain name",
        "550 Your host name could not be found",
        "550 IP address 192.0.2.1 is not valid here",
        "550 Your address is unknown to us",
        "550 Invalid HELO name",
        "550 Recipient address rejected: Access denied",
        "550 session of this user is over, connection closed",
        "550 message for this user deleted",
        "550 no such network as yours: your IP is not known",
        "550 <blocked-user-unknown@example.org>: rejected",
        "554 Transaction failed",
        "550",
        "",
    };
    for (size_t i = 0; i < countof(replies); i++) {
        struct bounce_class found = classify(replies[i], "", STAGE_RCPT);
        if (bounce_is_dead(&found))
            fail_msg("dead by line %d: %s", found.line, replies[i]);
    }
}

static void lines_are_split(void **state)
{
    (void)state;
    static const struct {
        const char *line, *enhanced, *text;
        int code;
    } table[] = {
        {"550 5.1.1 no", "5.1.1", "no", 550},
        {"550-5.1.10 no", "5.1.10", "no", 550},
        {"550 #5.1.0 no", "5.1.0", "no", 550},
        {"550", "", "", 550},
        {"550 no", "", "no", 550},
        {"5.1.1 no", "5.1.1", "no", 0},
        {"no", "", "no", 0},
        {"", "", "", 0},
        {"192.0.2.1 no", "", "192.0.2.1 no", 0},
        {"5501 no", "", "5501 no", 0},
        {"550 5.1.1.1 no", "", "5.1.1.1 no", 550},
        {"550 5.1234.1 no", "", "5.1234.1 no", 550},
        {"999 5.1.1 no", "", "999 5.1.1 no", 0},
    };
    for (size_t i = 0; i < countof(table); i++) {
        struct bounce_line split;
        bounce_line_split(table[i].line, &split);
        assert_int_equal(split.code, table[i].code);
        assert_string_equal(split.enhanced, table[i].enhanced);
        assert_string_equal(split.text, table[i].text);
    }
}

static int load_text(const char *text, struct bounce_rules **out, struct error *err)
{
    char path[] = "/tmp/posthaste-rules-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    int result = bounce_rules_load(path, out, err);
    unlink(path);
    return result;
}

static void bad_files_are_refused_by_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *complaint;
    } table[] = {
        {"", "there is no rule"},
        {"    text x\n", ":1: no rule is open"},
        {"hard user-unknown\n    text (\n", ":2: pattern"},
        {"hard user-unknown\n\n    colour red\n", ":3: no such key"},
        {"hard nonsense\n", ":1: no such reason"},
        {"warm user-unknown\n", ":1: no such kind"},
        {"hard\n", ":1: no such reason"},
        {"hard user-unknown now\n", ":1: more than"},
        {"hard user-unknown\n    code 5500\n", ":2: not understood"},
        {"hard user-unknown\n    status 9.1.1\n", ":2: not understood"},
        {"hard user-unknown\n    stage lunch\n", ":2: no such stage"},
        {"hard user-unknown\n    text\n", ":2: nothing stands behind"},
        {"hard user-unknown\n    mx *\n", ":2: not understood"},
    };
    for (size_t i = 0; i < countof(table); i++) {
        struct bounce_rules *loaded;
        struct error err = {""};
        assert_int_equal(load_text(table[i].text, &loaded, &err), -EINVAL);
        assert_null(loaded);
        if (strstr(err.text, table[i].complaint) == NULL)
            fail_msg("\"%s\" instead of \"%s\"", err.text, table[i].complaint);
    }
    struct bounce_rules *loaded;
    struct error err;
    assert_int_equal(bounce_rules_load("/nonexistent/rules", &loaded, &err), -ENOENT);
}

/* A pattern of somebody's own that explodes costs a bounded time, and does not fit. */
static void a_costly_pattern_ends(void **state)
{
    (void)state;
    struct bounce_rules *costly;
    struct error err;
    char text[BOUNCE_TEXT_BYTES + 100];
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(load_text("hard user-unknown\n    text ^(a+)+(a+)+$b\n", &costly, &err), 0);
    struct bounce_class found;
    struct bounce_reply reply = {.enhanced = "", .text = text, .mx = ""};
    bounce_classify(costly, &reply, &found);
    assert_int_equal(found.kind, BOUNCE_UNKNOWN);
    bounce_rules_free(costly);
    bounce_classify(rules, &reply, &found);
}

static int load_rules(void **state)
{
    (void)state;
    struct error err = {""};
    int failed = bounce_rules_load(POSTHASTE_SOURCE_ROOT "/share/bounce-rules.conf", &rules, &err);
    if (failed)
        fprintf(stderr, "%s\n", err.text);
    return failed;
}

static int free_rules(void **state)
{
    (void)state;
    bounce_rules_free(rules);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_decides_its_samples),   cmocka_unit_test(the_builtin_rules_are_the_file),
        cmocka_unit_test(a_block_never_is_a_dead_address), cmocka_unit_test(lines_are_split),
        cmocka_unit_test(bad_files_are_refused_by_line),   cmocka_unit_test(a_costly_pattern_ends),
    };
    return cmocka_run_group_tests(tests, load_rules, free_rules);
}
