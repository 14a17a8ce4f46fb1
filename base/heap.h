/*
 * heap.h - intrusive binary min-heap on a 64-bit key (a time), for timers and due retries. Each node knows its place,
 * so removal is O(log n).
 */
#ifndef POSTHASTE_BASE_HEAP_H
#define POSTHASTE_BASE_HEAP_H

#include <stdbool.h>

#include "base/attr.h"

struct heap_node {
    int64_t key;
    size_t place; /* index + 1 in the heap, 0 when in none */
};
struct heap {
    struct heap_node **nodes;
    size_t count, capacity;
};

void heap_finish(struct heap *heap); /* frees the array, not the nodes */
int heap_insert(struct heap *heap, struct heap_node *node, int64_t key) ATTR_MUSTCHECK; /* 0 or -ENOMEM */
void heap_remove(struct heap *heap, struct heap_node *node);              /* harmless when it is in none */
void heap_update(struct heap *heap, struct heap_node *node, int64_t key); /* node is in the heap */
struct heap_node *heap_first(const struct heap *heap);                    /* smallest key, or NULL */

#endif
