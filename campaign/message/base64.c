/*
 * base64.c - base64 for the parts of a message: bytes are gathered to whole lines, so that a line is encoded in one go
 * however the text is cut.
 */
#include "campaign/message/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_begin(struct base64 *base64, struct buffer *out, bool text)
{
    base64->out = out;
    base64->text = text;
    base64->after_cr = false;
    base64->in_line = false;
    base64->len = 0;
}

static void flush_line(struct base64 *base64)
{
    char line[(BASE64_LINE_BYTES + 2) / 3 * 4 + 2];
    size_t n = 0;
    for (unsigned i = 0; i < base64->len; i += 3) {
        unsigned left = base64->len - i;
        uint32_t three = (uint32_t)base64->line[i] << 16;
        three |= left > 1 ? (uint32_t)base64->line[i + 1] << 8 : 0;
        three |= left > 2 ? base64->line[i + 2] : 0;
        line[n++] = digits[three >> 18];
        line[n++] = digits[three >> 12 & 63];
        line[n++] = left > 1 ? digits[three >> 6 & 63] : '=';
        line[n++] = left > 2 ? digits[three & 63] : '=';
    }
    line[n++] = '\r';
    line[n++] = '\n';
    buffer_append(base64->out, line, n);
    base64->len = 0;
}

static void put(struct base64 *base64, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        size_t n = MIN_OF(len, (size_t)(BASE64_LINE_BYTES - base64->len));
        memcpy(base64->line + base64->len, bytes, n);
        base64->len += (unsigned)n;
        bytes += n;
        len -= n;
        if (base64->len == BASE64_LINE_BYTES)
            flush_line(base64);
    }
}

void base64_write(struct base64 *base64, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    if (!base64->text) {
        put(base64, p, len);
        return;
    }
    for (size_t at = 0; at < len; at++) {
        size_t run = 0;
        while (at + run < len && p[at + run] != '\n' && p[at + run] != '\r' && p[at + run] != '\0')
            run++;
        if (run > 0) {
            base64->after_cr = false;
            base64->in_line = true;
        }
        put(base64, p + at, run);
        at += run;
        if (at == len)
            return;
        if (p[at] == '\r' || (p[at] == '\n' && !base64->after_cr))
            put(base64, (const uint8_t *)"\r\n", 2);
        if (p[at] != '\0')
            base64->in_line = false;
        base64->after_cr = p[at] == '\r';
    }
}

void base64_end(struct base64 *base64)
{
    if (base64->in_line)
        put(base64, (const uint8_t *)"\r\n", 2);
    base64->in_line = false;
    if (base64->len > 0)
        flush_line(base64);
}
