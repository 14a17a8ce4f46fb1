/* test_log.c - levels, the shape of a line, and that no value can forge a second line. */
#include "unit.h"

#include <errno.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"

/* Runs `write_lines` with stderr in a file and gives back what was written. */
static void capture(char *out, size_t out_bytes, void (*write_lines)(void))
{
    FILE *file = tmpfile();
    assert_non_null(file);
    int saved = dup(STDERR_FILENO);
    assert_true(saved >= 0);
    assert_int_equal(dup2(fileno(file), STDERR_FILENO), STDERR_FILENO);
    write_lines();
    assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
    close(saved);
    ssize_t n = pread(fileno(file), out, out_bytes - 1, 0);
    assert_true(n >= 0);
    out[n] = '\0';
    fclose(file);
}

static void write_by_level(void)
{
    log_set_level(LOG_LEVEL_WARN);
    log_error("storage", "disk.full path=%s", "/var");
    log_warn("engine", "w");
    log_info("engine", "hidden");
    log_debug("engine", "hidden");
    log_set_level(LOG_LEVEL_DEBUG);
    errno = 77;
    log_debug("engine", "shown");
    assert_int_equal(errno, 77);
    log_set_level(LOG_LEVEL_INFO);
}

static void lines_have_time_level_room_and_event(void **state)
{
    (void)state;
    char text[4096];
    capture(text, sizeof(text), write_by_level);
    char *first = strtok(text, "\n");
    assert_non_null(first);
    int64_t ms;
    char stamp[RFC3339_BYTES];
    assert_true(strlen(first) > 25);
    snprintf(stamp, sizeof(stamp), "%.24s", first);
    assert_int_equal(time_parse_rfc3339(stamp, &ms), 0);
    assert_string_equal(first + 24, " error storage disk.full path=/var");
    assert_string_equal(strtok(NULL, "\n") + 24, " warn engine w");
    assert_string_equal(strtok(NULL, "\n") + 24, " debug engine shown");
    assert_null(strtok(NULL, "\n"));
}

static void write_hostile(void)
{
    char text[10000];
    memset(text, 'z', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    log_error("engine", "a\n2026 error forged \x1b[31m");
    log_error("engine", "long %s", text);
    log_error("engine", "reply text=%s", LOG_QUOTE("no\r\n\"x\""));
}

static void no_value_can_forge_a_line(void **state)
{
    (void)state;
    char text[16384];
    capture(text, sizeof(text), write_hostile);
    assert_int_equal(strtok(text, "\n") == NULL, 0);
    char *second = strtok(NULL, "\n");
    assert_true(strlen(second) < 4096);
    assert_string_equal(second + strlen(second) - 4, "z...");
    char *third = strtok(NULL, "\n");
    assert_string_equal(third + 24, " error engine reply text=\"no\\r\\n\\\"x\\\"\"");
    assert_null(strtok(NULL, "\n"));
}

static void quote_escapes_and_cuts(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
        size_t bytes;
    } cases[] = {
        {NULL, "\"\"", 16},
        {"", "\"\"", 6},
        {"plain", "\"plain\"", 16},
        {"a\"b\\c", "\"a\\\"b\\\\c\"", 32},
        {"\x01\x7f", "\"\\x01\\x7f\"", 32},
        {"\xc3\xa4\xff", "\"\xc3\xa4\\xff\"", 32},
        {"\xc2\x85\xe2\x80\xa8", "\"\\u0085\\u2028\"", 32},
        {"0123456789", "\"0123456789\"", 13},
        {"0123456789", "\"012345...\"", 12},
        {"0123456789", "\"...\"", 6},
        {"\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4", "\"\xc3\xa4...\"", 9}, /* never half a character */
        {"\n\n\n\n\n", "\"\\n...\"", 9},                            /* never half an escape */
    };
    for (size_t i = 0; i < countof(cases); i++) {
        char out[64];
        memset(out, 'Q', sizeof(out));
        assert_string_equal(log_quote(out, cases[i].bytes, cases[i].in), cases[i].out);
        assert_int_equal(out[cases[i].bytes], 'Q');
    }
}

static void quote_never_overruns(void **state)
{
    (void)state;
    uint64_t seed = 23;
    for (int round = 0; round < 50000; round++) {
        char in[40];
        size_t len = random_below(&seed, sizeof(in));
        for (size_t i = 0; i < len; i++)
            in[i] = (char)(1 + random_below(&seed, 255));
        in[len] = '\0';
        char out[64];
        memset(out, 'Q', sizeof(out));
        size_t bytes = 6 + random_below(&seed, 50);
        log_quote(out, bytes, in);
        size_t out_len = strlen(out);
        assert_true(out_len < bytes && out_len >= 2);
        assert_int_equal(out[0], '"');
        assert_int_equal(out[out_len - 1], '"');
        assert_int_equal(out[bytes], 'Q');
        assert_true(utf8_valid(out, out_len));
    }
}

static void level_names_parse(void **state)
{
    (void)state;
    enum log_level level;
    for (int i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++) {
        assert_int_equal(log_level_parse(log_level_name((enum log_level)i), &level), 0);
        assert_int_equal((int)level, i);
    }
    assert_int_equal(log_level_parse("INFO", &level), -EINVAL);
    assert_int_equal(log_level_parse("", &level), -EINVAL);
    assert_int_equal(log_level_parse(NULL, &level), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_have_time_level_room_and_event),
        cmocka_unit_test(no_value_can_forge_a_line),
        cmocka_unit_test(quote_escapes_and_cuts),
        cmocka_unit_test(quote_never_overruns),
        cmocka_unit_test(level_names_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
