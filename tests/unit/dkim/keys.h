/*
 * keys.h - private keys of every kind for the tests of this folder, made on the spot, as PEM text in a buffer.
 */
#ifndef POSTHASTE_TESTS_UNIT_DKIM_KEYS_H
#define POSTHASTE_TESTS_UNIT_DKIM_KEYS_H

#include "tests/unit/base/unit.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "dkim/dkim.h"

/* PEM of `key`, which is freed; with `pass` encrypted, with `public_only` without the private half. */
ATTR_UNUSED static inline void key_to_pem(EVP_PKEY *key, const char *pass, int public_only, struct buffer *pem)
{
    assert_non_null(key);
    BIO *bio = BIO_new(BIO_s_mem());
    assert_non_null(bio);
    if (public_only)
        assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
    else
        assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, key, pass != NULL ? EVP_aes_128_cbc() : NULL, pass,
                                                       pass != NULL ? (int)strlen(pass) : 0, NULL, NULL),
                         1);
    char *bytes = NULL;
    long len = BIO_get_mem_data(bio, &bytes);
    buffer_append(pem, bytes, (size_t)len);
    assert_false(pem->failed);
    BIO_free(bio);
    EVP_PKEY_free(key);
}

ATTR_UNUSED static inline EVP_PKEY *make_rsa(size_t bits)
{
    return EVP_RSA_gen((unsigned int)bits);
}

ATTR_UNUSED static inline EVP_PKEY *make_ed25519(void)
{
    return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
}

ATTR_UNUSED static inline struct dkim_key *load_key(EVP_PKEY *key)
{
    struct buffer pem = BUFFER_INIT(0);
    struct error err = {{0}};
    struct dkim_key *loaded = NULL;
    key_to_pem(key, NULL, 0, &pem);
    if (dkim_key_load(pem.data, pem.len, &loaded, &err) != 0)
        fail_msg("%s", err.text);
    buffer_finish(&pem);
    return loaded;
}

#endif
