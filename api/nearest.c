/*
 * nearest.c - optimal string alignment distance over short words. It suggests; it never corrects on its own.
 */
#include "api/nearest.h"

#include <string.h>

#include "base/str.h"

#define WORD_MAX 31

size_t edit_distance(const char *a, const char *b)
{
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);
    if (a_len > WORD_MAX || b_len > WORD_MAX)
        return SIZE_MAX;
    size_t d[WORD_MAX + 1][WORD_MAX + 1];
    for (size_t i = 0; i <= a_len; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= b_len; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        for (size_t j = 1; j <= b_len; j++) {
            size_t cost = ascii_lower(a[i - 1]) == ascii_lower(b[j - 1]) ? 0 : 1;
            size_t best = MIN_OF(d[i - 1][j] + 1, d[i][j - 1] + 1);
            best = MIN_OF(best, d[i - 1][j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = MIN_OF(best, d[i - 2][j - 2] + 1);
            d[i][j] = best;
        }
    }
    return d[a_len][b_len];
}

struct nearest nearest_begin(const char *word)
{
    size_t len = strlen(word);
    /* One more than is still near. */
    return (struct nearest){.word = word, .best = NULL, .distance = (len >= 6 ? 2 : len / 3) + 1};
}

void nearest_offer(struct nearest *nearest, const char *candidate)
{
    size_t distance = edit_distance(nearest->word, candidate);
    if (distance < nearest->distance) {
        nearest->distance = distance;
        nearest->best = candidate;
    }
}
