/*
 * How often something has happened, by a 64-bit key, in bounded memory: for "the first n times for this recipient".
 */
#ifndef TESTS_SINK_TALLY_H
#define TESTS_SINK_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TALLY_LIMIT_KEYS = 4 * 1024 * 1024 }; /* 128 MB at the very most */

struct tally_entry {
    uint64_t key; /* 0: free */
    uint64_t count;
};

struct tally {
    struct tally_entry *entries;
    size_t capacity; /* a power of two */
    size_t used;
    bool full; /* said so once */
};

void tally_free(struct tally *tally);

/* Counts one more for the key and returns the new count. A new key that finds the tally full gets UINT64_MAX, with one
 * line on stderr. */
uint64_t tally_count(struct tally *tally, uint64_t key);

#endif
