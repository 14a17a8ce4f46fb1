/*
 * reply.c - reads replies byte-exactly.
 *
 * Lines that arrive whole are parsed where they lie; only a line that is split over reads is gathered in parser->line.
 * Nothing is read behind the LF of the last line, so that whatever follows (the next pipelined reply) stays with the
 * caller.
 */
#include "engine/smtp/reply.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"

void reply_parser_init(struct reply_parser *parser)
{
    parser->reply.code = 0;
    parser->reply.lines = 0;
    parser->reply.text_len = 0;
    parser->reply.text[0] = '\0';
    parser->reply.enhanced[0] = '\0';
    parser->bytes = 0;
    parser->line_len = 0;
    parser->complete = false;
    parser->fault = NULL;
}

bool reply_begun(const struct reply_parser *parser)
{
    return !parser->complete && parser->bytes > 0;
}

static size_t digits_at(const char *text, size_t len, size_t at)
{
    size_t count = 0;
    while (count < 4 && at + count < len && ascii_is_digit(text[at + count]))
        count++;
    return count >= 1 && count <= 3 ? count : 0;
}

size_t reply_enhanced_length(const char *text, size_t len, char class_digit)
{
    if (len < 5 || text[0] != class_digit || text[1] != '.')
        return 0;
    size_t subject = digits_at(text, len, 2);
    if (subject == 0 || 2 + subject >= len || text[2 + subject] != '.')
        return 0;
    size_t detail_at = 3 + subject;
    size_t detail = digits_at(text, len, detail_at);
    if (detail == 0)
        return 0;
    size_t end = detail_at + detail;
    return end == len || text[end] == ' ' ? end : 0;
}

/* Takes the enhanced code off the line; many servers repeat it on each line. */
static size_t skip_enhanced(struct reply *reply, const char *text, size_t len)
{
    size_t code_len = reply_enhanced_length(text, len, (char)('0' + reply->code / 100));
    if (code_len == 0 || code_len >= sizeof reply->enhanced)
        return 0;
    if (reply->lines == 1) {
        memcpy(reply->enhanced, text, code_len);
        reply->enhanced[code_len] = '\0';
    } else if (strncmp(reply->enhanced, text, code_len) != 0 || reply->enhanced[code_len] != '\0') {
        return 0;
    }
    return code_len < len ? code_len + 1 : code_len;
}

static void keep_text(struct reply *reply, const char *text, size_t len)
{
    size_t skip = skip_enhanced(reply, text, len);
    text += skip;
    len -= skip;
    size_t separator = reply->lines > 1 ? 1 : 0;
    if (reply->text_len + separator + len >= sizeof reply->text)
        return;
    char *out = reply->text + reply->text_len;
    if (separator != 0)
        *out++ = '\n';
    for (size_t i = 0; i < len; i++)
        out[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? ' ' : text[i];
    reply->text_len += separator + len;
    reply->text[reply->text_len] = '\0';
}

static int fail(struct reply_parser *parser, const char *fault)
{
    parser->fault = fault;
    return -EPROTO;
}

/* `line` without its LF. */
static int take_line(struct reply_parser *parser, const char *line, size_t len)
{
    struct reply *reply = &parser->reply;
    if (len == 0 || line[len - 1] != '\r')
        return fail(parser, "reply line ends with a bare LF");
    len--;
    if (len < 3 || line[0] < '2' || line[0] > '5' || !ascii_is_digit(line[1]) || !ascii_is_digit(line[2]))
        return fail(parser, "reply does not begin with a valid code");
    if (len > 3 && line[3] != ' ' && line[3] != '-')
        return fail(parser, "reply code is not followed by a space or a hyphen");
    uint16_t code = (uint16_t)((line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0'));
    if (reply->lines > 0 && code != reply->code)
        return fail(parser, "lines of one reply have different codes");
    if (reply->lines >= REPLY_LINES_MAX)
        return fail(parser, "reply has too many lines");
    reply->code = code;
    reply->lines++;
    keep_text(reply, line + MIN_OF(len, 4), len - MIN_OF(len, 4));
    if (len > 3 && line[3] == '-')
        return REPLY_MORE;
    parser->complete = true;
    return REPLY_COMPLETE;
}

int reply_feed(struct reply_parser *parser, const char *bytes, size_t len, size_t *used)
{
    if (parser->complete)
        reply_parser_init(parser);
    while (len > 0) {
        const char *newline = memchr(bytes, '\n', MIN_OF(len, (size_t)REPLY_LINE_MAX_BYTES));
        size_t piece = newline != NULL ? (size_t)(newline - bytes) + 1 : len;
        if (parser->line_len + piece > REPLY_LINE_MAX_BYTES)
            return fail(parser, "reply line is too long");
        parser->bytes += piece;
        if (parser->bytes > REPLY_MAX_BYTES)
            return fail(parser, "reply is too long");
        *used += piece;
        const char *line = bytes;
        size_t line_len = piece;
        if (newline == NULL || parser->line_len > 0) {
            memcpy(parser->line + parser->line_len, bytes, piece);
            parser->line_len += piece;
            line = parser->line;
            line_len = parser->line_len;
        }
        if (newline == NULL)
            return REPLY_MORE;
        int status = take_line(parser, line, line_len - 1);
        parser->line_len = 0;
        if (status != REPLY_MORE)
            return status;
        bytes += piece;
        len -= piece;
    }
    return REPLY_MORE;
}
