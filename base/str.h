/*
 * str.h - the few string helpers that libc lacks: bounded copies that report, ASCII case (never the locale's), strict
 * numbers, durations.
 */
#ifndef POSTHASTE_BASE_STR_H
#define POSTHASTE_BASE_STR_H

#include <stdbool.h>

#include "base/attr.h"

/* Copies with truncation, always terminates; returns false when `text` did not fit. `out_bytes` > 0. */
bool str_copy(char *out, size_t out_bytes, const char *text);

char *str_dup(const char *text) ATTR_MALLOC; /* NULL when no memory or text is NULL */
char *str_dup_len(const char *text, size_t len) ATTR_MALLOC;
char *str_printf(const char *format, ...) ATTR_PRINTF(1, 2) ATTR_MALLOC;

char ascii_lower(char c);
bool ascii_is_space(char c); /* SP, HT, CR, LF, VT, FF */
bool ascii_is_digit(char c);
bool str_eq_nocase(const char *a, const char *b);
bool str_starts_nocase(const char *text, const char *prefix);
bool str_ends_nocase(const char *text, const char *suffix);
void str_lower(char *text);

/* True for well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, <= U+10FFFF). */
bool utf8_valid(const char *text, size_t len);

/*
 * Makes `text` one line of valid UTF-8, in place and never longer: control characters and line separators become
 * spaces, bytes that are not UTF-8 become '?', and a character cut off at the end is dropped.
 */
void str_make_line(char *text);

/*
 * Length in bytes (1..4) of the well-formed UTF-8 character at `text`, of which `len` bytes may be read, and its code
 * point; 0 when there is none (`len` is 0, or the bytes are not UTF-8).
 */
size_t utf8_decode(const char *text, size_t len, uint32_t *code_point);

/* Whole text must be digits (no sign, no space) and <= max: 0, or -EINVAL / -ERANGE. */
int str_parse_u64(const char *text, uint64_t max, uint64_t *out) ATTR_MUSTCHECK;

/* "500ms", "30s", "5min" or "5m", "4h", "3d", "2w" (a number with a unit, unit required unless "0"); -EINVAL else. */
int str_parse_duration_ms(const char *text, int64_t *out_ms) ATTR_MUSTCHECK;

/* RFC 3339 in UTC with milliseconds, "2026-11-23T17:25:09.123Z"; `out` holds at least 25 bytes. */
#define RFC3339_BYTES 32
const char *time_format_rfc3339(int64_t wall_ms, char out[RFC3339_BYTES]);
/* Accepts offsets and fractions; -EINVAL for anything not RFC 3339. */
int time_parse_rfc3339(const char *text, int64_t *out_wall_ms) ATTR_MUSTCHECK;
/* RFC 5322 date-time in UTC: "Mon, 23 Nov 2026 17:25:09 +0000". */
#define RFC5322_DATE_BYTES 40
const char *time_format_rfc5322(int64_t wall_ms, char out[RFC5322_DATE_BYTES]);

#endif
