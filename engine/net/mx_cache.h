/*
 * mx_cache.h - what is known about domains, good and bad, for as long as it may be believed. No I/O; time is passed in.
 *
 * Good and permanently bad answers live as long as their TTL, inside bounds. A temporary failure lives 15 s, doubling
 * with each further one in a row up to 10 min: so a domain whose DNS is broken is asked about at that pace, however
 * many of its recipients wait. Bounded in entries and bytes; what was not asked for the longest time goes first.
 */
#ifndef POSTHASTE_ENGINE_NET_MX_CACHE_H
#define POSTHASTE_ENGINE_NET_MX_CACHE_H

#include "base/hashmap.h"
#include "base/list.h"
#include "engine/net/mx.h"

struct mx_cache_limits {
    size_t entries_max;
    size_t bytes_max; /* of entries and sets; a set that several hold counts in full */
    int64_t lifetime_min_ms, lifetime_max_ms;
    int64_t partial_ms; /* longest life of a set that lacks the answer of some look-up */
    int64_t backoff_first_ms, backoff_max_ms;
};
#define MX_CACHE_LIMITS_DEFAULT                                                                                        \
    ((struct mx_cache_limits){.entries_max = 100000,                                                                   \
                              .bytes_max = (size_t)24 << 20,                                                           \
                              .lifetime_min_ms = 30000,                                                                \
                              .lifetime_max_ms = 3600000,                                                              \
                              .partial_ms = 60000,                                                                     \
                              .backoff_first_ms = 15000,                                                               \
                              .backoff_max_ms = 600000})

struct mx_cache {
    struct mx_cache_limits limits;
    struct hashmap map;
    struct list recent; /* newest use first */
    size_t bytes;
};

void mx_cache_init(struct mx_cache *cache, const struct mx_cache_limits *limits);
void mx_cache_finish(struct mx_cache *cache);

/* The set of the domain, still the cache's, and how long it lives on; NULL = unknown, or its time is over. */
struct mx_set *mx_cache_get(struct mx_cache *cache, const char *domain, int64_t now_ms, int64_t *lifetime_ms);

/* Keeps the set (one more reference) in place of what was known. Returns how long it lives; without memory it is not
 * kept, and lives as long for the caller. */
int64_t mx_cache_put(struct mx_cache *cache, const char *domain, struct mx_set *set, int64_t now_ms);

#endif
