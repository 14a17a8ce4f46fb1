/*
 * base64.h - reading base64 (RFC 4648 section 4), for challenges, files that are posted, and whoever else is sent some.
 */
#ifndef POSTHASTE_BASE_BASE64_H
#define POSTHASTE_BASE_BASE64_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/attr.h"

#define BASE64_DECODED_MAX_BYTES(len) ((len) / 4 * 3) /* of a text of `len` bytes */

/* Writes what the text stands for to `out`, which holds BASE64_DECODED_MAX_BYTES(len), and no NUL behind it. White
 * space is passed over with `spaces`, as MIME has it, and is an error without. The bytes written, or -EINVAL: it is not
 * base64. */
ssize_t base64_decode(const char *text, size_t len, bool spaces, void *out) ATTR_MUSTCHECK;

#endif
