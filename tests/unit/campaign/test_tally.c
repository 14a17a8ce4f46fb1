/*
 * test_tally.c - providers' names, the bound on their number, and the buckets of the stages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "campaign/outcome/tally_private.h"

static void names_are_domains(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"gmail-smtp-in.l.google.com", "google.com"},
        {"mx.example.co.uk", "example.co.uk"},
        {"mx1.web.de", "web.de"},
        {"MX.EXAMPLE.ORG", "example.org"},
        {"127.0.0.1", "127.0.0.1"},
        {"2001:db8::1", "2001:db8::1"},
        {"localhost", "localhost"},
        {"co.uk", "co.uk"},
        {"example.com", "example.com"},
        {"", "none"},
        {".", "."},
        {"a..b", "a..b"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        char name[TALLY_NAME_BYTES];
        tally_provider_name(cases[i][0], name);
        assert_string_equal(name, cases[i][1]);
    }
    char longest[300], name[TALLY_NAME_BYTES];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    tally_provider_name(longest, name);
    assert_true(strlen(name) < TALLY_NAME_BYTES);
}

static void rows_are_bounded_and_counters_never_fall(void **state)
{
    (void)state;
    struct error err = {""};
    struct tally *tally = NULL;
    static struct tally_view view;
    assert_int_equal(tally_create(&tally, &err), 0);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < TALLY_PROVIDERS + 10; i++) {
            struct outcome outcome = {.class_ = OUTCOME_DELIVERED, .stage = STAGE_CONTENT};
            (void)snprintf(outcome.mx_host, sizeof(outcome.mx_host), "mx.d%d.test", i);
            tally_note(tally, &outcome, 0);
        }
    }
    tally_read(tally, &view);
    assert_int_equal(view.provider_count, TALLY_PROVIDERS + 1);
    assert_string_equal(view.providers[0].name, "d0.test");
    assert_int_equal(view.providers[0].outcomes[OUTCOME_DELIVERED], 2);
    assert_string_equal(view.providers[TALLY_PROVIDERS].name, "other");
    assert_int_equal(view.providers[TALLY_PROVIDERS].outcomes[OUTCOME_DELIVERED], 20);
    tally_free(tally);
}

static void stages_are_timed(void **state)
{
    (void)state;
    struct error err = {""};
    struct tally *tally = NULL;
    static struct tally_view view;
    assert_int_equal(tally_create(&tally, &err), 0);
    struct outcome outcome = {.class_ = OUTCOME_DELIVERED, .stage = STAGE_CONTENT, .duration_ms = 40};
    outcome.times_ms[STAGE_CONNECT] = 10;
    outcome.times_ms[STAGE_GREETING] = 12;
    outcome.times_ms[STAGE_TLS] = 30;
    outcome.times_ms[STAGE_MAIL] = 5;
    outcome.times_ms[STAGE_RCPT] = 6;
    outcome.times_ms[STAGE_CONTENT] = 4000000;
    tally_note(tally, &outcome, 140);
    outcome = (struct outcome){.class_ = OUTCOME_TRANSPORT, .stage = STAGE_DNS}; /* never reached a server */
    tally_note(tally, &outcome, 140);
    outcome = (struct outcome){.class_ = OUTCOME_RELEASED, .stage = STAGE_CONTENT};
    tally_note(tally, &outcome, 140);
    tally_read(tally, &view);
    static const uint64_t total_ms[TALLY_STAGES] = {100, 10, 18, 6, 3999994};
    for (int i = 0; i < TALLY_STAGES; i++) {
        assert_int_equal(view.stages[i].count, 1);
        assert_int_equal(view.stages[i].total_ms, total_ms[i]);
    }
    assert_int_equal(view.stages[TALLY_CONNECT].buckets[1], 1);            /* 10 is within 10 */
    assert_int_equal(view.stages[TALLY_CONTENT].buckets[TALLY_BOUNDS], 1); /* beyond the last bound */
    assert_int_equal(view.provider_count, 1);
    tally_free(tally);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_domains),
        cmocka_unit_test(rows_are_bounded_and_counters_never_fall),
        cmocka_unit_test(stages_are_timed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
