/*
 * test_output.c - what people read: CSV that a spreadsheet cannot be tricked with, aligned tables, numbers.
 */
#include "tests/unit/api/unit.h"

#include "api/cli/output.h"
#include "api/csv_out.h"

static void test_csv_cells(void **state)
{
    (void)state;
    static const struct {
        const char *cell, *safe, *raw;
    } cases[] = {
        {"plain", "plain", "plain"},
        {"", "", ""},
        {"a,b", "\"a,b\"", "\"a,b\""},
        {"a;b", "\"a;b\"", "\"a;b\""},
        {"say \"hi\"", "\"say \"\"hi\"\"\"", "\"say \"\"hi\"\"\""},
        {"two\nlines", "\"two\nlines\"", "\"two\nlines\""},
        {" lead", "\" lead\"", "\" lead\""},
        {"=1+1", "'=1+1", "=1+1"},
        {"+49 30", "'+49 30", "+49 30"},
        {"-2+3", "'-2+3", "-2+3"},
        {"@SUM(A1)", "'@SUM(A1)", "@SUM(A1)"},
        {"\t=1", "\"'\t=1\"", "\"\t=1\""},
        {"\r=1", "\"'\r=1\"", "\"\r=1\""},
        {"\n=1", "\"'\n=1\"", "\"\n=1\""},
        {"|calc", "'|calc", "|calc"},
        {"%0A", "'%0A", "%0A"},
        {"=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0", "=cmd|' /C calc'!A0"},
        {"=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\"",
         "\"=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""},
        {"a=1", "a=1", "a=1"},
        {"Köln", "Köln", "Köln"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct buffer out = BUFFER_INIT(0);
        csv_text(&out, cases[i].cell, false);
        assert_string_equal(buffer_text(&out), cases[i].safe);
        buffer_clear(&out);
        csv_text(&out, cases[i].cell, true);
        assert_string_equal(buffer_text(&out), cases[i].raw);
        buffer_finish(&out);
    }
}

static void test_widths(void **state)
{
    (void)state;
    /* `fitting`: bytes of the text that fit into three cells. */
    static const struct {
        const char *text;
        size_t width, fitting;
    } cases[] = {
        {"", 0, 0},
        {"ab", 2, 2},
        {"abcd", 4, 3},
        {"Zo\xc3\xab!", 4, 4},                          /* one cell, two bytes */
        {"e\xcc\x81xyz", 4, 5},                         /* a combining accent takes none, and stays with its letter */
        {"abe\xcc\x81", 3, 5},                          /* also at the very end */
        {"\xe6\x9d\xb1\xe4\xba\xac", 4, 3},            /* two cells each: only the first fits */
        {"\033[31mred\033[0m", 10, 12},                /* a sequence takes no cell where it is cut */
        {"a\xff\xfe", 3, 3},                            /* no UTF-8: a cell each, as the terminal's replacement */
        {"\xe6\x9d", 2, 2},                             /* cut off */
        {"\033", 1, 1},
        {"\033[", 2, 2},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        assert_int_equal(text_fitting(cases[i].text, 3), cases[i].fitting);
        if (cases[i].text[0] != '\033')
            assert_int_equal(text_width(cases[i].text), cases[i].width);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    char text[OUT_NUMBER_BYTES];
    assert_string_equal(out_number(0, text), "0");
    assert_string_equal(out_number(999, text), "999");
    assert_string_equal(out_number(1000, text), "1,000");
    assert_string_equal(out_number(1234567, text), "1,234,567");
    assert_string_equal(out_number(-1234, text), "-1,234");
    assert_string_equal(out_number(-123, text), "-123");
    assert_string_equal(out_number(INT64_MIN, text), "-9,223,372,036,854,775,808");
    assert_string_equal(out_duration(59, text), "59s");
    assert_string_equal(out_duration(3599, text), "59min 59s");
    assert_string_equal(out_duration(90061, text), "1d 1h");
    assert_string_equal(out_bytes(999, text), "999 B");
    assert_string_equal(out_bytes(12300000, text), "12.3 MB");
}

static char *print(struct table *table, int columns)
{
    char *text = NULL;
    size_t len;
    FILE *file = open_memstream(&text, &len);
    assert_non_null(file);
    table_print(table, file, "nothing", columns);
    assert_int_equal(fclose(file), 0);
    return text;
}

static void test_tables(void **state)
{
    (void)state;
    struct table table;
    table_begin(&table, "lr", "NAME", "N", NULL);
    char *text = print(&table, 0);
    assert_string_equal(text, "nothing\n");
    free(text);

    table_begin(&table, "lrl", "NAME", "N", "REPLY", NULL);
    table_cell(&table, "Köln");
    table_number(&table, 12345);
    table_cell(&table, "550 no\r\n\x1b[2Jsuch user"); /* a reply cannot drive the terminal */
    table_cell(&table, "x");
    table_number(&table, 7);
    table_cell(&table, NULL);
    text = print(&table, 0);
    assert_null(strchr(text, '\x1b'));
    assert_null(strchr(text, '\r'));
    assert_non_null(strstr(text, "NAME       N  REPLY\n"));
    assert_non_null(strstr(text, "Köln  12,345  550 no"));
    assert_non_null(strstr(text, "x          7  \n"));
    free(text);

    table_begin(&table, "ll", "A", "B", NULL);
    table_cell(&table, "ääääääää");
    table_cell(&table, "b");
    text = print(&table, 4);
    assert_non_null(strstr(text, "ääää\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_csv_cells),
        cmocka_unit_test(test_widths),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
