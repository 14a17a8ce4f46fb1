/*
 * Replies on their way to the client, each with the time at which it may go out.
 *
 * A round trip delay must not serialise: fifty commands that arrive together each wait the same N ms, at the same time.
 * So a reply is put here with its due time (arrival + delay) and leaves in order when that time has come. No I/O and no
 * clock: the connection brings both.
 */
#ifndef TESTS_SINK_OUTFLOW_H
#define TESTS_SINK_OUTFLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/sink/script.h"
#include "tests/sink/text.h"

struct segment {
    uint64_t due_us;
    size_t length; /* bytes of it that have not been taken */
    uint32_t drip_ms;
    bool endless;
    enum after after;
};

struct outflow {
    struct text bytes;        /* of all segments, in order */
    struct segment *segments; /* a queue: [first, last) */
    size_t first;
    size_t last;
    size_t capacity;
    uint64_t queued_bytes; /* ever put in: the place in the stream where the next byte goes */
};

enum outflow_wish {
    OUTFLOW_NOTHING, /* the queue is empty */
    OUTFLOW_WAIT,    /* come back at due_us */
    OUTFLOW_WRITE,   /* write these bytes, then say outflow_wrote() */
    OUTFLOW_REPEAT,  /* write these bytes for ever, one every drip_ms if that is not 0 */
    OUTFLOW_END,     /* all before it is out: do `after` */
};

struct outflow_step {
    enum outflow_wish wish;
    const char *bytes; /* valid until the next call that changes the outflow */
    size_t length;
    uint64_t due_us;
    uint32_t drip_ms;
    enum after after;
};

void outflow_free(struct outflow *outflow);

/* Adds bytes that may go out at due_us, or when what is before them is out, if that is later. */
void outflow_add(struct outflow *outflow, const char *bytes, size_t length, const struct manner *manner,
                 uint64_t due_us);

/* What is to be done at now_us. */
struct outflow_step outflow_next(const struct outflow *outflow, uint64_t now_us);

/* The first `length` bytes of the last OUTFLOW_WRITE are out, at now_us. */
void outflow_wrote(struct outflow *outflow, size_t length, uint64_t now_us);

#endif
