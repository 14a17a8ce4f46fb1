/*
 * html.c - escaping of values that stand in HTML.
 *
 * Besides the five characters of XML, ` and = are escaped too: a template may hold an attribute without quotes, and
 * those end or begin values there. A value in a script or a style is beyond what escaping can make safe.
 */
#include "campaign/message/html.h"

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
