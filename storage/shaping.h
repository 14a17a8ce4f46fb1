/*
 * shaping.h - the state of limits that outlives the process: text under a key, whose meaning is the engine's.
 */
#ifndef POSTHASTE_STORAGE_SHAPING_H
#define POSTHASTE_STORAGE_SHAPING_H

#include <stddef.h>

#include "base/error.h"

struct storage;
struct storage_reader;

struct storage_shape {
    const char *key, *value; /* value "" = forget the key */
};

/* All or nothing, in this order. Blocks until it is durable. */
int storage_shaping_put(struct storage *storage, const struct storage_shape *shapes, size_t count, int64_t now_ms,
                        struct error *err) ATTR_MUSTCHECK;
/* Those that were changed at or after since_ms; others are of no use any more. Strings live during the call; non-zero
 * stops. */
typedef int storage_shape_cb(void *context, const struct storage_shape *shape);
int storage_shaping_all(struct storage_reader *reader, int64_t since_ms, storage_shape_cb *each, void *context,
                        struct error *err) ATTR_MUSTCHECK;
/* Forgets the others. */
int storage_shaping_expire(struct storage *storage, int64_t before_ms, struct error *err) ATTR_MUSTCHECK;

#endif
