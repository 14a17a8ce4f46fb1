/*
 * test_mx.c - from answers to hosts in order: the rules of RFC 5321 section 5.1 and RFC 7505, row by row, without a
 * network.
 *
 * An answer is written as text: "nx" (NXDOMAIN), "none" (no data), "fail", or records separated by spaces:
 * "10/mx1.example" for MX, addresses for A and AAAA. "!" in front: proved by DNSSEC. A host's answers are "host A AAAA"
 * triples; a host that is not named gets none, "open" is never answered.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "engine/net/mx.h"

#define RECORDS 1100

struct answer {
    struct dns_answer dns;
    const char *data[RECORDS];
    int lens[RECORDS];
    unsigned char bytes[RECORDS * 64];
    size_t used;
};

static void add_record(struct answer *answer, size_t len)
{
    assert_true(answer->dns.count < RECORDS && answer->used + len <= sizeof answer->bytes);
    answer->data[answer->dns.count] = (const char *)answer->bytes + answer->used;
    answer->lens[answer->dns.count++] = (int)len;
    answer->used += len;
}

static void add_mx(struct answer *answer, unsigned preference, const char *name)
{
    unsigned char *at = answer->bytes + answer->used;
    size_t len = 2;
    at[0] = (unsigned char)(preference >> 8);
    at[1] = (unsigned char)preference;
    while (*name != '\0' && strcmp(name, ".") != 0) {
        size_t label = strcspn(name, ".");
        at[len++] = (unsigned char)label;
        memcpy(at + len, name, label);
        len += label;
        name += label + (name[label] == '.');
    }
    at[len++] = 0;
    add_record(answer, len);
}

static void add_text(struct answer *answer, const char *record)
{
    struct mx_address address;
    const char *slash = strchr(record, '/');
    if (slash != NULL) {
        add_mx(answer, (unsigned)strtoul(record, NULL, 10), slash + 1);
        return;
    }
    assert_int_equal(mx_address_parse(record, &address), 0);
    memcpy(answer->bytes + answer->used, address.bytes, 16);
    add_record(answer, address.v6 ? 16 : 4);
}

static const struct dns_answer *make_answer(struct answer *answer, const char *text)
{
    answer->used = 0;
    answer->dns = (struct dns_answer){.ttl_s = 300, .data = answer->data, .lens = answer->lens, .text = ""};
    if (text[0] == '!') {
        answer->dns.secure = true;
        text++;
    }
    if (strcmp(text, "nx") == 0) {
        answer->dns.status = DNS_NO_NAME;
    } else if (strcmp(text, "none") == 0) {
        answer->dns.status = DNS_NO_DATA;
    } else if (strcmp(text, "fail") == 0) {
        answer->dns = (struct dns_answer){.status = DNS_FAILED, .text = "SERVFAIL"};
    } else {
        char copy[1024], *rest = copy, *word;
        (void)str_copy(copy, sizeof copy, text);
        while ((word = strsep(&rest, " ")) != NULL)
            add_text(answer, word);
        answer->dns.status = DNS_FOUND;
    }
    return &answer->dns;
}

/* Always the last of the choices: Fisher-Yates leaves the order as it is, rotation begins at the end. */
static uint32_t always_last(void *context, uint32_t bound)
{
    (void)context;
    return bound - 1;
}

static uint32_t from_seed(void *context, uint32_t bound)
{
    uint64_t *seed = context;
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33) % bound;
}

static const struct mx_random last = {.below = always_last};

struct row {
    const char *name;
    const char *mx;
    const char *hosts[10]; /* "host", A, AAAA, ... */
    enum mx_status status;
    const char *order;    /* "host=address ..." */
    const char *site;     /* NULL: not looked at */
    const char *enhanced; /* of the outcome, when not OK */
};

static const struct row rows[] = {
    {"one MX", "10/mx.ex", {"mx.ex", "8.8.8.8", "2606::1"}, MX_OK, "mx.ex=2606::1 mx.ex=8.8.8.8", "mx.ex", ""},
    {"only IPv4", "10/mx.ex", {"mx.ex", "8.8.8.8", "none"}, MX_OK, "mx.ex=8.8.8.8", "mx.ex", ""},
    {"only IPv6", "10/mx.ex", {"mx.ex", "none", "2606::1"}, MX_OK, "mx.ex=2606::1", "mx.ex", ""},
    {"NXDOMAIN", "nx", {0}, MX_NO_DOMAIN, "", "", "5.1.2"},
    {"null MX", "0/.", {0}, MX_NULL, "", "", "5.1.10"},
    {"null MX with a preference", "10/.", {0}, MX_NULL, "", "", "5.1.10"},
    {"null MX beside another is none",
     "0/. 10/mx.ex",
     {"mx.ex", "8.8.8.8", "none"},
     MX_OK,
     "mx.ex=8.8.8.8",
     "mx.ex",
     ""},
    {"two null MX", "0/. 10/.", {0}, MX_NO_ADDRESS, "", "", "5.4.4"},
    {"MX fails", "fail", {0}, MX_TEMPORARY, "", "", "4.4.3"},
    {"implicit MX", "none", {"d.test", "8.8.8.8", "none"}, MX_OK, "d.test=8.8.8.8", "d.test", ""},
    {"implicit MX, AAAA fails", "none", {"d.test", "8.8.8.8", "fail"}, MX_OK, "d.test=8.8.8.8", "d.test", ""},
    {"no MX, no address", "none", {"d.test", "none", "none"}, MX_NO_ADDRESS, "", "", "5.1.2"},
    {"no MX, A fails", "none", {"d.test", "fail", "none"}, MX_TEMPORARY, "", "", "4.4.3"},
    {"MX host without address", "10/mx.ex", {"mx.ex", "none", "none"}, MX_NO_ADDRESS, "", "", "5.4.4"},
    {"MX host does not exist", "10/mx.ex", {"mx.ex", "nx", "nx"}, MX_NO_ADDRESS, "", "", "5.4.4"},
    {"one dead, one failing",
     "10/a.ex 20/b.ex",
     {"a.ex", "nx", "nx", "b.ex", "fail", "none"},
     MX_TEMPORARY,
     "",
     "",
     "4.4.3"},
    {"one dead, one good",
     "10/a.ex 20/b.ex",
     {"a.ex", "nx", "nx", "b.ex", "8.8.8.8", "none"},
     MX_OK,
     "b.ex=8.8.8.8",
     "(a|b).ex",
     ""},
    {"never answered", "10/a.ex", {"a.ex", "open", "open"}, MX_TEMPORARY, "", "", "4.4.3"},
    {"preference order",
     "30/c.ex 10/a.ex 20/b.ex",
     {"a.ex", "8.8.8.1", "none", "b.ex", "8.8.8.2", "none", "c.ex", "8.8.8.3", "none"},
     MX_OK,
     "a.ex=8.8.8.1 b.ex=8.8.8.2 c.ex=8.8.8.3",
     "(a|b|c).ex",
     ""},
    {"twice, in other cases",
     "20/MX.ex 10/mx.EX 10/mx.ex",
     {"mx.ex", "8.8.8.8", "none"},
     MX_OK,
     "mx.ex=8.8.8.8",
     "mx.ex",
     ""},
    {"an address twice", "10/mx.ex", {"mx.ex", "8.8.8.8 8.8.8.8", "none"}, MX_OK, "mx.ex=8.8.8.8", "mx.ex", ""},
    {"names that are none", "10/a|b.ex 20/c~.ex 30/1.2.3.4", {0}, MX_NO_ADDRESS, "", "", "5.4.4"},
    {"loopback", "10/mx.ex", {"mx.ex", "127.0.0.1", "::1"}, MX_REFUSED, "", "", "5.4.4"},
    {"private, but a public one too",
     "10/mx.ex",
     {"mx.ex", "10.0.0.1 8.8.8.8", "fd00::1"},
     MX_OK,
     "mx.ex=8.8.8.8",
     "mx.ex",
     ""},
    {"implicit MX to loopback", "none", {"d.test", "127.0.0.1", "none"}, MX_REFUSED, "", "", "5.4.4"},
    {"refused and failing",
     "10/a.ex 20/b.ex",
     {"a.ex", "10.0.0.1", "none", "b.ex", "fail", "fail"},
     MX_TEMPORARY,
     "",
     "",
     "4.4.3"},
    {"own address", "10/mx.ex", {"mx.ex", "8.8.4.4", "none"}, MX_LOOP, "", "", "5.4.6"},
    {"own among others",
     "10/a.ex 20/mx.ex 20/b.ex 30/c.ex",
     {"a.ex", "8.8.8.1", "none", "mx.ex", "8.8.4.4", "none", "b.ex", "8.8.8.2", "none"},
     MX_OK,
     "a.ex=8.8.8.1",
     NULL,
     ""},
    {"own is the best",
     "10/mx.ex 20/b.ex",
     {"mx.ex", "none", "2606::4", "b.ex", "8.8.8.2", "none"},
     MX_LOOP,
     "",
     "",
     "5.4.6"},
    {"own, and the better fails",
     "10/a.ex 20/mx.ex",
     {"a.ex", "fail", "none", "mx.ex", "8.8.4.4", "none"},
     MX_TEMPORARY,
     "",
     "",
     "4.4.3"},
    {"own, and the worse fails",
     "10/mx.ex 20/b.ex",
     {"mx.ex", "8.8.4.4", "none", "b.ex", "fail", "fail"},
     MX_LOOP,
     "",
     "",
     "5.4.6"},
    {"families in turn",
     "10/mx.ex",
     {"mx.ex", "8.8.8.1 8.8.8.2 8.8.8.3", "2606::1"},
     MX_OK,
     "mx.ex=2606::1 mx.ex=8.8.8.3 mx.ex=8.8.8.1 mx.ex=8.8.8.2",
     "mx.ex",
     ""},
};

static struct mx_policy the_policy(void)
{
    static struct mx_address own[2];
    assert_int_equal(mx_address_parse("8.8.4.4", &own[0]), 0);
    assert_int_equal(mx_address_parse("2606::4", &own[1]), 0);
    return (struct mx_policy){.own = own, .own_count = 2};
}

static void answer_hosts(struct mx_plan *plan, const char *const *hosts, struct answer *answer)
{
    for (size_t i = 0; i < mx_plan_host_count(plan); i++) {
        const char *a = "none", *aaaa = "none";
        for (size_t k = 0; k < 9 && hosts[k] != NULL; k += 3)
            if (strcmp(hosts[k], mx_plan_host(plan, i)) == 0) {
                a = hosts[k + 1];
                aaaa = hosts[k + 2];
            }
        if (strcmp(a, "open") != 0)
            mx_plan_addresses(plan, i, false, make_answer(answer, a));
        if (strcmp(aaaa, "open") != 0)
            mx_plan_addresses(plan, i, true, make_answer(answer, aaaa));
    }
}

static struct mx_set *run(const char *mx, const char *const *hosts, const struct mx_policy *policy,
                          const struct mx_random *random)
{
    struct answer *answer = calloc(1, sizeof *answer);
    struct mx_plan *plan = mx_plan_create("d.test", policy);
    assert_true(answer != NULL && plan != NULL);
    assert_int_equal(mx_plan_records(plan, make_answer(answer, mx), random), 0);
    answer_hosts(plan, hosts, answer);
    struct mx_set *set = mx_plan_finish(plan);
    assert_non_null(set);
    mx_plan_free(plan);
    free(answer);
    return set;
}

static const char *order_text(const struct mx_set *set, const struct mx_random *random, char out[4096])
{
    struct mx_target targets[MX_ADDRESSES_MAX];
    size_t count = mx_set_order(set, random, targets), used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        char text[MX_ADDRESS_TEXT_BYTES];
        used += (size_t)snprintf(out + used, 4096 - used, "%s%s=%s", i > 0 ? " " : "", targets[i].host->name,
                                 mx_address_text(targets[i].address, text));
    }
    return out;
}

static void check_row(const struct row *row)
{
    char order[4096];
    struct mx_policy policy = the_policy();
    struct mx_set *set = run(row->mx, row->hosts, &policy, &last);
    if (set->status != row->status || strcmp(order_text(set, &last, order), row->order) != 0 ||
        (row->site != NULL && strcmp(set->site_key, row->site) != 0))
        fail_msg("%s: %s, \"%s\", site \"%s\"", row->name, mx_status_name(set->status), order, set->site_key);
    assert_int_equal(set->text[0] == '\0', set->status == MX_OK);
    if (set->status != MX_OK) {
        struct outcome outcome;
        mx_set_outcome(set, &outcome);
        assert_string_equal(outcome.enhanced, row->enhanced);
        assert_int_equal(outcome.class_, set->status == MX_TEMPORARY ? OUTCOME_TRANSPORT : OUTCOME_PERMANENT);
        assert_int_equal(outcome.stage, STAGE_DNS);
        assert_int_equal(outcome.code, set->status == MX_NULL ? 556 : 0);
        assert_non_null(strstr(outcome.text, set->status == MX_TEMPORARY ? "look-up" : "d.test"));
    }
    mx_set_release(set);
}

static void each_row_has_its_outcome(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(rows); i++)
        check_row(&rows[i]);
}

static void allowed_private_lets_own_pass_too(void **state)
{
    (void)state;
    char order[4096];
    struct mx_policy policy = the_policy();
    policy.allow_private = true;
    static const char *const hosts[] = {"mx.ex", "127.0.0.1 8.8.4.4 224.0.0.1", "::1", NULL};
    struct mx_set *set = run("10/mx.ex", hosts, &policy, &last);
    assert_int_equal(set->status, MX_OK);
    assert_string_equal(order_text(set, &last, order), "mx.ex=::1 mx.ex=8.8.4.4 mx.ex=127.0.0.1");
    mx_set_release(set);
}

static void security_is_that_of_the_weakest_answer(void **state)
{
    (void)state;
    struct mx_policy policy = the_policy();
    static const struct {
        const char *mx, *a, *aaaa;
        bool set, host;
    } table[] = {
        {"!10/mx.ex", "!8.8.8.8", "!none", true, true},
        {"!10/mx.ex", "8.8.8.8", "!none", true, false},
        {"!10/mx.ex", "!8.8.8.8", "2606::1", true, false},
        {"10/mx.ex", "!8.8.8.8", "!none", false, true},
        /* Without an answer there is no address of that family to mistrust. */
        {"!10/mx.ex", "!8.8.8.8", "fail", true, true},
        {"!10/mx.ex", "!8.8.8.8", "open", true, true},
        {"!10/mx.ex", "fail", "!2606::1", true, true},
        {"!10/mx.ex", "open", "!2606::1", true, true},
        {"!10/mx.ex", "8.8.8.8", "fail", true, false},
        {"!10/mx.ex", "8.8.8.8", "open", true, false},
        {"!10/mx.ex", "fail", "2606::1", true, false},
        {"!10/mx.ex", "!8.8.8.8", "none", true, false},
    };
    for (size_t i = 0; i < countof(table); i++) {
        const char *hosts[] = {"mx.ex", table[i].a, table[i].aaaa, NULL};
        struct mx_set *set = run(table[i].mx, hosts, &policy, &last);
        assert_int_equal(set->secure, table[i].set);
        assert_int_equal(set->hosts[0].secure, table[i].host);
        mx_set_release(set);
    }
}

static void a_failed_family_makes_it_partial(void **state)
{
    (void)state;
    struct mx_policy policy = the_policy();
    struct mx_set *set = run("10/mx.ex", (const char *[]){"mx.ex", "8.8.8.8", "fail", NULL}, &policy, &last);
    assert_true(set->status == MX_OK && set->partial);
    mx_set_release(set);
    set = run("10/mx.ex", (const char *[]){"mx.ex", "8.8.8.8", "none", NULL}, &policy, &last);
    assert_true(set->status == MX_OK && !set->partial);
    mx_set_release(set);
}

static void equal_preference_is_in_random_order(void **state)
{
    (void)state;
    struct mx_policy policy = the_policy();
    uint64_t seed = 1;
    struct mx_random random = {.below = from_seed, .context = &seed};
    unsigned first[3] = {0};
    struct mx_set *set =
        run("10/a.ex 10/b.ex 10/c.ex",
            (const char *[]){"a.ex", "8.8.8.1", "none", "b.ex", "8.8.8.2", "none", "c.ex", "8.8.8.3", "none", NULL},
            &policy, &random);
    for (int i = 0; i < 3000; i++) {
        struct mx_target targets[MX_ADDRESSES_MAX];
        assert_int_equal(mx_set_order(set, &random, targets), 3);
        first[targets[0].host->name[0] - 'a']++;
        assert_true(targets[0].host != targets[1].host && targets[1].host != targets[2].host &&
                    targets[0].host != targets[2].host);
    }
    for (size_t i = 0; i < 3; i++)
        assert_in_range(first[i], 900, 1100);
    mx_set_release(set);
}

/* 1,100 records, of which the first 1,024 are looked at; all hosts answer with `each`. */
static struct mx_set *run_many(unsigned count, bool equal, const char *each, uint64_t seed)
{
    struct mx_policy policy = the_policy();
    struct mx_random random = {.below = from_seed, .context = &seed};
    struct answer *answer = calloc(1, sizeof *answer);
    struct mx_plan *plan = mx_plan_create("d.test", &policy);
    assert_true(answer != NULL && plan != NULL);
    answer->dns =
        (struct dns_answer){.status = DNS_FOUND, .ttl_s = 300, .data = answer->data, .lens = answer->lens, .text = ""};
    for (unsigned i = 0; i < count; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "mx%u.example.com", i * 7 % count);
        add_mx(answer, equal ? 10 : i * 7 % count, name);
    }
    assert_int_equal(mx_plan_records(plan, &answer->dns, &random), 0);
    assert_int_equal(mx_plan_host_count(plan), MX_HOSTS_MAX);
    for (size_t i = 0; i < mx_plan_host_count(plan); i++) {
        mx_plan_addresses(plan, i, false, make_answer(answer, each));
        mx_plan_addresses(plan, i, true, make_answer(answer, "2606::11 2606::12 2606::13 2606::14 2606::15"));
    }
    struct mx_set *set = mx_plan_finish(plan);
    assert_non_null(set);
    mx_plan_free(plan);
    free(answer);
    return set;
}

static void hundreds_of_hosts_are_capped(void **state)
{
    (void)state;
    struct mx_set *set =
        run_many(500, false, "8.8.8.1 8.8.8.2 8.8.8.3 8.8.8.4 8.8.8.5 8.8.8.6 8.8.8.7 8.8.8.9 8.8.8.10", 1);
    assert_int_equal(set->status, MX_OK);
    assert_int_equal(set->address_count, MX_ADDRESSES_MAX);
    assert_int_equal(set->host_count, 3);
    for (unsigned i = 0; i < 3; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "mx%u.example.com", i);
        assert_string_equal(set->hosts[i].name, name);
        assert_int_equal(set->hosts[i].v6_count, i < 2 ? 4 : 2);
        assert_int_equal(set->hosts[i].v4_count, i < 2 ? 4 : 2);
    }
    mx_set_release(set);
}

static void the_site_of_hundreds_is_stable(void **state)
{
    (void)state;
    struct mx_set *one = run_many(1100, true, "8.8.8.1", 1), *two = run_many(1100, true, "8.8.8.1", 2);
    assert_string_equal(one->site_key, two->site_key);
    assert_string_not_equal(one->hosts[0].name, two->hosts[0].name);
    mx_set_release(one);
    mx_set_release(two);
}

static void a_provider_has_all_hosts_under_its_suffixes(void **state)
{
    (void)state;
    struct mx_policy policy = the_policy();
    static const char *const google[] = {".google.com", ".googlemail.com"};
    static const char *const hosts[] = {
        "a.l.google.com", "8.8.8.1", "none", "b.googlemail.com", "8.8.8.2", "none", "mx.ex", "8.8.8.3", "none", NULL};
    struct mx_set *set = run("10/a.l.google.com 20/b.googlemail.com", hosts, &policy, &last);
    assert_true(mx_set_matches(set, google, 2));
    assert_false(mx_set_matches(set, google, 1));
    assert_false(mx_set_matches(set, google, 0));
    mx_set_release(set);
    set = run("10/a.l.google.com 20/mx.ex", hosts, &policy, &last);
    assert_false(mx_set_matches(set, google, 2));
    mx_set_release(set);
    set = run("nx", hosts, &policy, &last);
    assert_false(mx_set_matches(set, google, 2));
    mx_set_release(set);
}

static void good_enough_means_the_best_hosts(void **state)
{
    (void)state;
    struct mx_policy policy = the_policy();
    struct answer *answer = calloc(1, sizeof *answer);
    struct mx_plan *plan = mx_plan_create("d.test", &policy);
    assert_true(answer != NULL && plan != NULL);
    assert_false(mx_plan_good_enough(plan));
    assert_int_equal(mx_plan_records(plan, make_answer(answer, "10/a.ex 10/b.ex 20/c.ex"), &last), 0);
    size_t a = strcmp(mx_plan_host(plan, 0), "a.ex") == 0 ? 0 : 1;
    mx_plan_addresses(plan, 2, false, make_answer(answer, "8.8.8.3"));
    assert_false(mx_plan_good_enough(plan)); /* only the backup */
    mx_plan_addresses(plan, a, false, make_answer(answer, "8.8.8.1"));
    assert_false(mx_plan_good_enough(plan)); /* b may still come */
    mx_plan_addresses(plan, 1 - a, false, make_answer(answer, "none"));
    assert_false(mx_plan_good_enough(plan));
    mx_plan_addresses(plan, 1 - a, true, make_answer(answer, "fail"));
    assert_true(mx_plan_good_enough(plan));
    mx_plan_free(plan);
    free(answer);
}

static void records_of_odd_lengths_are_passed_over(void **state)
{
    (void)state;
    struct mx_policy policy = the_policy();
    for (int len = 0; len < 12; len++) {
        static const char data[] = "\0\12\2mx\2ex\0\0\0\0";
        const char *records[] = {data};
        struct dns_answer answer = {
            .status = DNS_FOUND, .count = 1, .data = records, .lens = &len, .ttl_s = 1, .text = ""};
        struct mx_plan *plan = mx_plan_create("d.test", &policy);
        assert_non_null(plan);
        assert_int_equal(mx_plan_records(plan, &answer, &last), 0);
        assert_int_equal(mx_plan_host_count(plan), len == 9 ? 1 : 0);
        mx_plan_free(plan);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_has_its_outcome),
        cmocka_unit_test(allowed_private_lets_own_pass_too),
        cmocka_unit_test(security_is_that_of_the_weakest_answer),
        cmocka_unit_test(a_failed_family_makes_it_partial),
        cmocka_unit_test(equal_preference_is_in_random_order),
        cmocka_unit_test(hundreds_of_hosts_are_capped),
        cmocka_unit_test(the_site_of_hundreds_is_stable),
        cmocka_unit_test(a_provider_has_all_hosts_under_its_suffixes),
        cmocka_unit_test(good_enough_means_the_best_hosts),
        cmocka_unit_test(records_of_odd_lengths_are_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
