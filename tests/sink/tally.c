/*
 * An open-addressed hash table of counters with linear probing. Keys are hashes already, so they are used as they are;
 * two recipients with the same 64 bits would share a counter, which at four million keys has a chance of about one in
 * two million.
 */
#include "tests/sink/tally.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sink/text.h"

enum { TALLY_FIRST_ENTRIES = 1024 };

void tally_free(struct tally *tally)
{
    free(tally->entries);
    *tally = (struct tally){0};
}

static struct tally_entry *find(const struct tally *tally, uint64_t key)
{
    size_t at = (size_t)key & (tally->capacity - 1);

    while (tally->entries[at].key != 0 && tally->entries[at].key != key)
        at = (at + 1) & (tally->capacity - 1);
    return &tally->entries[at];
}

static void grow(struct tally *tally)
{
    struct tally old = *tally;

    tally->capacity = old.capacity == 0 ? TALLY_FIRST_ENTRIES : old.capacity * 2;
    tally->entries = sink_realloc(NULL, tally->capacity * sizeof(*tally->entries));
    memset(tally->entries, 0, tally->capacity * sizeof(*tally->entries));
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.entries[i].key != 0)
            *find(tally, old.entries[i].key) = old.entries[i];
    }
    free(old.entries);
}

uint64_t tally_count(struct tally *tally, uint64_t key)
{
    struct tally_entry *entry;

    key = key == 0 ? 1 : key;
    if (tally->used * 2 >= tally->capacity && tally->used < TALLY_LIMIT_KEYS)
        grow(tally);
    entry = find(tally, key);
    if (entry->key == 0) {
        if (tally->used >= TALLY_LIMIT_KEYS) {
            if (!tally->full)
                fprintf(stderr, "sink: \"first\" has seen %d recipients; it matches no new ones\n", TALLY_LIMIT_KEYS);
            tally->full = true;
            return UINT64_MAX;
        }
        entry->key = key;
        tally->used++;
    }
    return ++entry->count;
}
