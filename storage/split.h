/*
 * split.h - an A/B split: a share of the audience gets variants of the content in turn, the rest the one that won;
 * public, included through storage/storage.h.
 *
 * Which part a recipient is in, and which variant it gets, follows from its id and the campaign's alone (split_slot),
 * so nothing is stored per recipient and a restart or a retry cannot change it. The lanes are walked twice: first for
 * the share, then, from their beginning, for the rest.
 */
#ifndef POSTHASTE_STORAGE_SPLIT_H
#define POSTHASTE_STORAGE_SPLIT_H

#include "storage/storage.h"

#define SPLIT_SLOTS 65521 /* a prime, so that neighbours in id are spread evenly */
#define SPLIT_VARIANTS_MAX 8

/* 0..SPLIT_SLOTS-1; below the share: in the test, and variant slot % variants. */
static inline int split_slot(int64_t campaign_id, int64_t recipient_id)
{
    uint64_t slot = (uint64_t)recipient_id % SPLIT_SLOTS * 31337 + (uint64_t)campaign_id % SPLIT_SLOTS * 7919;
    return (int)(slot % SPLIT_SLOTS);
}

struct storage_split {
    int share;                    /* slots of the test */
    int variants;                 /* 2..SPLIT_VARIANTS_MAX */
    int winner;                   /* -1 = not chosen */
    bool rest;                    /* the rest is being sent */
    int64_t tested_ms, chosen_ms; /* when all of the share had been claimed, when the winner was chosen; 0 = not yet */
};
/* NOT_FOUND: the campaign has none. */
int storage_split_get(struct storage_reader *reader, int64_t campaign_id, struct storage_split *out,
                      struct error *err) ATTR_MUSTCHECK;

struct storage_split_counts {
    int64_t audience, delivered, opened, clicked; /* of those who got the variant in the test */
};
/* Looks at the rows of the test alone. */
int storage_split_counts(struct storage_reader *reader, int64_t campaign_id, const struct storage_split *split,
                         struct storage_split_counts counts[SPLIT_VARIANTS_MAX], struct error *err) ATTR_MUSTCHECK;

/* All of the share is claimed; the first time counts. WRONG_STATE: it is not. */
int storage_split_tested(struct storage *storage, int64_t campaign_id, int64_t now_ms,
                         struct error *err) ATTR_MUSTCHECK;
/* NOT_FOUND: no split; WRONG_STATE: another was chosen before. The rest begins when the share is claimed
 * (storage_split_rest). */
int storage_split_choose(struct storage *storage, int64_t campaign_id, int variant, int64_t now_ms,
                         struct error *err) ATTR_MUSTCHECK;
/* The lanes begin anew, for the rest. WRONG_STATE: no winner yet, or the share is not claimed. */
int storage_split_rest(struct storage *storage, int64_t campaign_id, struct error *err) ATTR_MUSTCHECK;

#endif
