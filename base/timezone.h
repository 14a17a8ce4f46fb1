/*
 * timezone.h - the offset of a time zone at any moment, out of the system's tz database (RFC 8536).
 *
 * The file is read once; asking needs no lock, no environment variable and no global state, so any thread may ask about
 * any zone. (The C library knows one zone a process.) Behind the last transition the zone's rule goes on for ever.
 */
#ifndef POSTHASTE_BASE_TIMEZONE_H
#define POSTHASTE_BASE_TIMEZONE_H

#include <stdint.h>

#include "base/error.h"

struct timezone_data;

#define TIMEZONE_NAME_MAX 64

/* "Europe/Berlin", "UTC". -ENOENT: there is no such zone (or the name could lead out of the database); -EINVAL: its
 * file is damaged; else it cannot be read now: -ENOMEM, -EMFILE, -EIO ... */
int timezone_load(const char *name, struct timezone_data **out, struct error *err) ATTR_MUSTCHECK;
void timezone_free(struct timezone_data *zone); /* NULL allowed */

/* Seconds east of UTC at the moment (seconds since 1970, UTC). */
int32_t timezone_offset_s(const struct timezone_data *zone, int64_t utc_s);

/* The same from the bytes of a TZif file, for tests. */
int timezone_parse(const void *bytes, size_t len, struct timezone_data **out, struct error *err) ATTR_MUSTCHECK;

#endif
