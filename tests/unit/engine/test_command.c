/*
 * test_command.c - command lines and the scatter list: nothing that a list holds may become a second command, and
 * content leaves byte-exact.
 */
#include <errno.h>

#include "engine/smtp/command.h"
#include "engine/smtp/outbox.h"
#include "tests/unit/engine/unit.h"

static void commands_are_written(void **state)
{
    (void)state;
    struct buffer out = BUFFER_INIT(0);
    struct command_mail mail = {
        .path = "a@b.c", .size_offered = true, .size_bytes = 10240, .body_8bitmime = true, .smtputf8 = true};
    assert_int_equal(command_ehlo(&out, "mta.example"), 0);
    assert_int_equal(command_helo(&out, "[192.0.2.1]"), 0);
    assert_int_equal(command_mail(&out, &mail), 0);
    mail = (struct command_mail){.path = ""};
    assert_int_equal(command_mail(&out, &mail), 0);
    assert_int_equal(command_rcpt(&out, "x@y.z", false), 0);
    assert_int_equal(command_bdat_last(&out, 0), 0);
    assert_int_equal(command_plain(&out, COMMAND_DATA), 0);
    assert_int_equal(command_plain(&out, COMMAND_RSET), 0);
    assert_int_equal(command_plain(&out, COMMAND_QUIT), 0);
    assert_int_equal(command_plain(&out, COMMAND_DOT), 0);
    assert_string_equal(
        buffer_text(&out),
        "EHLO mta.example\r\nHELO [192.0.2.1]\r\nMAIL FROM:<a@b.c> SIZE=10240 BODY=8BITMIME SMTPUTF8\r\n"
        "MAIL FROM:<>\r\nRCPT TO:<x@y.z>\r\nBDAT 0 LAST\r\nDATA\r\nRSET\r\nQUIT\r\n.\r\n");
    buffer_finish(&out);
}

static void injections_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"a@b.c\r\nDATA", "a@b.c\n",       "a\r@b.c", "a b@c.d",     "a@b.c>",
                                      "<a@b.c",        "a@b.c> SIZE=1", "a@",      "@b.c",        "nodomain",
                                      "a\t@b.c",       "a\177@b.c",     "a@b.c ",  "\303\244@b.c"};
    struct buffer out = BUFFER_INIT(0);
    for (size_t i = 0; i < countof(bad); i++) {
        struct command_mail mail = {.path = bad[i]};
        assert_int_equal(command_mail(&out, &mail), -EINVAL);
        assert_int_equal(command_rcpt(&out, bad[i], false), -EINVAL);
        assert_int_equal(out.len, 0);
    }
    assert_int_equal(command_rcpt(&out, "", false), -EINVAL);
    assert_int_equal(command_ehlo(&out, "a\r\nMAIL"), -EINVAL);
    assert_int_equal(command_ehlo(&out, ""), -EINVAL);
    assert_int_equal(command_rcpt(&out, "\303\244@b.c", true), 0);
    buffer_finish(&out);
}

static void lengths_of_rfc_5321(void **state)
{
    (void)state;
    struct buffer out = BUFFER_INIT(0);
    char path[400];
    memset(path, 'a', sizeof path);
    path[64] = '@';
    path[254] = '\0';
    assert_int_equal(command_rcpt(&out, path, false), 0);
    path[254] = 'a';
    path[255] = '\0';
    assert_int_equal(command_rcpt(&out, path, false), -EINVAL);
    path[255] = 'a';
    path[64] = 'a';
    path[65] = '@';
    path[100] = '\0';
    assert_int_equal(command_rcpt(&out, path, false), -EINVAL);
    buffer_finish(&out);
}

/* Drains an outbox in writes of random size. */
static size_t drain(struct outbox *outbox, char *out, size_t size, uint64_t *seed)
{
    size_t len = 0;
    while (!outbox_empty(outbox)) {
        struct iovec pieces[5];
        size_t count = outbox_peek(outbox, pieces, 1 + random_below(seed, countof(pieces))), total = 0;
        assert_true(count > 0);
        for (size_t i = 0; i < count; i++)
            total += pieces[i].iov_len;
        size_t take = 1 + random_below(seed, total), left = take;
        for (size_t i = 0; i < count && left > 0; i++) {
            size_t part = MIN_OF(left, pieces[i].iov_len);
            assert_true(len + part <= size);
            memcpy(out + len, pieces[i].iov_base, part);
            len += part;
            left -= part;
        }
        outbox_wrote(outbox, take);
    }
    assert_int_equal(outbox->written, outbox->queued);
    return len;
}

static size_t stuff(const char *in, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (in[i] == '.' && (i == 0 || in[i - 1] == '\n'))
            out[n++] = '.';
        out[n++] = in[i];
    }
    return n;
}

/* Every content made of at most five of these parts. */
static void dots_are_stuffed_exactly(void **state)
{
    (void)state;
    static const char *const parts[] = {"\r\n", ".", "a", "..\r\n"};
    uint64_t seed = 7;
    for (unsigned which = 0; which < 1024; which++) {
        char content[64] = "", wanted[128], got[256];
        for (unsigned part = 0, left = which; part < 5; part++, left /= 4)
            (void)strcat(content, parts[left % 4]);
        (void)strcat(content, "\r\n");
        size_t len = strlen(content), wanted_len = stuff(content, len, wanted);
        bool has_dots = false;
        assert_int_equal(outbox_scan(content, len, &has_dots), 0);
        assert_int_equal(has_dots, wanted_len != len);
        struct outbox outbox;
        assert_int_equal(outbox_init(&outbox, 8), 0);
        buffer_append_str(outbox_text(&outbox), "one\r\n");
        outbox_text_added(&outbox);
        outbox_content(&outbox, content, len, has_dots);
        buffer_append_str(outbox_text(&outbox), ".\r\n");
        outbox_text_added(&outbox);
        buffer_append_str(outbox_text(&outbox), "two\r\n");
        outbox_text_added(&outbox);
        size_t got_len = drain(&outbox, got, sizeof got, &seed);
        assert_int_equal(got_len, wanted_len + 13);
        assert_memory_equal(got, "one\r\n", 5);
        assert_memory_equal(got + 5, wanted, wanted_len);
        assert_memory_equal(got + 5 + wanted_len, ".\r\ntwo\r\n", 8);
        outbox_finish(&outbox);
    }
}

/* All strings of length <= 6 over {CR, LF, '.', 'a'}: only lines that end with CRLF may pass. */
static void smuggling_content_is_refused(void **state)
{
    (void)state;
    static const char alphabet[] = "\r\n.a";
    for (size_t len = 0; len <= 6; len++) {
        size_t combinations = (size_t)1 << (2 * len);
        for (size_t which = 0; which < combinations; which++) {
            char content[8] = "";
            bool good = len >= 2, dots = false;
            for (size_t i = 0, left = which; i < len; i++, left >>= 2)
                content[i] = alphabet[left & 3];
            for (size_t i = 0; i < len; i++) {
                if (content[i] == '\r' && (i + 1 == len || content[i + 1] != '\n'))
                    good = false;
                if (content[i] == '\n' && (i == 0 || content[i - 1] != '\r'))
                    good = false;
            }
            if (len > 0 && content[len - 1] != '\n')
                good = false;
            assert_int_equal(outbox_scan(content, len, &dots) == 0, good);
        }
    }
}

static void cut_forgets_what_has_not_left(void **state)
{
    (void)state;
    struct outbox outbox;
    assert_int_equal(outbox_init(&outbox, 8), 0);
    buffer_append_str(outbox_text(&outbox), "hello\r\n");
    outbox_text_added(&outbox);
    outbox_wrote(&outbox, 3);
    outbox_cut(&outbox);
    assert_true(outbox_empty(&outbox));
    assert_int_equal(outbox.queued, 3);
    buffer_append_str(outbox_text(&outbox), "x");
    outbox_text_added(&outbox);
    struct iovec piece;
    assert_int_equal(outbox_peek(&outbox, &piece, 1), 1);
    assert_int_equal(piece.iov_len, 1);
    assert_memory_equal(piece.iov_base, "x", 1);
    outbox_finish(&outbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_written),         cmocka_unit_test(injections_are_refused),
        cmocka_unit_test(lengths_of_rfc_5321),          cmocka_unit_test(dots_are_stuffed_exactly),
        cmocka_unit_test(smuggling_content_is_refused), cmocka_unit_test(cut_forgets_what_has_not_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
