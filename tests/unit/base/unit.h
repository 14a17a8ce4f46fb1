/*
 * unit.h - what every cmocka program of this folder includes: cmocka with the headers that it expects before it, and a
 * small repeatable random source.
 */
#ifndef POSTHASTE_TESTS_UNIT_BASE_UNIT_H
#define POSTHASTE_TESTS_UNIT_BASE_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"

/* xorshift64*: the same numbers in each run, so that a failure can be repeated. */
ATTR_UNUSED static inline uint64_t random_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

ATTR_UNUSED static inline size_t random_below(uint64_t *state, size_t bound)
{
    return (size_t)(random_next(state) >> 11) % bound;
}

#endif
