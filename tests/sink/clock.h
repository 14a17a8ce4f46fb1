/*
 * The two clocks of the ledger, in microseconds. `t_us` is CLOCK_MONOTONIC, the same in every process of the machine,
 * so that lines of the sink can be compared with lines of others; `wall_us` is for people.
 */
#ifndef TESTS_SINK_CLOCK_H
#define TESTS_SINK_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_read_us(clockid_t clock)
{
    struct timespec now = {0};

    /* Cannot fail for the two clocks below, which Linux always has. */
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U;
}

static inline uint64_t clock_monotonic_us(void)
{
    return clock_read_us(CLOCK_MONOTONIC);
}

static inline uint64_t clock_wall_us(void)
{
    return clock_read_us(CLOCK_REALTIME);
}

#endif
