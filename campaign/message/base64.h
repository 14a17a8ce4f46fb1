/*
 * base64.h - base64 as MIME has it (RFC 2045 section 6.8): lines of 76 characters with CRLF. Private to the room.
 */
#ifndef POSTHASTE_CAMPAIGN_MESSAGE_BASE64_H
#define POSTHASTE_CAMPAIGN_MESSAGE_BASE64_H

#include "base/buffer.h"

#define BASE64_LINE_BYTES 57 /* make 76 characters */

/* A running encoder. With `text` every kind of line end becomes CRLF before it is encoded, the last line gets one if it
 * has none, and NUL is left out. */
struct base64 {
    struct buffer *out;
    bool text;
    bool after_cr; /* the last byte was a CR: a following LF belongs to it */
    bool in_line;  /* of the text */
    unsigned len;
    uint8_t line[BASE64_LINE_BYTES]; /* the first `len` bytes wait for more */
};

void base64_begin(struct base64 *base64, struct buffer *out, bool text);
void base64_write(struct base64 *base64, const void *bytes, size_t len);
void base64_end(struct base64 *base64); /* ends the last line */

#endif
