/*
 * html.h - escaping for HTML, and plain text out of HTML. Private to the room.
 */
#ifndef POSTHASTE_CAMPAIGN_MESSAGE_HTML_H
#define POSTHASTE_CAMPAIGN_MESSAGE_HTML_H

#include "base/buffer.h"

/* html_to_text() lets tags of a template through, marked as BEGIN number END: a value, the beginning and the end of a
 * section. In text they stand as comments, in attributes as they are. Each is a prefix and a byte: characters for private
 * use, because an HTML parser takes control characters away. */
#define HTML_MARK_PREFIX "\xef\x97"
#define HTML_MARK_PREFIX_BYTES 2
#define HTML_MARK_VALUE '\x90' /* U+F5D0 */
#define HTML_MARK_OPEN '\x91'
#define HTML_MARK_CLOSE '\x92'
#define HTML_MARK_END '\x93'
#define HTML_MARK_DIGITS_MAX 9
/* Length of the mark at `text`, or 0; *number is what stands in it. */
size_t html_mark(const char *text, size_t len, uint32_t *number);
/* True at a character that only marks may hold. */
bool html_mark_character(const char *text, size_t len);

/* The entity for a character that may not stand in text or in a quoted attribute (& < > " ' ` =), or NULL. */
const char *html_entity(char c);

/* Length of the run at `text` in which nothing needs an entity. */
size_t html_clean_run(const char *text, size_t len);

void html_escape(const char *text, size_t len, struct buffer *out);

/*
 * A readable text/plain form, appended: block elements become lines, headings and paragraphs stand apart, white space
 * collapses, lists get dashes or numbers, cells a space between, links "text <url>", images their alt text; scripts,
 * styles, comments, the head and what a style hides vanish. Works on any bytes. 0; -E2BIG: the markup is too large, or
 * nests too deep, to be made sense of in bounded memory and time; -ENOMEM.
 */
int html_to_text(const char *html, size_t len, struct buffer *out) ATTR_MUSTCHECK;

#endif
