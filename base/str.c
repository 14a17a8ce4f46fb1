/*
 * str.c - bounded copies, ASCII case, UTF-8 and strict numbers.
 *
 * Nothing here looks at the locale. A number or a duration is either wholly understood or refused; no prefix of it
 * counts.
 */
#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool str_copy(char *out, size_t out_bytes, const char *text)
{
    assure(out_bytes > 0);
    size_t len = strnlen(text, out_bytes);
    bool fits = len < out_bytes;
    if (!fits)
        len = out_bytes - 1;
    memmove(out, text, len);
    out[len] = '\0';
    return fits;
}

char *str_dup(const char *text)
{
    return text != NULL ? strdup(text) : NULL;
}

char *str_dup_len(const char *text, size_t len)
{
    char *copy = len < SIZE_MAX ? malloc(len + 1) : NULL;
    if (copy == NULL)
        return NULL;
    if (len > 0)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *str_printf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    va_end(args);
    return text;
}

char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool ascii_is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

bool ascii_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool eq_nocase_len(const char *a, const char *b, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (ascii_lower(a[i]) != ascii_lower(b[i]))
            return false;
    }
    return true;
}

bool str_eq_nocase(const char *a, const char *b)
{
    size_t len = strlen(a);
    return len == strlen(b) && eq_nocase_len(a, b, len);
}

bool str_starts_nocase(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);
    return strnlen(text, len) == len && eq_nocase_len(text, prefix, len);
}

bool str_ends_nocase(const char *text, const char *suffix)
{
    size_t text_len = strlen(text);
    size_t len = strlen(suffix);
    return text_len >= len && eq_nocase_len(text + text_len - len, suffix, len);
}

void str_lower(char *text)
{
    for (; *text != '\0'; text++)
        *text = ascii_lower(*text);
}

size_t utf8_decode(const char *text, size_t len, uint32_t *code_point)
{
    /* The least code point of each length: anything below it is an overlong form. */
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (len == 0)
        return 0;
    uint8_t first = (uint8_t)text[0];
    if (first < 0x80) {
        *code_point = first;
        return 1;
    }
    size_t bytes = first >= 0xf8 ? 0 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 0;
    if (bytes == 0 || bytes > len)
        return 0;
    uint32_t value = first & (0x7fU >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        uint8_t next = (uint8_t)text[i];
        if ((next & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (next & 0x3fU);
    }
    if (value < least[bytes] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    *code_point = value;
    return bytes;
}

bool utf8_valid(const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t code_point;
        size_t bytes = utf8_decode(text + i, len - i, &code_point);
        if (bytes == 0)
            return false;
        i += bytes;
    }
    return true;
}

/* True if the bytes up to the end of the text are the beginning of a character that was cut. */
static bool cut_off(const char *text, size_t len)
{
    uint8_t first = (uint8_t)text[0];
    size_t wanted = first >= 0xf8 ? 0 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
    if (len >= wanted)
        return false;
    for (size_t i = 1; i < len; i++) {
        if (((uint8_t)text[i] & 0xc0) != 0x80)
            return false;
    }
    return true;
}

void str_make_line(char *text)
{
    size_t len = strlen(text);
    size_t out = 0;
    for (size_t i = 0; i < len;) {
        uint32_t code_point;
        size_t bytes = utf8_decode(text + i, len - i, &code_point);
        if (bytes == 0 && cut_off(text + i, len - i))
            break;
        if (bytes == 0) {
            text[out++] = '?';
            i++;
            continue;
        }
        /* C0, DEL, C1, and the two separators that many readers take for a newline */
        if (code_point < 0x20 || (code_point >= 0x7f && code_point < 0xa0) || code_point == 0x2028 ||
            code_point == 0x2029) {
            text[out++] = ' ';
        } else {
            memmove(text + out, text + i, bytes);
            out += bytes;
        }
        i += bytes;
    }
    text[out] = '\0';
}

int str_parse_u64(const char *text, uint64_t max, uint64_t *out)
{
    if (text == NULL || *text == '\0')
        return -EINVAL;
    for (const char *at = text; *at != '\0'; at++) {
        if (!ascii_is_digit(*at))
            return -EINVAL;
    }
    uint64_t value = 0;
    for (const char *at = text; *at != '\0'; at++) {
        if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value) || value > max)
            return -ERANGE;
    }
    *out = value;
    return 0;
}

int str_parse_duration_ms(const char *text, int64_t *out_ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {
        {"ms", 1},          {"s", 1000},         {"min", 60 * 1000},      {"m", 60 * 1000},
        {"h", 3600 * 1000}, {"d", 86400 * 1000}, {"w", 7 * 86400 * 1000},
    };
    if (text == NULL)
        return -EINVAL;
    size_t digits = strspn(text, "0123456789");
    char number[20];
    if (digits == 0 || digits >= sizeof(number))
        return -EINVAL;
    memcpy(number, text, digits);
    number[digits] = '\0';
    uint64_t count;
    if (str_parse_u64(number, INT64_MAX, &count) < 0)
        return -EINVAL;
    if (text[digits] == '\0' && count == 0) {
        *out_ms = 0;
        return 0;
    }
    for (size_t i = 0; i < countof(units); i++) {
        int64_t ms;
        if (strcmp(text + digits, units[i].unit) != 0)
            continue;
        if (__builtin_mul_overflow((int64_t)count, units[i].ms, &ms))
            return -EINVAL;
        *out_ms = ms;
        return 0;
    }
    return -EINVAL;
}
