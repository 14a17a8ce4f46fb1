/*
 * spf_macro.c - macros of RFC 7208 section 7: "%{ir}.%{v}._spf.%{d2}".
 *
 * The letters c, r and t are for explanations only, which are not made here.
 */
#include "campaign/preflight/spf_private.h"

#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/str.h"

#define PARTS_MAX 128
#define TEXT_MAX 2048 /* an expansion that is longer is cut to a name anyway */

static bool is_delimiter(char c)
{
    return c != '\0' && strchr(".-+,/_=", c) != NULL;
}

static bool is_alnum(char c)
{
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || ascii_is_digit(c);
}

struct macro {
    char letter; /* as written; upper case: URL-escaped */
    unsigned keep;
    bool reverse;
    const char *delimiters;
    size_t delimiter_count;
};

/* Reads "{…}" behind the percent sign: its length, or 0 when it is none. */
static size_t read_macro(const char *text, size_t len, struct macro *out)
{
    size_t at = 1;
    *out = (struct macro){0};
    if (len < 3 || text[0] != '{' || strchr("slodiphv", ascii_lower(text[1])) == NULL)
        return 0;
    out->letter = text[at++];
    bool digits = at < len && ascii_is_digit(text[at]);
    while (at < len && ascii_is_digit(text[at])) {
        out->keep = MIN_OF(out->keep * 10 + (unsigned)(text[at] - '0'), 1000u);
        at++;
    }
    if (digits && out->keep == 0)
        return 0;
    if (at < len && ascii_lower(text[at]) == 'r') {
        out->reverse = true;
        at++;
    }
    out->delimiters = text + at;
    while (at < len && is_delimiter(text[at])) {
        out->delimiter_count++;
        at++;
    }
    return at < len && text[at] == '}' ? at + 1 : 0;
}

/* "." toplabel ["."] at the end: letters, digits and inner hyphens, not digits alone. */
static bool ends_like_a_name(const char *text, size_t len)
{
    if (len > 0 && text[len - 1] == '.')
        len--;
    size_t at = len;
    bool other = false;
    while (at > 0 && (is_alnum(text[at - 1]) || text[at - 1] == '-')) {
        other |= !ascii_is_digit(text[at - 1]);
        at--;
    }
    return at > 0 && at < len && text[at - 1] == '.' && other && text[at] != '-' && text[len - 1] != '-';
}

bool spf_macro_valid(const char *text, size_t len, bool domain)
{
    size_t literal_from = 0; /* what stands behind the last macro */
    bool ends_with_macro = false;
    for (size_t at = 0; at < len;) {
        struct macro macro;
        ends_with_macro = false;
        if (text[at] < 0x21 || text[at] > 0x7e)
            return false;
        if (text[at] != '%') {
            at++;
            continue;
        }
        if (at + 1 < len && strchr("%_-", text[at + 1]) != NULL) {
            at += 2;
        } else {
            size_t used = read_macro(text + at + 1, len - at - 1, &macro);
            if (used == 0)
                return false;
            at += 1 + used;
        }
        ends_with_macro = true; /* "%%" and its like are macro-expands too */
        literal_from = at;
    }
    if (!domain)
        return true;
    return ends_with_macro || ends_like_a_name(text + literal_from, len - literal_from);
}

static void nibbles(const struct spf_ip *ip, char out[80])
{
    static const char digits[] = "0123456789abcdef";
    size_t at = 0;
    if (!ip->v6) {
        (void)snprintf(out, 80, "%u.%u.%u.%u", ip->bytes[0], ip->bytes[1], ip->bytes[2], ip->bytes[3]);
        return;
    }
    for (size_t i = 0; i < 16; i++) {
        out[at++] = digits[ip->bytes[i] >> 4];
        out[at++] = '.';
        out[at++] = digits[ip->bytes[i] & 15];
        out[at++] = '.';
    }
    out[at - 1] = '\0';
}

static void macro_value(struct spf_run *run, const char *domain, char letter, char *out, size_t bytes)
{
    char ip[80], name[SPF_NAME_BYTES];
    switch (ascii_lower(letter)) {
    case 's':
        (void)snprintf(out, bytes, "%s@%s", run->local, run->sender_domain);
        break;
    case 'l':
        (void)str_copy(out, bytes, run->local);
        break;
    case 'o':
        (void)str_copy(out, bytes, run->sender_domain);
        break;
    case 'd':
        (void)str_copy(out, bytes, domain);
        break;
    case 'i':
        nibbles(&run->ip, ip);
        (void)str_copy(out, bytes, ip);
        break;
    case 'p':
        spf_validated_name(run, domain, true, name);
        (void)str_copy(out, bytes, name[0] != '\0' ? name : "unknown");
        break;
    case 'v':
        (void)str_copy(out, bytes, run->ip.v6 ? "ip6" : "in-addr");
        break;
    default:
        (void)str_copy(out, bytes, run->query->helo != NULL ? run->query->helo : "");
        break;
    }
}

static void append_escaped(struct buffer *out, const char *text, size_t len, bool escape)
{
    for (size_t i = 0; i < len; i++) {
        if (escape && !is_alnum(text[i]) && strchr("-._~", text[i]) == NULL)
            buffer_printf(out, "%%%02X", (unsigned char)text[i]);
        else
            buffer_append_char(out, text[i]);
    }
}

static void append_macro(struct spf_run *run, const char *domain, const struct macro *macro, struct buffer *out)
{
    char value[1024];
    struct {
        const char *at;
        size_t len;
    } parts[PARTS_MAX];
    size_t count = 0, start = 0;
    macro_value(run, domain, macro->letter, value, sizeof value);
    const char *delimiters = macro->delimiter_count > 0 ? macro->delimiters : ".";
    size_t delimiter_count = MAX_OF(macro->delimiter_count, (size_t)1);
    size_t len = strlen(value);
    for (size_t i = 0; i <= len; i++) {
        if (i < len && (memchr(delimiters, value[i], delimiter_count) == NULL || count + 1 >= PARTS_MAX))
            continue;
        parts[count].at = value + start;
        parts[count++].len = i - start;
        start = i + 1;
    }
    size_t keep = macro->keep == 0 ? count : MIN_OF((size_t)macro->keep, count);
    bool escape = macro->letter != ascii_lower(macro->letter);
    for (size_t i = 0; i < keep; i++) {
        size_t index = macro->reverse ? keep - 1 - i : count - keep + i;
        if (i > 0)
            buffer_append_char(out, '.');
        append_escaped(out, parts[index].at, parts[index].len, escape);
    }
}

void spf_macro_expand(struct spf_run *run, const char *domain, const char *text, size_t len, char out[SPF_NAME_BYTES])
{
    struct buffer all = BUFFER_INIT(TEXT_MAX);
    for (size_t at = 0; at < len;) {
        struct macro macro;
        if (text[at] != '%') {
            buffer_append_char(&all, text[at++]);
            continue;
        }
        char next = at + 1 < len ? text[at + 1] : '\0';
        size_t used = read_macro(text + at + 1, len - at - 1, &macro);
        if (used > 0)
            append_macro(run, domain, &macro, &all);
        else
            buffer_append_str(&all, next == '_' ? " " : next == '-' ? "%20" : "%");
        at += used > 0 ? 1 + used : 2;
    }
    const char *name = all.failed ? "" : buffer_text(&all);
    size_t name_len = strlen(name);
    if (name_len > 0 && name[name_len - 1] == '.')
        name_len--;
    while (name_len > 253) {
        const char *dot = memchr(name, '.', name_len);
        size_t cut = dot != NULL ? (size_t)(dot - name) + 1 : name_len;
        name += cut;
        name_len -= cut;
    }
    memcpy(out, name, name_len);
    out[name_len] = '\0';
    buffer_finish(&all);
}
