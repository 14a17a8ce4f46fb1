/*
 * feedback.h - what becomes known of a mail after its delivery: bounces by report, complaints; public, included through
 * storage/storage.h.
 *
 * The caller has proven (by a keyed token) that a report is about this campaign and recipient. Each fact about the pair
 * counts once, however often and in however many reports it comes. Delivery, campaign counters, suppression and counts
 * change in one transaction. Where retention has removed the delivery, its state and the campaign's bounces stay as
 * they are, all else happens.
 */
#ifndef POSTHASTE_STORAGE_FEEDBACK_H
#define POSTHASTE_STORAGE_FEEDBACK_H

#include "storage/storage.h"

enum storage_feedback_kind {
    FEEDBACK_BOUNCED,   /* not delivered after all; says nothing about the address */
    FEEDBACK_SOFT,      /* not delivered, and counts against the address: `soft_limit` of them within `soft_window_ms`
                           suppress it ("soft-bounce") */
    FEEDBACK_HARD,      /* not delivered, and the address is dead: suppressed ("hard-bounce") */
    FEEDBACK_COMPLAINT, /* flagged and suppressed ("complaint"); the delivery stays delivered */
};

struct storage_feedback {
    enum storage_feedback_kind kind;
    int64_t campaign_id, recipient_id, at_ms;
    int soft_limit;         /* SOFT: 0 = never */
    int64_t soft_window_ms; /* SOFT */
    bool keep_address;      /* HARD, COMPLAINT: counted, but not suppressed */
    int code;               /* what the report quotes; 0 and "" where it quotes nothing */
    char enhanced[12], text[480], mx_host[256];
    char origin[320]; /* why and by what, for the suppression */

    /* The answer. */
    bool unknown;    /* no such recipient or campaign, or (BOUNCED) no such delivery any more: nothing was changed */
    bool changed;    /* something is new: the delivery's state, a count, a flag or a suppression */
    bool bounced;    /* the delivery went from delivered to bounced */
    bool suppressed; /* the address is suppressed since this one */
};

/* All in one transaction; 0 with each item's answer filled in. At most 1,000 items. */
int storage_feedback_apply(struct storage *storage, struct storage_feedback *items, size_t count,
                           struct error *err) ATTR_MUSTCHECK;

#endif
