/*
 * arena.c - blocks of growing size, freed together.
 *
 * Success of arena_alloc() means zeroed memory, aligned for any type, that lives until arena_finish(). A request that
 * is large beside the usual block gets a block of its own behind the current one, so that it does not waste the rest of
 * that one.
 */
#include "base/arena.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_DEFAULT_BYTES ((size_t)64 << 20)
#define BLOCK_FIRST_BYTES ((size_t)2048)
#define BLOCK_MAX_BYTES ((size_t)64 << 10)
#define ALIGNMENT _Alignof(max_align_t)

struct arena_block {
    struct arena_block *next;
    size_t size; /* of bytes[] */
    size_t used;
    _Alignas(max_align_t) unsigned char bytes[];
};

void arena_finish(struct arena *arena)
{
    struct arena_block *block = arena->blocks;
    while (block != NULL) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
    *arena = ARENA_INIT(arena->limit_bytes);
}

static struct arena_block *block_create(size_t size)
{
    struct arena_block *block = calloc(1, sizeof(*block) + size);
    if (block != NULL)
        block->size = size;
    return block;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    size_t limit = arena->limit_bytes != 0 ? arena->limit_bytes : LIMIT_DEFAULT_BYTES;
    if (limit > SIZE_MAX / 2)
        limit = SIZE_MAX / 2; /* keeps the sums below from wrapping */
    if (arena->used_bytes > limit || bytes > limit - arena->used_bytes)
        return NULL;
    size_t size = (MAX_OF(bytes, (size_t)1) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (size > limit - arena->used_bytes)
        return NULL;

    struct arena_block *block = arena->blocks;
    if (block == NULL || block->size - block->used < size) {
        size_t usual = block != NULL ? MIN_OF(block->size * 2, BLOCK_MAX_BYTES) : BLOCK_FIRST_BYTES;
        bool own = size > usual / 2;
        struct arena_block *fresh = block_create(own ? size : usual);
        if (fresh == NULL)
            return NULL;
        if (own && block != NULL) {
            fresh->next = block->next;
            block->next = fresh;
        } else {
            fresh->next = block;
            arena->blocks = fresh;
        }
        block = fresh;
    }
    void *memory = block->bytes + block->used;
    block->used += size;
    arena->used_bytes += size;
    return memory;
}

char *arena_dup_len(struct arena *arena, const char *text, size_t len)
{
    if (len == SIZE_MAX)
        return NULL;
    char *copy = arena_alloc(arena, len + 1);
    if (copy != NULL && len > 0)
        memcpy(copy, text, len);
    return copy;
}

char *arena_dup(struct arena *arena, const char *text)
{
    return arena_dup_len(arena, text, strlen(text));
}
