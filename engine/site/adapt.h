/*
 * adapt.h - the rate that a destination bears from one source, found out by itself. Pure: time is passed in, in
 * milliseconds of the monotonic clock.
 *
 * A throttling reply or a refused connection lowers the rate: to nine tenths of it, and further, down to half, to what
 * was taken in the last second, because that says where the mark is. What follows within the next second is the echo of
 * the same event. The rate at which it happened is remembered as the *knee*. While deliveries succeed the rate grows
 * again along a cubic curve through the knee: quickly at first, hardly at all near the knee, where the limit was, and
 * ever faster beyond it, when the destination has evidently become more generous. So a steady limit is touched about
 * every twenty seconds by a message or two, and a fivefold one is reached in a minute and a half. The curve stands
 * still while the rate is not used. Above the configured rate there is nothing to adapt.
 */
#ifndef POSTHASTE_ENGINE_SITE_ADAPT_H
#define POSTHASTE_ENGINE_SITE_ADAPT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"

#define ADAPT_TEXT_BYTES 512
#define ADAPT_WHY_BYTES 200
#define ADAPT_FLOOR (1.0 / 60) /* messages a second: one a minute; below it nothing is learnt any more */

struct adapt {
    double rate;    /* messages a second; 0 = not lowered */
    double ceiling; /* what is configured; 0 = unlimited */
    double low;     /* the rate after the last decrease: where the curve begins */
    double knee;
    double climbed_s;                    /* on the curve since then */
    int64_t lowered_ms;                  /* monotonic; of the last decrease */
    int64_t since_wall_ms;               /* the first decrease of this episode */
    int64_t second_ms;                   /* when the present second began */
    uint32_t taken, refused;             /* in it */
    double taken_before, refused_before; /* in the second before it ... */
    double span_before_s;                /* ... which lasted so long */
    char why[ADAPT_WHY_BYTES];           /* what lowered it */
};

void adapt_init(struct adapt *adapt, double ceiling);
/* What became of one message (or of one connection attempt: refused). Both return true when `rate` changed. */
bool adapt_taken(struct adapt *adapt, int64_t now_ms);
bool adapt_refused(struct adapt *adapt, const char *why, int64_t now_ms, int64_t now_wall_ms);

/* One line of text, and back; -EINVAL when it is none. `ceiling` is as adapt_init() set it. */
void adapt_write(const struct adapt *adapt, char out[ADAPT_TEXT_BYTES]);
int adapt_read(struct adapt *adapt, const char *text, int64_t now_ms) ATTR_MUSTCHECK;

#endif
