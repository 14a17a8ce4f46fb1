/*
 * outbox.h - what an SMTP session still has to say: command text of its own and content that it borrows, as one scatter
 * list.
 *
 * Content is never copied. Dot-stuffing (RFC 5321 section 4.5.2) repeats the dot by letting two pieces overlap by that
 * one byte. Positions count bytes of the stream since the start, so that "has this command left" is one comparison.
 * Left means: taken by the kernel.
 */
#ifndef POSTHASTE_ENGINE_SMTP_OUTBOX_H
#define POSTHASTE_ENGINE_SMTP_OUTBOX_H

#include <sys/uio.h>

#include "base/buffer.h"

struct outbox_piece {
    const char *cur;  /* borrowed content: next byte; NULL for own text */
    const char *stop; /* end of the run: `end`, or just behind a dot that must be sent again */
    const char *end;
    size_t text_len; /* own text: bytes left, at the front of `text` or behind the earlier pieces' text */
};

struct outbox {
    struct buffer text;          /* own text of all pieces, in order */
    size_t text_done;            /* its bytes that have left */
    struct outbox_piece *pieces; /* ring */
    uint32_t capacity, first, count;
    uint64_t queued;  /* position behind the last byte that was queued */
    uint64_t written; /* position behind the last byte that has left */
};

int outbox_init(struct outbox *outbox, uint32_t capacity) ATTR_MUSTCHECK; /* pieces it can hold; 0 or -ENOMEM */
void outbox_finish(struct outbox *outbox);

/* Where commands are to be appended (command.h); outbox_text_added() after it takes them into the list. */
struct buffer *outbox_text(struct outbox *outbox);
void outbox_text_added(struct outbox *outbox);

/* Queues content as it is (BDAT), or with its dots stuffed. Borrowed until it has left or outbox_cut(). */
void outbox_content(struct outbox *outbox, const char *data, size_t size_bytes, bool stuff_dots);

/* Fills up to `max` entries with what is next; returns how many. Pointers are good until the next change. */
size_t outbox_peek(const struct outbox *outbox, struct iovec *iov, size_t max);
void outbox_wrote(struct outbox *outbox, size_t bytes);

static inline bool outbox_empty(const struct outbox *outbox)
{
    return outbox->count == 0;
}

/* Overwrites the memory of text that has left. Nothing else may wait. */
void outbox_wipe(struct outbox *outbox);

/* Forgets everything that has not left. */
void outbox_cut(struct outbox *outbox);

/*
 * Looks the content over once: 0 when every line ends with CRLF and there is no bare CR or LF, -EINVAL else (such bytes
 * can smuggle a second message past a lax receiver). *has_dots tells whether a line begins with a dot.
 */
int outbox_scan(const char *data, size_t size_bytes, bool *has_dots) ATTR_MUSTCHECK;

#endif
