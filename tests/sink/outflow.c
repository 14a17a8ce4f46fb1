/*
 * The queue of timed replies. Ordinary replies with the same due time melt into one segment, so that all answers to one
 * read leave in one write; bytes with a manner of their own keep a segment of their own.
 */
#include "tests/sink/outflow.h"

#include <stdlib.h>

enum { OUTFLOW_FIRST_SEGMENTS = 8 };

void outflow_free(struct outflow *outflow)
{
    text_free(&outflow->bytes);
    free(outflow->segments);
    *outflow = (struct outflow){0};
}

static bool is_plain(const struct segment *segment)
{
    return segment->drip_ms == 0 && !segment->endless && segment->after == AFTER_GO_ON;
}

static struct segment *new_segment(struct outflow *outflow)
{
    if (outflow->first == outflow->last) {
        outflow->first = 0;
        outflow->last = 0;
    }
    if (outflow->last == outflow->capacity && outflow->first >= outflow->capacity / 2 && outflow->first > 0) {
        size_t count = outflow->last - outflow->first;

        memmove(outflow->segments, outflow->segments + outflow->first, count * sizeof(*outflow->segments));
        outflow->first = 0;
        outflow->last = count;
    }
    if (outflow->last == outflow->capacity) {
        outflow->capacity = outflow->capacity == 0 ? OUTFLOW_FIRST_SEGMENTS : outflow->capacity * 2;
        outflow->segments = sink_realloc(outflow->segments, outflow->capacity * sizeof(*outflow->segments));
    }
    return &outflow->segments[outflow->last++];
}

void outflow_add(struct outflow *outflow, const char *bytes, size_t length, const struct manner *manner,
                 uint64_t due_us)
{
    struct segment segment = {
        .due_us = due_us + (uint64_t)manner->delay_ms * 1000,
        .length = length,
        .drip_ms = manner->drip_ms,
        .endless = manner->endless,
        .after = manner->after,
    };

    text_add(&outflow->bytes, bytes, length);
    outflow->queued_bytes += length;
    if (outflow->first < outflow->last) {
        struct segment *before = &outflow->segments[outflow->last - 1];

        if (segment.due_us < before->due_us)
            segment.due_us = before->due_us;
        if (is_plain(before) && is_plain(&segment) && before->due_us == segment.due_us) {
            before->length += length;
            return;
        }
    }
    *new_segment(outflow) = segment;
}

struct outflow_step outflow_next(const struct outflow *outflow, uint64_t now_us)
{
    struct outflow_step step = {.wish = OUTFLOW_NOTHING, .bytes = text_bytes(&outflow->bytes)};
    const struct segment *segment;

    if (outflow->first == outflow->last)
        return step;
    segment = &outflow->segments[outflow->first];
    step.due_us = segment->due_us;
    step.drip_ms = segment->drip_ms;
    step.after = segment->after;
    step.length = segment->length;
    if (segment->due_us > now_us) {
        step.wish = OUTFLOW_WAIT;
    } else if (segment->endless) {
        step.wish = OUTFLOW_REPEAT;
    } else if (segment->length == 0) {
        step.wish = OUTFLOW_END;
    } else if (segment->drip_ms > 0) {
        step.wish = OUTFLOW_WRITE;
        step.length = 1;
    } else {
        /* All that is due and plain leaves in one write, up to and with the first segment that has an end. */
        step.wish = OUTFLOW_WRITE;
        for (size_t i = outflow->first + 1; i < outflow->last && outflow->segments[i - 1].after == AFTER_GO_ON; i++) {
            segment = &outflow->segments[i];
            if (segment->due_us > now_us || segment->endless || segment->drip_ms > 0)
                break;
            step.length += segment->length;
        }
    }
    return step;
}

void outflow_wrote(struct outflow *outflow, size_t length, uint64_t now_us)
{
    text_take(&outflow->bytes, length);
    while (outflow->first < outflow->last) {
        struct segment *segment = &outflow->segments[outflow->first];
        size_t part = segment->length < length ? segment->length : length;

        segment->length -= part;
        length -= part;
        if (segment->drip_ms > 0 && part > 0)
            segment->due_us = now_us + (uint64_t)segment->drip_ms * 1000;
        /* An empty segment with an end stays, so that outflow_next() asks for that end. */
        if (segment->length > 0 || segment->after != AFTER_GO_ON || segment->endless)
            break;
        outflow->first++;
    }
}
