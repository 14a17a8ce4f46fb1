/*
 * buffer.c - growth of struct buffer: doubling up to the limit, always one byte more than the content for the NUL.
 *
 * Success of an append means that all its bytes are in; after a failure the content is what it was before, and stays so
 * until buffer_clear() or buffer_finish(), so that a text with a hole in its middle can never be taken for a whole one.
 */
#include "base/buffer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST_CAP_BYTES ((size_t)64)

static size_t limit_of(const struct buffer *buffer)
{
    return buffer->limit_bytes != 0 ? buffer->limit_bytes : BUFFER_LIMIT_DEFAULT;
}

void buffer_finish(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = BUFFER_INIT(buffer->limit_bytes);
}

void buffer_clear(struct buffer *buffer)
{
    buffer->len = 0;
    buffer->failed = false;
    if (buffer->data != NULL)
        buffer->data[0] = '\0';
}

static int fail(struct buffer *buffer)
{
    buffer->failed = true;
    return -ENOMEM;
}

int buffer_reserve(struct buffer *buffer, size_t more_bytes)
{
    size_t limit = limit_of(buffer);
    if (buffer->failed || buffer->len > limit || more_bytes > limit - buffer->len || limit == SIZE_MAX)
        return fail(buffer);
    size_t needed = buffer->len + more_bytes + 1;
    if (needed <= buffer->cap)
        return 0;
    size_t cap = buffer->cap > FIRST_CAP_BYTES ? buffer->cap : FIRST_CAP_BYTES;
    while (cap < needed)
        cap = cap > SIZE_MAX / 2 ? needed : cap * 2;
    cap = MIN_OF(cap, limit + 1);
    char *data = realloc(buffer->data, cap);
    if (data == NULL)
        return fail(buffer);
    data[buffer->len] = '\0';
    buffer->data = data;
    buffer->cap = cap;
    return 0;
}

void buffer_append(struct buffer *buffer, const void *bytes, size_t len)
{
    if (buffer_reserve(buffer, len) < 0 || len == 0)
        return;
    memcpy(buffer->data + buffer->len, bytes, len);
    buffer->len += len;
    buffer->data[buffer->len] = '\0';
}

void buffer_append_str(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, text, strlen(text));
}

void buffer_append_char(struct buffer *buffer, char c)
{
    buffer_append(buffer, &c, 1);
}

void buffer_printf(struct buffer *buffer, const char *format, ...)
{
    if (buffer_reserve(buffer, 0) < 0)
        return;
    va_list args;
    va_list again;
    va_start(args, format);
    va_copy(again, args);
    size_t room = buffer->cap - buffer->len;
    int n = vsnprintf(buffer->data + buffer->len, room, format, args);
    if (n < 0) {
        (void)fail(buffer);
    } else if ((size_t)n < room) {
        buffer->len += (size_t)n;
    } else if (buffer_reserve(buffer, (size_t)n) == 0) {
        (void)vsnprintf(buffer->data + buffer->len, buffer->cap - buffer->len, format, again);
        buffer->len += (size_t)n;
    }
    /* A failed attempt may have left a piece behind the end. */
    if (buffer->failed)
        buffer->data[buffer->len] = '\0';
    va_end(again);
    va_end(args);
}

void buffer_consume(struct buffer *buffer, size_t len)
{
    assure(len <= buffer->len);
    if (len == 0)
        return;
    buffer->len -= len;
    memmove(buffer->data, buffer->data + len, buffer->len);
    buffer->data[buffer->len] = '\0';
}

char *buffer_steal(struct buffer *buffer, size_t *len_out)
{
    /* An empty buffer has no memory yet, but its text is "", not NULL. */
    char *data = buffer_reserve(buffer, 0) == 0 ? buffer->data : NULL;
    if (len_out != NULL)
        *len_out = data != NULL ? buffer->len : 0;
    if (data != NULL)
        buffer->data = NULL;
    buffer_finish(buffer);
    return data;
}
