/* Base64, four characters at a time. Bits that padding leaves over must be zero, so each run of bytes has one form. */
#include "tests/sink/base64.h"

#include <stdint.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct text *out, const char *bytes, size_t length)
{
    const unsigned char *in = (const unsigned char *)bytes;

    for (size_t at = 0; at < length; at += 3) {
        size_t left = length - at;
        uint32_t group = (uint32_t)in[at] << 16;
        char four[4];

        group |= left > 1 ? (uint32_t)in[at + 1] << 8 : 0;
        group |= left > 2 ? in[at + 2] : 0;
        four[0] = digits[group >> 18];
        four[1] = digits[group >> 12 & 63];
        four[2] = '=';
        four[3] = '=';
        if (left > 1)
            four[2] = digits[group >> 6 & 63];
        if (left > 2)
            four[3] = digits[group & 63];
        text_add(out, four, sizeof(four));
    }
}

bool base64_decode(struct text *out, const char *encoded, size_t length)
{
    size_t padding = 0;

    if (length % 4 != 0)
        return false;
    while (padding < 2 && padding < length && encoded[length - 1 - padding] == '=')
        padding++;
    for (size_t at = 0; at < length; at += 4) {
        size_t given = at + 4 == length ? 4 - padding : 4;
        uint32_t group = 0;
        char three[3];

        for (size_t i = 0; i < 4; i++) {
            const char *digit = i < given && encoded[at + i] != '\0' ? strchr(digits, encoded[at + i]) : NULL;

            if (i < given && digit == NULL)
                return false;
            group = group << 6 | (digit == NULL ? 0 : (uint32_t)(digit - digits));
        }
        if ((given == 2 && (group & 0xffff) != 0) || (given == 3 && (group & 0xff) != 0))
            return false;
        three[0] = (char)(group >> 16);
        three[1] = (char)(group >> 8 & 0xff);
        three[2] = (char)(group & 0xff);
        text_add(out, three, given - 1);
    }
    return true;
}
