/*
 * fuzz_command.c - whatever stands in an address or a name, a command is one line or is not written at all; and content
 * that passes the scan goes out so that a receiver finds exactly one end of data, behind it.
 *
 * The first byte chooses the command; the rest is its path or content.
 */
#include "engine/smtp/command.h"

#include "base/str.h"
#include "engine/smtp/outbox.h"
#include "tests/fuzz/fuzz.h"

static void check_line(const struct buffer *out, int r)
{
    if (r < 0) {
        assure(out->len == 0);
        return;
    }
    assure(out->len >= 2 && out->data[out->len - 2] == '\r' && out->data[out->len - 1] == '\n');
    for (size_t i = 0; i + 2 < out->len; i++)
        assure(out->data[i] != '\r' && out->data[i] != '\n' && out->data[i] != '\0');
}

static void check_content(const char *data, size_t size)
{
    bool has_dots = false;
    struct outbox outbox;
    struct buffer sent = BUFFER_INIT(0);
    if (size == 0 || outbox_scan(data, size, &has_dots) < 0)
        return;
    assure(outbox_init(&outbox, 4) == 0);
    outbox_content(&outbox, data, size, has_dots);
    assure(command_plain(outbox_text(&outbox), COMMAND_DOT) == 0);
    outbox_text_added(&outbox);
    while (!outbox_empty(&outbox)) {
        struct iovec piece;
        assure(outbox_peek(&outbox, &piece, 1) == 1 && piece.iov_len > 0);
        size_t part = 1 + piece.iov_len / 2;
        buffer_append(&sent, piece.iov_base, MIN_OF(part, piece.iov_len));
        outbox_wrote(&outbox, MIN_OF(part, piece.iov_len));
    }
    assure(sent.len >= size + 3 && outbox.written == sent.len);
    /* RFC 5321 section 4.5.2, from the receiver's side: take the dots away, stop at the lone one. */
    size_t at = 0, same = 0;
    bool line_begins = true;
    while (!(line_begins && sent.len - at >= 3 && memcmp(sent.data + at, ".\r\n", 3) == 0)) {
        if (line_begins && sent.data[at] == '.')
            at++;
        assure(at < sent.len && same < size && sent.data[at] == data[same]);
        line_begins = sent.data[at] == '\n';
        at++;
        same++;
    }
    assure(same == size && at + 3 == sent.len);
    buffer_finish(&sent);
    outbox_finish(&outbox);
}

int fuzz_one(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    uint8_t kind = fuzz_byte(&input);
    struct buffer out = BUFFER_INIT(0);
    char *text = fuzz_string(input.at, input.left);
    bool utf8 = (kind & 8) != 0;
    struct command_mail mail = {.path = text,
                                .size_offered = (kind & 16) != 0,
                                .size_bytes = size,
                                .body_8bitmime = (kind & 32) != 0,
                                .smtputf8 = utf8};
    switch (kind & 7) {
    case 0:
        check_line(&out, command_ehlo(&out, text));
        break;
    case 1:
        check_line(&out, command_helo(&out, text));
        break;
    case 2:
        check_line(&out, command_mail(&out, &mail));
        break;
    case 3:
        check_line(&out, command_rcpt(&out, text, utf8));
        break;
    default:
        check_content((const char *)input.at, input.left);
        break;
    }
    free(text);
    buffer_finish(&out);
    return 0;
}
