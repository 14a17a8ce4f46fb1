/*
 * test_sts.c - MTA-STS as strangers publish it: the TXT record, the policy file, and which hosts a policy allows
 * (RFC 8461 sections 3.1, 3.2 and 4.1).
 */
#include <errno.h>

#include "base/buffer.h"
#include "engine/net/sts.h"
#include "tests/unit/engine/unit.h"

#define HEAD "version: STSv1\nmode: enforce\nmax_age: 86400\n"

static const struct policy_case {
    const char *name, *text;
    const char *why; /* NULL = it is one */
    enum sts_mode mode;
    int64_t max_age_s;
    size_t mx_count;
} policy_cases[] = {
    {"as in the RFC",
     "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n", NULL,
     STS_ENFORCE, 604800, 2},
    {"lines that end with LF alone, the last not at all", HEAD "mx: a.example", NULL, STS_ENFORCE, 86400, 1},
    {"spaces around values", "version:STSv1 \nmode: \t testing\t\nmx:a.example  \nmax_age:  1 \n", NULL, STS_TESTING, 1,
     1},
    {"empty lines and unknown keys", "\n" HEAD "\r\nmx: a.example\nfuture-key: what: ever\n \t\n", NULL, STS_ENFORCE,
     86400, 1},
    {"the first of two counts", HEAD "mx: a.example\nversion: STSv2\nmode: none\nmax_age: 5\n", NULL, STS_ENFORCE,
     86400, 1},
    {"none needs no host", "version: STSv1\nmode: none\nmax_age: 86400\n", NULL, STS_NONE, 86400, 0},
    {"capitals in a host", HEAD "mx: MX.Example.COM\n", NULL, STS_ENFORCE, 86400, 1},
    {"over a year", "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 31557601\n", NULL, STS_ENFORCE,
     STS_AGE_MAX_S, 1},
    {"more seconds than a number holds",
     "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 99999999999999999999999999\n", NULL, STS_ENFORCE,
     STS_AGE_MAX_S, 1},
    {"nothing", "", "lacks", STS_NONE, 0, 0},
    {"no version", "mode: enforce\nmax_age: 86400\nmx: a.example\n", "lacks", STS_NONE, 0, 0},
    {"another version", "version: STSv2\nmode: enforce\nmax_age: 86400\nmx: a.example\n", "lacks", STS_NONE, 0, 0},
    {"no mode", "version: STSv1\nmax_age: 86400\nmx: a.example\n", "lacks", STS_NONE, 0, 0},
    {"an unknown mode", "version: STSv1\nmode: enforced\nmax_age: 86400\nmx: a.example\n", "lacks", STS_NONE, 0, 0},
    {"no age", "version: STSv1\nmode: enforce\nmx: a.example\n", "lacks", STS_NONE, 0, 0},
    {"a negative age", "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: -1\n", "not a number", STS_NONE, 0, 0},
    {"no host", HEAD, "lacks", STS_NONE, 0, 0},
    {"an empty host", HEAD "mx:\n", "no host name", STS_NONE, 0, 0},
    {"everybody", HEAD "mx: *\n", "no host name", STS_NONE, 0, 0},
    {"everybody, with a dot", HEAD "mx: *.\n", "no host name", STS_NONE, 0, 0},
    {"a star for a part of a label", HEAD "mx: m*.example\n", "no host name", STS_NONE, 0, 0},
    {"a star further in", HEAD "mx: mx.*.example\n", "no host name", STS_NONE, 0, 0},
    {"an empty label", HEAD "mx: mx..example\n", "no host name", STS_NONE, 0, 0},
    {"a page of HTML", "<!doctype html>\n<title>404</title>\n", "without a colon", STS_NONE, 0, 0},
};

static void policies_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(policy_cases); i++) {
        const struct policy_case *c = &policy_cases[i];
        struct error err = {.text = ""};
        struct sts_policy *policy;
        int r = sts_policy_parse(c->text, strlen(c->text), "7", &policy, &err);
        if ((r == 0) != (c->why == NULL) || (c->why != NULL && strstr(err.text, c->why) == NULL))
            fail_msg("%s: %d \"%s\"", c->name, r, err.text);
        if (r < 0) {
            assert_int_equal(r, -EINVAL);
            assert_null(policy);
            continue;
        }
        if (policy->mode != c->mode || policy->max_age_s != c->max_age_s || policy->mx_count != c->mx_count)
            fail_msg("%s: mode %d, age %lld, %zu hosts", c->name, (int)policy->mode, (long long)policy->max_age_s,
                     policy->mx_count);
        assert_string_equal(policy->id, "7");
        sts_policy_release(policy);
    }
}

static void a_policy_is_bounded(void **state)
{
    (void)state;
    struct error err = {.text = ""};
    struct sts_policy *policy;
    struct buffer text = BUFFER_INIT(0);
    buffer_append(&text, HEAD, strlen(HEAD));
    for (int i = 0; i < STS_MX_MAX + 10; i++) {
        char line[64];
        buffer_append(&text, line, (size_t)snprintf(line, sizeof line, "mx: mx%d.example\n", i));
    }
    assert_int_equal(sts_policy_parse(text.data, text.len, "1", &policy, &err), 0);
    assert_int_equal(policy->mx_count, STS_MX_MAX);
    sts_policy_release(policy);
    assert_int_equal(sts_policy_parse(HEAD "mx: a\0.example\n", sizeof HEAD + 15, "1", &policy, &err), -EINVAL);
    while (text.len <= STS_POLICY_BYTES)
        buffer_append(&text, "\n", 1);
    assert_int_equal(sts_policy_parse(text.data, text.len, "1", &policy, &err), -EINVAL);
    buffer_finish(&text);
}

static const struct match_case {
    const char *pattern, *host;
    bool allowed;
} match_cases[] = {
    {"mx.example.com", "mx.example.com", true},
    {"mx.example.com", "MX.Example.com", true},
    {"mx.example.com", "mx2.example.com", false},
    {"mx.example.com", "a.mx.example.com", false},
    {"mx.example.com", "mx.example.com.evil.test", false},
    {"mx.example.com", "evilmx.example.com", false},
    {"*.example.com", "mx.example.com", true},
    {"*.example.com", "MX.EXAMPLE.COM", true},
    {"*.example.com", "example.com", false},            /* no label */
    {"*.example.com", "a.mx.example.com", false},       /* two */
    {"*.example.com", ".example.com", false},           /* an empty one */
    {"*.example.com", "mx.notexample.com", false},
    {"*.example.com", "mxexample.com", false},
    {"*.example.com", "mx.example.com.evil.test", false},
    {"*.com", "example.com", true},
    {"*.com", "mx.example.com", false},
    {"*.example.com", "localhost", false},
    {"*.example.com", "", false},
};

static void a_policy_allows_its_hosts(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(match_cases); i++) {
        const struct match_case *c = &match_cases[i];
        struct error err = {.text = ""};
        struct sts_policy *policy;
        char text[256];
        int len = snprintf(text, sizeof text, HEAD "mx: other.test\nmx: %s\n", c->pattern);
        assert_int_equal(sts_policy_parse(text, (size_t)len, "1", &policy, &err), 0);
        if (sts_policy_matches(policy, c->host) != c->allowed)
            fail_msg("%s for \"%s\"", c->pattern, c->host);
        assert_true(sts_policy_matches(policy, "other.test"));
        sts_policy_release(policy);
    }
}

static const struct record_case {
    const char *texts[3]; /* TXT records; "|" parts their strings */
    const char *id;       /* NULL = there is no policy */
} record_cases[] = {
    {{"v=STSv1; id=20160831085700Z;"}, "20160831085700Z"},
    {{"v=STSv1;id=1"}, "1"},
    {{"v=STSv1 ;  id=abc  ; ext=2"}, "abc"},
    {{"v=STSv1; ext=2; id=abc"}, "abc"},
    {{"v=STSv1; id=first; id=second"}, "first"},
    {{"v=ST|Sv1; i|d=7|8;"}, "78"},
    {{"v=spf1 -all", "v=STSv1; id=1", "anything"}, "1"},
    {{"v=STSv1; id=12345678901234567890123456789012"}, "12345678901234567890123456789012"},
    {{"v=STSv1; id=123456789012345678901234567890123"}, NULL}, /* 33 */
    {{"v=STSv1; id=a-b"}, NULL},
    {{"v=STSv1; id="}, NULL},
    {{"v=STSv1;"}, NULL},
    {{"v=STSv1"}, NULL},
    {{"v=STSv10; id=1"}, NULL},
    {{"V=STSV1; id=1"}, NULL},
    {{" v=STSv1; id=1"}, NULL},
    {{"id=1; v=STSv1"}, NULL},
    {{"v=STSv1; id=1", "v=STSv1; id=2"}, NULL}, /* several: as none */
    {{"v=spf1 -all"}, NULL},
    {{""}, NULL},
};

/* TXT data in wire format: strings of a length each. */
static int to_wire(const char *text, char wire[256])
{
    int at = 0;
    do {
        size_t len = strcspn(text, "|");
        wire[at++] = (char)len;
        memcpy(wire + at, text, len);
        at += (int)len;
        text += len;
    } while (*text++ == '|');
    return at;
}

static void records_have_an_id(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(record_cases); i++) {
        const struct record_case *c = &record_cases[i];
        char wires[3][256], id[40];
        const char *data[3];
        int lens[3];
        size_t count = 0;
        for (; count < 3 && c->texts[count] != NULL; count++) {
            lens[count] = to_wire(c->texts[count], wires[count]);
            data[count] = wires[count];
        }
        bool found = sts_record_id(data, lens, count, id);
        if (found != (c->id != NULL) || (found && strcmp(id, c->id) != 0))
            fail_msg("\"%s\": %s", c->texts[0], found ? id : "none");
    }
    char id[40];
    assert_false(sts_record_id(NULL, NULL, 0, id));
    /* A string that claims to be longer than the record ends it. */
    const char *cut = "\x40v=STSv1; id=1";
    assert_false(sts_record_id(&cut, &(int){14}, 1, id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policies_are_read),
        cmocka_unit_test(a_policy_is_bounded),
        cmocka_unit_test(a_policy_allows_its_hosts),
        cmocka_unit_test(records_have_an_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
