/*
 * The content scanner.
 *
 * This is the hot path: ten kilobytes a message at 15,000 messages a second. So it walks from line end to line end with
 * memchr() and looks at single bytes only where a dot or the border between two reads makes it necessary. It decides
 * nothing about acceptance; it only says what it saw.
 */
#include "tests/sink/content.h"

#include <string.h>
#include <strings.h>

enum {
    HEADER_LIMIT_BYTES = 64 * 1024, /* a header section beyond this is not searched for a Message-ID */
    MESSAGE_ID_LIMIT_BYTES = 998,   /* RFC 5322 2.1.1, a line */
};

void content_begin(struct content *content, bool strict, bool keep, uint64_t size_limit_bytes)
{
    content->state = CONTENT_LINE_START;
    content->strict = strict;
    content->keep = keep;
    content->after_cr = false;
    content->bare_lf = false;
    content->bare_cr = false;
    content->header_done = false;
    content->size_bytes = 0;
    content->size_limit_bytes = size_limit_bytes;
    text_clear(&content->header);
    text_clear(&content->body);
    text_clear(&content->message_id);
}

void content_free(struct content *content)
{
    text_free(&content->header);
    text_free(&content->body);
    text_free(&content->message_id);
}

/* Appends to the header section until its end (CRLF CRLF, or LF LF among the lax) has been seen. */
static void header_take(struct content *content, const char *bytes, size_t length)
{
    struct text *header = &content->header;
    size_t before = text_length(header);
    size_t room = HEADER_LIMIT_BYTES - before;
    size_t from = before > 3 ? before - 3 : 0;
    const char *end;

    if (before == 0) {
        /* The usual case, the whole header in one read: only the header is copied. */
        end = memmem(bytes, length < room ? length : room, "\r\n\r\n", 4);
        if (end != NULL) {
            text_add(header, bytes, (size_t)(end - bytes) + 2);
            content->header_done = true;
            return;
        }
    }
    text_add(header, bytes, length < room ? length : room);
    end = memmem(text_bytes(header) + from, text_length(header) - from, "\r\n\r\n", 4);
    if (end == NULL && !content->strict)
        end = memmem(text_bytes(header) + from, text_length(header) - from, "\n\n", 2);
    if (end != NULL)
        header->end = header->start + (size_t)(end - text_bytes(header)) + 1;
    content->header_done = end != NULL || text_length(header) >= HEADER_LIMIT_BYTES;
}

static void take_run(struct content *content, const char *bytes, size_t length)
{
    if (length == 0)
        return;
    content->size_bytes += length;
    if (content->size_bytes > content->size_limit_bytes)
        return;
    if (!content->header_done)
        header_take(content, bytes, length);
    if (content->keep)
        text_add(&content->body, bytes, length);
}

/* Walks to just behind the next line end, or to `end`, and notes what is wrong on the way. */
static const char *walk_line(struct content *content, const char *at, const char *end)
{
    const char *newline;
    size_t length; /* of the line without its LF */
    bool cr;

    if (content->after_cr) {
        content->after_cr = false;
        if (*at == '\n') {
            content->state = CONTENT_LINE_START;
            return at + 1;
        }
        content->bare_cr = true;
    }
    content->state = CONTENT_LINE;
    newline = memchr(at, '\n', (size_t)(end - at));
    length = (size_t)((newline == NULL ? end : newline) - at);
    cr = length > 0 && at[length - 1] == '\r';
    if (length > 1 && !content->bare_cr)
        content->bare_cr = memchr(at, '\r', length - 1) != NULL;
    if (newline == NULL) {
        content->after_cr = cr;
        return end;
    }
    if (!cr)
        content->bare_lf = true;
    if (cr || !content->strict)
        content->state = CONTENT_LINE_START;
    return newline + 1;
}

size_t content_take_data(struct content *content, const char *bytes, size_t length, bool *ended)
{
    const char *at = bytes;
    const char *end = bytes + length;
    const char *run = bytes; /* from here to `at` is content that has not been handed to take_run() */

    *ended = false;
    while (at < end && !*ended) {
        switch (content->state) {
        case CONTENT_LINE_START:
            if (*at == '.') {
                take_run(content, run, (size_t)(at - run));
                run = ++at;
                content->state = CONTENT_DOT;
                break;
            }
            at = walk_line(content, at, end);
            break;
        case CONTENT_DOT:
            if (*at == '\r') {
                run = ++at;
                content->state = CONTENT_DOT_CR;
            } else if (*at == '\n' && !content->strict) {
                run = ++at;
                content->bare_lf = true;
                *ended = true;
            } else {
                content->state = CONTENT_LINE;
            }
            break;
        case CONTENT_DOT_CR:
            if (*at == '\n') {
                run = ++at;
                *ended = true;
            } else {
                /* The dot was only stuffing after all, and the CR belongs to the content. */
                take_run(content, "\r", 1);
                content->after_cr = true;
                content->state = CONTENT_LINE;
            }
            break;
        case CONTENT_LINE:
            at = walk_line(content, at, end);
            break;
        }
    }
    take_run(content, run, (size_t)(at - run));
    return (size_t)(at - bytes);
}

void content_take_chunk(struct content *content, const char *bytes, size_t length)
{
    const char *at = bytes;

    while (at < bytes + length)
        at = walk_line(content, at, bytes + length);
    take_run(content, bytes, length);
}

void content_finish(struct content *content)
{
    if (content->after_cr)
        content->bare_cr = true;
}

const char *content_fault(const struct content *content)
{
    if (!content->strict)
        return NULL;
    if (content->bare_lf)
        return "bare LF";
    return content->bare_cr ? "bare CR" : NULL;
}

/* Copies a field's value from behind its colon, without the line ends of its folds and without blanks around it. */
static void copy_value(struct text *value, const char *at, const char *end)
{
    while (at < end && text_length(value) < MESSAGE_ID_LIMIT_BYTES) {
        if (*at == '\n' && (at + 1 == end || (at[1] != ' ' && at[1] != '\t')))
            break;
        if (*at != '\r' && *at != '\n' && !(text_length(value) == 0 && (*at == ' ' || *at == '\t')))
            text_add(value, at, 1);
        at++;
    }
    while (text_length(value) > 0 && (value->data[value->end - 1] == ' ' || value->data[value->end - 1] == '\t'))
        value->end--;
    text_add(value, "", 1);
}

const char *content_message_id(struct content *content)
{
    static const char name[] = "Message-ID:";
    const char *at = text_bytes(&content->header);
    const char *end = at + text_length(&content->header);

    if (text_length(&content->message_id) > 0)
        return text_bytes(&content->message_id);
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));

        if ((size_t)(end - at) >= sizeof(name) - 1 && strncasecmp(at, name, sizeof(name) - 1) == 0) {
            copy_value(&content->message_id, at + sizeof(name) - 1, end);
            return text_bytes(&content->message_id);
        }
        if (newline == NULL || newline == at || (newline == at + 1 && *at == '\r'))
            break;
        at = newline + 1;
    }
    return NULL;
}
