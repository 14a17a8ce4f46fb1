/*
 * stage_times.h - when the replies of an attempt had come, as the rows of deliveries and attempts keep it; private to
 * storage/.
 *
 * "m12r12f40": a letter for each stage of whose reply there is a time, and the time in ms. Rows of programs before
 * schema 017 have "mail:12 rcpt:12 content:40", and keep it.
 */
#ifndef POSTHASTE_STORAGE_STAGE_TIMES_H
#define POSTHASTE_STORAGE_STAGE_TIMES_H

#include "base/outcome.h"

#define STAGE_TIMES_BYTES (STAGE_COUNT * 11 + 1) /* a letter and ten digits each */

/* "" when there are none. */
void stage_times_write(const uint32_t times_ms[STAGE_COUNT], char out[STAGE_TIMES_BYTES]);
/* Either form; what does not look like one is passed over. */
void stage_times_read(const char *text, uint32_t times_ms[STAGE_COUNT]);

#endif
