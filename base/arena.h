/*
 * arena.h - memory that belongs to one transaction and is freed whole.
 *
 * Allocations are never freed one by one. An arena has a limit; past it, or without memory, arena_alloc() returns NULL.
 * One thread at a time.
 */
#ifndef POSTHASTE_BASE_ARENA_H
#define POSTHASTE_BASE_ARENA_H

#include "base/attr.h"

struct arena_block;
struct arena {
    struct arena_block *blocks; /* newest first */
    size_t used_bytes;          /* handed out in total */
    size_t limit_bytes;         /* 0: 64 MiB */
};

#define ARENA_INIT(limit) ((struct arena){.limit_bytes = (limit)})

void arena_finish(struct arena *arena);                              /* frees everything; usable again */
void *arena_alloc(struct arena *arena, size_t bytes) ATTR_MUSTCHECK; /* aligned for any type, zeroed */
char *arena_dup(struct arena *arena, const char *text) ATTR_MUSTCHECK;
char *arena_dup_len(struct arena *arena, const char *text, size_t len) ATTR_MUSTCHECK;

#endif
