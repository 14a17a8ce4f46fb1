/*
 * quota.h - how many in a long time: a count that survives the process. Pure: time is passed in, in microseconds of a
 * clock that only goes forward.
 *
 * No window of one period holds more than `count` starts. The window slides in steps of a 48th of the period, and a
 * step leaves it only when all of it is out, so the count is never too generous and at most a 48th too strict. A quota
 * without a period (period_us 0) counts up to its end and stays there: a day of a warm-up.
 *
 * That nothing is exceeded after a crash is had by reserving: a slice of starts is written down as made before any of
 * it may be made. Whatever was reserved and may have been used counts as used at the moment of the restart. An orderly
 * end writes what was really used.
 */
#ifndef POSTHASTE_ENGINE_SITE_QUOTA_H
#define POSTHASTE_ENGINE_SITE_QUOTA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"

#define QUOTA_STEPS 48
#define QUOTA_TEXT_BYTES 1024

struct quota {
    uint32_t count;
    int64_t period_us, step_us;
    int64_t step;                   /* the present one */
    uint32_t used[QUOTA_STEPS + 1]; /* by step, modulo their number */
    uint32_t sum;
    uint32_t reserved; /* durably, and not used yet; not in `used` */
    uint32_t slice;    /* how many are reserved at a time */
    uint32_t asked;    /* being reserved; 0 = nothing is */
};

void quota_init(struct quota *quota, uint32_t count, int64_t period_us, int64_t now_us);

/* Another count for the same period; what was used stays used. */
void quota_change(struct quota *quota, uint32_t count);

enum quota_answer { QUOTA_OPEN, QUOTA_FULL, QUOTA_UNSAVED };
/* FULL: *until_us is when to ask again (INT64_MAX: never). UNSAVED: a slice has to be made durable first. */
enum quota_answer quota_ask(struct quota *quota, int64_t now_us, int64_t *until_us);
void quota_take(struct quota *quota, int64_t now_us); /* after OPEN */
uint32_t quota_left(struct quota *quota, int64_t now_us);

/* True when it is time to reserve; then quota_write() gives what is to be made durable, and quota_saved() follows. */
bool quota_wants_slice(struct quota *quota, int64_t now_us);
/* `final`: at an orderly end, nothing is reserved on. `out` has QUOTA_TEXT_BYTES. */
void quota_write(struct quota *quota, int64_t now_us, bool final, char *out);
void quota_saved(struct quota *quota);
/* What quota_write() wrote `elapsed_us` ago (not negative). What is not understood counts as a full quota: -EINVAL. */
int quota_read(struct quota *quota, const char *text, int64_t elapsed_us, int64_t now_us) ATTR_MUSTCHECK;

#endif
