/*
 * policy.h - what follows from an outcome: the state of the delivery, the time of the next attempt, whether the address is suppressed.
 *
 * Pure functions: the clock, the deadline and the source of jitter come in as arguments. Any thread.
 */
#ifndef POSTHASTE_CAMPAIGN_OUTCOME_POLICY_H
#define POSTHASTE_CAMPAIGN_OUTCOME_POLICY_H

#include "base/config.h"
#include "base/outcome.h"
#include "storage/storage.h"

#include "campaign/bounce/classify.h"

struct policy {
    int64_t retry_first_ms, retry_max_ms;
    enum on_uncertain on_uncertain;
    const struct bounce_rules *rules; /* what replies mean */
    bool suppress_hard;               /* a dead address is never mailed again */
    int soft_limit;                   /* so many soft bounces suppress; 0 = none counts ... */
    int64_t soft_window_ms;           /* ... within this */
};

/* Why a job came back untried: decides what OUTCOME_RELEASED means. */
enum release_reason {
    RELEASE_WAITED,    /* waited too long for its site: try again a while later */
    RELEASE_HELD_BACK, /* pause or shutdown: due at once when the campaign goes on */
    RELEASE_CANCELLED,
};

struct policy_case {
    int64_t now_ms, deadline_ms; /* wall clock; deadline = launch + expires_after */
    int attempts_before;         /* attempts made before this one */
    uint64_t jitter_seed;        /* same seed and attempt, same delay */
    enum release_reason release;
};

struct verdict {
    enum delivery_state state;
    int attempts;            /* made in total */
    int64_t next_attempt_ms; /* DEFERRED only */
    bool tried;              /* there is something to record: an attempt, or the end of the delivery's time */
    bool uncertain;          /* this attempt left the delivery uncertain */
    const char *suppress_reason; /* static text, or NULL */
    bool hard;                   /* the address is dead */
    bool soft;                   /* a soft bounce, which counts against the address */
};

struct verdict policy_judge(const struct policy *policy, const struct outcome *outcome, const struct policy_case *the_case);

/* retry_first doubled for each attempt already made, at most retry_max, minus up to a fifth (jitter). `attempts` >= 1. */
int64_t policy_retry_delay_ms(const struct policy *policy, int attempts, uint64_t jitter_seed);

/* True when the reply says, by the rules, that the mailbox or its domain does not exist - and never for a block, whatever its text. */
bool policy_is_hard_bounce(const struct policy *policy, const struct outcome *outcome);

#endif
