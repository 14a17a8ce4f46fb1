/*
 * throttle.h - how many requests a caller may make: a token, or an address for whoever has none. One period's requests
 * may come at once; on the average over any longer time no caller gets more than the rate.
 */
#ifndef POSTHASTE_API_HTTP_THROTTLE_H
#define POSTHASTE_API_HTTP_THROTTLE_H

#include <stdbool.h>

#include "base/error.h"
#include "base/rate.h"

struct throttle;
struct throttle *throttle_create(struct rate rate); /* NULL when no memory */
void throttle_set(struct throttle *throttle, struct rate rate); /* from now on; any thread */
void throttle_free(struct throttle *throttle);      /* NULL is allowed */
/* True: go on. False: not now, and *wait_ms tells how long. Any thread; `now_us` is monotonic. */
bool throttle_take(struct throttle *throttle, const void *key, size_t key_bytes, int64_t now_us, int64_t *wait_ms);

#endif
