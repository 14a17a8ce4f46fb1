/*
 * clock.h - the two clocks. Rates, timeouts and back-off use the monotonic one; the wall clock is only for records and
 * for dates that people see. Code that can take `now` as a parameter does so, and is tested so.
 */
#ifndef POSTHASTE_BASE_CLOCK_H
#define POSTHASTE_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_monotonic_us(void); /* microseconds since some fixed point; never goes back */
int64_t clock_monotonic_ms(void);
int64_t clock_wall_ms(void); /* milliseconds since 1970-01-01 UTC; may jump */

#endif
