/*
 * digest.c - SHA-256, HMAC-SHA-256, base64, comparison and random bytes, by OpenSSL.
 *
 * A mac_key is an HMAC context that has taken its key once; each use works on a duplicate, so the key is never expanded
 * twice and threads never meet. Failure here means that OpenSSL has no memory or no provider: -EIO, nothing more can be
 * said.
 */
#include "dkim/digest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

struct mac_key {
    EVP_MAC *mac;
    EVP_MAC_CTX *keyed; /* never updated after creation */
};

int digest_sha256(const void *bytes, size_t len, uint8_t out[32])
{
    return EVP_Digest(bytes, len, out, NULL, EVP_sha256(), NULL) == 1 ? 0 : -EIO;
}

struct mac_key *mac_key_create(const void *key, size_t len)
{
    struct mac_key *made = calloc(1, sizeof(*made));
    if (made == NULL)
        return NULL;
    char digest_name[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest_name, 0),
                           OSSL_PARAM_construct_end()};
    made->mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    made->keyed = made->mac != NULL ? EVP_MAC_CTX_new(made->mac) : NULL;
    /* OpenSSL takes a NULL key for "as before"; an empty key must still be a key. */
    const void *bytes = len > 0 ? key : "";
    if (made->keyed == NULL || EVP_MAC_init(made->keyed, bytes, len, params) != 1) {
        mac_key_free(made);
        return NULL;
    }
    return made;
}

void mac_key_free(struct mac_key *key)
{
    if (key == NULL)
        return;
    EVP_MAC_CTX_free(key->keyed);
    EVP_MAC_free(key->mac);
    free(key);
}

int mac_sha256(const struct mac_key *key, const void *bytes, size_t len, uint8_t out[32])
{
    EVP_MAC_CTX *mac = EVP_MAC_CTX_dup(key->keyed);
    if (mac == NULL)
        return -EIO;
    size_t got = 0;
    int ok = EVP_MAC_update(mac, bytes, len) == 1 && EVP_MAC_final(mac, out, &got, 32) == 1 && got == 32;
    EVP_MAC_CTX_free(mac);
    return ok ? 0 : -EIO;
}

bool digest_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

void digest_base64(const void *bytes, size_t len, char *out)
{
    assure(len <= (size_t)1 << 20);
    int n = EVP_EncodeBlock((unsigned char *)out, bytes, (int)len);
    assure(n >= 0 && (size_t)n == (len + 2) / 3 * 4);
}

int digest_unbase64(const char *text, void *out, size_t out_bytes)
{
    unsigned char bytes[384];
    size_t len = strnlen(text, 512);
    int padding = 0;
    if (len == 0 || len % 4 != 0 || len / 4 * 3 > sizeof(bytes))
        return -EINVAL;
    for (; padding < 2 && text[len - 1 - (size_t)padding] == '='; padding++) {
    }
    if (memchr(text, '=', len - (size_t)padding) != NULL)
        return -EINVAL;
    int n = EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)len);
    if (n < padding || (size_t)(n - padding) > out_bytes)
        return -EINVAL;
    memcpy(out, bytes, (size_t)(n - padding));
    OPENSSL_cleanse(bytes, sizeof(bytes));
    return n - padding;
}

int random_bytes(void *out, size_t len)
{
    uint8_t *at = out;
    while (len > 0) {
        int piece = (int)MIN_OF(len, (size_t)1 << 20);
        if (RAND_bytes(at, piece) != 1)
            return -EIO;
        at += piece;
        len -= (size_t)piece;
    }
    return 0;
}
