/*
 * latency.c - the histogram of a site.
 */
#include "engine/site/latency.h"

#include "base/attr.h"

/* Upper bounds in milliseconds: 2^(i/2), rounded up. */
static uint32_t bound(unsigned i)
{
    uint32_t even = UINT32_C(1) << (i / 2);
    return i % 2 == 0 ? even : even + even * 4 / 10 + 1;
}

void latency_add(struct latency *latency, uint32_t ms)
{
    unsigned i = 0;
    while (i + 1 < LATENCY_BUCKETS && ms > bound(i))
        i++;
    if (latency->buckets[i] == UINT16_MAX) {
        for (unsigned k = 0; k < LATENCY_BUCKETS; k++)
            latency->buckets[k] /= 2;
    }
    latency->buckets[i]++;
}

uint32_t latency_quantile_ms(const struct latency *latency, unsigned percent)
{
    uint64_t sum = 0, seen = 0;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        sum += latency->buckets[i];
    for (unsigned i = 0; i < LATENCY_BUCKETS && sum > 0; i++) {
        seen += latency->buckets[i];
        if (seen * 100 >= sum * percent)
            return bound(i);
    }
    return 0;
}
