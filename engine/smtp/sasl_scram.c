/*
 * sasl_scram.c - SCRAM-SHA-256 (RFC 5802, RFC 7677), client side, no channel binding ("n,,").
 *
 *     C: n,,n=USER,r=CNONCE
 *     S: r=CNONCE SNONCE,s=SALT,i=COUNT
 *     C: c=biws,r=CNONCE SNONCE,p=PROOF
 *     S: v=SIGNATURE            (as one more 334, which is answered with an empty line; then 235)
 *
 * Success means that the server's signature was right: it knows the password's hash for this very exchange. "biws" is
 * the base64 of "n,,". The messages are parsed by the letter; what RFC 5802 section 5.1 lets a server add at the end
 * (",x=…") is skipped, what it marks as mandatory ("m=") is refused.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/base64.h"
#include "base/str.h"

#include "engine/smtp/sasl_private.h"

static int sha256(const void *bytes, size_t len, unsigned char out[SHA256_BYTES])
{
    return EVP_Q_digest(NULL, "SHA256", NULL, bytes, len, out, NULL) == 1 ? 0 : -EIO;
}

static int hmac(const unsigned char key[SHA256_BYTES], const char *text, size_t len, unsigned char out[SHA256_BYTES])
{
    size_t out_len = 0;
    if (EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key, SHA256_BYTES, (const unsigned char *)text, len, out,
                  SHA256_BYTES, &out_len) == NULL)
        return -EIO;
    return out_len == SHA256_BYTES ? 0 : -EIO;
}

/* ---- client-first ---- */

static int make_nonce(struct sasl *sasl)
{
    unsigned char random[SCRAM_NONCE_BYTES / 4 * 3];
    struct sasl_scram *scram = &sasl->scram;
    if (sasl->options.nonce != NULL)
        return str_copy(scram->nonce, sizeof scram->nonce, sasl->options.nonce) ? 0 : -EINVAL;
    if (RAND_bytes(random, sizeof random) != 1)
        return -EIO;
    sasl_base64_encode(random, sizeof random, scram->nonce);
    return 0;
}

int scram_begin(struct sasl *sasl, struct raw *out, struct error *err)
{
    struct raw bare = {.len = 0};
    if (make_nonce(sasl) < 0)
        return error_set(err, -EIO, "there are no random numbers");
    int rc = raw_append(&bare, "n=", 2);
    for (const char *at = sasl->options.credentials->user; *at != '\0'; at++) { /* saslname */
        if (*at == ',' || *at == '=')
            rc |= raw_append(&bare, *at == ',' ? "=2C" : "=3D", 3);
        else
            rc |= raw_append(&bare, at, 1);
    }
    rc |= raw_append(&bare, ",r=", 3);
    rc |= raw_append(&bare, sasl->scram.nonce, strlen(sasl->scram.nonce));
    rc |= raw_append(out, "n,,", 3);
    rc |= raw_append(out, bare.bytes, bare.len);
    if (rc != 0)
        return error_set(err, -EINVAL, "the user is too long for SCRAM");
    memcpy(sasl->scram.first_bare, bare.bytes, bare.len);
    sasl->scram.first_bare[bare.len] = '\0';
    return 0;
}

/* ---- server-first ---- */

struct server_first {
    const char *nonce; /* of both, inside the message */
    size_t nonce_len;
    size_t salt_len;
    unsigned char salt[sizeof((struct sasl_keys *)0)->salt];
    uint32_t iterations;
};

/* The value of the attribute that must come next, up to the comma or the end; -1 = it does not. */
static int take_attribute(const char **at, char name, const char **value, size_t *len)
{
    if ((*at)[0] != name || (*at)[1] != '=')
        return -1;
    *value = *at + 2;
    *len = strcspn(*value, ",");
    *at = *value + *len;
    if (**at == ',')
        (*at)++;
    return *len > 0 ? 0 : -1;
}

static bool nonce_is_good(const struct server_first *first, const char *ours)
{
    size_t len = strlen(ours);
    if (first->nonce_len <= len || first->nonce_len > SCRAM_NONCE_MAX_BYTES || memcmp(first->nonce, ours, len) != 0)
        return false;
    for (size_t i = 0; i < first->nonce_len; i++) {
        if (first->nonce[i] < 0x21 || first->nonce[i] > 0x7e)
            return false;
    }
    return true;
}

static int parse_salt(const char *text, size_t len, struct server_first *out)
{
    if (len > sizeof out->salt / 3 * 4)
        return -1;
    ssize_t n = base64_decode(text, len, false, out->salt);
    if (n <= 0)
        return -1;
    out->salt_len = (size_t)n;
    return 0;
}

static int parse_first(const char *message, size_t len, const char *ours, struct server_first *out, struct error *err)
{
    const char *at = message, *value;
    size_t value_len;
    char digits[8];
    uint64_t iterations;
    *out = (struct server_first){.nonce = NULL};
    if (strlen(message) != len)
        return error_set(err, -EPROTO, "the SCRAM challenge has a NUL in it");
    if (message[0] == 'm' && message[1] == '=')
        return error_set(err, -EPROTO, "the server demands a SCRAM extension that is not known");
    if (take_attribute(&at, 'r', &out->nonce, &out->nonce_len) < 0 || !nonce_is_good(out, ours))
        return error_set(err, -EPROTO, "the nonce in the SCRAM challenge is not an answer to ours");
    if (take_attribute(&at, 's', &value, &value_len) < 0 || parse_salt(value, value_len, out) < 0)
        return error_set(err, -EPROTO, "the salt in the SCRAM challenge is not usable");
    if (take_attribute(&at, 'i', &value, &value_len) < 0 || value_len >= sizeof digits)
        return error_set(err, -EPROTO, "the iteration count in the SCRAM challenge is not usable");
    memcpy(digits, value, value_len);
    digits[value_len] = '\0';
    if (str_parse_u64(digits, SCRAM_ITERATIONS_MAX, &iterations) < 0 || iterations < SCRAM_ITERATIONS_MIN)
        return error_set(err, -EPROTO, "the iteration count in the SCRAM challenge is not in %d to %d",
                         SCRAM_ITERATIONS_MIN, SCRAM_ITERATIONS_MAX);
    out->iterations = (uint32_t)iterations;
    return 0;
}

/* ---- keys and client-final ---- */

/* From the password, unless `keys` holds what was derived for the same salt and count before. */
static int derive(const struct sasl *sasl, const struct server_first *first, struct sasl_keys *keys)
{
    const char *password = sasl->options.credentials->password;
    unsigned char salted[SHA256_BYTES];
    if (keys->filled && keys->iterations == first->iterations && keys->salt_len == first->salt_len &&
        memcmp(keys->salt, first->salt, first->salt_len) == 0)
        return 0;
    keys->filled = false;
    int rc = PKCS5_PBKDF2_HMAC(password, (int)strlen(password), first->salt, (int)first->salt_len,
                               (int)first->iterations, EVP_sha256(), sizeof salted, salted) == 1
                 ? 0
                 : -EIO;
    if (rc == 0)
        rc = hmac(salted, "Client Key", 10, keys->client_key);
    if (rc == 0)
        rc = hmac(salted, "Server Key", 10, keys->server_key);
    OPENSSL_cleanse(salted, sizeof salted);
    if (rc < 0)
        return rc;
    memcpy(keys->salt, first->salt, first->salt_len);
    keys->salt_len = first->salt_len;
    keys->iterations = first->iterations;
    keys->filled = true;
    return 0;
}

/* AuthMessage = client-first-bare "," server-first "," client-final-without-proof */
static int sign(struct sasl *sasl, const struct sasl_keys *keys, const char *server_first, size_t len,
                const struct raw *final, unsigned char proof[SHA256_BYTES])
{
    char text[SASL_CHALLENGE_MAX_BYTES / 4 * 3 + 2 * SASL_RAW_MAX_BYTES + 3];
    unsigned char stored_key[SHA256_BYTES];
    int n = snprintf(text, sizeof text, "%s,%.*s,%.*s", sasl->scram.first_bare, (int)len, server_first,
                     (int) final->len, final->bytes);
    assure(n > 0 && (size_t)n < sizeof text);
    int rc = sha256(keys->client_key, sizeof keys->client_key, stored_key);
    if (rc == 0)
        rc = hmac(stored_key, text, (size_t)n, proof); /* ClientSignature */
    if (rc == 0)
        rc = hmac(keys->server_key, text, (size_t)n, sasl->scram.server_signature);
    for (size_t i = 0; i < SHA256_BYTES; i++)
        proof[i] ^= keys->client_key[i];
    OPENSSL_cleanse(stored_key, sizeof stored_key);
    return rc;
}

static int on_server_first(struct sasl *sasl, const char *message, size_t len, struct raw *out, struct error *err)
{
    struct server_first first;
    int rc = parse_first(message, len, sasl->scram.nonce, &first, err);
    if (rc < 0)
        return rc;
    struct sasl_keys own = {.filled = false};
    struct sasl_keys *keys = sasl->options.keys != NULL ? sasl->options.keys : &own;
    unsigned char proof[SHA256_BYTES] = {0};
    char proof_text[(SHA256_BYTES + 2) / 3 * 4 + 1];
    rc = raw_append(out, "c=biws,r=", 9);
    rc |= raw_append(out, first.nonce, first.nonce_len);
    assure(rc == 0);
    rc = derive(sasl, &first, keys);
    if (rc == 0)
        rc = sign(sasl, keys, message, len, out, proof);
    if (rc == 0) {
        sasl_base64_encode(proof, sizeof proof, proof_text);
        rc = raw_append(out, ",p=", 3);
        rc |= raw_append(out, proof_text, strlen(proof_text));
        assure(rc == 0);
    }
    OPENSSL_cleanse(&own, sizeof own);
    OPENSSL_cleanse(proof, sizeof proof);
    sasl->state = SASL_STATE_SECOND;
    return rc == 0 ? 0 : error_set(err, rc, "SHA-256 is not available here");
}

/* ---- server-final ---- */

static int on_server_final(struct sasl *sasl, const char *message, size_t len, struct error *err)
{
    const char *at = message, *value;
    size_t value_len;
    char signature[SHA256_BYTES + 4];
    if (len > 2 && message[0] == 'e' && message[1] == '=')
        return error_set(err, -EPROTO, "the server refuses SCRAM: %.100s", message + 2);
    if (strlen(message) != len || take_attribute(&at, 'v', &value, &value_len) < 0 ||
        value_len != (SHA256_BYTES + 2) / 3 * 4 || base64_decode(value, value_len, false, signature) != SHA256_BYTES)
        return error_set(err, -EPROTO, "the server's SCRAM signature is not usable");
    if (CRYPTO_memcmp(signature, sasl->scram.server_signature, SHA256_BYTES) != 0)
        return error_set(err, -EPROTO, "the server's SCRAM signature is wrong: it does not know the password");
    sasl->state = SASL_STATE_DONE;
    return 0;
}

int scram_step(struct sasl *sasl, const char *challenge, size_t len, struct raw *out, struct error *err)
{
    return sasl->state == SASL_STATE_FIRST ? on_server_first(sasl, challenge, len, out, err)
                                           : on_server_final(sasl, challenge, len, err);
}
