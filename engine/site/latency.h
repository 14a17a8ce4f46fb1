/*
 * latency.h - how long a site takes for a message, from MAIL to the final reply: a histogram that forgets.
 *
 * Each bucket is wider than the one before by the square root of two, from 1 ms to 12 minutes, so a quantile is right
 * within a fifth. When a bucket is full all are halved: what was long ago counts less and less. 80 bytes a site.
 */
#ifndef POSTHASTE_ENGINE_SITE_LATENCY_H
#define POSTHASTE_ENGINE_SITE_LATENCY_H

#include <stdint.h>

#define LATENCY_BUCKETS 40

struct latency {
    uint16_t buckets[LATENCY_BUCKETS];
};

void latency_add(struct latency *latency, uint32_t ms);
/* The time within which `percent` of them were done; 0 when there were none. */
uint32_t latency_quantile_ms(const struct latency *latency, unsigned percent);

#endif
