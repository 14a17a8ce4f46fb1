/*
 * test_canon.c - relaxed canonicalisation: the examples of RFC 6376 section 3.4.5, every kind of line end and white
 * space, and a property test of the fast scanner against a plain reading of the RFC's rules.
 */
#include "tests/unit/base/unit.h"

#include "dkim/canon.h"
#include "dkim/dkim.h"

static int gather(void *context, const void *bytes, size_t len)
{
    buffer_append(context, bytes, len);
    return 0;
}

static void assert_body(const char *body, size_t len, const char *expected, size_t expected_len)
{
    struct buffer out = BUFFER_INIT(0);
    assert_int_equal(canon_body(body, len, gather, &out), 0);
    assert_int_equal(out.len, expected_len);
    assert_memory_equal(buffer_text(&out), expected, expected_len);
    buffer_finish(&out);
}

static void body_table(void **state)
{
    (void)state;
    static const struct {
        const char *body, *canonical;
    } cases[] = {
        {" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"}, /* RFC 6376 section 3.4.5 */
        {"", ""},
        {"\r\n", ""},
        {"\r\n\r\n\r\n", ""},
        {" ", ""},
        {" \t \r\n\t\r\n", ""},
        {"a", "a\r\n"},
        {"a ", "a\r\n"},
        {"a\r\n", "a\r\n"},
        {"a\r\n\r\n", "a\r\n"},
        {"a\r\n \t\r\n\r\n ", "a\r\n"},
        {"a\t\r\nb", "a\r\nb\r\n"},
        {"a  b\t\tc \t d", "a b c d\r\n"},
        {"\r\n\r\na", "\r\n\r\na\r\n"},
        {" a", " a\r\n"},
        {"\ta", " a\r\n"},
        {"a\r\n\r\n\r\nb\r\n", "a\r\n\r\n\r\nb\r\n"},
        {"a \r\n \r\n b", "a\r\n\r\n b\r\n"},
        {"a\rb", "a\rb\r\n"}, /* bare CR and LF are content */
        {"a \rb", "a \rb\r\n"},
        {"a \nb", "a \nb\r\n"},
        {"a\n\n", "a\n\n\r\n"},
        {"a \r", "a \r\r\n"},
        {".\r\n", ".\r\n"},
        {"\v\f\r\n", "\v\f\r\n"}, /* WSP is space and tab only */
    };
    for (size_t i = 0; i < countof(cases); i++)
        assert_body(cases[i].body, strlen(cases[i].body), cases[i].canonical, strlen(cases[i].canonical));
}

static void body_hash_of_nothing(void **state)
{
    (void)state;
    /* Of the empty body in relaxed form, as RFC 6376 section 3.4.4 gives it:
     * 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU= */
    static const uint8_t expected[] = {0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14};
    uint8_t hash[32];
    assert_int_equal(dkim_body_hash("\r\n", 2, hash), 0);
    assert_memory_equal(hash, expected, sizeof(expected));
    assert_int_equal(dkim_body_hash(NULL, 0, hash), 0);
    assert_memory_equal(hash, expected, sizeof(expected));
}

static void header_table(void **state)
{
    (void)state;
    static const struct {
        const char *field, *canonical;
    } cases[] = {
        {"A: X\r\n", "a:X"}, /* RFC 6376 section 3.4.5 */
        {"B : Y\t\r\n\tZ  \r\n", "b:Y Z"},
        {"SUBJect: AbC\r\n", "subject:AbC"},
        {"X:\r\n", "x:"},
        {"X:", "x:"},
        {"X: \t \r\n \r\n", "x:"},
        {"X:a\r\n b\r\n\tc", "x:a b c"},
        {"X: a:b : c\r\n", "x:a:b : c"},
        {"X \t: a", "x:a"},
        {"X:a \r\n", "x:a"},
        {"X:\r\n a\r\n", "x:a"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct buffer out = BUFFER_INIT(0);
        size_t name_len = strcspn(cases[i].field, ":");
        canon_field(cases[i].field, strlen(cases[i].field), name_len, &out);
        assert_string_equal(buffer_text(&out), cases[i].canonical);
        buffer_finish(&out);
    }
}

/* The rules of section 3.4.4 one after the other, slowly. `out` has room for len + 2. */
static size_t plain_reading(const char *body, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        size_t j = i;
        while (j < len && (body[j] == ' ' || body[j] == '\t'))
            j++;
        bool line_ends = j == len || (j + 1 < len && body[j] == '\r' && body[j + 1] == '\n');
        if (j > i && !line_ends)
            out[n++] = ' ';
        if (j > i) {
            i = j;
            continue;
        }
        out[n++] = body[i++];
    }
    bool ends = n >= 2 && out[n - 2] == '\r' && out[n - 1] == '\n';
    if (n > 0 && !ends) {
        out[n++] = '\r';
        out[n++] = '\n';
    }
    while (n >= 2 && out[n - 2] == '\r' && out[n - 1] == '\n' &&
           (n == 2 || (n >= 4 && out[n - 4] == '\r' && out[n - 3] == '\n')))
        n -= 2;
    return n;
}

static void scanner_agrees_with_plain_reading(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        " ",
        "\t",
        "\r\n",
        "\r\n",
        "a",
        "bcd",
        "  ",
        " \r\n",
        "\r",
        "\n",
        "a long run of words with single spaces between them, over one block of the scanner"};
    uint64_t seed = 7;
    for (int round = 0; round < 20000; round++) {
        char body[6000];
        char expected[sizeof(body) + 2];
        size_t len = 0;
        size_t count = random_below(&seed, round % 100 == 0 ? 60 : 12);
        for (size_t i = 0; i < count; i++) {
            const char *piece = pieces[random_below(&seed, countof(pieces))];
            memcpy(body + len, piece, strlen(piece));
            len += strlen(piece);
        }
        size_t expected_len = plain_reading(body, len, expected);
        assert_body(body, len, expected, expected_len);
    }
}

static void long_lines_pass_unchanged(void **state)
{
    (void)state;
    struct buffer body = BUFFER_INIT(0);
    for (int i = 0; i < 20000; i++)
        buffer_append_str(&body, i % 97 == 0 ? "x y" : "abcdefg");
    buffer_append_str(&body, "\r\n");
    assert_body(body.data, body.len, body.data, body.len);
    buffer_finish(&body);
}

static int refuse(void *context, const void *bytes, size_t len)
{
    (void)bytes;
    (void)len;
    return ++*(int *)context == 1 ? -5 : 0;
}

static void writer_failure_travels_up(void **state)
{
    (void)state;
    int calls = 0;
    assert_int_equal(canon_body("a  b\r\n", 6, refuse, &calls), -5);
    assert_int_equal(calls, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(body_table),
        cmocka_unit_test(body_hash_of_nothing),
        cmocka_unit_test(header_table),
        cmocka_unit_test(scanner_agrees_with_plain_reading),
        cmocka_unit_test(long_lines_pass_unchanged),
        cmocka_unit_test(writer_failure_travels_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
