/*
 * test_mx_name.c - names from the wire, the keys of sites, suffixes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/net/mx_name.h"

#define WIRE(literal) (literal), sizeof(literal) - 1

static const struct {
    const char *wire;
    size_t len;
    enum mx_name_result result;
    const char *name;
} wires[] = {
    {WIRE("\2mx\7example\3com\0"), MX_NAME_OK, "mx.example.com"},
    {WIRE("\2MX\7ExAmple\3COM\0"), MX_NAME_OK, "mx.example.com"},
    {WIRE("\4mail\0"), MX_NAME_OK, "mail"},
    {WIRE("\4_a-1\2de\0"), MX_NAME_OK, "_a-1.de"},
    {WIRE("\4xn--\2de\0"), MX_NAME_OK, "xn--.de"},
    {WIRE("\0"), MX_NAME_ROOT, ""},
    {WIRE(""), MX_NAME_BAD, ""},
    {WIRE("\0\0"), MX_NAME_BAD, ""},
    {WIRE("\2mx"), MX_NAME_BAD, ""},
    {WIRE("\3mx"), MX_NAME_BAD, ""},
    {WIRE("\2mx\0\0"), MX_NAME_BAD, ""},
    {WIRE("\2mx\0x"), MX_NAME_BAD, ""},
    {WIRE("\2mx\300\0"), MX_NAME_BAD, ""},
    {WIRE("\101x"), MX_NAME_BAD, ""},
    {WIRE("\4a\0bc\2de\0"), MX_NAME_BAD, ""},
    {WIRE("\4a\rbc\2de\0"), MX_NAME_BAD, ""},
    {WIRE("\4a\nbc\2de\0"), MX_NAME_BAD, ""},
    {WIRE("\4a bc\2de\0"), MX_NAME_BAD, ""},
    {WIRE("\4a.bc\2de\0"), MX_NAME_BAD, ""},
    {WIRE("\4a|bc\2de\0"), MX_NAME_BAD, ""},
    {WIRE("\4a\303\274b\2de\0"), MX_NAME_BAD, ""},
    {WIRE("\003192\0010\0012\0011\0"), MX_NAME_BAD, ""},
    {WIRE("\003192\0010\0012\0021a\0"), MX_NAME_OK, "192.0.2.1a"},
};

static void wire_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(wires); i++) {
        char out[MX_NAME_BYTES];
        /* A copy of its own size, so that the address sanitizer sees a read past it. */
        char *copy = malloc(wires[i].len + 1);
        assert_non_null(copy);
        char *exact = copy;
        memcpy(exact, wires[i].wire, wires[i].len);
        enum mx_name_result result = mx_name_from_wire(exact, wires[i].len, out);
        free(copy);
        if (result != wires[i].result || strcmp(out, wires[i].name) != 0)
            fail_msg("row %zu: result %d, name \"%s\"", i, (int)result, out);
    }
}

/* `labels` labels of 63 bytes and one of `last`. */
static enum mx_name_result long_name(size_t labels, size_t last, char out[MX_NAME_BYTES])
{
    unsigned char wire[512];
    size_t len = 0;
    for (size_t i = 0; i <= labels; i++) {
        size_t bytes = i < labels ? 63 : last;
        wire[len++] = (unsigned char)bytes;
        memset(wire + len, 'a', bytes);
        len += bytes;
    }
    wire[len++] = 0;
    return mx_name_from_wire(wire, len, out);
}

static void no_name_is_longer_than_dns_allows(void **state)
{
    (void)state;
    char out[MX_NAME_BYTES];
    assert_int_equal(long_name(3, 61, out), MX_NAME_OK);
    assert_int_equal(strlen(out), 253);
    assert_int_equal(long_name(3, 62, out), MX_NAME_BAD);
    assert_int_equal(long_name(4, 1, out), MX_NAME_BAD);
    assert_int_equal(long_name(6, 63, out), MX_NAME_BAD);
    assert_string_equal(out, "");
}

static void random_bytes_make_only_safe_names(void **state)
{
    (void)state;
    srand(4711);
    for (int round = 0; round < 200000; round++) {
        unsigned char wire[40];
        char out[MX_NAME_BYTES];
        size_t len = (size_t)(rand() % 40);
        for (size_t i = 0; i < len; i++)
            wire[i] = (unsigned char)(rand() % 3 == 0 ? rand() % 4 : rand());
        enum mx_name_result result = mx_name_from_wire(wire, len, out);
        assert_int_equal(out[0] != '\0', result == MX_NAME_OK);
        assert_int_equal(strspn(out, "abcdefghijklmnopqrstuvwxyz0123456789-_."), strlen(out));
    }
}

static void expect_key(const char *const *names, size_t count, const char *expected)
{
    struct buffer key = BUFFER_INIT(8192);
    mx_site_key(names, count, 10, &key);
    assert_false(key.failed);
    assert_string_equal(buffer_text(&key), expected);
    buffer_finish(&key);
}

static void site_keys(void **state)
{
    (void)state;
    expect_key((const char *[]){"mx.example.com"}, 1, "mx.example.com");
    expect_key((const char *[]){"alt1.aspmx.l.google.com", "alt2.aspmx.l.google.com", "aspmx.l.google.com"}, 3,
               "(alt1.aspmx|alt2.aspmx|aspmx).l.google.com");
    expect_key((const char *[]){"mx1.example.com", "mx2.example.org"}, 2, "(mx1.example.com|mx2.example.org)");
    expect_key((const char *[]){"a.example.com", "b.example.com"}, 2, "(a|b).example.com");
    expect_key((const char *[]){"a.xexample.com", "b.example.com"}, 2, "(a.xexample|b.example).com");
    expect_key((const char *[]){"com", "mx.com"}, 2, "(com|mx.com)");
    expect_key((const char *[]){"a", "b"}, 2, "(a|b)");
    expect_key((const char *[]){"example.com", "mx.example.com"}, 2, "(example|mx.example).com");
}

static void large_sets_have_a_digest_each(void **state)
{
    (void)state;
    static char names[11][32];
    const char *pointers[11];
    struct buffer one = BUFFER_INIT(8192), two = BUFFER_INIT(8192);
    for (size_t i = 0; i < 11; i++) {
        (void)snprintf(names[i], sizeof names[i], "mx%02zu.example.com", i);
        pointers[i] = names[i];
    }
    mx_site_key(pointers, 11, 10, &one);
    names[10][3] = '9';
    mx_site_key(pointers, 11, 10, &two);
    assert_false(one.failed || two.failed);
    assert_int_equal(strncmp(one.data, "(11 hosts ", 10), 0);
    assert_string_equal(one.data + one.len - 13, ").example.com");
    assert_int_equal(one.len, 10 + 32 + 13);
    assert_string_not_equal(one.data, two.data);
    buffer_finish(&one);
    buffer_finish(&two);
}

static void a_key_that_does_not_fit_fails(void **state)
{
    (void)state;
    struct buffer key = BUFFER_INIT(8);
    mx_site_key((const char *[]){"a.example.com", "b.example.com"}, 2, 10, &key);
    assert_true(key.failed);
    buffer_finish(&key);
}

static void suffixes(void **state)
{
    (void)state;
    static const struct {
        const char *name, *pattern;
        bool matches;
    } table[] = {
        {"aspmx.l.google.com", ".google.com", true},
        {"aspmx.l.google.com", ".GOOGLE.com", true},
        {"google.com", ".google.com", false},
        {"evilgoogle.com", ".google.com", false},
        {"mx.evilgoogle.com", ".google.com", false},
        {"google.com", "google.com", true},
        {"mx.google.com", "google.com", false},
        {"google.com.evil.net", ".google.com", false},
        {"a", "", false},
        {"a.b", ".", false},
    };
    for (size_t i = 0; i < countof(table); i++)
        if (mx_name_matches(table[i].name, table[i].pattern) != table[i].matches)
            fail_msg("%s, %s", table[i].name, table[i].pattern);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wire_names),
        cmocka_unit_test(no_name_is_longer_than_dns_allows),
        cmocka_unit_test(random_bytes_make_only_safe_names),
        cmocka_unit_test(site_keys),
        cmocka_unit_test(large_sets_have_a_digest_each),
        cmocka_unit_test(a_key_that_does_not_fit_fails),
        cmocka_unit_test(suffixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
