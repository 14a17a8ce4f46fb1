/*
 * heap.c - the array behind struct heap. Insert, remove and update are O(log n), first is O(1); only insert can fail
 * (no memory), and then the heap is as before. Nodes with equal keys come out in no promised order.
 */
#include "base/heap.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_CAPACITY ((size_t)16)

void heap_finish(struct heap *heap)
{
    free(heap->nodes);
    *heap = (struct heap){0};
}

static void put(struct heap *heap, size_t index, struct heap_node *node)
{
    heap->nodes[index] = node;
    node->place = index + 1;
}

static void sift_up(struct heap *heap, size_t index, struct heap_node *node)
{
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (heap->nodes[parent]->key <= node->key)
            break;
        put(heap, index, heap->nodes[parent]);
        index = parent;
    }
    put(heap, index, node);
}

static void sift_down(struct heap *heap, size_t index, struct heap_node *node)
{
    for (;;) {
        size_t child = index * 2 + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && heap->nodes[child + 1]->key < heap->nodes[child]->key)
            child++;
        if (node->key <= heap->nodes[child]->key)
            break;
        put(heap, index, heap->nodes[child]);
        index = child;
    }
    put(heap, index, node);
}

static void settle(struct heap *heap, size_t index, struct heap_node *node)
{
    if (index > 0 && node->key < heap->nodes[(index - 1) / 2]->key)
        sift_up(heap, index, node);
    else
        sift_down(heap, index, node);
}

int heap_insert(struct heap *heap, struct heap_node *node, int64_t key)
{
    assure(node->place == 0);
    if (heap->count == heap->capacity) {
        size_t capacity = heap->capacity != 0 ? heap->capacity * 2 : FIRST_CAPACITY;
        struct heap_node **nodes = reallocarray(heap->nodes, capacity, sizeof(struct heap_node *));
        if (nodes == NULL)
            return -ENOMEM;
        heap->nodes = nodes;
        heap->capacity = capacity;
    }
    node->key = key;
    sift_up(heap, heap->count++, node);
    return 0;
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    if (node->place == 0)
        return;
    size_t index = node->place - 1;
    assure(index < heap->count && heap->nodes[index] == node);
    struct heap_node *last = heap->nodes[--heap->count];
    node->place = 0;
    if (last != node)
        settle(heap, index, last);
}

void heap_update(struct heap *heap, struct heap_node *node, int64_t key)
{
    assure(node->place != 0 && node->place <= heap->count && heap->nodes[node->place - 1] == node);
    node->key = key;
    settle(heap, node->place - 1, node);
}

struct heap_node *heap_first(const struct heap *heap)
{
    return heap->count > 0 ? heap->nodes[0] : NULL;
}
