/*
 * buffer.h - a growing run of bytes with a hard upper bound.
 *
 * Appending never half-succeeds: it either appends all or marks the buffer `failed` (no memory, or past `limit_bytes`)
 * and appends nothing more. So a writer may append many times and check `failed` once at the end. The content is always
 * followed by a NUL that is not counted in `len`, so that text may be passed to libc.
 */
#ifndef POSTHASTE_BASE_BUFFER_H
#define POSTHASTE_BASE_BUFFER_H

#include <stdbool.h>
#include <string.h>

#include "base/attr.h"

struct buffer {
    char *data;         /* NULL while nothing was appended */
    size_t len;         /* bytes in use */
    size_t cap;         /* bytes allocated */
    size_t limit_bytes; /* never grows past this; 0 means BUFFER_LIMIT_DEFAULT */
    bool failed;
};

#define BUFFER_LIMIT_DEFAULT ((size_t)64 << 20)
#define BUFFER_INIT(limit) ((struct buffer){.limit_bytes = (limit)})

void buffer_finish(struct buffer *buffer);                    /* frees; the struct is empty and usable again */
void buffer_clear(struct buffer *buffer);                     /* len = 0 and failed = false; keeps the memory */
int buffer_reserve(struct buffer *buffer, size_t more_bytes); /* 0 or -ENOMEM (and failed) */
void buffer_append(struct buffer *buffer, const void *bytes, size_t len);
void buffer_append_str(struct buffer *buffer, const char *text);
void buffer_append_char(struct buffer *buffer, char c);
void buffer_printf(struct buffer *buffer, const char *format, ...) ATTR_PRINTF(2, 3);
void buffer_consume(struct buffer *buffer, size_t len); /* drops the first `len` bytes (len <= buffer->len) */

/* The content as text: "" when empty. Valid until the next change. */
static inline const char *buffer_text(const struct buffer *buffer)
{
    return buffer->data != NULL ? buffer->data : "";
}

/* Hands the content (NUL-terminated, to be freed with free()) to the caller and empties the buffer; NULL when failed.
 */
char *buffer_steal(struct buffer *buffer, size_t *len_out) ATTR_MUSTCHECK;

#endif
