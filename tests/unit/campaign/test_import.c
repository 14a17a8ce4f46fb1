/*
 * test_import.c - rows to recipients: what is taken, what is rejected with which line and reason, what is refused as a
 * whole.
 *
 * The seam is storage_import_*(): this program has its own, which keep what they are given. The real one is tested in
 * its room and end to end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/buffer.h"

#include "campaign/audience/attributes.h"
#include "campaign/audience/import.h"

struct storage_import {
    struct upsert_counts counts;
};

static struct buffer stored;  /* "address json\n" a row */
static struct buffer rejects; /* "line reason\n" a row */
static size_t last_raw_len;
static bool keep_rows;
static int add_result, finish_result;
static bool abandoned;

int storage_import_begin(struct storage *storage, int64_t list_id, enum upsert_mode mode, struct storage_import **out,
                         struct error *err)
{
    (void)storage;
    (void)mode;
    if (list_id == 404)
        return error_set(err, -ENOENT, "no list 404");
    *out = calloc(1, sizeof(**out));
    return *out != NULL ? 0 : error_memory(err);
}

int storage_import_add(struct storage_import *import, const char *email, size_t email_len, const char *json,
                       size_t json_len, struct error *err)
{
    if (add_result != 0)
        return error_set(err, add_result, "disk full");
    assert_int_equal(strlen(email), email_len);
    import->counts.created++;
    if (keep_rows) {
        buffer_append(&stored, email, email_len);
        buffer_append_char(&stored, ' ');
        buffer_append(&stored, json, json_len);
        buffer_append_char(&stored, '\n');
    }
    return 0;
}

int storage_import_finish(struct storage_import *import, bool abandon, struct upsert_counts *counts, struct error *err)
{
    abandoned = abandon;
    if (counts != NULL)
        *counts = import->counts;
    free(import);
    return finish_result != 0 ? error_set(err, finish_result, "disk full at the end") : 0;
}

void storage_import_counts(struct storage_import *import, struct upsert_counts *counts)
{
    *counts = import->counts;
}

static void keep_reject(void *context, int64_t line, const char *reason, const char *row, size_t row_len)
{
    assert_ptr_equal(context, &rejects);
    assert_true(row_len <= 1024);
    assert_true(row_len == 0 || row != NULL);
    assert_null(strchr(reason, '\n'));
    last_raw_len = row_len;
    buffer_printf(&rejects, "%" PRId64 " %s\n", line, reason);
}

static int reset(void **state)
{
    (void)state;
    buffer_finish(&stored);
    buffer_finish(&rejects);
    stored = rejects = BUFFER_INIT(0);
    add_result = finish_result = 0;
    abandoned = false;
    keep_rows = true;
    return 0;
}

/* Runs a whole import, cut every `step` bytes (0 = not). Returns the first result that is not 0. */
static int run(enum import_format format, const char *input, size_t len, size_t step, struct import_counts *counts,
               struct error *err)
{
    struct import_options options = {.format = format, .list_id = 1, .reject = keep_reject, .context = &rejects};
    struct import *import;
    assert_int_equal(import_begin(NULL, &options, &import, err), 0);
    int rc = 0;
    for (size_t at = 0; at < len && rc == 0;) {
        size_t take = step != 0 && step < len - at ? step : len - at;
        rc = import_feed(import, input + at, take, err);
        at += take;
    }
    struct error unused;
    int finished = import_finish(import, rc != 0, counts, rc != 0 ? &unused : err);
    assert_int_equal(counts->bytes <= (int64_t)len, 1);
    return rc != 0 ? rc : finished;
}

struct taken {
    const char *name, *input, *stored, *rejects;
};

static void check_taken(enum import_format format, const struct taken *c)
{
    for (size_t step = 0; step < 6; step++) {
        struct import_counts counts;
        struct error err = {{0}};
        reset(NULL);
        bool none = c->stored[0] == '\0' && c->rejects[0] != '\0', open = strstr(c->rejects, "is never closed") != NULL;
        int rc = run(format, c->input, strlen(c->input), step, &counts, &err);
        if (rc != (none || open ? IMPORT_INCOMPLETE : 0))
            fail_msg("%s: %d: %s", c->name, rc, err.text);
        assert_int_equal(err.text[0] != '\0', rc != 0);
        if (strcmp(buffer_text(&stored), c->stored) != 0)
            fail_msg("%s: stored\n%s", c->name, buffer_text(&stored));
        if (strcmp(buffer_text(&rejects), c->rejects) != 0)
            fail_msg("%s: rejected\n%s", c->name, buffer_text(&rejects));
        assert_int_equal(counts.read, counts.created + counts.updated + counts.unchanged + counts.rejected);
        assert_int_equal(counts.bytes, strlen(c->input));
        assert_false(abandoned);
    }
}

static void csv_rows(void **state)
{
    (void)state;
    static const struct taken cases[] = {
        {"plain", "email,name\na@b.example,Ann\n", "a@b.example {\"name\":\"Ann\"}\n", ""},
        {"any case, any column, space", "name , EMail\nAnn, A@B.Example \n", "a@b.example {\"name\":\"Ann\"}\n", ""},
        {"BOM",
         "\xef\xbb\xbf"
         "email\na@b.example\n",
         "a@b.example {}\n", ""},
        {"BOM and CRLF and semicolons",
         "\xef\xbb\xbf"
         "email;city\r\na@b.example;K\xc3\xb6ln\r\n",
         "a@b.example {\"city\":\"K\xc3\xb6ln\"}\n", ""},
        {"escapes", "email,v\na@b.example,\"q\"\"q\\\n\t\x01\x7f\"\n",
         "a@b.example {\"v\":\"q\\\"q\\\\\\n\\t\\u0001\x7f\"}\n", ""},
        {"escaped name", "email,\"a\"\"b\"\na@b.example,1\n", "a@b.example {\"a\\\"b\":\"1\"}\n", ""},
        {"names differ by case", "email,a,A\na@b.example,1,2\n", "a@b.example {\"a\":\"1\",\"A\":\"2\"}\n", ""},
        {"email in the middle", "a,email,b\n1,a@b.example,2\n", "a@b.example {\"a\":\"1\",\"b\":\"2\"}\n", ""},
        {"short row", "email,a,b\na@b.example,1\n", "a@b.example {\"a\":\"1\"}\n", ""},
        {"row too short for the email", "a,b,email\n1,2\n", "", "2 the row has 2 columns, the email is in column 3\n"},
        {"empty cells behind the header", "email,a\na@b.example,1,,\n", "a@b.example {\"a\":\"1\"}\n", ""},
        {"value behind the header", "email,a\na@b.example,1,x\n", "",
         "2 column 3 has a value, but the header has no name for it\n"},
        {"nameless column, empty", "email,,a\na@b.example,,1\n", "a@b.example {\"a\":\"1\"}\n", ""},
        {"nameless column, value", "email, ,a\na@b.example,x,1\n", "",
         "2 column 2 has a value, but the header has no name for it\n"},
        {"invalid UTF-8 value", "email,a\na@b.example,\xff\nc@b.example,ok\n", "c@b.example {\"a\":\"ok\"}\n",
         "2 column \"a\" is not valid UTF-8\n"},
        {"truncated UTF-8 value", "email,a\na@b.example,x\xc3\n", "", "2 column \"a\" is not valid UTF-8\n"},
        {"line numbers with breaks inside", "email,a\na@b.example,\"1\n2\n3\"\nd@b.example,\xff\n",
         "a@b.example {\"a\":\"1\\n2\\n3\"}\n", "5 column \"a\" is not valid UTF-8\n"},
        {"open quote", "email,a\na@b.example,\"1\nc@b.example,2\n", "",
         "2 the quote opened in line 2 is never closed; the rest of the file, lines 2 to 4, was taken for one row\n"},
        {"open quote behind a row", "email,a\na@b.example,1\nc@b.example,\"2\n", "a@b.example {\"a\":\"1\"}\n",
         "3 the quote opened in line 3 is never closed; the rest of the file, lines 3 to 4, was taken for one row\n"},
        {"header only", "email,name\n", "", ""},
        {"duplicates are handed over", "email\na@b.example\nA@b.example\n", "a@b.example {}\na@b.example {}\n", ""},
        {"IDN",
         "email\nx@b\xc3\xbc"
         "cher.example\n",
         "x@xn--bcher-kva.example {}\n", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_taken(IMPORT_CSV, &cases[i]);
}

static void bad_addresses_are_rejected_with_their_line(void **state)
{
    (void)state;
    static const char input[] =
        "email,n\n,1\nnot an address,2\na@b,3\nok@b.example,4\n<x@y.example>,5\n\"a@b.example\r\nBcc: "
        "x@y.example\",6\n";
    struct import_counts counts;
    struct error err = {{0}};
    assert_int_equal(run(IMPORT_CSV, input, sizeof(input) - 1, 0, &counts, &err), 0);
    assert_string_equal(buffer_text(&stored), "ok@b.example {\"n\":\"4\"}\n");
    assert_int_equal(counts.read, 6);
    assert_int_equal(counts.rejected, 5);
    static const char *const lines[] = {"2 ", "\n3 ", "\n4 ", "\n6 ", "\n7 "};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_non_null(strstr(buffer_text(&rejects), lines[i]));
}

static void nul_bytes_are_rejected(void **state)
{
    (void)state;
    static const char input[] = "email,n\na@b.example,x\0y\nb\0@b.example,1\nc@b.example,2\n";
    struct import_counts counts;
    struct error err = {{0}};
    assert_int_equal(run(IMPORT_CSV, input, sizeof(input) - 1, 3, &counts, &err), 0);
    assert_string_equal(buffer_text(&stored), "c@b.example {\"n\":\"2\"}\n");
    assert_int_equal(counts.rejected, 2);
    assert_non_null(strstr(buffer_text(&rejects), "2 column \"n\" holds a NUL byte\n"));
}

static void refused_as_a_whole(void **state)
{
    (void)state;
    static const struct {
        const char *name, *input;
        size_t len;
        const char *says;
    } cases[] = {
        {"no email column", "name,mail\nx,a@b.example\n", 0,
         "the header row (line 1) has no column named email; its columns are: name, mail"},
        {"no header", "a@b.example,Ann\n", 0, "has no column named email; its columns are: a@b.example, Ann"},
        {"empty", "", 0, "the input is empty: it needs a header row with a column named email"},
        {"only line ends", "\n\r\n\n", 0, "the input is empty"},
        {"only a BOM", "\xef\xbb\xbf", 0, "the input is empty"},
        {"two emails", "email,a,EMAIL\nx@y.example,1,2\n", 0, "has two email columns, 1 and 3"},
        {"same name twice", "email,a,b, a \nx@y.example,1,2,3\n", 0, "has the column \"a\" twice"},
        {"open quote in the header", "email,\"a\nx@y.example,1\n", 0,
         "cannot be read: the quote opened in line 1 is never closed"},
        {"invalid UTF-8 in a name", "email,\xff\nx@y.example,1\n", 0,
         "the name of column 2 in the header row (line 1) is not valid UTF-8"},
        {"control character in a name", "email,a\x01\nx@y.example,1\n", 0, "holds a control character"},
        {"UTF-16 LE",
         "\xff\xfe"
         "e\0m\0",
         6, "the input is UTF-16, not UTF-8"},
        {"UTF-16 BE", "\xfe\xff\0e\0m", 6, "the input is UTF-16, not UTF-8"},
        {"UTF-16 LE, only the mark", "\xff\xfe", 2, "the input is UTF-16, not UTF-8"},
        {"UTF-16 without a mark", "e\0m\0a\0i\0l\0\n\0x\0\n\0", 16, "holds NUL bytes: is the file UTF-16?"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t step = 0; step < 4; step++) {
            reset(NULL);
            struct import_counts counts;
            struct error err = {{0}};
            size_t len = cases[i].len != 0 ? cases[i].len : strlen(cases[i].input);
            assert_int_equal(run(IMPORT_CSV, cases[i].input, len, step, &counts, &err), -EINVAL);
            if (strstr(err.text, cases[i].says) == NULL)
                fail_msg("%s: says: %s", cases[i].name, err.text);
            assert_int_equal(stored.len, 0);
            assert_true(abandoned);
        }
    }
}

static void long_names_and_values(void **state)
{
    (void)state;
    struct import_counts counts;
    struct error err = {{0}};
    struct buffer input = BUFFER_INIT(0);
    buffer_append_str(&input, "email,");
    for (size_t i = 0; i < ATTRIBUTE_NAME_MAX_BYTES + 1; i++)
        buffer_append_char(&input, 'n');
    buffer_append_str(&input, "\na@b.example,1\n");
    assert_int_equal(run(IMPORT_CSV, input.data, input.len, 0, &counts, &err), -EINVAL);
    assert_non_null(strstr(err.text, "is longer than 128 bytes"));

    buffer_clear(&input);
    buffer_append_str(&input, "email,a,b\na@b.example,");
    for (size_t i = 0; i < ATTRIBUTES_MAX_BYTES / 2 - 10; i++)
        buffer_append_char(&input, '\\'); /* two bytes each, and below the bound */
    buffer_append_str(&input, ",\nc@b.example,");
    for (size_t i = 0; i < ATTRIBUTES_MAX_BYTES - 4; i++)
        buffer_append_char(&input, 'x');
    buffer_append_str(&input, ",y\nd@b.example,");
    for (size_t i = 0; i < ATTRIBUTES_MAX_BYTES - 8; i++)
        buffer_append_char(&input, '\x01'); /* six bytes each, far beyond it */
    buffer_append_str(&input, ",\n");
    keep_rows = false;
    assert_int_equal(run(IMPORT_CSV, input.data, input.len, 1000, &counts, &err), 0);
    assert_int_equal(counts.created, 1);
    assert_string_equal(buffer_text(&rejects),
                        "3 its attributes are longer than 65536 bytes\n4 its attributes are longer than 65536 bytes\n");
    assert_int_equal(last_raw_len, 1024);
    buffer_finish(&input);
}

static void jsonl_rows(void **state)
{
    (void)state;
    static const struct taken cases[] = {
        {"plain", "{\"email\":\"A@b.example\",\"name\":\"Ann\",\"age\":7}\n",
         "a@b.example {\"name\":\"Ann\",\"age\":7}\n", ""},
        {"no attributes, no line end", "{\"email\":\"a@b.example\"}", "a@b.example {}\n", ""},
        {"BOM, CRLF, empty lines", "\xef\xbb\xbf{\"email\":\"a@b.example\"}\r\n\r\n \n{\"EMAIL\":\"c@b.example\"}\r\n",
         "a@b.example {}\nc@b.example {}\n", ""},
        {"attributes object", "{\"email\":\"a@b.example\",\"x\":1,\"attributes\":{\"y\":{\"z\":[1,null,true,0.1]}}}\n",
         "a@b.example {\"x\":1,\"y\":{\"z\":[1,null,true,0.1]}}\n", ""},
        {"attributes of another type is an attribute", "{\"email\":\"a@b.example\",\"attributes\":[1]}\n",
         "a@b.example {\"attributes\":[1]}\n", ""},
        {"key twice", "{\"email\":\"a@b.example\",\"x\":1,\"attributes\":{\"x\":2}}\n", "",
         "1 it has the attribute \"x\" twice\n"},
        {"not an object", "[1]\n\"x\"\n{\"email\":\"a@b.example\"}\n", "a@b.example {}\n",
         "1 it is not a JSON object\n2 it is not JSON: '[' or '{' expected near '\"x\"' (column 3)\n"},
        {"no email", "{\"name\":1}\n", "", "1 it has no email\n"},
        {"email of a wrong type", "{\"email\":1}\n", "", "1 its email is not a string\n"},
        {"two emails", "{\"email\":\"a@b.example\",\"Email\":\"c@b.example\"}\n", "", "1 it has two email keys\n"},
        {"empty name", "{\"email\":\"a@b.example\",\"\":1}\n", "", "1 the name of attribute \"\" is empty\n"},
        {"control character in a name", "{\"email\":\"a@b.example\",\"a\\n\":1}\n", "",
         "1 the name of attribute \"a \" holds a control character\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_taken(IMPORT_JSONL, &cases[i]);
}

static void jsonl_bad_lines_do_not_stop_it(void **state)
{
    (void)state;
    static const char input[] = "{\"email\":\"a@b.example\"\n{\"email\":\"b@b.example\",\"x\":\"\\u0000\"}\n{\"email\":"
                                "\"c@b.example\",\"x\":1,\"x\":2}\n"
                                "{\"email\":\"d@b.example\",\"x\":\"\xff\"}\n{\"email\":\"e@b.example\"} "
                                "trailing\n{\"email\":\"f@b.example\"}\n";
    struct import_counts counts;
    struct error err = {{0}};
    assert_int_equal(run(IMPORT_JSONL, input, sizeof(input) - 1, 7, &counts, &err), 0);
    assert_string_equal(buffer_text(&stored), "f@b.example {}\n");
    assert_int_equal(counts.rejected, 5);
}

static void jsonl_bombs(void **state)
{
    (void)state;
    struct buffer input = BUFFER_INIT(0);
    buffer_append_str(&input, "{\"email\":\"a@b.example\",\"x\":");
    for (size_t i = 0; i < 1000; i++)
        buffer_append_char(&input, '[');
    for (size_t i = 0; i < 1000; i++)
        buffer_append_char(&input, ']');
    buffer_append_str(&input, "}\n{\"email\":\"b@b.example\",\"x\":\"");
    for (size_t i = 0; i < ((size_t)3 << 20); i++)
        buffer_append_char(&input, 'y');
    buffer_append_str(&input, "\"}\n{\"email\":\"c@b.example\",\"x\":\"");
    for (size_t i = 0; i < ATTRIBUTES_MAX_BYTES; i++)
        buffer_append_char(&input, 'z');
    buffer_append_str(&input, "\"}\n{\"email\":\"d@b.example\"}\n");
    static const size_t steps[] = {0, 65536, 4097};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        reset(NULL);
        struct import_counts counts;
        struct error err = {{0}};
        assert_int_equal(run(IMPORT_JSONL, input.data, input.len, steps[i], &counts, &err), 0);
        assert_string_equal(buffer_text(&stored), "d@b.example {}\n");
        assert_string_equal(buffer_text(&rejects),
                            "1 its attributes are nested too deeply\n2 the line is longer than 1048575 bytes\n"
                            "3 its attributes are longer than 65536 bytes\n");
    }
    buffer_finish(&input);
}

static void storage_failures_travel_up(void **state)
{
    (void)state;
    struct import_counts counts;
    struct error err = {{0}};
    add_result = -ENOSPC;
    assert_int_equal(run(IMPORT_CSV, "email\na@b.example\n", 18, 0, &counts, &err), -ENOSPC);
    assert_string_equal(err.text, "disk full");
    assert_true(abandoned);
    add_result = 0;
    finish_result = -EIO;
    assert_int_equal(run(IMPORT_CSV, "email\na@b.example\n", 18, 0, &counts, &err), -EIO);
    assert_string_equal(err.text, "disk full at the end");

    struct import_options options = {.format = IMPORT_CSV, .list_id = 404};
    struct import *import;
    assert_int_equal(import_begin(NULL, &options, &import, &err), -ENOENT);
    assert_null(import);
}

static void a_refused_import_takes_nothing_more(void **state)
{
    (void)state;
    struct import_options options = {.format = IMPORT_CSV, .list_id = 1};
    struct import *import;
    struct error err = {{0}};
    assert_int_equal(import_begin(NULL, &options, &import, &err), 0);
    assert_int_equal(import_feed(import, "name\n", 5, &err), -EINVAL);
    assert_int_equal(import_feed(import, "email\na@b.example\n", 18, &err), -EINVAL);
    struct import_counts counts;
    import_progress(import, &counts);
    assert_int_equal(counts.read, 0);
    assert_int_equal(import_finish(import, false, NULL, &err), -EINVAL);
    assert_true(abandoned);
    assert_int_equal(stored.len, 0);
}

static void memory_is_flat_over_a_large_file(void **state)
{
    (void)state;
    struct import_options options = {.format = IMPORT_CSV, .list_id = 1};
    struct import *import;
    struct error err = {{0}};
    keep_rows = false;
    struct buffer block = BUFFER_INIT(0);
    for (size_t i = 0; i < 2000; i++)
        buffer_printf(&block, "person%zu@domain%zu.example,Some Name,Some City,2026-11-23\n", i * 7919, i % 997);
    assert_int_equal(import_begin(NULL, &options, &import, &err), 0);
    assert_int_equal(import_feed(import, "email,name,city,since\n", 22, &err), 0);
    struct rusage before, after;
    struct timespec from, to;
    assert_int_equal(import_feed(import, block.data, block.len, &err), 0);
    getrusage(RUSAGE_SELF, &before);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(import_feed(import, block.data, block.len, &err), 0);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    getrusage(RUSAGE_SELF, &after);
    assert_true(after.ru_maxrss - before.ru_maxrss < 4096);
    struct import_counts counts;
    assert_int_equal(import_finish(import, false, &counts, &err), 0);
    assert_int_equal(counts.created, 202000);
    double seconds = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    print_message("read, checked and written as JSON: %.0f rows/s of CPU time\n", 200000 / seconds);
    buffer_finish(&block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(csv_rows, reset),
        cmocka_unit_test_setup(bad_addresses_are_rejected_with_their_line, reset),
        cmocka_unit_test_setup(nul_bytes_are_rejected, reset),
        cmocka_unit_test_setup(refused_as_a_whole, reset),
        cmocka_unit_test_setup(long_names_and_values, reset),
        cmocka_unit_test_setup(jsonl_rows, reset),
        cmocka_unit_test_setup(jsonl_bad_lines_do_not_stop_it, reset),
        cmocka_unit_test_setup(jsonl_bombs, reset),
        cmocka_unit_test_setup(storage_failures_travel_up, reset),
        cmocka_unit_test_setup(a_refused_import_takes_nothing_more, reset),
        cmocka_unit_test_setup_teardown(memory_is_flat_over_a_large_file, reset, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
