/*
 * split.h - what a campaign's spec says about an A/B test, and who wins it; private to the room.
 *
 * {"ab": {"share": 20, "variants": [{"subject": …}, {"subject": …, "html": …}], "winner": "clicks" | "opens" |
 * "manual", "after": "4h"}}: `share` in per cent of the audience gets the variants in turn; a variant has the
 * campaign's own subject, html and text where it names none. `after` all of the share was claimed, the variant with the
 * most clicks (opens) for its deliveries wins, the first of equals; or a person chooses. The rest gets the winner.
 */
#ifndef POSTHASTE_CAMPAIGN_SCHEDULE_SPLIT_H
#define POSTHASTE_CAMPAIGN_SCHEDULE_SPLIT_H

#include "campaign/campaign.h"

enum split_by { SPLIT_MANUAL, SPLIT_CLICKS, SPLIT_OPENS };
struct split {
    int variants; /* 0 = no test */
    int share;    /* slots (storage/split.h) */
    enum split_by by;
    int64_t after_ms;
};

/* Faults go into `problem` ("ab.share" ...). What the contents hold is checked by compiling them. */
void split_parse(const json_t *spec, struct split *out, struct problem *problem);
/* The spec with the variant's own subject, html and text; a new reference, NULL = no memory. `variant` < 0: as it is.
 */
json_t *split_variant(const json_t *spec, int variant);
/* Faults from the one of this index on are a variant's: their fields are named by their place in it. */
void split_place_faults(struct problem *problem, size_t from, int variant);
/* Which variant a recipient gets. */
int split_choice(const struct split *split, int64_t campaign_id, int64_t recipient_id, int winner);
/* The one that won by the numbers. */
int split_best(const struct split *split, const struct storage_split_counts counts[SPLIT_VARIANTS_MAX]);

#endif
