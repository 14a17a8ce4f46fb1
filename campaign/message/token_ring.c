/*
 * token_ring.c - see token_ring.h.
 *
 * A token does not name its key: it would have to grow, and a return path has no room. Each key that counts is tried,
 * the newest first; there are few, and one costs a microsecond.
 */
#include "campaign/message/token_ring.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"

#define SLOTS 256 /* of one process's life */

struct slot {
    int64_t id;
    struct mac_key *mac;
    atomic_bool retired;
};

struct token_ring {
    pthread_mutex_t lock; /* of those who add */
    _Atomic size_t count; /* slots below are whole; in the order of their numbers */
    struct slot slots[SLOTS];
};

struct reading {
    struct token_ring *ring;
    struct error *err;
    int result;
};

static struct slot *find(const struct token_ring *ring, int64_t id)
{
    size_t count = atomic_load_explicit(&ring->count, memory_order_acquire);
    for (size_t i = 0; i < count; i++)
        if (ring->slots[i].id == id)
            return (struct slot *)(uintptr_t)&ring->slots[i];
    return NULL;
}

static int take_key(void *context, const struct storage_link_key *key)
{
    struct reading *reading = context;
    struct token_ring *ring = reading->ring;
    struct slot *slot = find(ring, key->id);
    if (slot != NULL || key->value == NULL) {
        if (slot != NULL && key->value == NULL)
            atomic_store(&slot->retired, true);
        return 0;
    }
    size_t count = atomic_load(&ring->count);
    if (count == SLOTS) {
        reading->result = error_set(reading->err, -ENOSPC, "more than %d link keys since the start; start anew", SLOTS);
        return 1;
    }
    slot = &ring->slots[count];
    slot->mac = mac_key_create(key->value, LINK_KEY_BYTES);
    if (slot->mac == NULL) {
        reading->result = error_memory(reading->err);
        return 1;
    }
    slot->id = key->id;
    atomic_store_explicit(&ring->count, count + 1, memory_order_release);
    return 0;
}

int token_ring_refresh(struct token_ring *ring, struct storage_reader *reader, struct error *err)
{
    struct reading reading = {.ring = ring, .err = err};
    (void)pthread_mutex_lock(&ring->lock);
    int result = storage_link_keys(reader, false, take_key, &reading, err);
    (void)pthread_mutex_unlock(&ring->lock);
    return result < 0 ? result : reading.result;
}

int token_ring_create(struct storage *storage, struct storage_reader *reader, struct token_ring **out,
                      struct error *err)
{
    struct token_ring *ring = calloc(1, sizeof(*ring));
    if (ring == NULL)
        return error_memory(err);
    (void)pthread_mutex_init(&ring->lock, NULL);
    int result = storage_link_key_ensure(storage, clock_wall_ms(), err);
    if (result == 0)
        result = token_ring_refresh(ring, reader, err);
    if (result == 0 && atomic_load(&ring->count) == 0)
        result = error_set(err, -EIO, "there is no link key");
    if (result != 0)
        token_ring_free(ring);
    else
        *out = ring;
    return result;
}

void token_ring_free(struct token_ring *ring)
{
    if (ring == NULL)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        mac_key_free(ring->slots[i].mac);
    (void)pthread_mutex_destroy(&ring->lock);
    free(ring);
}

const struct mac_key *token_ring_newest(const struct token_ring *ring)
{
    return ring->slots[atomic_load_explicit(&ring->count, memory_order_acquire) - 1].mac;
}

bool token_ring_knows(const struct token_ring *ring, int64_t id)
{
    return find(ring, id) != NULL;
}

const struct mac_key *token_ring_key(const struct token_ring *ring, int64_t id)
{
    struct slot *slot = find(ring, id);
    return slot != NULL && !atomic_load(&slot->retired) ? slot->mac : token_ring_newest(ring);
}

int token_ring_parse(const struct token_ring *ring, enum token_purpose purpose, const char *text, size_t len,
                     int64_t *campaign_id, int64_t *recipient_id)
{
    int rc = 1;
    for (size_t i = atomic_load_explicit(&ring->count, memory_order_acquire); i-- > 0 && rc == 1;)
        if (!atomic_load(&ring->slots[i].retired))
            rc = token_parse(ring->slots[i].mac, purpose, text, len, campaign_id, recipient_id);
    return rc;
}

int token_ring_parse_link(const struct token_ring *ring, const char *text, size_t len, int64_t *campaign_id,
                          int64_t *recipient_id, uint16_t *link)
{
    int rc = 1;
    for (size_t i = atomic_load_explicit(&ring->count, memory_order_acquire); i-- > 0 && rc == 1;)
        if (!atomic_load(&ring->slots[i].retired))
            rc = token_parse_link(ring->slots[i].mac, text, len, campaign_id, recipient_id, link);
    return rc;
}
