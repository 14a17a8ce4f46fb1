/*
 * attributes.c - JSON text of a recipient's attributes. See attributes.h.
 *
 * Escaped are the quote, the backslash and the control characters below SP (RFC 8259 section 7); everything else goes
 * through as it is. Bytes above ASCII send the whole value through the UTF-8 check once.
 */
#include "base/attr.h"
#include "base/str.h"

#include "campaign/audience/attributes.h"

enum byte_kind { PLAIN, ESCAPED, HIGH, NUL_BYTE };

static enum byte_kind kind_of(unsigned char c)
{
    if (c >= 0x80)
        return HIGH;
    if (c >= 0x20)
        return c == '"' || c == '\\' ? ESCAPED : PLAIN;
    return c == '\0' ? NUL_BYTE : ESCAPED;
}

/* Writes the escape of `c` at `out`; returns the bytes written, 2 or 6. */
static size_t write_escape(char *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char short_forms[][2] = {{'"', '"'}, {'\\', '\\'}, {'\n', 'n'}, {'\r', 'r'}, {'\t', 't'}};
    for (size_t i = 0; i < countof(short_forms); i++) {
        if ((unsigned char)short_forms[i][0] == c) {
            out[0] = '\\';
            out[1] = short_forms[i][1];
            return 2;
        }
    }
    memcpy(out, "\\u00", 4);
    out[4] = hex[c >> 4];
    out[5] = hex[c & 15];
    return 6;
}

const char *attributes_append_string(struct buffer *out, const char *text, size_t len)
{
    if (len > (SIZE_MAX - 2) / 6 || buffer_reserve(out, 6 * len + 2) != 0)
        return NULL;
    char *write = out->data + out->len;
    bool high = false;
    *write++ = '"';
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        switch (kind_of(c)) {
        case HIGH:
            high = true;
            *write++ = (char)c;
            break;
        case PLAIN:
            *write++ = (char)c;
            break;
        case ESCAPED:
            write += write_escape(write, c);
            break;
        case NUL_BYTE:
            return "holds a NUL byte";
        }
    }
    if (high && !utf8_valid(text, len))
        return "is not valid UTF-8";
    *write++ = '"';
    *write = '\0';
    out->len = (size_t)(write - out->data);
    return NULL;
}

const char *attributes_check_name(const char *name, size_t len)
{
    if (len > ATTRIBUTE_NAME_MAX_BYTES)
        return "is longer than 128 bytes";
    if (!utf8_valid(name, len))
        return "is not valid UTF-8";
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return "holds a control character";
    }
    return NULL;
}
