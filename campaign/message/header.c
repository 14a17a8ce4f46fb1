/*
 * header.c - writes header fields, so that no value can end its field, begin another one, or decode to something that
 * does.
 *
 * Every text goes through clean() first: after it there are no control characters (C0, DEL, C1), no line or paragraph
 * separators and no bytes that are not UTF-8. Text that needs it becomes encoded words as a whole, so that the white
 * space in it survives (RFC 2047 section 6.2 drops what stands between two encoded words). The Q form uses only what is
 * allowed in a phrase (section 5 rule 3), so one encoder serves all places.
 *
 * Success means that exactly one field was appended, ended by CRLF. Whether the field makes sense is the caller's
 * question.
 */
#include "campaign/message/header.h"

#include <string.h>

#include "base/address.h"
#include "base/str.h"

#define FOLD_BYTES 78          /* RFC 5322 section 2.1.1, CRLF left out */
#define WORD_MAX_BYTES 900     /* an unbreakable run of this length still fits a line of 998 */
#define ENCODED_MAX_BYTES 75   /* RFC 2047 section 2 */
#define ENCODED_FRAME_BYTES 12 /* "=?utf-8?Q?" and "?=" */
#define SEGMENT_BYTES 55       /* " filename*99*=utf-8''", this and ";" make a line of 78 */
#define QUOTED_MAX_BYTES 60    /* longer display names are encoded, which can be folded */

struct clean {
    char text[HEADER_VALUE_MAX_BYTES + 1];
    size_t len;
    bool ascii;
};

static bool is_separator(uint32_t code_point)
{
    return code_point < 0x20 || (code_point >= 0x7f && code_point <= 0x9f) || code_point == 0x2028 ||
           code_point == 0x2029;
}

static void clean(struct clean *clean, const char *text, size_t len)
{
    clean->len = 0;
    clean->ascii = true;
    for (size_t i = 0; i < len;) {
        uint32_t code_point = 0;
        size_t n = utf8_decode(text + i, len - i, &code_point);
        size_t take = n > 0 ? n : 1;
        if (clean->len + take > HEADER_VALUE_MAX_BYTES)
            break;
        if (n == 0) {
            clean->text[clean->len++] = '?';
        } else if (is_separator(code_point)) {
            clean->text[clean->len++] = ' ';
        } else {
            memcpy(clean->text + clean->len, text + i, n);
            clean->len += n;
            if (n > 1)
                clean->ascii = false;
        }
        i += take;
    }
    while (clean->len > 0 && clean->text[clean->len - 1] == ' ')
        clean->len--;
    size_t leading = 0;
    while (leading < clean->len && clean->text[leading] == ' ')
        leading++;
    memmove(clean->text, clean->text + leading, clean->len - leading);
    clean->len -= leading;
    clean->text[clean->len] = '\0';
}

/* The longest run that append_words() puts on one line: a word with the white space before it. */
static size_t longest_run(const char *text)
{
    size_t longest = 0;
    for (const char *p = text; *p != '\0';) {
        size_t n = strspn(p, " ");
        n += strcspn(p + n, " ");
        longest = MAX_OF(longest, n);
        p += n;
    }
    return longest;
}

/* Printable ASCII that nobody would take for encoded words, with places to fold at. */
static bool is_plain(const struct clean *clean)
{
    return clean->ascii && strstr(clean->text, "=?") == NULL && longest_run(clean->text) <= WORD_MAX_BYTES;
}

static size_t begin_field(struct buffer *out, const char *name)
{
    buffer_append_str(out, name);
    buffer_append_char(out, ':');
    return strlen(name) + 1;
}

/* Words as they stand, each with the white space before it; the line ends before that white space. */
static size_t append_words(struct buffer *out, size_t column, const char *text)
{
    buffer_append_char(out, ' ');
    column++;
    for (const char *p = text; *p != '\0';) {
        size_t spaces = strspn(p, " ");
        size_t n = spaces + strcspn(p + spaces, " ");
        if (spaces > 0 && column + n > FOLD_BYTES) {
            buffer_append(out, "\r\n", 2);
            column = 0;
        }
        buffer_append(out, p, n);
        column += n;
        p += n;
    }
    return column;
}

static bool is_q_literal(char c)
{
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || ascii_is_digit(c) || (c != '\0' && strchr("!*+-/", c) != NULL);
}

static size_t q_bytes(const char *text, size_t len)
{
    size_t bytes = 0;
    for (size_t i = 0; i < len; i++)
        bytes += is_q_literal(text[i]) || text[i] == ' ' ? 1 : 3;
    return bytes;
}

static void append_q(struct buffer *out, const char *text, size_t len)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)text[i];
        if (text[i] == ' ')
            buffer_append_char(out, '_');
        else if (is_q_literal(text[i]))
            buffer_append_char(out, text[i]);
        else
            buffer_append(out, (char[]){'=', hex[c >> 4], hex[c & 15]}, 3);
    }
}

static void append_b(struct buffer *out, const char *text, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        uint32_t three = (uint32_t)(uint8_t)text[i] << 16;
        if (i + 1 < len)
            three |= (uint32_t)(uint8_t)text[i + 1] << 8;
        if (i + 2 < len)
            three |= (uint8_t)text[i + 2];
        buffer_append(out,
                      (char[]){digits[three >> 18], digits[three >> 12 & 63],
                               i + 1 < len ? digits[three >> 6 & 63] : '=', i + 2 < len ? digits[three & 63] : '='},
                      4);
    }
}

/* How much of `text` (whole characters, RFC 2047 section 5) one encoded word of `room` characters of payload takes. */
static size_t encoded_take(const char *text, size_t len, size_t room, bool base64)
{
    size_t take = 0;
    size_t used = 0;
    while (take < len) {
        size_t n = utf8_decode(text + take, len - take, &(uint32_t){0});
        size_t cost = base64 ? 0 : q_bytes(text + take, n);
        size_t total = base64 ? (take + n + 2) / 3 * 4 : used + cost;
        if (total > room)
            break;
        take += n;
        used += cost;
    }
    return take;
}

static size_t append_encoded(struct buffer *out, size_t column, const struct clean *clean)
{
    bool base64 = (clean->len + 2) / 3 * 4 < q_bytes(clean->text, clean->len);
    const char *p = clean->text;
    size_t left = clean->len;
    while (left > 0) {
        size_t room = column + 1 < ENCODED_MAX_BYTES ? ENCODED_MAX_BYTES - column - 1 : 0;
        room = room > ENCODED_FRAME_BYTES ? room - ENCODED_FRAME_BYTES : 0;
        size_t take = encoded_take(p, left, room, base64);
        /* A word of a few characters is not worth its frame: rather begin a line. */
        if (take < left && room < 20) {
            buffer_append(out, "\r\n", 2);
            column = 0;
            room = ENCODED_MAX_BYTES - 1 - ENCODED_FRAME_BYTES;
            take = encoded_take(p, left, room, base64);
        }
        size_t before = out->len;
        buffer_append_str(out, base64 ? " =?utf-8?B?" : " =?utf-8?Q?");
        if (base64)
            append_b(out, p, take);
        else
            append_q(out, p, take);
        buffer_append(out, "?=", 2);
        column += out->len - before;
        p += take;
        left -= take;
        if (left > 0) {
            buffer_append(out, "\r\n", 2);
            column = 0;
        }
    }
    return column;
}

void header_text(struct buffer *out, const char *name, const char *text, size_t len)
{
    struct clean value;
    clean(&value, text, len);
    size_t column = begin_field(out, name);
    if (is_plain(&value))
        (void)append_words(out, column, value.text);
    else
        (void)append_encoded(out, column, &value);
    buffer_append(out, "\r\n", 2);
}

static bool is_atoms(const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        char lower = ascii_lower(*p);
        bool atext = (lower >= 'a' && lower <= 'z') || ascii_is_digit(*p) || strchr("!#$%&'*+-/=?^_`{|}~ ", *p) != NULL;
        if (!atext)
            return false;
    }
    return true;
}

static void append_quoted(struct buffer *out, const char *text)
{
    buffer_append_char(out, '"');
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\')
            buffer_append_char(out, '\\');
        buffer_append_char(out, *p);
    }
    buffer_append_char(out, '"');
}

static size_t append_phrase(struct buffer *out, size_t column, const struct clean *phrase)
{
    if (!is_plain(phrase))
        return append_encoded(out, column, phrase);
    if (is_atoms(phrase->text))
        return append_words(out, column, phrase->text);
    if (phrase->len > QUOTED_MAX_BYTES)
        return append_encoded(out, column, phrase);
    size_t before = out->len;
    buffer_append_char(out, ' ');
    append_quoted(out, phrase->text);
    return column + (out->len - before);
}

void header_phrase_id(struct buffer *out, const char *name, const char *display, const char *id)
{
    struct clean phrase;
    clean(&phrase, display, strlen(display));
    size_t column = begin_field(out, name);
    if (phrase.len > 0)
        column = append_phrase(out, column, &phrase);
    if (column + strlen(id) + 3 > FOLD_BYTES && phrase.len > 0)
        buffer_append(out, "\r\n", 2);
    buffer_append(out, " <", 2);
    buffer_append_str(out, id);
    buffer_append_str(out, ">\r\n");
}

static bool is_attribute_literal(char c)
{
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || ascii_is_digit(c) || c == '-' || c == '.' || c == '_';
}

/* Whole characters, percent-encoded but for attribute-char of RFC 2231, as many as SEGMENT_BYTES take. */
static size_t append_segment(struct buffer *out, const char *text, size_t len)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t taken = 0;
    size_t used = 0;
    while (taken < len) {
        size_t n = utf8_decode(text + taken, len - taken, &(uint32_t){0});
        bool literal = is_attribute_literal(text[taken]);
        size_t cost = literal ? 1 : 3 * n;
        if (used + cost > SEGMENT_BYTES)
            break;
        for (size_t i = taken; i < taken + n && !literal; i++)
            buffer_append(out, (char[]){'%', hex[(uint8_t)text[i] >> 4], hex[(uint8_t)text[i] & 15]}, 3);
        if (literal)
            buffer_append_char(out, text[taken]);
        used += cost;
        taken += n;
    }
    return taken;
}

void header_disposition(struct buffer *out, const char *kind, const char *filename)
{
    struct clean name;
    clean(&name, filename, strlen(filename));
    (void)begin_field(out, "Content-Disposition");
    buffer_append_char(out, ' ');
    buffer_append_str(out, kind);
    buffer_append_str(out, ";\r\n filename");
    if (is_plain(&name) && name.len <= QUOTED_MAX_BYTES) {
        buffer_append_char(out, '=');
        append_quoted(out, name.text);
    } else {
        size_t encoded = 0;
        for (size_t i = 0; i < name.len; i++)
            encoded += is_attribute_literal(name.text[i]) ? 1 : 3;
        bool several = encoded > SEGMENT_BYTES;
        unsigned segment = 0;
        for (size_t at = 0; at < name.len || segment == 0; segment++) {
            if (segment > 0)
                buffer_append_str(out, ";\r\n filename");
            if (several)
                buffer_printf(out, "*%u", segment);
            buffer_append_str(out, segment == 0 ? "*=utf-8''" : "*=");
            at += append_segment(out, name.text + at, name.len - at);
        }
    }
    buffer_append(out, "\r\n", 2);
}

void header_mailbox(struct buffer *out, const char *name, const char *display, const char *address)
{
    if (display[0] != '\0') {
        header_phrase_id(out, name, display, address);
        return;
    }
    (void)begin_field(out, name);
    buffer_append_char(out, ' ');
    buffer_append_str(out, address);
    buffer_append(out, "\r\n", 2);
}

void header_raw(struct buffer *out, const char *name, const char *value)
{
    size_t len = 0;
    for (; value[len] != '\0'; len++)
        assure(value[len] >= ' ' && value[len] <= '~');
    assure(len <= WORD_MAX_BYTES);
    (void)begin_field(out, name);
    buffer_append_char(out, ' ');
    buffer_append(out, value, len);
    buffer_append(out, "\r\n", 2);
}

/* The domain of an address in normal form is A-labels: letters, digits, hyphens and dots (underscores are seen in the
 * wild). */
static bool is_domain_byte(char c)
{
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || ascii_is_digit(c) || c == '-' || c == '.' || c == '_';
}

bool header_address_valid(const char *address, bool *utf8)
{
    size_t len = strnlen(address, ADDRESS_MAX_BYTES + 1);
    const char *at = strchr(address, '@');
    *utf8 = false;
    if (len > ADDRESS_MAX_BYTES || at == NULL || at == address || at[1] == '\0')
        return false;
    for (const char *p = at + 1; *p != '\0'; p++)
        if (!is_domain_byte(*p))
            return false;
    size_t local_len = (size_t)(at - address);
    for (size_t i = 0; i < local_len;) {
        uint32_t code_point = 0;
        size_t n = utf8_decode(address + i, local_len - i, &code_point);
        if (n == 0 || is_separator(code_point))
            return false;
        if (n == 1 && strchr(" ()<>[]:;,\\\"", address[i]) != NULL)
            return false;
        *utf8 = *utf8 || n > 1;
        i += n;
    }
    /* Atom text, but a careless reader of the header would decode it. */
    return memmem(address, local_len, "=?", 2) == NULL;
}

bool header_name_valid(const char *name)
{
    size_t len = 0;
    for (; name[len] != '\0'; len++)
        if (name[len] <= ' ' || name[len] > '~' || name[len] == ':' || len >= 76)
            return false;
    return len > 0;
}

bool header_name_protected(const char *name)
{
    static const char *const fields[] = {
        "From",
        "To",
        "Cc",
        "Bcc",
        "Sender",
        "Reply-To",
        "Subject",
        "Date",
        "Message-ID",
        "Return-Path",
        "Received",
        "DKIM-Signature",
        "MIME-Version",
        "List-Id",
        "Feedback-ID",
        "Delivered-To",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
        "Received-SPF",
        "X-Return-Path",
        "DomainKey-Signature",
        "Authentication-Results",
    };
    static const char *const prefixes[] = {"Content-", "Resent-", "ARC-"};
    for (size_t i = 0; i < countof(fields); i++)
        if (str_eq_nocase(name, fields[i]))
            return true;
    for (size_t i = 0; i < countof(prefixes); i++)
        if (str_starts_nocase(name, prefixes[i]))
            return true;
    return false;
}
