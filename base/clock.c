/*
 * clock.c - CLOCK_MONOTONIC and CLOCK_REALTIME as plain 64-bit numbers.
 *
 * It cannot fail: clock_gettime() with these clocks and a valid pointer has no failure on Linux.
 */
#include "base/clock.h"

#include <time.h>

#include "base/attr.h"

static struct timespec now_of(clockid_t id)
{
    struct timespec now;
    assure(clock_gettime(id, &now) == 0);
    return now;
}

int64_t clock_monotonic_us(void)
{
    struct timespec now = now_of(CLOCK_MONOTONIC);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_monotonic_ms(void)
{
    return clock_monotonic_us() / 1000;
}

int64_t clock_wall_ms(void)
{
    struct timespec now = now_of(CLOCK_REALTIME);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
