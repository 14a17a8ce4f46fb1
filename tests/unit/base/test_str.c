/* test_str.c - str.h without its dates: copies, case, UTF-8, numbers, durations. */
#include "unit.h"

#include <errno.h>

#include "base/str.h"

static void copy_reports_truncation_and_terminates(void **state)
{
    (void)state;
    char out[4];
    assert_true(str_copy(out, sizeof(out), "abc"));
    assert_string_equal(out, "abc");
    assert_false(str_copy(out, sizeof(out), "abcd"));
    assert_string_equal(out, "abc");
    assert_false(str_copy(out, 1, "a"));
    assert_string_equal(out, "");
    assert_true(str_copy(out, 1, ""));
}

static void dup_and_printf_allocate(void **state)
{
    (void)state;
    assert_null(str_dup(NULL));
    char *a = str_dup("x");
    char *b = str_dup_len("xyz", 2);
    char *c = str_dup_len(NULL, 0);
    char *d = str_printf("%s-%d", "n", 7);
    assert_string_equal(a, "x");
    assert_string_equal(b, "xy");
    assert_string_equal(c, "");
    assert_string_equal(d, "n-7");
    free(a);
    free(b);
    free(c);
    free(d);
}

static void case_is_ascii_only(void **state)
{
    (void)state;
    assert_true(str_eq_nocase("ExAmple", "eXaMPLE"));
    assert_false(str_eq_nocase("a", "ab"));
    assert_false(str_eq_nocase("\xc3\x84", "\xc3\xa4")); /* A and a with diaeresis stay apart */
    assert_false(str_eq_nocase("[", "{"));
    assert_true(str_starts_nocase("BDAT 1", "bdat "));
    assert_false(str_starts_nocase("BD", "bdat"));
    assert_true(str_ends_nocase("mx.GOOGLE.com", ".google.com"));
    assert_false(str_ends_nocase("com", ".google.com"));
    char text[] = "MiXeD\xc3\x84";
    str_lower(text);
    assert_string_equal(text, "mixed\xc3\x84");
    assert_true(ascii_is_space('\v') && ascii_is_space(' ') && !ascii_is_space('\0') && !ascii_is_space((char)0xa0));
    assert_true(ascii_is_digit('0') && ascii_is_digit('9') && !ascii_is_digit('/') && !ascii_is_digit(':'));
}

static void utf8_is_strict(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        bool valid;
    } cases[] = {
        {"", true},
        {"plain", true},
        {"\xc3\xa4", true},
        {"\xe2\x82\xac", true},
        {"\xf0\x9f\x92\xa9", true},
        {"\xf4\x8f\xbf\xbf", true},  /* U+10FFFF */
        {"\xf4\x90\x80\x80", false}, /* one more */
        {"\xc0\x80", false},         /* overlong NUL */
        {"\xc1\xbf", false},         /* overlong DEL */
        {"\xe0\x80\xaf", false},     /* overlong '/' */
        {"\xf0\x80\x80\xaf", false}, /* overlong again */
        {"\xed\xa0\x80", false},     /* surrogate */
        {"\xed\x9f\xbf", true},      /* the last before the surrogates */
        {"\x80", false},             /* continuation alone */
        {"\xc3", false},             /* cut */
        {"\xe2\x82", false},         /* cut */
        {"\xc3(", false},
        {"\xf8\x88\x80\x80\x80", false}, /* five bytes */
        {"\xff", false},
    };
    for (size_t i = 0; i < countof(cases); i++)
        assert_int_equal(utf8_valid(cases[i].bytes, strlen(cases[i].bytes)), cases[i].valid);
    assert_true(utf8_valid("a\0b", 3));
}

static void make_line_leaves_one_line_of_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"", ""},
        {"250 ok", "250 ok"},
        {"a\r\nb\tc\x7f", "a  b c "},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"bad\xff!", "bad?!"},
        {"cut\xe2\x82", "cut"},
        {"cut\xc3", "cut"},
        {"not cut\xc3x", "not cut?x"},
        {"over\xc0\x80", "over??"},
        {"c1\xc2\x85.", "c1 ."},
        {"ls\xe2\x80\xa8.", "ls ."},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        char text[64];
        str_copy(text, sizeof(text), cases[i].in);
        str_make_line(text);
        assert_string_equal(text, cases[i].out);
    }
    uint64_t seed = 5;
    for (int round = 0; round < 20000; round++) {
        char text[48];
        size_t len = random_below(&seed, sizeof(text));
        for (size_t i = 0; i < len; i++)
            text[i] = (char)(1 + random_below(&seed, 255));
        text[len] = '\0';
        str_make_line(text);
        assert_true(strlen(text) <= len);
        assert_true(utf8_valid(text, strlen(text)));
        assert_null(strpbrk(text, "\r\n\t\x7f"));
    }
}

static void numbers_are_whole_or_refused(void **state)
{
    (void)state;
    uint64_t value = 0;
    assert_int_equal(str_parse_u64("0", 10, &value), 0);
    assert_int_equal(value, 0);
    assert_int_equal(str_parse_u64("18446744073709551615", UINT64_MAX, &value), 0);
    assert_true(value == UINT64_MAX);
    assert_int_equal(str_parse_u64("18446744073709551616", UINT64_MAX, &value), -ERANGE);
    assert_int_equal(str_parse_u64("99999999999999999999999999", UINT64_MAX, &value), -ERANGE);
    assert_int_equal(str_parse_u64("11", 10, &value), -ERANGE);
    static const char *const bad[] = {"", " 1", "1 ", "+1", "-1", "0x10", "1e3", "1.0", "ten", "\xd9\xa1"};
    for (size_t i = 0; i < countof(bad); i++)
        assert_int_equal(str_parse_u64(bad[i], UINT64_MAX, &value), -EINVAL);
    assert_int_equal(str_parse_u64(NULL, 1, &value), -EINVAL);
}

static void durations_need_a_unit(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"0", 0},       {"0s", 0},        {"500ms", 500},    {"30s", 30000},     {"5min", 300000},
        {"5m", 300000}, {"4h", 14400000}, {"3d", 259200000}, {"2w", 1209600000}, {"000", 0},
    };
    int64_t ms;
    for (size_t i = 0; i < countof(good); i++) {
        ms = -1;
        assert_int_equal(str_parse_duration_ms(good[i].text, &ms), 0);
        assert_true(ms == good[i].ms);
    }
    static const char *const bad[] = {"",
                                      "5",
                                      "s",
                                      "5 s",
                                      "-5s",
                                      "5S",
                                      "1h30m",
                                      "5mins",
                                      "0x5s",
                                      "99999999999999999d",
                                      "9223372036854775807w",
                                      "99999999999999999999999999s",
                                      "1.5h",
                                      " 5s"};
    for (size_t i = 0; i < countof(bad); i++)
        assert_int_equal(str_parse_duration_ms(bad[i], &ms), -EINVAL);
    assert_int_equal(str_parse_duration_ms(NULL, &ms), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copy_reports_truncation_and_terminates),
        cmocka_unit_test(dup_and_printf_allocate),
        cmocka_unit_test(case_is_ascii_only),
        cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(make_line_leaves_one_line_of_utf8),
        cmocka_unit_test(numbers_are_whole_or_refused),
        cmocka_unit_test(durations_need_a_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
