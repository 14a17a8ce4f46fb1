/*
 * short_memory.h - for a test that lets allocations fail: the linker sends them here (--wrap=malloc, calloc, realloc),
 * and may_allocate(), which the including file defines, decides. Included once in a program.
 */
#ifndef POSTHASTE_TESTS_UNIT_SHORT_MEMORY_H
#define POSTHASTE_TESTS_UNIT_SHORT_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

static bool may_allocate(void); /* asked once for each allocation, on its thread */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    return may_allocate() ? __real_malloc(bytes) : NULL;
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return may_allocate() ? __real_calloc(count, bytes) : NULL;
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    return may_allocate() ? __real_realloc(memory, bytes) : NULL;
}

#endif
