/*
 * quota.c - counts by steps, slices, and their text: "reserved used0 used1 …", the present step first.
 */
#include "engine/site/quota.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES (QUOTA_STEPS + 1)
#define SLICES 50 /* of one period: a crash can cost so much of it */
#define SLICE_MAX 1000

/* Counted so that the steps of the last period are not negative even when the clock has just begun. */
static int64_t step_at(const struct quota *quota, int64_t now_us)
{
    return now_us / quota->step_us + PLACES;
}

void quota_init(struct quota *quota, uint32_t count, int64_t period_us, int64_t now_us)
{
    *quota = (struct quota){.count = count, .period_us = period_us};
    quota->step_us = period_us > 0 ? (period_us + QUOTA_STEPS - 1) / QUOTA_STEPS : INT64_MAX;
    quota->step = step_at(quota, now_us);
    quota->slice = MIN_OF(MAX_OF(count / SLICES, 1u), (uint32_t)SLICE_MAX);
}

void quota_change(struct quota *quota, uint32_t count)
{
    quota->count = count;
    quota->slice = MIN_OF(MAX_OF(count / SLICES, 1u), (uint32_t)SLICE_MAX);
}

static uint32_t *place(struct quota *quota, int64_t step)
{
    return &quota->used[(uint64_t)step % PLACES];
}

static void advance(struct quota *quota, int64_t now_us)
{
    int64_t step = step_at(quota, now_us);
    if (step - quota->step >= PLACES) {
        memset(quota->used, 0, sizeof quota->used);
        quota->sum = 0;
        quota->step = step;
    }
    while (quota->step < step) {
        uint32_t *at = place(quota, ++quota->step);
        quota->sum -= *at;
        *at = 0;
    }
}

/* When the oldest step that has something in it leaves the window. */
static int64_t next_free_us(struct quota *quota)
{
    if (quota->period_us == 0)
        return INT64_MAX;
    for (int64_t step = quota->step - QUOTA_STEPS; step <= quota->step; step++) {
        if (*place(quota, step) > 0)
            return step * quota->step_us; /* PLACES steps later */
    }
    return (quota->step + 1 - PLACES) * quota->step_us;
}

enum quota_answer quota_ask(struct quota *quota, int64_t now_us, int64_t *until_us)
{
    advance(quota, now_us);
    *until_us = 0;
    if (quota->sum >= quota->count) {
        *until_us = next_free_us(quota);
        return QUOTA_FULL;
    }
    return quota->reserved > 0 ? QUOTA_OPEN : QUOTA_UNSAVED;
}

void quota_take(struct quota *quota, int64_t now_us)
{
    advance(quota, now_us);
    assure(quota->reserved > 0);
    quota->reserved--;
    *place(quota, quota->step) += 1;
    quota->sum++;
}

uint32_t quota_left(struct quota *quota, int64_t now_us)
{
    advance(quota, now_us);
    return quota->count > quota->sum ? quota->count - quota->sum : 0;
}

bool quota_wants_slice(struct quota *quota, int64_t now_us)
{
    return quota->asked == 0 && quota->reserved <= quota->slice / 4 && quota_left(quota, now_us) > quota->reserved;
}

void quota_write(struct quota *quota, int64_t now_us, bool final, char *out)
{
    uint32_t left = quota_left(quota, now_us);
    uint32_t more = left > quota->reserved ? left - quota->reserved : 0;
    if (final)
        quota->reserved = 0;
    else
        quota->asked = MIN_OF(more, quota->slice);
    int len = snprintf(out, QUOTA_TEXT_BYTES, "%u", final ? 0 : quota->reserved + quota->asked);
    for (int64_t step = quota->step; step > quota->step - PLACES; step--)
        len += snprintf(out + len, QUOTA_TEXT_BYTES - (size_t)len, " %u", *place(quota, step));
}

void quota_saved(struct quota *quota)
{
    quota->reserved += quota->asked;
    quota->asked = 0;
}

static bool next_number(const char **at, uint32_t *out)
{
    char *end;
    while (**at == ' ')
        (*at)++;
    if (**at < '0' || **at > '9')
        return false;
    errno = 0;
    unsigned long value = strtoul(*at, &end, 10);
    if (errno != 0 || value > UINT32_MAX || (*end != ' ' && *end != '\0'))
        return false;
    *out = (uint32_t)value;
    *at = end;
    return true;
}

static void count_full(struct quota *quota)
{
    memset(quota->used, 0, sizeof quota->used);
    *place(quota, quota->step) = quota->sum = quota->count;
}

int quota_read(struct quota *quota, const char *text, int64_t elapsed_us, int64_t now_us)
{
    uint32_t reserved, used;
    advance(quota, now_us);
    if (elapsed_us < 0 || !next_number(&text, &reserved)) {
        count_full(quota);
        return -EINVAL;
    }
    /* A step of then overlaps two of ours: it counts in the later one. */
    int64_t step = quota->step - elapsed_us / quota->step_us;
    for (int i = 0; next_number(&text, &used); i++, step--) {
        if (i >= PLACES || step <= quota->step - PLACES)
            continue;
        *place(quota, step) += used;
        quota->sum += used;
    }
    *place(quota, quota->step) += reserved;
    quota->sum += reserved;
    if (*text == '\0')
        return 0;
    count_full(quota);
    return -EINVAL;
}
