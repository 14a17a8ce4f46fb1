/*
 * digest.h - SHA-256, HMAC-SHA-256, base64, constant-time comparison and random bytes, lent to the rooms that may not
 * know OpenSSL.
 */
#ifndef POSTHASTE_DKIM_DIGEST_H
#define POSTHASTE_DKIM_DIGEST_H

#include <stdbool.h>

#include "base/attr.h"

int digest_sha256(const void *bytes, size_t len, uint8_t out[32]) ATTR_MUSTCHECK; /* 0 or -EIO */

/* A prepared HMAC-SHA-256 key; may be used by any number of threads at once. */
struct mac_key;
struct mac_key *mac_key_create(const void *key, size_t len); /* NULL when no memory */
void mac_key_free(struct mac_key *key);
int mac_sha256(const struct mac_key *key, const void *bytes, size_t len, uint8_t out[32]) ATTR_MUSTCHECK;

bool digest_equal(const void *a, const void *b, size_t len); /* in constant time */
/* RFC 4648 section 4, padded. `out` holds (len + 2) / 3 * 4 + 1; `len` is at most 1 MiB. */
void digest_base64(const void *bytes, size_t len, char *out);
/* The other way: the number of bytes, at most `out_bytes`, or -EINVAL. */
int digest_unbase64(const char *text, void *out, size_t out_bytes) ATTR_MUSTCHECK;
int random_bytes(void *out, size_t len) ATTR_MUSTCHECK; /* cryptographic; 0 or -EIO */

#endif
