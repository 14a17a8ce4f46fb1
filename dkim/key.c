/*
 * key.c - making and reading private keys.
 *
 * Success of a load means: an RSA key of 1024 to 8192 bits or an Ed25519 key, with its private half. The key is
 * immutable after it and shared by reference. Nothing here reads files, asks for pass phrases or keeps a key anywhere.
 */
#include "dkim/key.h"

#include <errno.h>
#include <stdlib.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#define PEM_MAX_BYTES ((size_t)64 << 10)
#define RSA_BITS_NEW 2048 /* RFC 8301 section 3.2: signers SHOULD use at least this, and DNS answers stay small */

int key_openssl_error(struct error *err, int code, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return error_set(err, code, "%s: %s", what, reason != NULL ? reason : "unknown reason");
}

/* Takes the key. */
static int write_pem(EVP_PKEY *made, const char *kind, struct buffer *pem, struct error *err)
{
    int rc = 0;
    BIO *text = BIO_new(BIO_s_mem());
    if (made == NULL || text == NULL || PEM_write_bio_PKCS8PrivateKey(text, made, NULL, NULL, 0, NULL, NULL) != 1) {
        rc = key_openssl_error(err, -EIO, kind);
    } else {
        char *bytes = NULL;
        long len = BIO_get_mem_data(text, &bytes);
        buffer_append(pem, bytes, len > 0 ? (size_t)len : 0);
        OPENSSL_cleanse(bytes, len > 0 ? (size_t)len : 0);
        if (pem->failed)
            rc = error_memory(err);
    }
    BIO_free(text);
    EVP_PKEY_free(made);
    return rc;
}

int dkim_key_generate(struct buffer *pem, struct error *err)
{
    return write_pem(EVP_RSA_gen(RSA_BITS_NEW), "cannot make an RSA key", pem, err);
}

int dkim_key_generate_ed25519(struct buffer *pem, struct error *err)
{
    return write_pem(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), "cannot make an Ed25519 key", pem, err);
}

/* In place of OpenSSL's own, which would ask at the terminal. */
static int no_pass_phrase(char *out, int out_bytes, int for_writing, void *asked)
{
    (void)out;
    (void)out_bytes;
    (void)for_writing;
    *(bool *)asked = true;
    return -1;
}

static int check_kind(const EVP_PKEY *key, bool *ed25519, struct error *err)
{
    *ed25519 = EVP_PKEY_is_a(key, "ED25519") == 1;
    if (*ed25519)
        return 0;
    if (EVP_PKEY_is_a(key, "RSA") != 1) {
        const char *kind = EVP_PKEY_get0_type_name(key);
        return error_set(err, -EINVAL, "the key is of type %s; DKIM knows RSA and Ed25519",
                         kind != NULL ? kind : "unknown");
    }
    int bits = EVP_PKEY_get_bits(key);
    if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX)
        return error_set(err, -EINVAL, "the RSA key has %d bits; it must have %d to %d", bits, RSA_BITS_MIN,
                         RSA_BITS_MAX);
    return 0;
}

static EVP_PKEY *parse_pem(const char *pem, size_t len, struct error *err)
{
    bool asked = false;
    BIO *text = len <= PEM_MAX_BYTES ? BIO_new_mem_buf(pem, (int)len) : NULL;
    EVP_PKEY *parsed = text != NULL ? PEM_read_bio_PrivateKey(text, NULL, no_pass_phrase, &asked) : NULL;
    BIO_free(text);
    if (len > PEM_MAX_BYTES)
        (void)error_set(err, -EINVAL, "too large for a private key: %zu bytes", len);
    else if (parsed == NULL && asked)
        (void)error_set(err, -EINVAL, "the private key is encrypted with a pass phrase");
    else if (parsed == NULL)
        (void)key_openssl_error(err, -EINVAL, "not a private key in PEM form");
    ERR_clear_error();
    return parsed;
}

int dkim_key_load(const char *pem, size_t len, struct dkim_key **out, struct error *err)
{
    *out = NULL;
    EVP_PKEY *parsed = parse_pem(pem, len, err);
    if (parsed == NULL)
        return -EINVAL;
    bool ed25519 = false;
    int rc = check_kind(parsed, &ed25519, err);
    struct dkim_key *key = rc == 0 ? calloc(1, sizeof(*key)) : NULL;
    if (key == NULL) {
        EVP_PKEY_free(parsed);
        return rc < 0 ? rc : error_memory(err);
    }
    atomic_init(&key->references, 1);
    key->ed25519 = ed25519;
    key->private_key = parsed;
    *out = key;
    return 0;
}

struct dkim_key *dkim_key_ref(struct dkim_key *key)
{
    atomic_fetch_add_explicit(&key->references, 1, memory_order_relaxed);
    return key;
}

void dkim_key_unref(struct dkim_key *key)
{
    if (key == NULL || atomic_fetch_sub_explicit(&key->references, 1, memory_order_acq_rel) != 1)
        return;
    EVP_PKEY_free(key->private_key);
    free(key);
}
