/*
 * rate.h - a rate as people write it: "100/s", "10/min", "5000/h", "20000/d", "unlimited".
 */
#ifndef POSTHASTE_BASE_RATE_H
#define POSTHASTE_BASE_RATE_H

#include <stdbool.h>

#include "base/attr.h"

struct rate {
    uint32_t count;    /* 0 = unlimited */
    int64_t period_us; /* 1 s, 1 min, 1 h or 1 d in microseconds; 0 when unlimited */
};

#define RATE_UNLIMITED ((struct rate){0, 0})

static inline bool rate_is_unlimited(struct rate rate)
{
    return rate.count == 0;
}
int rate_parse(const char *text, struct rate *out) ATTR_MUSTCHECK; /* 0 or -EINVAL */
int rate_parse_bytes(const char *text,
                     struct rate *out) ATTR_MUSTCHECK; /* its number may end in k, M or G (thousands) */
#define RATE_TEXT_BYTES 32
const char *rate_format(struct rate rate, char out[RATE_TEXT_BYTES]);
double rate_per_second(struct rate rate); /* 0 when unlimited */

#endif
