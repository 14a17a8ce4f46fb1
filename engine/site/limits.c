/*
 * limits.c - GCRA and the window over the receiver's clock.
 *
 * The argument for the window rule. Message i starts at s(i), is accepted by the receiver at a(i) and ended for us at
 * e(i); s <= a <= e. The promise is a(i+N) - a(i) >= 1 s. With d = the delay that every message has, a(i+N) >= s(i+N) +
 * (its part before acceptance) and a(i) <= e(i) - (its part after), hence s(i+N) >= e(i) - d + 1 s suffices. So a start
 * is entered as s(i) and moved to e(i) - d when the message ends, or to now - d while it has not ended; by at most
 * WINDOW_PUSH_MAX_US, so that one stuck connection cannot stop the site.
 */
#include "engine/site/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_US ((int64_t)1000000)
#define TOLERANCE_US ((int64_t)10000) /* timers tick in milliseconds, and ring late on a busy machine */
#define WINDOW_PUSH_MAX_US ((int64_t)500000)
#define WINDOW_SLACK_US ((int64_t)500) /* clock reads and rounding */
#define CATCH_UP_US ((int64_t)500000)       /* the window rule still keeps every second */
#define LONG_CATCH_UP_US ((int64_t)200000)  /* the slack still keeps every period */
#define LONG_PERIOD_SLACK_US ((int64_t)450000)
#define DELAY_RUN 256                  /* messages after which the older minimum is forgotten */
#define DELAY_DOUBT_US ((int64_t)5000) /* the true minimum is a little below the smallest that was seen */
#define FOLLOW_MAX_US (60 * SECOND_US)
#define TIME_MAX_US (INT64_MAX / 4)

void limit_init(struct limit *limit, struct rate rate)
{
    limit_init_burst(limit, rate, 0);
}

/* In a period come at most (period / interval) + burst starts; a long period's interval is widened so that this is no
 * more than `count`. When the burst is most of it, only a quota can keep the period (quota.h), and the spacing stays.
 */
static int64_t long_interval_us(struct rate rate, uint32_t burst)
{
    int64_t period_us = rate.period_us + LONG_PERIOD_SLACK_US;
    uint32_t spaced = burst > 1 && burst - 1 < rate.count / 2 ? rate.count - (burst - 1) : rate.count;
    return (period_us + spaced - 1) / spaced;
}

void limit_init_burst(struct limit *limit, struct rate rate, uint32_t burst)
{
    *limit = (struct limit){.rate = rate, .first_ticket = 1, .delay_min_us = {INT64_MAX, INT64_MAX}};
    if (rate_is_unlimited(rate))
        return;
    int64_t period_us = rate.period_us;
    limit->windowed = period_us <= SECOND_US && rate.count <= LIMIT_WINDOW_MAX;
    if (period_us <= SECOND_US && !limit->windowed)
        period_us += period_us / 50;
    limit->interval_us = period_us > SECOND_US + SECOND_US / 50 ? long_interval_us(rate, burst)
                                                                : (period_us + rate.count - 1) / rate.count;
    limit->tolerance_us = TOLERANCE_US;
    limit->slack_us = WINDOW_SLACK_US;
    if (burst == 0 && (limit->windowed || period_us > 2 * SECOND_US))
        limit->catch_up_us = limit->windowed ? CATCH_UP_US : LONG_CATCH_UP_US;
    if (burst > 0)
        limit->tolerance_us =
            MIN_OF((int64_t)(burst - 1), TIME_MAX_US / limit->interval_us / 2) * limit->interval_us + TOLERANCE_US;
}

void limit_pace(struct limit *limit, double per_second)
{
    if (rate_is_unlimited(limit->rate))
        *limit = (struct limit){.rate = {1, SECOND_US}, .delay_min_us = {INT64_MAX, INT64_MAX}};
    int64_t interval_us = (int64_t)(1e6 / MAX_OF(per_second, 1e-5));
    /* What was due by the old pace is due by the new one. */
    limit->next_us += interval_us - limit->interval_us;
    limit->interval_us = interval_us;
    limit->tolerance_us = TOLERANCE_US;
}

void limit_follow(struct limit *limit, int64_t begun_us)
{
    limit->next_us =
        begun_us + MIN_OF(limit->interval_us, FOLLOW_MAX_US) + 2 * MIN_OF(limit->tolerance_us, FOLLOW_MAX_US);
}

void limit_change(struct limit *limit, struct rate rate, uint32_t burst, int64_t now_us)
{
    struct limit next;
    limit_init_burst(&next, rate, burst);
    if (next.windowed && limit->windowed) {
        limit->rate = rate;
        limit->interval_us = next.interval_us;
        limit->tolerance_us = next.tolerance_us;
        limit->catch_up_us = next.catch_up_us;
        return;
    }
    next.first_ticket = limit->first_ticket + limit->count + 1; /* those that are out mean nothing any more */
    limit_finish(limit);
    *limit = next;
    if (rate_is_unlimited(rate))
        return;
    limit_follow(limit, now_us);
    if (limit->windowed)
        limit->next_us = MAX_OF(limit->next_us, now_us + rate.period_us + limit->tolerance_us);
}

void limit_finish(struct limit *limit)
{
    free(limit->starts);
    free(limit->open);
    limit->starts = NULL;
    limit->open = NULL;
    limit->count = limit->capacity = 0;
}

/* Until a whole run was seen the smallest delay of a few messages may be far above what the next one has: then none is
 * assumed. */
static int64_t delay_us(const struct limit *limit)
{
    if (limit->delay_min_us[1] == INT64_MAX)
        return 0;
    int64_t delay = MIN_OF(limit->delay_min_us[0], limit->delay_min_us[1]) - DELAY_DOUBT_US;
    return MAX_OF(delay, 0);
}

static int64_t moved(const struct limit *limit, int64_t start_us, int64_t end_us)
{
    int64_t at = end_us - delay_us(limit);
    return MAX_OF(start_us, MIN_OF(at, start_us + WINDOW_PUSH_MAX_US));
}

/* When the start at the front leaves the window. */
static int64_t front_leaves_us(const struct limit *limit, int64_t now_us)
{
    int64_t start = limit->starts[limit->first];
    if (limit->open[limit->first])
        start = moved(limit, start, now_us);
    return start + limit->rate.period_us + limit->slack_us;
}

static void drop_old(struct limit *limit, int64_t now_us)
{
    while (limit->count > 0 && front_leaves_us(limit, now_us) <= now_us) {
        limit->first = (limit->first + 1) % limit->capacity;
        limit->first_ticket++;
        limit->count--;
    }
}

int64_t limit_wait_until_us(struct limit *limit, int64_t now_us)
{
    if (rate_is_unlimited(limit->rate))
        return 0;
    int64_t until = limit->next_us - limit->tolerance_us;
    if (limit->windowed) {
        drop_old(limit, now_us);
        if (limit->count >= limit->rate.count)
            until = MAX_OF(until, front_leaves_us(limit, now_us));
    }
    return until > now_us ? until : 0;
}

static int grow(struct limit *limit)
{
    uint32_t capacity = MIN_OF(MAX_OF(limit->capacity * 2, 8u), limit->rate.count);
    int64_t *starts = calloc(capacity, sizeof *starts);
    bool *open = calloc(capacity, sizeof *open);
    if (starts == NULL || open == NULL) {
        free(starts);
        free(open);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < limit->count; i++) {
        starts[i] = limit->starts[(limit->first + i) % limit->capacity];
        open[i] = limit->open[(limit->first + i) % limit->capacity];
    }
    free(limit->starts);
    free(limit->open);
    limit->starts = starts;
    limit->open = open;
    limit->capacity = capacity;
    limit->first = 0;
    return 0;
}

int limit_take(struct limit *limit, int64_t now_us, uint64_t *ticket)
{
    *ticket = 0;
    if (rate_is_unlimited(limit->rate))
        return 0;
    assure(now_us >= 0 && now_us < TIME_MAX_US);
    if (limit->windowed) {
        assure(limit->count < limit->rate.count);
        if (limit->count == limit->capacity && grow(limit) < 0)
            return -ENOMEM;
        uint32_t at = (limit->first + limit->count) % limit->capacity;
        limit->starts[at] = now_us;
        limit->open[at] = true;
        *ticket = limit->first_ticket + limit->count++;
    }
    bool late = now_us - limit->next_us <= limit->catch_up_us;
    limit->next_us = (late ? limit->next_us : now_us) + limit->interval_us;
    return 0;
}

void limit_spend(struct limit *limit, int64_t now_us, size_t amount)
{
    if (rate_is_unlimited(limit->rate))
        return;
    double cost_us = (double)amount * (double)limit->rate.period_us * 1.02 / limit->rate.count;
    limit->next_us = MAX_OF(limit->next_us, now_us) + (int64_t)MIN_OF(cost_us, (double)(TIME_MAX_US / 4));
}

static void learn_delay(struct limit *limit, int64_t delay)
{
    limit->delay_min_us[0] = MIN_OF(limit->delay_min_us[0], MAX_OF(delay, 0));
    if (++limit->delay_seen < DELAY_RUN)
        return;
    limit->delay_min_us[1] = limit->delay_min_us[0];
    limit->delay_min_us[0] = INT64_MAX;
    limit->delay_seen = 0;
}

void limit_done(struct limit *limit, uint64_t ticket, int64_t now_us)
{
    if (!limit->windowed || ticket < limit->first_ticket || ticket - limit->first_ticket >= limit->count)
        return;
    uint32_t at = (limit->first + (uint32_t)(ticket - limit->first_ticket)) % limit->capacity;
    if (!limit->open[at])
        return;
    limit->open[at] = false;
    learn_delay(limit, now_us - limit->starts[at]);
    limit->starts[at] = moved(limit, limit->starts[at], now_us);
}

bool limit_is_idle(struct limit *limit, int64_t now_us)
{
    if (rate_is_unlimited(limit->rate))
        return true;
    if (limit->windowed)
        drop_old(limit, now_us);
    return limit->next_us <= now_us && limit->count == 0;
}
