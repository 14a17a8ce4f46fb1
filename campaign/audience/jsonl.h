/*
 * jsonl.h - a streaming reader of JSON Lines: bytes in, lines out. It does no I/O and does not parse the JSON.
 *
 * A line ends with LF; white space around it is dropped, lines of nothing else are skipped. A line is shorter than
 * JSONL_LINE_MAX_BYTES; a longer one is told once with text NULL and skipped without being kept. The cut of the input
 * changes nothing. One thread at a time.
 */
#ifndef POSTHASTE_CAMPAIGN_AUDIENCE_JSONL_H
#define POSTHASTE_CAMPAIGN_AUDIENCE_JSONL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"

#define JSONL_LINE_MAX_BYTES ((size_t)1 << 20)
#define JSONL_RAW_MAX_BYTES ((size_t)1024)

struct jsonl_line {   /* lives during the callback */
    int64_t line;     /* 1-based */
    bool overlong;    /* then only the beginning is in `text` */
    const char *text; /* not terminated */
    size_t len;
};

typedef int jsonl_line_cb(void *context, const struct jsonl_line *line); /* anything but 0 stops the reading */

struct jsonl {
    jsonl_line_cb *each;
    void *context;
    int64_t line; /* of the byte that comes next */
    bool overlong;
    struct buffer pending; /* the line across a cut */
};

void jsonl_init(struct jsonl *jsonl, jsonl_line_cb *each, void *context);
void jsonl_fini(struct jsonl *jsonl);

/* 0, what the callback returned, or -ENOMEM. */
int jsonl_feed(struct jsonl *jsonl, const char *bytes, size_t len) ATTR_MUSTCHECK;
int jsonl_end(struct jsonl *jsonl) ATTR_MUSTCHECK; /* end of the input: a last line without LF */

#endif
