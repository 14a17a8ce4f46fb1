/*
 * address.c - RFC 5321 section 4.1.2 Mailbox into its normal form.
 *
 * Success means that the result can be put into a command and a header as it is: no byte in it needs quoting, none is a
 * control, and parsing it again gives the same bytes. It does not mean that the mailbox exists. The domain is looked at
 * in plain ASCII first; libidn2 is asked only about labels that are not ASCII or claim to be A-labels ("xn--"), because
 * an import of millions of rows is nearly all plain.
 *
 * Stricter than RFC 6531 in one point: invisible characters (no-break and zero-width spaces, direction marks) are
 * refused in a local part, as in real lists they are always damage from copying, and the address would look right to
 * everybody who tries to find the fault.
 *
 * And in another: "=?" in a local part is atom text by the grammar, but a careless reader of a header decodes what
 * follows (RFC 2047). No header of ours may hold it, so it is refused here, where somebody is told. What was stored
 * before it was refused can still be found: address_parse_stored().
 */
#include "base/address.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <idn2.h>

#include "base/str.h"

#define LABEL_MAX_BYTES 63
/* UTF-8 is at most this much longer than its A-label form; more is not worth converting. */
#define DOMAIN_INPUT_MAX_BYTES 1020

/* Per byte: may stand in an atom of a local part (RFC 5321 atext), in a domain label. */
enum { CLASS_ATEXT = 1, CLASS_LDH = 2 };
#define BOTH (CLASS_ATEXT | CLASS_LDH)
static const uint8_t classes[256] = {
    ['a' ... 'z'] = BOTH, ['A' ... 'Z'] = BOTH, ['0' ... '9'] = BOTH, ['-'] = BOTH,        ['!'] = CLASS_ATEXT,
    ['#'] = CLASS_ATEXT,  ['$'] = CLASS_ATEXT,  ['%'] = CLASS_ATEXT,  ['&'] = CLASS_ATEXT, ['\''] = CLASS_ATEXT,
    ['*'] = CLASS_ATEXT,  ['+'] = CLASS_ATEXT,  ['/'] = CLASS_ATEXT,  ['='] = CLASS_ATEXT, ['?'] = CLASS_ATEXT,
    ['^'] = CLASS_ATEXT,  ['_'] = CLASS_ATEXT,  ['`'] = CLASS_ATEXT,  ['{'] = CLASS_ATEXT, ['|'] = CLASS_ATEXT,
    ['}'] = CLASS_ATEXT,  ['~'] = CLASS_ATEXT,
};

static bool is_class(char c, uint8_t class_)
{
    return (classes[(uint8_t)c] & class_) != 0;
}

static bool is_a_label(const char *label, size_t len)
{
    return len >= 4 && ascii_lower(label[0]) == 'x' && ascii_lower(label[1]) == 'n' && label[2] == '-' &&
           label[3] == '-';
}

/* One ASCII label, lower-cased into `out` (which has room for LABEL_MAX_BYTES). */
static int label_check(const char *label, size_t len, char *out, struct error *err)
{
    if (len == 0)
        return error_set(err, -EINVAL,
                         "the domain has an empty label (two dots together, or a dot at its start or end)");
    if (len > LABEL_MAX_BYTES)
        return error_set(err, -EINVAL, "a label of the domain is longer than %d bytes", LABEL_MAX_BYTES);
    for (size_t i = 0; i < len; i++) {
        if (!is_class(label[i], CLASS_LDH)) {
            if (label[i] > ' ' && label[i] < 0x7f)
                return error_set(err, -EINVAL, "the domain contains '%c'", label[i]);
            return error_set(err, -EINVAL, "the domain contains a %s",
                             label[i] == ' ' || label[i] == '\t' ? "space" : "control character");
        }
        out[i] = ascii_lower(label[i]);
    }
    if (out[0] == '-' || out[len - 1] == '-')
        return error_set(err, -EINVAL, "a label of the domain begins or ends with a hyphen");
    return 0;
}

/* Asks libidn2 for the A-label form of `text` (NUL-terminated, without inner NUL); `out` has room for DOMAIN_MAX_BYTES
 * + 1. */
static int idn_convert(const char *text, char *out, struct error *err)
{
    uint8_t *ascii = NULL;
    int rc = idn2_lookup_u8((const uint8_t *)text, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (rc == IDN2_MALLOC)
        return error_memory(err);
    if (rc != IDN2_OK || ascii == NULL)
        return error_set(err, -EINVAL, "the domain is not a valid internationalised name (%s)", idn2_strerror(rc));
    bool fits = str_copy(out, DOMAIN_MAX_BYTES + 1, (const char *)ascii);
    idn2_free(ascii);
    return fits ? 0 : error_set(err, -EINVAL, "the domain is longer than %d bytes", DOMAIN_MAX_BYTES);
}

static int a_label_check(const char *label, size_t len, struct error *err)
{
    char text[LABEL_MAX_BYTES + 1];
    char converted[DOMAIN_MAX_BYTES + 1];
    memcpy(text, label, len);
    text[len] = '\0';
    int rc = idn_convert(text, converted, err);
    if (rc < 0)
        return rc;
    if (strcmp(text, converted) != 0)
        return error_set(err, -EINVAL, "the domain is not a valid internationalised name (%s is not in normal form)",
                         text);
    return 0;
}

/* `text` is ASCII. */
static int ascii_domain(const char *text, size_t len, char *out, struct error *err)
{
    if (len > DOMAIN_MAX_BYTES)
        return error_set(err, -EINVAL, "the domain is longer than %d bytes", DOMAIN_MAX_BYTES);
    size_t labels = 0;
    size_t start = 0;
    for (;;) {
        const char *dot = memchr(text + start, '.', len - start);
        size_t label_len = dot != NULL ? (size_t)(dot - text) - start : len - start;
        int rc = label_check(text + start, label_len, out + start, err);
        if (rc == 0 && is_a_label(text + start, label_len))
            rc = a_label_check(out + start, label_len, err);
        if (rc < 0)
            return rc;
        labels++;
        if (dot == NULL)
            break;
        out[start + label_len] = '.';
        start += label_len + 1;
    }
    out[len] = '\0';
    if (labels < 2)
        return error_set(err, -EINVAL, "the domain has no dot");
    if (strspn(out + start, "0123456789") == len - start)
        return error_set(err, -EINVAL, "the domain is a number or an IP address, not a name");
    return 0;
}

int domain_normalise(const char *text, size_t len, char out[DOMAIN_MAX_BYTES + 1], struct error *err)
{
    if (len == 0)
        return error_set(err, -EINVAL, "the domain is empty");
    if (text[0] == '[')
        return error_set(err, -EINVAL, "the domain is an address literal");
    bool ascii = true;
    for (size_t i = 0; i < len && ascii; i++)
        ascii = (uint8_t)text[i] < 0x80;
    if (ascii)
        return ascii_domain(text, len, out, err);

    if (len > DOMAIN_INPUT_MAX_BYTES)
        return error_set(err, -EINVAL, "the domain is longer than %d bytes", DOMAIN_MAX_BYTES);
    if (!utf8_valid(text, len))
        return error_set(err, -EINVAL, "the domain is not valid UTF-8");
    char whole[DOMAIN_INPUT_MAX_BYTES + 1];
    char converted[DOMAIN_MAX_BYTES + 1];
    for (size_t i = 0; i < len; i++) {
        if ((uint8_t)text[i] <= ' ' || text[i] == 0x7f)
            return error_set(err, -EINVAL, "the domain contains a %s", text[i] == ' ' ? "space" : "control character");
        whole[i] = text[i];
    }
    whole[len] = '\0';
    int rc = idn_convert(whole, converted, err);
    /* Mapping may bring in anything (a full-width '@' becomes '@'), so the result has to pass as a plain name too. */
    return rc < 0 ? rc : ascii_domain(converted, strlen(converted), out, err);
}

/* White space, direction marks and the like that no one can see. U+200C and U+200D are letters' joiners and stay. */
static bool is_invisible(uint32_t c)
{
    return c == 0xa0 || c == 0xad || c == 0x1680 || (c >= 0x2000 && c <= 0x200b) || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202f) || (c >= 0x205f && c <= 0x206f) || c == 0x3000 || c == 0xfeff ||
           (c >= 0xfff9 && c <= 0xfffb) || (c & 0xfffe) == 0xfffe || (c >= 0xfdd0 && c <= 0xfdef) ||
           (c >= 0xe0000 && c <= 0xe0fff);
}

static int refuse_local_char(char c, struct error *err)
{
    switch (c) {
    case '@':
        return error_set(err, -EINVAL, "the address has more than one '@'");
    case '<':
    case '>':
        return error_set(err, -EINVAL, "the address has angle brackets; give the bare address");
    case '(':
    case ')':
        return error_set(err, -EINVAL, "the address has a comment in parentheses");
    case ' ':
    case '\t':
        return error_set(err, -EINVAL, "the local part contains a space");
    default:
        break;
    }
    if ((uint8_t)c < ' ' || c == 0x7f)
        return error_set(err, -EINVAL, "the local part contains a control character");
    return error_set(err, -EINVAL, "the local part contains '%c'", c);
}

/* Checks one non-ASCII character at `text`; its length in bytes, or -EINVAL. */
static int utf8_char_check(const char *text, size_t len, struct error *err)
{
    uint32_t c;
    size_t bytes = utf8_decode(text, len, &c);
    if (bytes == 0)
        return error_set(err, -EINVAL, "the local part is not valid UTF-8");
    if (c >= 0x80 && c < 0xa0)
        return error_set(err, -EINVAL, "the local part contains a control character");
    if (is_invisible(c))
        return error_set(err, -EINVAL, "the local part contains the invisible character U+%04X", (unsigned)c);
    return (int)bytes;
}

/* A dot-string (RFC 5321, RFC 6531 section 3.3) into `out`. */
static int local_dot_string(const char *text, size_t len, struct address *out, struct error *err)
{
    if (len == 0)
        return error_set(err, -EINVAL, "the local part (before the '@') is empty");
    if (len > ADDRESS_LOCAL_MAX_BYTES)
        return error_set(err, -EINVAL, "the local part is longer than %d bytes", ADDRESS_LOCAL_MAX_BYTES);
    bool dot_allowed = false;
    for (size_t i = 0; i < len;) {
        char c = text[i];
        if (is_class(c, CLASS_ATEXT)) {
            out->text[i++] = ascii_lower(c);
            dot_allowed = true;
        } else if (c == '.') {
            if (!dot_allowed)
                return error_set(err, -EINVAL,
                                 i == 0 ? "the local part begins with a dot" : "the local part has two dots together");
            out->text[i++] = c;
            dot_allowed = false;
        } else if ((uint8_t)c >= 0x80) {
            int bytes = utf8_char_check(text + i, len - i, err);
            if (bytes < 0)
                return bytes;
            memcpy(out->text + i, text + i, (size_t)bytes);
            i += (size_t)bytes;
            out->utf8 = true;
            dot_allowed = true;
        } else {
            return refuse_local_char(c, err);
        }
    }
    if (!dot_allowed)
        return error_set(err, -EINVAL, "the local part ends with a dot");
    out->at = (uint16_t)len;
    return 0;
}

/* A quoted string at `text`; *consumed is its length with both quotes. Only a content that needs no quotes is accepted.
 */
static int local_quoted(const char *text, size_t len, size_t *consumed, struct address *out, struct error *err)
{
    char content[ADDRESS_LOCAL_MAX_BYTES];
    size_t used = 0;
    size_t i = 1;
    for (; i < len && text[i] != '"'; i++) {
        if (text[i] == '\\' && ++i == len)
            break;
        if (used == sizeof(content))
            return error_set(err, -EINVAL, "the local part is longer than %d bytes", ADDRESS_LOCAL_MAX_BYTES);
        content[used++] = text[i];
    }
    if (i >= len)
        return error_set(err, -EINVAL, "the quoted local part is not closed");
    *consumed = i + 1;
    struct error ignored;
    if (local_dot_string(content, used, out, &ignored) < 0)
        return error_set(err, -EINVAL, "the local part is quoted and needs its quotes, which few servers accept");
    return 0;
}

int address_parse_stored(const char *text, size_t len, struct address *out, struct error *err)
{
    while (len > 0 && ascii_is_space(text[0])) {
        text++;
        len--;
    }
    while (len > 0 && ascii_is_space(text[len - 1]))
        len--;
    if (len == 0)
        return error_set(err, -EINVAL, "the address is empty");
    if (text[0] == '@' && memchr(text, ':', len) != NULL)
        return error_set(err, -EINVAL, "the address has a source route");

    *out = (struct address){.utf8 = false};
    size_t local_len = 0;
    int rc;
    if (text[0] == '"') {
        rc = local_quoted(text, len, &local_len, out, err);
        if (rc == 0 && (local_len == len || text[local_len] != '@'))
            rc = error_set(err, -EINVAL, "the address has no '@' after the quoted local part");
    } else {
        const char *at = memrchr(text, '@', len);
        if (at == NULL)
            return error_set(err, -EINVAL, "the address has no '@'");
        local_len = (size_t)(at - text);
        rc = local_dot_string(text, local_len, out, err);
    }
    if (rc < 0)
        return rc;

    char domain[DOMAIN_MAX_BYTES + 1];
    rc = domain_normalise(text + local_len + 1, len - local_len - 1, domain, err);
    if (rc < 0)
        return rc;
    out->text[out->at] = '@';
    if (!str_copy(out->text + out->at + 1, sizeof(out->text) - out->at - 1, domain))
        return error_set(err, -EINVAL, "the address is longer than %d bytes", ADDRESS_MAX_BYTES);
    return 0;
}

int address_parse(const char *text, size_t len, struct address *out, struct error *err)
{
    int rc = address_parse_stored(text, len, out, err);
    if (rc == 0 && memmem(out->text, out->at, "=?", 2) != NULL)
        return error_set(err, -EINVAL, "the local part contains \"=?\", which begins an encoded word in a header");
    return rc;
}
