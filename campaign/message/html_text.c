/*
 * html_text.c - plain text out of HTML, for campaigns that give no text part.
 *
 * A single pass over the bytes: no tree, no recursion, so neither depth nor brokenness of the markup costs more than
 * its length. A tag that is never closed ends the search for tags. It knows block elements, lists, links, images and
 * entities; it does not know styles, so what is hidden by a style is shown. Success means readable lines, not a
 * rendering.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "campaign/message/html.h"

#define TAG_NAME_MAX_BYTES 15
#define ENTITY_MAX_BYTES 10

struct stripper {
    struct buffer *out;
    struct buffer href; /* of the open link, decoded; empty = none */
    size_t link_start;  /* where the open link's text begins in `out` */
    unsigned newlines;  /* to be written before the next text */
    bool space;         /* white space came since the last text */
    unsigned pre;       /* depth of <pre> */
};

struct tag {
    char name[TAG_NAME_MAX_BYTES + 1]; /* lower case; "" when too long to be of interest */
    bool closing;
    const char *attributes, *end; /* end: the '>' */
};

static const struct {
    const char *name;
    uint32_t code_point;
} entities[] = {
    {"amp", '&'},      {"lt", '<'},       {"gt", '>'},       {"quot", '"'},      {"apos", '\''},    {"nbsp", ' '},
    {"copy", 0xa9},    {"reg", 0xae},     {"trade", 0x2122}, {"hellip", 0x2026}, {"mdash", 0x2014}, {"ndash", 0x2013},
    {"lsquo", 0x2018}, {"rsquo", 0x2019}, {"ldquo", 0x201c}, {"rdquo", 0x201d},  {"laquo", 0xab},   {"raquo", 0xbb},
    {"bdquo", 0x201e}, {"sbquo", 0x201a}, {"euro", 0x20ac},  {"pound", 0xa3},    {"yen", 0xa5},     {"cent", 0xa2},
    {"sect", 0xa7},    {"para", 0xb6},    {"middot", 0xb7},  {"bull", 0x2022},   {"deg", 0xb0},     {"times", 0xd7},
    {"auml", 0xe4},    {"ouml", 0xf6},    {"uuml", 0xfc},    {"Auml", 0xc4},     {"Ouml", 0xd6},    {"Uuml", 0xdc},
    {"szlig", 0xdf},   {"eacute", 0xe9},  {"egrave", 0xe8},  {"agrave", 0xe0},   {"ccedil", 0xe7},  {"ntilde", 0xf1},
    {"iexcl", 0xa1},   {"iquest", 0xbf},  {"larr", 0x2190},  {"rarr", 0x2192},   {"minus", 0x2212}, {"shy", 0},
    {"zwnj", 0},       {"zwsp", 0},       {"ensp", ' '},     {"emsp", ' '},      {"thinsp", ' '},   {"aacute", 0xe1},
};

/* Elements that begin and end a line (1), or stand apart by an empty line (2). */
static const struct {
    const char *name;
    unsigned newlines;
} blocks[] = {
    {"p", 2},     {"h1", 2},         {"h2", 2},       {"h3", 2},      {"h4", 2},         {"h5", 2},    {"h6", 2},
    {"ul", 2},    {"ol", 2},         {"dl", 2},       {"pre", 2},     {"blockquote", 2}, {"div", 1},   {"table", 1},
    {"tr", 1},    {"section", 1},    {"article", 1},  {"header", 1},  {"footer", 1},     {"main", 1},  {"nav", 1},
    {"aside", 1}, {"form", 1},       {"figure", 1},   {"address", 1}, {"center", 1},     {"body", 1},  {"dt", 1},
    {"dd", 1},    {"figcaption", 1}, {"fieldset", 1}, {"tbody", 1},   {"thead", 1},      {"tfoot", 1}, {"caption", 1},
};

static void want_newlines(struct stripper *stripper, unsigned newlines)
{
    stripper->newlines = MAX_OF(stripper->newlines, newlines);
    stripper->space = false;
}

/* Writes what is owed before text: line ends at most two in a row, none at the top, or one space. */
static void settle(struct stripper *stripper)
{
    if (stripper->out->len > 0) {
        for (unsigned i = 0; i < stripper->newlines; i++)
            buffer_append_char(stripper->out, '\n');
        if (stripper->newlines == 0 && stripper->space)
            buffer_append_char(stripper->out, ' ');
    }
    stripper->newlines = 0;
    stripper->space = false;
}

static void put_text(struct stripper *stripper, const char *text, size_t len)
{
    settle(stripper);
    buffer_append(stripper->out, text, len);
}

static size_t encode_utf8(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* Code points that would be invisible or harmful in text become nothing (0); odd spaces become a space. */
static uint32_t tame(unsigned long c)
{
    if (c == '\t' || c == '\n' || c == '\r' || c == 0xa0 || (c >= 0x2000 && c <= 0x200a) || c == 0x202f || c == 0x3000)
        return ' ';
    bool invisible = c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x200b || c == 0x200c || c == 0x2028 ||
                     c == 0x2029 || c == 0xfeff || c == 0x34f;
    bool impossible = (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff;
    return invisible || impossible ? 0 : (uint32_t)c;
}

/* Length of the entity at `text` (which begins with '&'), or 0 when it is none; *code_point 0 = nothing to show. */
static size_t read_entity(const char *text, size_t len, uint32_t *code_point)
{
    size_t window = MIN_OF(len, (size_t)ENTITY_MAX_BYTES + 2);
    const char *semicolon = memchr(text, ';', window);
    if (semicolon == NULL || semicolon < text + 2)
        return 0;
    char name[ENTITY_MAX_BYTES + 2];
    size_t n = (size_t)(semicolon - text) - 1;
    memcpy(name, text + 1, n);
    name[n] = '\0';
    if (name[0] == '#') {
        bool hexadecimal = name[1] == 'x' || name[1] == 'X';
        const char *digits = name + (hexadecimal ? 2 : 1);
        char *end = NULL;
        unsigned long c = strtoul(digits, &end, hexadecimal ? 16 : 10);
        if (end == digits || *end != '\0' || digits[0] == '-' || digits[0] == '+' || ascii_is_space(digits[0]))
            return 0;
        *code_point = tame(c);
        return n + 2;
    }
    for (size_t i = 0; i < countof(entities); i++) {
        if (strcmp(entities[i].name, name) != 0)
            continue;
        *code_point = entities[i].code_point;
        return n + 2;
    }
    return 0;
}

/* Text of an attribute or a link, with its entities decoded, as one line. */
static void decode_into(const char *text, size_t len, struct buffer *out)
{
    for (size_t i = 0; i < len;) {
        uint32_t c = 0;
        size_t n = text[i] == '&' ? read_entity(text + i, len - i, &c) : 0;
        if (n > 0) {
            char bytes[4];
            if (c != 0)
                buffer_append(out, bytes, encode_utf8(c, bytes));
            i += n;
            continue;
        }
        if (!ascii_is_space(text[i]))
            buffer_append_char(out, text[i]);
        else if (out->len > 0 && out->data[out->len - 1] != ' ')
            buffer_append_char(out, ' ');
        i++;
    }
    while (out->len > 0 && out->data[out->len - 1] == ' ')
        out->data[--out->len] = '\0';
}

static bool is_letter(char c)
{
    char lower = ascii_lower(c);
    return lower >= 'a' && lower <= 'z';
}

/* The '>' that ends the tag at `at`, quotes heeded; NULL when there is none. */
static const char *tag_end(const char *at, const char *end)
{
    char quote = '\0';
    for (; at < end; at++) {
        if (quote != '\0') {
            if (*at == quote)
                quote = '\0';
        } else if ((*at == '"' || *at == '\'') && at[-1] == '=') {
            quote = *at;
        } else if (*at == '>') {
            return at;
        }
    }
    return NULL;
}

static bool read_tag(const char *at, const char *end, struct tag *tag)
{
    const char *name = at + 1;
    *tag = (struct tag){.closing = *name == '/'};
    if (tag->closing)
        name++;
    tag->end = tag_end(name, end);
    if (tag->end == NULL)
        return false;
    const char *p = name;
    while (p < tag->end && !ascii_is_space(*p) && *p != '/')
        p++;
    tag->attributes = p;
    if ((size_t)(p - name) <= TAG_NAME_MAX_BYTES)
        for (size_t i = 0; name + i < p; i++)
            tag->name[i] = ascii_lower(name[i]);
    return true;
}

/* The raw value of an attribute of the tag; NULL when it has none. */
static const char *attribute(const struct tag *tag, const char *wanted, size_t *len)
{
    const char *p = tag->attributes;
    while (p < tag->end) {
        while (p < tag->end && (ascii_is_space(*p) || *p == '/'))
            p++;
        const char *name = p;
        while (p < tag->end && !ascii_is_space(*p) && *p != '=')
            p++;
        size_t name_len = (size_t)(p - name);
        while (p < tag->end && ascii_is_space(*p))
            p++;
        const char *value = "";
        *len = 0;
        if (p < tag->end && *p == '=') {
            p++;
            while (p < tag->end && ascii_is_space(*p))
                p++;
            char quote = p < tag->end && (*p == '"' || *p == '\'') ? *p++ : '\0';
            value = p;
            while (p < tag->end && (quote != '\0' ? *p != quote : !ascii_is_space(*p)))
                p++;
            *len = (size_t)(p - value);
            if (quote != '\0' && p < tag->end)
                p++;
        }
        if (name_len == strlen(wanted) && strncasecmp(name, wanted, name_len) == 0)
            return value;
    }
    return NULL;
}

/* Behind the end tag of an element whose content is no text; `end` when it is never closed, as browsers have it. */
static const char *skip_element(const char *at, const char *end, const char *name)
{
    size_t name_len = strlen(name);
    while ((at = memchr(at, '<', (size_t)(end - at))) != NULL) {
        if ((size_t)(end - at) > name_len + 2 && at[1] == '/' && strncasecmp(at + 2, name, name_len) == 0) {
            const char *close = memchr(at, '>', (size_t)(end - at));
            return close != NULL ? close + 1 : end;
        }
        at++;
    }
    return end;
}

static void end_link(struct stripper *stripper)
{
    if (stripper->href.len == 0)
        return;
    const char *href = stripper->href.data;
    size_t len = stripper->href.len;
    size_t start = MIN_OF(stripper->link_start, stripper->out->len);
    const char *text = buffer_text(stripper->out) + start;
    size_t text_len = stripper->out->len - start;
    while (text_len > 0 && ascii_is_space(*text)) {
        text++;
        text_len--;
    }
    bool same = text_len == len && memcmp(text, href, len) == 0;
    bool mail = str_starts_nocase(href, "mailto:") && len - 7 == text_len && memcmp(text, href + 7, text_len) == 0;
    if (!same && !mail) {
        /* White space at the end of the link's text belongs behind the address. */
        bool space = stripper->space;
        unsigned newlines = stripper->newlines;
        stripper->space = text_len > 0;
        stripper->newlines = text_len > 0 ? 0 : newlines;
        settle(stripper);
        stripper->space = space;
        stripper->newlines = text_len > 0 ? newlines : 0;
        buffer_append_char(stripper->out, '<');
        buffer_append(stripper->out, href, len);
        buffer_append_char(stripper->out, '>');
    }
    buffer_clear(&stripper->href);
}

static void begin_link(struct stripper *stripper, const struct tag *tag)
{
    end_link(stripper);
    size_t len = 0;
    const char *href = attribute(tag, "href", &len);
    if (href == NULL)
        return;
    decode_into(href, len, &stripper->href);
    if (stripper->href.len > 0 &&
        (stripper->href.data[0] == '#' || str_starts_nocase(stripper->href.data, "javascript:")))
        buffer_clear(&stripper->href);
    stripper->link_start = stripper->out->len;
}

static void put_image(struct stripper *stripper, const struct tag *tag)
{
    size_t len = 0;
    const char *alt = attribute(tag, "alt", &len);
    struct buffer text = BUFFER_INIT(0);
    if (alt != NULL)
        decode_into(alt, len, &text);
    if (text.len > 0)
        put_text(stripper, text.data, text.len);
    if (text.failed)
        stripper->out->failed = true;
    buffer_finish(&text);
}

/* Returns where to go on. */
static const char *take_tag(struct stripper *stripper, const struct tag *tag, const char *end)
{
    static const char *const opaque[] = {"script", "style", "title", "template", "textarea", "select"};
    const char *next = tag->end + 1;
    for (size_t i = 0; i < countof(opaque) && !tag->closing; i++)
        if (strcmp(tag->name, opaque[i]) == 0)
            return skip_element(next, end, tag->name);
    for (size_t i = 0; i < countof(blocks); i++)
        if (strcmp(tag->name, blocks[i].name) == 0)
            want_newlines(stripper, blocks[i].newlines);
    if (strcmp(tag->name, "br") == 0) {
        stripper->newlines = MIN_OF(stripper->newlines + 1, 2u);
        stripper->space = false;
    } else if (strcmp(tag->name, "hr") == 0 && !tag->closing) {
        want_newlines(stripper, 1);
        put_text(stripper, "----------", 10);
        want_newlines(stripper, 1);
    } else if (strcmp(tag->name, "li") == 0) {
        want_newlines(stripper, 1);
        if (!tag->closing)
            put_text(stripper, "- ", 2);
    } else if (strcmp(tag->name, "td") == 0 || strcmp(tag->name, "th") == 0) {
        stripper->space = true;
    } else if (strcmp(tag->name, "a") == 0) {
        if (tag->closing)
            end_link(stripper);
        else
            begin_link(stripper, tag);
    } else if (strcmp(tag->name, "img") == 0 && !tag->closing) {
        put_image(stripper, tag);
    } else if (strcmp(tag->name, "pre") == 0) {
        stripper->pre = tag->closing ? 0 : 1;
    }
    return next;
}

static const char *take_text(struct stripper *stripper, const char *at, const char *end)
{
    if (ascii_is_space(*at)) {
        if (stripper->pre == 0)
            stripper->space = true;
        else if (*at == '\n')
            stripper->newlines = MIN_OF(stripper->newlines + 1, 2u);
        else if (*at != '\r')
            put_text(stripper, " ", 1);
        return at + 1;
    }
    uint32_t c = 0;
    size_t n = *at == '&' ? read_entity(at, (size_t)(end - at), &c) : 0;
    if (n > 0) {
        char bytes[4];
        if (c == ' ')
            stripper->space = true;
        else if (c != 0)
            put_text(stripper, bytes, encode_utf8(c, bytes));
        return at + n;
    }
    n = 1;
    while (at + n < end && at[n] != '<' && at[n] != '&' && !ascii_is_space(at[n]))
        n++;
    put_text(stripper, at, n);
    return at + n;
}

void html_to_text(const char *html, size_t len, struct buffer *out)
{
    struct stripper stripper = {.out = out};
    const char *end = html + len;
    bool tags = true; /* false once a tag did not end: then there is no '>' ahead that could end another */
    for (const char *at = html; at < end;) {
        size_t left = (size_t)(end - at);
        struct tag tag;
        if (!tags || *at != '<' || left < 3) {
            at = take_text(&stripper, at, end);
        } else if (left >= 4 && memcmp(at, "<!--", 4) == 0) {
            const char *close = memmem(at + 4, left - 4, "-->", 3);
            at = close != NULL ? close + 3 : end;
        } else if (at[1] == '!' || at[1] == '?') {
            const char *close = memchr(at, '>', left);
            at = close != NULL ? close + 1 : end;
        } else if (is_letter(at[1]) || (at[1] == '/' && is_letter(at[2]))) {
            tags = read_tag(at, end, &tag);
            if (tags)
                at = take_tag(&stripper, &tag, end);
        } else {
            at = take_text(&stripper, at, end);
        }
    }
    end_link(&stripper);
    if (stripper.href.failed)
        out->failed = true;
    if (out->len > 0)
        buffer_append_char(out, '\n');
    buffer_finish(&stripper.href);
}
