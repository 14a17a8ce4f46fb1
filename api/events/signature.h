/*
 * signature.h - how a receiver knows that a webhook is ours: Standard Webhooks (spec/spec/standard-webhooks.md of that
 * project), symmetric, version v1.
 *
 *   webhook-signature: v1,BASE64(HMAC-SHA256(secret, "ID.TIMESTAMP.BODY"))
 *
 * The secret is "whsec_" and base64; its decoded bytes are the key. While a secret is being changed there is one
 * signature for each, separated by a space.
 */
#ifndef POSTHASTE_API_EVENTS_SIGNATURE_H
#define POSTHASTE_API_EVENTS_SIGNATURE_H

#include "base/buffer.h"
#include "base/error.h"

#define SIGNATURE_SECRET_BYTES 56 /* "whsec_", 44 characters, NUL, and a little room */

int signature_secret(char out[SIGNATURE_SECRET_BYTES], struct error *err) ATTR_MUSTCHECK; /* 0 or -EIO */
/* Appends "v1,…" to `out`, behind a space when it is not empty. 0; -EINVAL: the secret is none; -EIO, -ENOMEM. */
int signature_append(struct buffer *out, const char *secret, const char *id, int64_t timestamp_s, const void *body,
                     size_t body_bytes) ATTR_MUSTCHECK;

#endif
