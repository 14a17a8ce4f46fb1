/*
 * Message content as it comes over the wire: where it ends, how big it is, what is wrong with its line ends, and its
 * Message-ID.
 *
 * Two transports bring it. DATA (RFC 5321 4.5.2) stuffs dots and ends with CRLF "." CRLF; BDAT (RFC 3030) counts bytes.
 * In strict mode only CRLF ends a line: a bare LF or CR is remembered as a fault and never begins a line, so that "LF .
 * CRLF" cannot smuggle a second message past this receiver. In lax mode a bare LF ends a line as CRLF does, as careless
 * receivers have it.
 *
 * No I/O, and no copy of the content unless it is to be stored: runs of bytes are looked at where they lie.
 */
#ifndef TESTS_SINK_CONTENT_H
#define TESTS_SINK_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/sink/text.h"

/* Where the scanner stands. DOT and DOT_CR exist only for DATA. */
enum content_state { CONTENT_LINE_START, CONTENT_DOT, CONTENT_DOT_CR, CONTENT_LINE };

struct content {
    enum content_state state;
    bool strict;
    bool keep;                 /* copy the bytes into `body` */
    bool after_cr;             /* the last byte seen was a CR whose LF has not come yet */
    bool bare_lf;              /* a bare LF was seen */
    bool bare_cr;              /* a bare CR was seen */
    bool header_done;          /* the empty line, or the bound of the header, has been reached */
    uint64_t size_bytes;       /* after undotting; line ends as they came; the final dot not counted */
    uint64_t size_limit_bytes; /* above it nothing more is copied */
    struct text header;        /* the header section, bounded */
    struct text body;          /* everything, if `keep` */
    struct text message_id;
};

/* Forgets the last message and keeps the memory. */
void content_begin(struct content *content, bool strict, bool keep, uint64_t size_limit_bytes);

void content_free(struct content *content);

/* Takes bytes that came after 354. Returns how many belong to the content; sets *ended when the final dot was among
 * them. */
size_t content_take_data(struct content *content, const char *bytes, size_t length, bool *ended);

/* Takes bytes of a BDAT chunk; all of them are content. */
void content_take_chunk(struct content *content, const char *bytes, size_t length);

/* To be called when the content is complete: a CR at the very end of a last chunk is bare. */
void content_finish(struct content *content);

/* Nothing more will be refused than what this names: "bare LF", "bare CR", or NULL when the line ends are in order. */
const char *content_fault(const struct content *content);

/*
 * The value of the first Message-ID field, unfolded, angle brackets kept, as a C string that lives until the next
 * content_begin(); NULL when there is none.
 */
const char *content_message_id(struct content *content);

#endif
