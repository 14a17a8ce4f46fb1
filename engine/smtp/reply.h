/*
 * reply.h - the strict, incremental parser of SMTP replies (RFC 5321 section 4.2).
 *
 * Success means: one complete reply was read, all its lines carry the same code, and not one byte behind it was looked
 * at. What the code means for the command that was sent is not decided here (smtp/verdict.h). Everything is bounded:
 * RFC 5321 4.5.3.1.5 promises reply lines of at most 512 octets; we bear four times that, because servers put URLs and
 * explanations into them. Accepted beyond the grammar: a last line of three digits without a space, any second digit.
 * Refused: a bare LF, other lengths of code, a first digit that is not 2..5, mixed codes, a byte other than SP and '-'
 * behind the code.
 */
#ifndef POSTHASTE_ENGINE_SMTP_REPLY_H
#define POSTHASTE_ENGINE_SMTP_REPLY_H

#include <stdbool.h>

#include "base/attr.h"

#define REPLY_LINE_MAX_BYTES 2048 /* with CRLF */
#define REPLY_LINES_MAX 100
#define REPLY_MAX_BYTES 65536
#define REPLY_TEXT_BYTES 4096 /* text kept; whole lines that do not fit are dropped */

struct reply {
    uint16_t code;               /* 200..599 */
    uint16_t lines;              /* lines seen */
    char enhanced[12];           /* RFC 3463 code of the first line when it agrees with the reply's class, or "" */
    size_t text_len;             /* of text */
    char text[REPLY_TEXT_BYTES]; /* lines without code and enhanced code, '\n' between them; control bytes became
                                    spaces; not checked for UTF-8 */
};

struct reply_parser {
    struct reply reply;
    size_t bytes;                    /* of the reply that is being read */
    size_t line_len;                 /* of `line` */
    bool complete;                   /* the reply was handed out; the next byte begins a new one */
    const char *fault;               /* why reply_feed() failed, for a person; static text */
    char line[REPLY_LINE_MAX_BYTES]; /* a line that came in pieces */
};

enum reply_status { REPLY_COMPLETE = 0, REPLY_MORE = 1 };

void reply_parser_init(struct reply_parser *parser);

/*
 * Reads at most one reply and adds to *used what it took of `bytes`. REPLY_COMPLETE: parser->reply holds it until the
 * next call. REPLY_MORE: all was taken. -EPROTO: parser->fault says why; the parser must not be fed again.
 */
int reply_feed(struct reply_parser *parser, const char *bytes, size_t len, size_t *used) ATTR_MUSTCHECK;

/* True while a part of a reply was read. */
bool reply_begun(const struct reply_parser *parser);

/*
 * Length of an RFC 3463 status code ("5.1.1") at the start of `text` that is followed by a space or the end and whose
 * class is `class_digit`; 0 = none.
 */
size_t reply_enhanced_length(const char *text, size_t len, char class_digit);

#endif
