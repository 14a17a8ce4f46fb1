/*
 * hashmap.h - text (or bytes) to pointer, open addressing, keyed hash (SipHash-2-4 with a random key per process),
 * because the keys are domains and addresses that strangers choose.
 *
 * The map copies neither key nor value: the key lives as long as the entry (usually inside the value). One thread at a
 * time.
 */
#ifndef POSTHASTE_BASE_HASHMAP_H
#define POSTHASTE_BASE_HASHMAP_H

#include "base/attr.h"

struct hashmap_slot;
struct hashmap {
    struct hashmap_slot *slots; /* NULL while empty */
    size_t count;
    size_t capacity; /* a power of two, or 0 */
};

#define HASHMAP_INIT ((struct hashmap){0})

void hashmap_finish(struct hashmap *map); /* frees the table, not the values */
void *hashmap_get(const struct hashmap *map, const void *key, size_t key_bytes);
/* 0; 1 = the key is there already (nothing changed); -ENOMEM. `value` is not NULL. */
int hashmap_put(struct hashmap *map, const void *key, size_t key_bytes, void *value) ATTR_MUSTCHECK;
void *hashmap_remove(struct hashmap *map, const void *key, size_t key_bytes); /* the value, or NULL */
/* Walks: start with *cursor = 0; NULL at the end. The map must not change meanwhile. */
void *hashmap_next(const struct hashmap *map, size_t *cursor);

/* SipHash-2-4 with the process's random key. */
uint64_t hash_bytes(const void *bytes, size_t len);
uint64_t siphash24(const uint8_t key[16], const void *bytes, size_t len);

#endif
