/*
 * base64.c - the strict reader. What two readers would take differently (padding in the middle or missing, bits that
 * are left over, a stray digit) is refused, so that nobody sees other bytes than were sent.
 */
#include "base/base64.h"

#include <errno.h>

#include "base/str.h"

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

ssize_t base64_decode(const char *text, size_t len, bool spaces, void *out)
{
    uint8_t *to = out;
    uint32_t bits = 0;
    unsigned digits = 0, padding = 0; /* of the group that is not whole */
    for (size_t i = 0; i < len; i++) {
        if (spaces && ascii_is_space(text[i]))
            continue;
        if (text[i] == '=' && digits >= 2 && digits + padding < 4) {
            padding++;
            continue;
        }
        int value = value_of(text[i]);
        if (value < 0 || padding > 0)
            return -EINVAL;
        bits = bits << 6 | (uint32_t)value;
        if (++digits < 4)
            continue;
        *to++ = (uint8_t)(bits >> 16);
        *to++ = (uint8_t)(bits >> 8);
        *to++ = (uint8_t)bits;
        bits = 0;
        digits = 0;
    }
    if (digits > 0) {
        uint32_t spare = digits == 2 ? 15 : 3; /* bits that say nothing */
        if (digits + padding != 4 || (bits & spare) != 0)
            return -EINVAL;
        bits <<= 6 * padding;
        *to++ = (uint8_t)(bits >> 16);
        if (digits == 3)
            *to++ = (uint8_t)(bits >> 8);
    }
    return to - (uint8_t *)out;
}
