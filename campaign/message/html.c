/*
 * html.c - escaping of values that stand in HTML.
 *
 * Besides the five characters of XML, ` and = are escaped too: a template may hold an attribute without quotes, and
 * those end or begin values there. A value in a script or a style is beyond what escaping can make safe.
 */
#include "campaign/message/html.h"

#include <string.h>

const char *html_entity(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    case '`':
        return "&#96;";
    case '=':
        return "&#61;";
    default:
        return NULL;
    }
}

size_t html_clean_run(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && html_entity(text[n]) == NULL)
        n++;
    return n;
}

void html_escape(const char *text, size_t len, struct buffer *out)
{
    for (size_t at = 0; at < len; at++) {
        size_t run = html_clean_run(text + at, len - at);
        buffer_append(out, text + at, run);
        at += run;
        if (at < len)
            buffer_append_str(out, html_entity(text[at]));
    }
}

bool html_mark_character(const char *text, size_t len)
{
    return len > HTML_MARK_PREFIX_BYTES && memcmp(text, HTML_MARK_PREFIX, HTML_MARK_PREFIX_BYTES) == 0 &&
           (uint8_t)text[HTML_MARK_PREFIX_BYTES] >= (uint8_t)HTML_MARK_VALUE &&
           (uint8_t)text[HTML_MARK_PREFIX_BYTES] <= (uint8_t)HTML_MARK_END;
}

size_t html_mark(const char *text, size_t len, uint32_t *number)
{
    const size_t character = HTML_MARK_PREFIX_BYTES + 1;
    if (!html_mark_character(text, len) || text[HTML_MARK_PREFIX_BYTES] == HTML_MARK_END)
        return 0;
    size_t at = character;
    *number = 0;
    while (at < len && at - character < HTML_MARK_DIGITS_MAX && text[at] >= '0' && text[at] <= '9')
        *number = *number * 10 + (uint32_t)(text[at++] - '0');
    if (at == character || !html_mark_character(text + at, len - at) ||
        text[at + HTML_MARK_PREFIX_BYTES] != HTML_MARK_END)
        return 0;
    return at + character;
}
