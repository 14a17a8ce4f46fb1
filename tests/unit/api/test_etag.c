/*
 * test_etag.c - tags differ where texts differ, and If-Match is read as RFC 9110 section 13.1.1 says.
 */
#include "tests/unit/api/unit.h"

#include "api/http/etag.h"

static void test_tags(void **state)
{
    (void)state;
    static const char *const texts[][2] = {{"a", "b"}, {"ab", ""}, {"", "ab"}, {"b", "a"}, {"a1:b", ""}, {NULL, "ab1"}};
    char tags[countof(texts)][ETAG_BYTES];
    for (size_t i = 0; i < countof(texts); i++) {
        etag_make(tags[i], texts[i], 2);
        assert_int_equal(strlen(tags[i]), 34);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(tags[i], tags[j]);
    }
    char again[ETAG_BYTES];
    etag_make(again, texts[0], 2);
    assert_string_equal(again, tags[0]);
}

static void test_if_match(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        bool matches;
    } cases[] = {
        {"\"t\"", true},         {"*", true},       {" * ", true},    {"\"a\", \"t\"", true},
        {"\"a\",\"t\" ", true},  {"\t\"t\"", true}, {"", false},      {"\"a\"", false},
        {"W/\"t\"", false},      {"t", false},      {"\"t", false},   {"\"", false},
        {"* , \"t\"", false},    {"\"tt\"", false}, {"\"T\"", false}, {"\"a\" x, \"t\"", false},
        {"W/\"a\",\"t\"", true}, {",,\"t\"", true}, {",", false},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        if (etag_matches(cases[i].value, "\"t\"") != cases[i].matches)
            fail_msg("If-Match: %s", cases[i].value);
    }
    assert_false(etag_matches("*", ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tags), cmocka_unit_test(test_if_match)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
