/*
 * canon.c - the relaxed forms of header and body, in one pass and, where nothing changes, without a copy.
 *
 * The body is first shortened to the end of its last line that holds anything; after that, canonical and given text
 * differ only at runs of white space. A scan of 64 bytes at a time, plain enough for the compiler to vectorise, looks
 * for the start of the next run that changes. Long unchanged stretches go to the hash as they stand, short ones
 * (indented HTML has many) are gathered so that the hash is not called for every line.
 *
 * Success means that the bytes written are the canonical form. Nothing here judges the message.
 */
#include "dkim/canon.h"

#include <stdbool.h>

#include "base/str.h"

#define GATHER_BYTES 4096
#define DIRECT_BYTES 512 /* a stretch of this length goes to the writer without a copy */
#define BLOCK_BYTES 64
#define STEP_BYTES 16

struct gather {
    canon_write_cb *write;
    void *context;
    size_t used;
    char bytes[GATHER_BYTES];
};

static bool is_wsp(char c)
{
    return c == ' ' || c == '\t';
}

static int gather_flush(struct gather *gather)
{
    size_t used = gather->used;
    gather->used = 0;
    return used > 0 ? gather->write(gather->context, gather->bytes, used) : 0;
}

static int gather_add(struct gather *gather, const char *bytes, size_t len)
{
    int rc = 0;
    if (len > GATHER_BYTES - gather->used || len >= DIRECT_BYTES)
        rc = gather_flush(gather);
    if (rc < 0)
        return rc;
    if (len >= DIRECT_BYTES)
        return gather->write(gather->context, bytes, len);
    memcpy(gather->bytes + gather->used, bytes, len);
    gather->used += len;
    return 0;
}

/* Where the last line with content ends, its trailing white space left out: 0 when there is no such line. */
static size_t content_end(const char *body, size_t len)
{
    size_t end = len;
    for (;;) {
        while (end > 0 && is_wsp(body[end - 1]))
            end--;
        if (end < 2 || body[end - 2] != '\r' || body[end - 1] != '\n')
            return end;
        end -= 2;
    }
}

/* Non-zero when a run of white space that may change starts among the `count` bytes (a constant, so that this becomes
 * vector code) at `p`; reads one byte more. */
static inline __attribute__((always_inline)) uint8_t may_change(const char *p, size_t count)
{
    uint8_t found = 0;
    for (size_t i = 0; i < count; i++) {
        /* A space before anything up to the space: white space, or a line end, or (harmlessly) a bare control
         * character. */
        found |= (uint8_t)((p[i] == '\t') | ((p[i] == ' ') & ((uint8_t)p[i + 1] <= ' ')));
    }
    return found;
}

/* First position from `at` on where a run starts that relaxation changes; `end` when there is none. body[end - 1] is
 * not white space. */
static size_t next_change(const char *body, size_t at, size_t end)
{
    while (at < end) {
        if (end - at > BLOCK_BYTES && may_change(body + at, BLOCK_BYTES) == 0) {
            at += BLOCK_BYTES;
            continue;
        }
        /* Somewhere in this block: narrow it down before looking byte by byte. */
        while (end - at > STEP_BYTES && may_change(body + at, STEP_BYTES) == 0)
            at += STEP_BYTES;
        size_t stop = MIN_OF(end, at + STEP_BYTES);
        for (; at < stop; at++) {
            if (body[at] == '\t')
                return at;
            if (body[at] != ' ')
                continue;
            if (is_wsp(body[at + 1]) || (body[at + 1] == '\r' && at + 2 < end && body[at + 2] == '\n'))
                return at;
        }
    }
    return end;
}

int canon_body(const char *body, size_t len, canon_write_cb *write, void *context)
{
    struct gather gather;
    gather.write = write;
    gather.context = context;
    gather.used = 0;
    size_t end = content_end(body, len);
    if (end == 0)
        return 0;
    for (size_t at = 0; at < end;) {
        size_t change = next_change(body, at, end);
        int rc = gather_add(&gather, body + at, change - at);
        if (rc < 0)
            return rc;
        at = change;
        while (at < end && is_wsp(body[at]))
            at++;
        bool line_ends = at + 1 < end && body[at] == '\r' && body[at + 1] == '\n';
        if (at > change && !line_ends)
            rc = gather_add(&gather, " ", 1);
        if (rc < 0)
            return rc;
    }
    int rc = gather_add(&gather, "\r\n", 2);
    return rc < 0 ? rc : gather_flush(&gather);
}

void canon_field(const char *field, size_t len, size_t name_len, struct buffer *out)
{
    assure(name_len < len && field[name_len] == ':');
    if (buffer_reserve(out, len) < 0)
        return;
    char *to = out->data + out->len;
    size_t trimmed = name_len;
    while (trimmed > 0 && is_wsp(field[trimmed - 1]))
        trimmed--;
    for (size_t i = 0; i < trimmed; i++)
        *to++ = ascii_lower(field[i]);
    *to++ = ':';
    const char *value = to;
    bool space = false;
    for (size_t i = name_len + 1; i < len; i++) {
        char c = field[i];
        if (c == '\r' && i + 1 < len && field[i + 1] == '\n') {
            i++; /* unfolding takes only the line end away; the white space behind it counts */
        } else if (is_wsp(c)) {
            space = true;
        } else {
            if (space && to > value)
                *to++ = ' ';
            space = false;
            *to++ = c;
        }
    }
    out->len = (size_t)(to - out->data);
    out->data[out->len] = '\0';
}
