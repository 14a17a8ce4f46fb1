/*
 * log.c - one event is one line is one write(2), so that lines of several threads never mix, and no lock is needed.
 *
 * It reports no failure: a log that cannot be written must not stop the mail. The line is made safe as a whole, so that
 * even a value that its author forgot to quote cannot forge a second line. The level is the only state, process-wide
 * and atomic.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

#define LINE_MAX_BYTES 4096

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARN] = "warn",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
};

static _Atomic int current_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load_explicit(&current_level, memory_order_relaxed);
}

int log_level_parse(const char *text, enum log_level *out)
{
    for (size_t i = 0; text != NULL && i < countof(level_names); i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

const char *log_level_name(enum log_level level)
{
    assure((size_t)level < countof(level_names));
    return level_names[level];
}

static void write_all(const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        bytes += n;
        len -= (size_t)n;
    }
}

void log_write(enum log_level level, const char *room, const char *format, ...)
{
    if (level > log_get_level())
        return;
    int saved_errno = errno; /* a log line between a failure and its report must not change the failure */
    char line[LINE_MAX_BYTES];
    char time[RFC3339_BYTES];
    int head = snprintf(line, sizeof(line), "%s %s %.32s ", time_format_rfc3339(clock_wall_ms(), time),
                        log_level_name(level), room);
    assure(head > 0 && (size_t)head < sizeof(line) / 2);

    /* Room for "..." and the newline is kept free. */
    size_t room_bytes = sizeof(line) - (size_t)head - 4;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line + head, room_bytes, format, args);
    va_end(args);
    if (n < 0)
        line[head] = '\0';
    str_make_line(line);
    size_t len = strlen(line);
    if (n >= 0 && (size_t)n >= room_bytes) {
        memcpy(line + len, "...", 3);
        len += 3;
    }
    line[len++] = '\n';
    write_all(line, len);
    errno = saved_errno;
}

/* What stands for the character in quotes; returns its length (at most 12 bytes), 0 when the character may stand for
 * itself. */
static int escape(char out[16], const char *text, size_t bytes, uint32_t code_point)
{
    if (bytes == 0)
        return snprintf(out, 16, "\\x%02x", (unsigned)(uint8_t)text[0]);
    switch (code_point) {
    case '\n':
        return snprintf(out, 16, "\\n");
    case '\r':
        return snprintf(out, 16, "\\r");
    case '\t':
        return snprintf(out, 16, "\\t");
    case '"':
    case '\\':
        return snprintf(out, 16, "\\%c", (char)code_point);
    default:
        break;
    }
    if (code_point < 0x20 || code_point == 0x7f)
        return snprintf(out, 16, "\\x%02x", (unsigned)code_point);
    if ((code_point >= 0x80 && code_point < 0xa0) || code_point == 0x2028 || code_point == 0x2029)
        return snprintf(out, 16, "\\u%04x", (unsigned)code_point);
    return 0;
}

const char *log_quote(char *out, size_t out_bytes, const char *text)
{
    static const char end_cut[] = "...\"";
    assure(out_bytes >= sizeof(end_cut) + 1);
    if (text == NULL)
        text = "";
    /* More input than output bytes is never looked at, so that a huge text costs no more than a long one. */
    size_t len = strnlen(text, out_bytes);
    size_t used = 0;
    size_t cut_at = 1; /* where "..." fits when the rest does not */
    out[used++] = '"';
    for (size_t i = 0; i < len;) {
        char escaped[16];
        uint32_t code_point = 0;
        size_t bytes = utf8_decode(text + i, strnlen(text + i, 4), &code_point);
        int escaped_len = escape(escaped, text + i, bytes, code_point);
        const char *piece = escaped_len > 0 ? escaped : text + i;
        size_t piece_len = escaped_len > 0 ? (size_t)escaped_len : bytes;
        if (used + sizeof(end_cut) <= out_bytes)
            cut_at = used;
        if (used + piece_len + 2 > out_bytes) {
            memcpy(out + cut_at, end_cut, sizeof(end_cut));
            return out;
        }
        memcpy(out + used, piece, piece_len);
        used += piece_len;
        i += MAX_OF(bytes, (size_t)1);
    }
    out[used++] = '"';
    out[used] = '\0';
    return out;
}
