/*
 * hashmap.c - linear probing in a table that is at most three quarters full; removal shifts the followers back, so
 * there are no tombstones and a map that lives for months probes as fast as a new one. SipHash-2-4 after Aumasson and
 * Bernstein's paper (2012).
 *
 * Success of a put means that the entry is there; a failed put (no memory) leaves the map as it was.
 * The process's random hash key is the only global state; it is made once, at first use, from getrandom().
 */
#include "base/hashmap.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define FIRST_CAPACITY ((size_t)16)

struct hashmap_slot {
    const void *key;
    void *value; /* NULL: the slot is free */
    size_t key_bytes;
    uint64_t hash;
};

static uint64_t rotate(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static uint64_t load_le64(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    return le64toh(word);
}

static void sip_rounds(uint64_t v[4], int count)
{
    while (count-- > 0) {
        v[0] += v[1];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[0] = rotate(v[0], 32);
        v[2] += v[3];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[2] = rotate(v[2], 32);
    }
}

uint64_t siphash24(const uint8_t key[16], const void *bytes, size_t len)
{
    uint64_t k0 = load_le64(key);
    uint64_t k1 = load_le64(key + 8);
    uint64_t v[4] = {k0 ^ UINT64_C(0x736f6d6570736575), k1 ^ UINT64_C(0x646f72616e646f6d),
                     k0 ^ UINT64_C(0x6c7967656e657261), k1 ^ UINT64_C(0x7465646279746573)};
    const uint8_t *at = bytes;
    size_t left = len;
    for (; left >= 8; at += 8, left -= 8) {
        uint64_t word = load_le64(at);
        v[3] ^= word;
        sip_rounds(v, 2);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)(len & 0xff) << 56;
    for (size_t i = 0; i < left; i++)
        last |= (uint64_t)at[i] << (8 * i);
    v[3] ^= last;
    sip_rounds(v, 2);
    v[0] ^= last;
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint8_t process_key[16];
static pthread_once_t process_key_once = PTHREAD_ONCE_INIT;

static void process_key_make(void)
{
    /* Up to 256 bytes getrandom() is all or nothing; it can only be interrupted while the pool fills at boot. */
    ssize_t n;
    do {
        n = getrandom(process_key, sizeof(process_key), 0);
    } while (n < 0 && errno == EINTR);
    assure(n == (ssize_t)sizeof(process_key));
}

uint64_t hash_bytes(const void *bytes, size_t len)
{
    assure(pthread_once(&process_key_once, process_key_make) == 0);
    return siphash24(process_key, bytes, len);
}

void hashmap_finish(struct hashmap *map)
{
    free(map->slots);
    *map = HASHMAP_INIT;
}

/* The slot of the key, or the free slot where it belongs. The table always has a free slot. */
static size_t slot_find(const struct hashmap *map, uint64_t hash, const void *key, size_t key_bytes)
{
    size_t mask = map->capacity - 1;
    size_t index = (size_t)hash & mask;
    for (;; index = (index + 1) & mask) {
        const struct hashmap_slot *slot = &map->slots[index];
        if (slot->value == NULL)
            return index;
        if (slot->hash == hash && slot->key_bytes == key_bytes &&
            (key_bytes == 0 || memcmp(slot->key, key, key_bytes) == 0))
            return index;
    }
}

void *hashmap_get(const struct hashmap *map, const void *key, size_t key_bytes)
{
    if (map->count == 0)
        return NULL;
    return map->slots[slot_find(map, hash_bytes(key, key_bytes), key, key_bytes)].value;
}

static int grow(struct hashmap *map)
{
    size_t capacity = map->capacity != 0 ? map->capacity * 2 : FIRST_CAPACITY;
    struct hashmap_slot *slots = calloc(capacity, sizeof(*slots));
    if (slots == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->slots[i].value == NULL)
            continue;
        size_t index = (size_t)map->slots[i].hash & (capacity - 1);
        while (slots[index].value != NULL)
            index = (index + 1) & (capacity - 1);
        slots[index] = map->slots[i];
    }
    free(map->slots);
    map->slots = slots;
    map->capacity = capacity;
    return 0;
}

int hashmap_put(struct hashmap *map, const void *key, size_t key_bytes, void *value)
{
    assure(value != NULL);
    uint64_t hash = hash_bytes(key, key_bytes);
    if (map->count > 0 && map->slots[slot_find(map, hash, key, key_bytes)].value != NULL)
        return 1;
    if (map->count >= map->capacity / 4 * 3 && grow(map) < 0)
        return -ENOMEM;
    map->slots[slot_find(map, hash, key, key_bytes)] = (struct hashmap_slot){key, value, key_bytes, hash};
    map->count++;
    return 0;
}

void *hashmap_remove(struct hashmap *map, const void *key, size_t key_bytes)
{
    if (map->count == 0)
        return NULL;
    size_t mask = map->capacity - 1;
    size_t hole = slot_find(map, hash_bytes(key, key_bytes), key, key_bytes);
    void *value = map->slots[hole].value;
    if (value == NULL)
        return NULL;
    /* A follower may move into the hole if its home is not between the hole and its own place. */
    for (size_t i = (hole + 1) & mask; map->slots[i].value != NULL; i = (i + 1) & mask) {
        size_t home = (size_t)map->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            map->slots[hole] = map->slots[i];
            hole = i;
        }
    }
    map->slots[hole] = (struct hashmap_slot){0};
    map->count--;
    return value;
}

void *hashmap_next(const struct hashmap *map, size_t *cursor)
{
    while (*cursor < map->capacity) {
        void *value = map->slots[(*cursor)++].value;
        if (value != NULL)
            return value;
    }
    return NULL;
}
