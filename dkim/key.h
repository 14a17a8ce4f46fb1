/*
 * key.h - what the other files of the room see of a key; private to the room.
 */
#ifndef POSTHASTE_DKIM_KEY_H
#define POSTHASTE_DKIM_KEY_H

#include <stdatomic.h>
#include <stdbool.h>

#include <openssl/evp.h>

#include "dkim/dkim.h"

#define RSA_BITS_MIN 1024 /* what RFC 8301 section 3.2 lets a verifier accept */
#define RSA_BITS_MAX 8192
#define SIGNATURE_MAX_BYTES (RSA_BITS_MAX / 8)

struct dkim_key {
    atomic_uint references;
    bool ed25519;
    EVP_PKEY *private_key; /* never used to sign: each signer has a copy */
};

/* Writes "what: reason" with OpenSSL's own last reason, clears its queue, returns `code`. */
int key_openssl_error(struct error *err, int code, const char *what);

#endif
