/*
 * throttle.c - the generic cell rate algorithm (ITU-T I.371) in a table of fixed size.
 *
 * Each caller is one number: when its bucket would be full again. The table has sets of a few places; a caller that
 * finds its set taken drives out the one that is nearest to a full bucket, which loses least by being forgotten. So
 * memory is fixed, and an attacker with many addresses gains for each of them what a newcomer gets anyway.
 */
#include "api/http/throttle.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hashmap.h"

#define SETS 1024
#define PLACES 4

struct place {
    uint64_t hash;
    int64_t full_ns; /* 0 = never used */
};

struct throttle {
    pthread_mutex_t lock;
    int64_t interval_ns, period_ns; /* interval 0 = no limit */
    struct place places[SETS][PLACES];
};

struct throttle *throttle_create(struct rate rate)
{
    struct throttle *throttle = calloc(1, sizeof(*throttle));
    if (throttle == NULL)
        return NULL;
    assure(pthread_mutex_init(&throttle->lock, NULL) == 0);
    throttle_set(throttle, rate);
    return throttle;
}

void throttle_set(struct throttle *throttle, struct rate rate)
{
    (void)pthread_mutex_lock(&throttle->lock);
    throttle->period_ns = rate.period_us * 1000;
    throttle->interval_ns = !rate_is_unlimited(rate) ? MAX_OF(throttle->period_ns / rate.count, 1) : 0;
    (void)pthread_mutex_unlock(&throttle->lock);
}

void throttle_free(struct throttle *throttle)
{
    if (throttle == NULL)
        return;
    (void)pthread_mutex_destroy(&throttle->lock);
    free(throttle);
}

static struct place *find_place(struct throttle *throttle, uint64_t hash)
{
    struct place *set = throttle->places[hash % SETS];
    struct place *best = &set[0];
    for (size_t i = 0; i < PLACES; i++) {
        if (set[i].hash == hash)
            return &set[i];
        if (set[i].full_ns < best->full_ns)
            best = &set[i];
    }
    *best = (struct place){.hash = hash};
    return best;
}

bool throttle_take(struct throttle *throttle, const void *key, size_t key_bytes, int64_t now_us, int64_t *wait_ms)
{
    *wait_ms = 0;
    uint64_t hash = hash_bytes(key, key_bytes);
    int64_t now_ns = now_us * 1000;
    (void)pthread_mutex_lock(&throttle->lock);
    if (throttle->interval_ns == 0) {
        (void)pthread_mutex_unlock(&throttle->lock);
        return true;
    }
    struct place *place = find_place(throttle, hash);
    int64_t full_ns = MAX_OF(place->full_ns, now_ns) + throttle->interval_ns;
    int64_t over_ns = full_ns - now_ns - throttle->period_ns;
    if (over_ns <= 0)
        place->full_ns = full_ns;
    (void)pthread_mutex_unlock(&throttle->lock);
    if (over_ns <= 0)
        return true;
    *wait_ms = (over_ns + 999999) / 1000000;
    return false;
}
