/*
 * A growable run of bytes: filled at the end, taken from the front.
 *
 * The sink keeps replies, ledger lines, carried command lines and headers in these. Memory is kept when a text is
 * emptied, so that the hot path allocates nothing. Running out of memory ends the process with a message: a judge that
 * has lost evidence must not go on judging.
 */
#ifndef TESTS_SINK_TEXT_H
#define TESTS_SINK_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct text {
    char *data;
    size_t start;    /* first byte not yet taken */
    size_t end;      /* one past the last byte */
    size_t capacity; /* bytes allocated */
};

/* realloc() that never returns NULL; ends the process with status 1 instead. `bytes` must be above 0. */
void *sink_realloc(void *old, size_t bytes) __attribute__((returns_nonnull, warn_unused_result));

/* strndup() with the same rule; the caller frees the copy. */
char *sink_copy(const char *bytes, size_t length) __attribute__((returns_nonnull, warn_unused_result));

void text_free(struct text *text);

/* Makes room for `bytes` more at the end and returns where they go; text_grew() then says how many were put there. */
char *text_room(struct text *text, size_t bytes) __attribute__((returns_nonnull));

static inline void text_grew(struct text *text, size_t bytes)
{
    text->end += bytes;
}

static inline size_t text_length(const struct text *text)
{
    return text->end - text->start;
}

static inline const char *text_bytes(const struct text *text)
{
    return text->data == NULL ? "" : text->data + text->start;
}

static inline void text_clear(struct text *text)
{
    text->start = 0;
    text->end = 0;
}

static inline void text_add(struct text *text, const char *bytes, size_t length)
{
    if (length == 0)
        return;
    memcpy(text_room(text, length), bytes, length);
    text->end += length;
}

static inline void text_add_string(struct text *text, const char *string)
{
    text_add(text, string, strlen(string));
}

/* Takes `bytes` (at most text_length()) from the front. */
void text_take(struct text *text, size_t bytes);

void text_add_number(struct text *text, uint64_t number);

/*
 * Adds the bytes as a JSON string with its quotes. Bytes that are not UTF-8 become the lone surrogates U+DC80..U+DCFF
 * (Python's "surrogateescape"), so that a reader can get back exactly what came over the wire.
 */
void text_add_json(struct text *text, const char *bytes, size_t length);

/* The same for a C string; NULL is written as null. */
void text_add_json_string(struct text *text, const char *string);

#endif
