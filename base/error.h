/*
 * error.h - the detail that travels with a negative return value.
 *
 * Convention of the whole program: 0 is done; a negative value (-errno, or ERROR_INVALID and its like below) is a
 * failure that the caller passes up; a positive value is a documented condition that the caller must handle. The caller
 * owns a `struct error` and passes its address; the function that first fails writes one sentence for a person into it,
 * naming the thing at fault (file, line, key, address). NULL is allowed everywhere and means that nobody will read it.
 */
#ifndef POSTHASTE_BASE_ERROR_H
#define POSTHASTE_BASE_ERROR_H

#include "base/attr.h"

struct error {
    char text[512]; /* one sentence, no newline, always NUL-terminated; "" while nothing failed */
};

/* Writes the sentence and returns `code` unchanged (which must be negative), so that `return error_set(err, -EINVAL,
 * "…")` reads well. */
int error_set(struct error *err, int code, const char *format, ...) ATTR_PRINTF(3, 4);

/* As error_set(), and appends ": " and the system's text for -code. */
int error_errno(struct error *err, int code, const char *format, ...) ATTR_PRINTF(3, 4);

/* Puts "context: " in front of the sentence that is already there; returns `code`. */
int error_prefix(struct error *err, int code, const char *format, ...) ATTR_PRINTF(3, 4);

/* error_set() for a failed allocation: returns -ENOMEM. */
int error_memory(struct error *err);

#endif
