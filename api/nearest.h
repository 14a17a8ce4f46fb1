/*
 * nearest.h - "did you mean …?": the known word that is at most two typing errors (a third of the length for short
 * words) away.
 */
#ifndef POSTHASTE_API_NEAREST_H
#define POSTHASTE_API_NEAREST_H

#include "base/attr.h"

struct nearest {
    const char *word;
    const char *best; /* NULL: nothing is near */
    size_t distance;
};

struct nearest nearest_begin(const char *word);
void nearest_offer(struct nearest *nearest, const char *candidate); /* kept by reference */

/* Insertions, deletions, replacements and swaps of neighbours; words over 31 bytes are as far as can be. */
size_t edit_distance(const char *a, const char *b);

#endif
