/*
 * Growable bytes and the JSON string writer of the ledger.
 *
 * Success means that the bytes are there; there is no failure to check, because running out of memory ends the process.
 * This file does not parse anything and does no I/O beyond that last message.
 */
#include "tests/sink/text.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { TEXT_FIRST_BYTES = 256 };

void *sink_realloc(void *old, size_t bytes)
{
    void *memory = realloc(old, bytes);

    if (memory == NULL) {
        fputs("sink: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

char *sink_copy(const char *bytes, size_t length)
{
    char *copy = sink_realloc(NULL, length + 1);

    if (length > 0)
        memcpy(copy, bytes, length);
    copy[length] = '\0';
    return copy;
}

void text_free(struct text *text)
{
    free(text->data);
    *text = (struct text){0};
}

char *text_room(struct text *text, size_t bytes)
{
    if (text->start == text->end)
        text_clear(text);
    if (text->data != NULL && text->capacity - text->end >= bytes)
        return text->data + text->end;
    if (text->start > 0 && text->start >= text->end - text->start) {
        /* Sliding down costs at most what has been taken already, so the work per byte stays constant. */
        memmove(text->data, text->data + text->start, text->end - text->start);
        text->end -= text->start;
        text->start = 0;
    }
    if (text->data == NULL || text->capacity - text->end < bytes) {
        size_t wanted = text->capacity < TEXT_FIRST_BYTES ? TEXT_FIRST_BYTES : text->capacity;

        while (wanted - text->end < bytes)
            wanted *= 2;
        text->data = sink_realloc(text->data, wanted);
        text->capacity = wanted;
    }
    return text->data + text->end;
}

void text_take(struct text *text, size_t bytes)
{
    text->start += bytes;
    if (text->start >= text->end)
        text_clear(text);
}

void text_add_number(struct text *text, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    text_add(text, digits + at, sizeof(digits) - at);
}

/* The length of the well-formed UTF-8 sequence (RFC 3629) at the front of the bytes, or 0 if there is none. */
static size_t utf8_length(const unsigned char *bytes, size_t length)
{
    size_t wanted;
    unsigned char low = 0x80;
    unsigned char high = 0xbf;

    if (bytes[0] >= 0xc2 && bytes[0] <= 0xdf) {
        wanted = 2;
    } else if (bytes[0] >= 0xe0 && bytes[0] <= 0xef) {
        wanted = 3;
        low = bytes[0] == 0xe0 ? 0xa0 : low;
        high = bytes[0] == 0xed ? 0x9f : high;
    } else if (bytes[0] >= 0xf0 && bytes[0] <= 0xf4) {
        wanted = 4;
        low = bytes[0] == 0xf0 ? 0x90 : low;
        high = bytes[0] == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    if (length < wanted || bytes[1] < low || bytes[1] > high)
        return 0;
    for (size_t i = 2; i < wanted; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
    }
    return wanted;
}

static bool plain_in_json(unsigned char byte)
{
    return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

static void add_escaped(struct text *text, unsigned char byte)
{
    char escape[8];
    int length;

    if (byte == '"' || byte == '\\')
        length = snprintf(escape, sizeof(escape), "\\%c", byte);
    else if (byte == '\r' || byte == '\n')
        length = snprintf(escape, sizeof(escape), "\\%c", byte == '\r' ? 'r' : 'n');
    else
        length = snprintf(escape, sizeof(escape), "\\u%s%02x", byte < 0x80 ? "00" : "dc", (unsigned)byte);
    if (length > 0)
        text_add(text, escape, (size_t)length);
}

void text_add_json(struct text *text, const char *bytes, size_t length)
{
    const unsigned char *in = (const unsigned char *)bytes;
    size_t at = 0;

    text_add(text, "\"", 1);
    while (at < length) {
        size_t run = at;

        while (run < length && plain_in_json(in[run]))
            run++;
        text_add(text, bytes + at, run - at);
        at = run;
        if (at == length)
            break;
        size_t sequence = utf8_length(in + at, length - at);

        if (sequence > 0) {
            text_add(text, bytes + at, sequence);
            at += sequence;
        } else {
            add_escaped(text, in[at]);
            at++;
        }
    }
    text_add(text, "\"", 1);
}

void text_add_json_string(struct text *text, const char *string)
{
    if (string == NULL)
        text_add(text, "null", 4);
    else
        text_add_json(text, string, strlen(string));
}
