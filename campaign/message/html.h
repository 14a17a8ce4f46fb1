/*
 * html.h - escaping for HTML, and plain text out of HTML. Private to the room.
 */
#ifndef POSTHASTE_CAMPAIGN_MESSAGE_HTML_H
#define POSTHASTE_CAMPAIGN_MESSAGE_HTML_H

#include "base/buffer.h"

/* html_to_text() lets these through: template_text.c writes a tag as BEGIN number END. */
#define HTML_MARK_BEGIN '\x01'
#define HTML_MARK_END '\x02'

/* The entity for a character that may not stand in text or in a quoted attribute (& < > " ' ` =), or NULL. */
const char *html_entity(char c);

/* Length of the run at `text` in which nothing needs an entity. */
size_t html_clean_run(const char *text, size_t len);

void html_escape(const char *text, size_t len, struct buffer *out);

/*
 * A readable text/plain form: block elements become lines, white space collapses, lists get dashes, links "text <url>",
 * images their alt text; scripts, styles, comments and the head vanish; entities are decoded. Works on any bytes, in
 * one pass without recursion. Bytes from 0x01 to 0x08 pass through as if they were letters: template.c marks tags with
 * them.
 */
void html_to_text(const char *html, size_t len, struct buffer *out);

#endif
