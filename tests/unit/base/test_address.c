/* test_address.c - tables of good and bad addresses, and random bytes that may neither crash nor change when parsed
 * again. */
#include "addresses.h"
#include "unit.h"

#include <errno.h>

#include "base/address.h"
#include "base/str.h"

static void good_addresses_get_their_normal_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(good_addresses); i++) {
        struct address address;
        struct error err = {0};
        int rc = address_parse(good_addresses[i].in, strlen(good_addresses[i].in), &address, &err);
        if (rc != 0)
            fail_msg("%s: %s", good_addresses[i].in, err.text);
        assert_string_equal(address.text, good_addresses[i].out);
        assert_int_equal(address.utf8, good_addresses[i].utf8);
        assert_int_equal(address.text[address.at], '@');
        assert_string_equal(address_domain(&address), strchr(good_addresses[i].out, '@') + 1);
    }
}

static void bad_addresses_say_why(void **state)
{
    (void)state;
    static const struct {
        const char *in, *why;
    } cases[] = {
        {"", "is empty"},
        {" \t ", "is empty"},
        {"ann", "no '@'"},
        {"@", "local part (before the '@') is empty"},
        {"@example.com", "is empty"},
        {"ann@", "domain is empty"},
        {"a@b", "no dot"},
        {"a@@b.c", "more than one '@'"},
        {"a@b.c@d.e", "more than one '@'"},
        {"a@b.c,d@e.f", "more than one '@'"},
        {"a.@b.c", "ends with a dot"},
        {".a@b.c", "begins with a dot"},
        {"a..b@c.d", "two dots"},
        {"a@b.c.", "empty label"},
        {"a@.b.c", "empty label"},
        {"a@b..c", "empty label"},
        {"a@.", "empty label"},
        {"a b@c.d", "space"},
        {"a@b c.d", "space"},
        {"a @b.c", "space"},
        {"a@ b.c", "space"},
        {"a\tb@c.d", "space"},
        {"a\r\nRCPT TO:<x@y.z>@b.c", "control"},
        {"a\x01@b.c", "control"},
        {"a\x7f@b.c", "control"},
        {"a@b\n.c", "control"},
        {"a@b\x7f.c", "control"},
        {"a\xc2\x85@b.c", "control"},
        {"a\xe2\x80\xa8@b.c", "U+2028"},
        {"a\xc2\xa0@b.c", "U+00A0"},
        {"\xe2\x80\x8b"
         "a@b.c",
         "U+200B"},
        {"\xef\xbb\xbf"
         "a@b.c",
         "U+FEFF"},
        {"a\xe2\x80\xae@b.c", "U+202E"},
        {"a\xef\xbf\xbf@b.c", "U+FFFF"},
        {"a\xff@b.c", "not valid UTF-8"},
        {"a\xc0\x80@b.c", "not valid UTF-8"},
        {"a\xed\xa0\x80@b.c", "not valid UTF-8"},
        {"a@b\xff.c", "not valid UTF-8"},
        {"<ann@example.com>", "angle brackets"},
        {"Ann <ann@example.com", "space"},
        {"ann(home)@example.com", "comment"},
        {"ann@example.com(home)", "domain contains '('"},
        {"@relay.example,@b.example:ann@example.com", "source route"},
        {"ann@[192.0.2.1]", "address literal"},
        {"ann@[IPv6:::1]", "address literal"},
        {"ann@192.0.2.1", "IP address"},
        {"ann@example.123", "number or an IP address"},
        {"ann@exam_ple.com", "domain contains '_'"},
        {"ann@example,com", "domain contains ','"},
        {"ann@example;com.de", "domain contains ';'"},
        {"ann@-example.com", "hyphen"},
        {"ann@example-.com", "hyphen"},
        {"\"john doe\"@example.com", "needs its quotes"},
        {"\"a@b\"@example.com", "needs its quotes"},
        {"\"\"@example.com", "needs its quotes"},
        {"\"a\\\"b\"@example.com", "needs its quotes"},
        {"\"a\r\nb\"@example.com", "needs its quotes"},
        {"\"john", "not closed"},
        {"\"john\\", "not closed"},
        {"\"john\\\"@example.com", "not closed"},
        {"\"john\"x@example.com", "no '@' after"},
        {"\"john\"", "no '@' after"},
        {"jo\"hn@example.com", "'\"'"},
        {"john\\@example.com", "'\\'"},
        {"mailto:ann@example.com", "':'"},
        {"=?utf-8?B?DQpYOg==?=@example.com", "encoded word"},
        {"a=?b@example.com", "encoded word"},
        {A64 "a@example.com", "longer than 64"},
        {"\"" A64 "a\"@example.com", "longer than 64"},
        {"a@" L63 "b.com", "longer than 63"},
        {"a@" L63 "." L63 "." L63 "." L59 "cc", "longer than 254"},
        {"a@" L63 "." L63 "." L63 "." L59 "cccc", "longer than 253"},
        {"a@xn--a.example", "internationalised"},
        {"a@xn--.example", "hyphen"},
        {"a@xn--zzzzzzzz99999999.example", "internationalised"},
        {"a@\xf0\x9f\x92\xa9.la", "internationalised"}, /* IDNA2008 has no emoji */
        {"a@xn--ls8h.la", "internationalised"},         /* nor its A-label */
        {"a@b\xef\xbc\xa0"
         "c.de",
         "'@'"}, /* a full-width '@' maps to '@' */
        {"a@ex\xc2\xa0"
         "ample.com",
         ""},
        {"a@ex\xe2\x80\xa8"
         "ample.com",
         "internationalised"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct address address;
        struct error err = {0};
        int rc = address_parse(cases[i].in, strlen(cases[i].in), &address, &err);
        if (rc != -EINVAL || strstr(err.text, cases[i].why) == NULL)
            fail_msg("%s: %d, expected '%s', got '%s'", cases[i].in, rc, cases[i].why, err.text);
        assert_int_equal(address_parse(cases[i].in, strlen(cases[i].in), &address, NULL), -EINVAL);
    }
}

static void stored_addresses_are_found(void **state)
{
    (void)state;
    struct address address;
    static const char *const cases[] = {"A=?b@Example.COM", "\"a=?b\"@example.com"};
    for (size_t i = 0; i < countof(cases); i++) {
        assert_int_equal(address_parse_stored(cases[i], strlen(cases[i]), &address, NULL), 0);
        assert_string_equal(address.text, "a=?b@example.com");
        assert_int_equal(address_parse(cases[i], strlen(cases[i]), &address, NULL), -EINVAL);
    }
    assert_int_equal(address_parse_stored("a=?b c@example.com", 18, &address, NULL), -EINVAL);
}

static void nul_inside_is_refused(void **state)
{
    (void)state;
    struct address address;
    static const char *const cases[] = {"a\0b@example.com", "ab@exam\0ple.com", "ab@\0xample.com",
                                        "ab@b\xc3\xbc\0ch.com"};
    static const size_t lengths[] = {15, 15, 14, 12};
    for (size_t i = 0; i < countof(cases); i++)
        assert_int_equal(address_parse(cases[i], lengths[i], &address, NULL), -EINVAL);
}

static void text_needs_no_terminator(void **state)
{
    (void)state;
    struct address address;
    char *bytes = malloc(5); /* exactly as long as the address: a byte read behind it is seen by ASan */
    assert_non_null(bytes);
    memcpy(bytes, "a@b.c", 5);
    assert_int_equal(address_parse(bytes, 5, &address, NULL), 0);
    assert_string_equal(address.text, "a@b.c");
    free(bytes);
}

static void huge_input_is_refused_quickly(void **state)
{
    (void)state;
    size_t len = 1 << 20;
    char *text = malloc(len);
    assert_non_null(text);
    struct address address;
    static const char fillers[] = {'a', '.', '@', '"', '\\', (char)0xc3, '-'};
    for (size_t i = 0; i < countof(fillers); i++) {
        memset(text, fillers[i], len);
        assert_int_equal(address_parse(text, len, &address, NULL), -EINVAL);
        memcpy(text, "a@", 2);
        assert_int_equal(address_parse(text, len, &address, NULL), -EINVAL);
    }
    free(text);
}

static void domains_alone(void **state)
{
    (void)state;
    char out[DOMAIN_MAX_BYTES + 1];
    assert_int_equal(domain_normalise("M\xc3\xbcnchen.DE", 11, out, NULL), 0);
    assert_string_equal(out, "xn--mnchen-3ya.de");
    assert_int_equal(domain_normalise("", 0, out, NULL), -EINVAL);
    assert_int_equal(domain_normalise("localhost", 9, out, NULL), -EINVAL);
    assert_int_equal(domain_normalise(" a.de", 5, out, NULL), -EINVAL);
    assert_int_equal(domain_normalise("a.de.", 5, out, NULL), -EINVAL);
}

static void random_bytes_never_crash_and_normal_forms_are_fixed_points(void **state)
{
    (void)state;
    static const char *const pieces[] = {"a",
                                         "B",
                                         "z9",
                                         ".",
                                         "-",
                                         "@",
                                         "example",
                                         ".com",
                                         "xn--",
                                         "xn--bcher-kva",
                                         "\xc3\xbc",
                                         "\xc3\x9f",
                                         "\xe3\x80\x82",
                                         "\xd9\x85",
                                         "\xe2\x80\x8d",
                                         "\"",
                                         "\\",
                                         " ",
                                         "+",
                                         "_",
                                         "\xf0\x9f\x92\xa9",
                                         "\xcc\x88",
                                         "1",
                                         "K",
                                         "\xe2\x84\xaa",
                                         "\xef\xbc\xa1",
                                         "\xc4\xb0"};
    uint64_t seed = 99;
    unsigned accepted = 0;
    for (int round = 0; round < 60000; round++) {
        char text[300];
        size_t len = 0;
        size_t count = 1 + random_below(&seed, 14);
        for (size_t i = 0; i < count; i++) {
            const char *piece = pieces[random_below(&seed, countof(pieces))];
            char any[2] = {(char)random_below(&seed, 256), '\0'};
            if (random_below(&seed, 40) == 0)
                piece = any;
            size_t piece_len = piece == any ? 1 : strlen(piece);
            memcpy(text + len, piece, piece_len);
            len += piece_len;
        }
        if (round % 2 == 0) { /* half of them with a better chance to be an address */
            memmove(text + 2, text, len);
            memcpy(text, "a@", 2);
            memcpy(text + len + 2, ".example", 8);
            len += 10;
        }
        struct address first;
        struct error err = {0};
        int rc = address_parse(text, len, &first, &err);
        if (rc != 0) {
            assert_int_equal(rc, -EINVAL);
            assert_true(err.text[0] != '\0' && utf8_valid(err.text, strlen(err.text)));
            continue;
        }
        accepted++;
        size_t first_len = strlen(first.text);
        assert_true(first_len <= ADDRESS_MAX_BYTES && first.at <= ADDRESS_LOCAL_MAX_BYTES);
        assert_true(utf8_valid(first.text, first_len));
        assert_null(strpbrk(first.text, "\r\n\t \"\\<>()"));
        assert_ptr_equal(strchr(first.text, '@'), first.text + first.at);
        assert_ptr_equal(strrchr(first.text, '@'), first.text + first.at);
        struct address second;
        err.text[0] = '\0';
        if (address_parse(first.text, first_len, &second, &err) != 0)
            fail_msg("%s is not accepted again: %s", first.text, err.text);
        assert_string_equal(second.text, first.text);
        assert_int_equal(second.utf8, first.utf8);
    }
    assert_true(accepted > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_addresses_get_their_normal_form),
        cmocka_unit_test(bad_addresses_say_why),
        cmocka_unit_test(stored_addresses_are_found),
        cmocka_unit_test(nul_inside_is_refused),
        cmocka_unit_test(text_needs_no_terminator),
        cmocka_unit_test(huge_input_is_refused_quickly),
        cmocka_unit_test(domains_alone),
        cmocka_unit_test(random_bytes_never_crash_and_normal_forms_are_fixed_points),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
