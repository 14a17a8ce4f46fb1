/*
 * mx_cache.c - one hash map, one list in order of use.
 *
 * An entry outlives its set's time: it remembers how often the domain has failed in a row. Failures of a domain
 * that was evicted begin anew, which costs one more question to its name server.
 */
#include "engine/net/mx_cache.h"

#include <stdlib.h>
#include <string.h>

struct entry {
    struct list recent;
    struct mx_set *set;
    int64_t expires_ms;
    uint32_t failures; /* temporary ones in a row */
    size_t bytes, domain_bytes;
    char domain[];
};

void mx_cache_init(struct mx_cache *cache, const struct mx_cache_limits *limits)
{
    *cache = (struct mx_cache){.limits = *limits, .map = HASHMAP_INIT};
    assure(limits->entries_max > 0);
    list_init(&cache->recent);
}

static void drop(struct mx_cache *cache, struct entry *entry)
{
    (void)hashmap_remove(&cache->map, entry->domain, entry->domain_bytes);
    list_remove(&entry->recent);
    cache->bytes -= entry->bytes;
    mx_set_release(entry->set);
    free(entry);
}

void mx_cache_finish(struct mx_cache *cache)
{
    while (!list_empty(&cache->recent))
        drop(cache, list_entry(cache->recent.next, struct entry, recent));
    hashmap_finish(&cache->map);
}

struct mx_set *mx_cache_get(struct mx_cache *cache, const char *domain, int64_t now_ms, int64_t *lifetime_ms)
{
    struct entry *entry = hashmap_get(&cache->map, domain, strlen(domain));
    if (entry == NULL || entry->expires_ms <= now_ms)
        return NULL;
    list_remove(&entry->recent);
    list_prepend(&cache->recent, &entry->recent);
    *lifetime_ms = entry->expires_ms - now_ms;
    return entry->set;
}

static int64_t lifetime_of(const struct mx_cache_limits *limits, const struct mx_set *set, uint32_t failures)
{
    if (set->status == MX_TEMPORARY) {
        int64_t wait_ms = limits->backoff_first_ms;
        for (uint32_t i = 1; i < failures && wait_ms < limits->backoff_max_ms; i++)
            wait_ms *= 2;
        return MIN_OF(wait_ms, limits->backoff_max_ms);
    }
    int64_t lifetime_ms = (int64_t)set->ttl_s * 1000;
    if (set->partial)
        lifetime_ms = MIN_OF(lifetime_ms, limits->partial_ms);
    return MAX_OF(limits->lifetime_min_ms, MIN_OF(lifetime_ms, limits->lifetime_max_ms));
}

static struct entry *entry_create(struct mx_cache *cache, const char *domain)
{
    size_t domain_bytes = strlen(domain);
    struct entry *entry = calloc(1, sizeof *entry + domain_bytes + 1);
    if (entry == NULL)
        return NULL;
    memcpy(entry->domain, domain, domain_bytes + 1);
    entry->domain_bytes = domain_bytes;
    if (hashmap_put(&cache->map, entry->domain, domain_bytes, entry) != 0) {
        free(entry);
        return NULL;
    }
    list_prepend(&cache->recent, &entry->recent);
    return entry;
}

/* The newest entry stays, even if it alone is too large. */
static void evict(struct mx_cache *cache)
{
    while ((cache->map.count > cache->limits.entries_max || cache->bytes > cache->limits.bytes_max) &&
           cache->map.count > 1)
        drop(cache, list_entry(cache->recent.prev, struct entry, recent));
}

int64_t mx_cache_put(struct mx_cache *cache, const char *domain, struct mx_set *set, int64_t now_ms)
{
    struct entry *entry = hashmap_get(&cache->map, domain, strlen(domain));
    if (entry == NULL)
        entry = entry_create(cache, domain);
    if (entry == NULL)
        return lifetime_of(&cache->limits, set, 1);
    if (set->status != MX_TEMPORARY)
        entry->failures = 0;
    else if (entry->failures < UINT32_MAX)
        entry->failures++;
    int64_t lifetime_ms = lifetime_of(&cache->limits, set, entry->failures);
    struct mx_set *old = entry->set;
    entry->set = mx_set_hold(set);
    mx_set_release(old);
    entry->expires_ms = now_ms + lifetime_ms;
    cache->bytes -= entry->bytes;
    entry->bytes = sizeof *entry + entry->domain_bytes + 1 + set->bytes;
    cache->bytes += entry->bytes;
    list_remove(&entry->recent);
    list_prepend(&cache->recent, &entry->recent);
    evict(cache);
    return lifetime_ms;
}
