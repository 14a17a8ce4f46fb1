/*
 * limits.h - how often: one rate limit, exact by the receiver's clock. Pure: time is passed in, in microseconds of the
 * monotonic clock.
 *
 * Two rules hold together. GCRA (the leaky bucket as a meter, ITU-T I.371) spaces the starts evenly: one every period /
 * count, with hardly any burst unless one was asked for: what came late because the machine was busy is made up for, a
 * rest saves up nothing. For limits per second a window rule guards what GCRA cannot see, the jitter between our
 * start and the receiver's acceptance: a message that was held up on its way moves its start, in our books, to when it
 * can last have been accepted, so that the receiver counts no more than `count` in any window of one second. The
 * constant part of the delay (the smallest one seen lately) moves all alike and costs no rate. Not done: fairness,
 * queues, or a memory that outlives the process (limit_follow() only keeps the distance to it).
 */
#ifndef POSTHASTE_ENGINE_SITE_LIMITS_H
#define POSTHASTE_ENGINE_SITE_LIMITS_H

#include "base/rate.h"

#define LIMIT_WINDOW_MAX 1024 /* faster limits per second are spaced 2% wider in place of the window rule */

struct limit {
    struct rate rate;
    int64_t interval_us;  /* between starts */
    int64_t tolerance_us; /* a start may come so much before its time */
    int64_t catch_up_us;  /* later than this is a rest, which saves up nothing; less is made up for */
    int64_t next_us;      /* GCRA's theoretical arrival time */
    int64_t slack_us;     /* by which a window is longer than the period */
    bool windowed;
    int64_t *starts; /* ring: starts of this window, moved by their delay; allocated as needed */
    bool *open;      /* ring beside it: not finished yet */
    uint32_t capacity, first, count;
    uint64_t first_ticket;   /* of starts[first] */
    int64_t delay_min_us[2]; /* smallest start-to-end, of this and the last run of messages; INT64_MAX = none */
    uint32_t delay_seen;
};

void limit_init(struct limit *limit, struct rate rate);
/* The same with `burst` messages at once after a rest (0 as limit_init(): hardly any). */
void limit_init_burst(struct limit *limit, struct rate rate, uint32_t burst);
/* Another rate from now on, for messages whose tickets are out too. Between two limits per second, the starts that were
 * counted go on counting: no second holds more than the new rate allows after any start that is made under it. Where
 * nothing was counted that the new rule could use, the next start is a period away (a second, or the new spacing). */
void limit_change(struct limit *limit, struct rate rate, uint32_t burst, int64_t now_us);
/* A plain spacing of starts, which may change at any time; no window rule. */
void limit_pace(struct limit *limit, double per_second);
/* As if a message had started at begun_us: what an earlier process sent up to then must not be followed too closely. Waits a minute at most. */
void limit_follow(struct limit *limit, int64_t begun_us);
void limit_finish(struct limit *limit);

/* 0 = a message may start at now_us; else the time at which to ask again (> now_us). */
int64_t limit_wait_until_us(struct limit *limit, int64_t now_us);

/* Counts a start; the ticket goes to limit_done(). -ENOMEM: it must not start. Only after limit_wait_until_us() said 0.
 */
int limit_take(struct limit *limit, int64_t now_us, uint64_t *ticket) ATTR_MUSTCHECK;
/* Counts an amount (of bytes): the next start waits until it is paid for. In place of limit_take(). */
void limit_spend(struct limit *limit, int64_t now_us, size_t amount);
/* The message of that ticket ended: it can have been accepted until now_us. */
void limit_done(struct limit *limit, uint64_t ticket, int64_t now_us);

/* True when forgetting the limit would change nothing. */
bool limit_is_idle(struct limit *limit, int64_t now_us);

#endif
