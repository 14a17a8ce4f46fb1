/*
 * outbox.c - the scatter list of a session.
 *
 * All own text lies in one buffer in the order of the pieces, so a text piece needs only its length: its bytes begin
 * where the text of the pieces before it ends. The buffer starts anew whenever all of it has left, and is moved down
 * when its dead front grows.
 */
#include "engine/smtp/outbox.h"

#include <errno.h>
#include <stdlib.h>

#define TEXT_LIMIT_BYTES ((size_t)256 << 10)
#define TEXT_DEAD_MAX_BYTES ((size_t)8 << 10)

int outbox_init(struct outbox *outbox, uint32_t capacity)
{
    *outbox = (struct outbox){.text = BUFFER_INIT(TEXT_LIMIT_BYTES), .capacity = capacity};
    outbox->pieces = calloc(capacity, sizeof *outbox->pieces);
    return outbox->pieces != NULL ? 0 : -ENOMEM;
}

void outbox_finish(struct outbox *outbox)
{
    buffer_finish(&outbox->text);
    free(outbox->pieces);
    outbox->pieces = NULL;
    outbox->count = 0;
}

static struct outbox_piece *piece_at(const struct outbox *outbox, uint32_t index)
{
    return &outbox->pieces[(outbox->first + index) % outbox->capacity];
}

static struct outbox_piece *piece_add(struct outbox *outbox)
{
    assure(outbox->count < outbox->capacity);
    struct outbox_piece *piece = piece_at(outbox, outbox->count++);
    *piece = (struct outbox_piece){0};
    return piece;
}

struct buffer *outbox_text(struct outbox *outbox)
{
    return &outbox->text;
}

void outbox_text_added(struct outbox *outbox)
{
    size_t listed = outbox->text_done;
    for (uint32_t i = 0; i < outbox->count; i++)
        listed += piece_at(outbox, i)->text_len;
    assure(outbox->text.len >= listed);
    size_t added = outbox->text.len - listed;
    if (added == 0)
        return;
    struct outbox_piece *last = outbox->count > 0 ? piece_at(outbox, outbox->count - 1) : NULL;
    if (last == NULL || last->cur != NULL)
        last = piece_add(outbox);
    last->text_len += added;
    outbox->queued += added;
}

/* End of the run that starts at `from`: just behind the next dot that opens a line, or `end`. */
static const char *next_stop(const char *from, const char *end)
{
    const char *found = memmem(from, (size_t)(end - from), "\r\n.", 3);
    return found != NULL ? found + 3 : end;
}

void outbox_content(struct outbox *outbox, const char *data, size_t size_bytes, bool stuff_dots)
{
    if (size_bytes == 0)
        return;
    struct outbox_piece *piece = piece_add(outbox);
    piece->cur = data;
    piece->end = piece->stop = data + size_bytes;
    outbox->queued += size_bytes;
    if (!stuff_dots)
        return;
    piece->stop = data[0] == '.' ? data + 1 : next_stop(data, piece->end);
    outbox->queued += data[0] == '.' ? 1 : 0;
    const char *at = data;
    while ((at = memmem(at, (size_t)(piece->end - at), "\r\n.", 3)) != NULL) {
        outbox->queued++;
        at += 3;
    }
}

/* Moves on to the run behind piece->stop; false when the piece is used up. */
static bool piece_next_run(struct outbox_piece *piece)
{
    if (piece->stop == piece->end && piece->cur == piece->end) {
        /* A dot that is the very last byte would have to be sent twice, but content ends with CRLF: then nothing is
         * left. */
        return false;
    }
    piece->cur = piece->stop - 1;
    piece->stop = next_stop(piece->stop, piece->end);
    return true;
}

size_t outbox_peek(const struct outbox *outbox, struct iovec *iov, size_t max)
{
    size_t filled = 0, text_at = outbox->text_done;
    for (uint32_t i = 0; i < outbox->count && filled < max; i++) {
        struct outbox_piece piece = *piece_at(outbox, i);
        if (piece.cur == NULL) {
            iov[filled++] = (struct iovec){outbox->text.data + text_at, piece.text_len};
            text_at += piece.text_len;
            continue;
        }
        do {
            iov[filled++] = (struct iovec){(void *)(uintptr_t)piece.cur, (size_t)(piece.stop - piece.cur)};
            piece.cur = piece.stop;
        } while (filled < max && piece_next_run(&piece));
    }
    return filled;
}

static void text_left(struct outbox *outbox, size_t bytes)
{
    outbox->text_done += bytes;
    if (outbox->text_done == outbox->text.len) {
        buffer_clear(&outbox->text);
        outbox->text_done = 0;
    } else if (outbox->text_done > TEXT_DEAD_MAX_BYTES) {
        buffer_consume(&outbox->text, outbox->text_done);
        outbox->text_done = 0;
    }
}

void outbox_wrote(struct outbox *outbox, size_t bytes)
{
    outbox->written += bytes;
    assure(outbox->written <= outbox->queued);
    while (bytes > 0) {
        assure(outbox->count > 0);
        struct outbox_piece *piece = piece_at(outbox, 0);
        bool used_up = false;
        if (piece->cur == NULL) {
            size_t take = MIN_OF(bytes, piece->text_len);
            piece->text_len -= take;
            bytes -= take;
            used_up = piece->text_len == 0;
            text_left(outbox, take);
        } else {
            size_t take = MIN_OF(bytes, (size_t)(piece->stop - piece->cur));
            piece->cur += take;
            bytes -= take;
            used_up = piece->cur == piece->stop && !piece_next_run(piece);
        }
        if (used_up) {
            outbox->first = (outbox->first + 1) % outbox->capacity;
            outbox->count--;
        }
    }
}

void outbox_wipe(struct outbox *outbox)
{
    if (outbox_empty(outbox) && outbox->text.data != NULL)
        explicit_bzero(outbox->text.data, outbox->text.cap);
}

void outbox_cut(struct outbox *outbox)
{
    outbox->first = outbox->count = 0;
    outbox->queued = outbox->written;
    outbox->text_done = 0;
    buffer_clear(&outbox->text);
}

int outbox_scan(const char *data, size_t size_bytes, bool *has_dots)
{
    const char *at = data, *end = data + size_bytes;
    *has_dots = size_bytes > 0 && data[0] == '.';
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        if (newline == NULL || newline == at || newline[-1] != '\r')
            return -EINVAL;
        /* A bare CR inside the line: the first CR must be the one before the LF. */
        if (memchr(at, '\r', (size_t)(newline - at)) != newline - 1)
            return -EINVAL;
        at = newline + 1;
        if (at < end && *at == '.')
            *has_dots = true;
    }
    return size_bytes > 0 ? 0 : -EINVAL;
}
