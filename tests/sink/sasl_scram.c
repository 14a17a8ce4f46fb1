/*
 * SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side, without channel binding.
 *
 * client-first: "n,,n=user,r=nonce"; server-first: "r=nonces,s=salt,i=count"; client-final: "c=biws,r=nonces,p=proof";
 * server-final: "v=signature". The account holds the password in clear, so everything is derived in the moment. The
 * password is not put through SASLprep: tests use ASCII ones, or say exactly which bytes they mean.
 */
#include "tests/sink/sasl.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include "tests/sink/base64.h"

enum { SCRAM_ITERATIONS = 4096, SCRAM_NONCE_BYTES = 18, SCRAM_SALT_BYTES = 16 };

struct piece {
    const char *at;
    size_t length;
};

/* Takes "K=value" up to the next comma from the front. False: something else stands there. */
static bool take_attribute(struct piece *rest, char key, struct piece *value)
{
    const char *comma;

    if (rest->length < 2 || rest->at[0] != key || rest->at[1] != '=')
        return false;
    comma = memchr(rest->at, ',', rest->length);
    value->at = rest->at + 2;
    value->length = (comma == NULL ? rest->length : (size_t)(comma - rest->at)) - 2;
    rest->at += value->length + 2 + (comma == NULL ? 0 : 1);
    rest->length -= value->length + 2 + (comma == NULL ? 0 : 1);
    return true;
}

/* saslname: ',' comes as "=2C", '=' as "=3D" (RFC 5802 5.1). */
static bool is_user(const struct piece *name, const char *user)
{
    size_t at = 0;

    for (; *user != '\0'; user++) {
        const char *wanted = *user == ',' ? "=2C" : *user == '=' ? "=3D" : NULL;
        size_t length = wanted == NULL ? 1 : 3;

        if (name->length - at < length || memcmp(name->at + at, wanted == NULL ? user : wanted, length) != 0)
            return false;
        at += length;
    }
    return at == name->length;
}

enum sasl_step sasl_scram_first(struct sasl *sasl, const char *message, size_t length)
{
    struct piece rest = {message, length};
    struct piece user = {0};
    struct piece nonce = {0};

    /* gs2-header: "n" or "y" (no channel binding), no authzid. */
    if (length < 3 || (message[0] != 'n' && message[0] != 'y') || memcmp(message + 1, ",,", 2) != 0)
        return SASL_MALFORMED;
    sasl->binding_flag = message[0];
    rest.at += 3;
    rest.length -= 3;
    text_add(&sasl->client, rest.at, rest.length);
    if (!take_attribute(&rest, 'n', &user) || !take_attribute(&rest, 'r', &nonce) || nonce.length == 0)
        return SASL_MALFORMED;
    sasl->right_user = is_user(&user, sasl->account->user);
    text_add(&sasl->nonce, nonce.at, nonce.length);
    sasl_add_random(&sasl->nonce, SCRAM_NONCE_BYTES);
    text_add_string(&sasl->server, "r=");
    text_add(&sasl->server, text_bytes(&sasl->nonce), text_length(&sasl->nonce));
    text_add_string(&sasl->server, ",s=");
    sasl_add_random(&sasl->server, SCRAM_SALT_BYTES);
    text_add_string(&sasl->server, ",i=");
    text_add_number(&sasl->server, SCRAM_ITERATIONS);
    text_add(&sasl->challenge, text_bytes(&sasl->server), text_length(&sasl->server));
    return SASL_CONTINUE;
}

static bool hmac(const unsigned char key[SHA256_DIGEST_LENGTH], const char *bytes, size_t length,
                 unsigned char out[SHA256_DIGEST_LENGTH])
{
    unsigned out_length = SHA256_DIGEST_LENGTH;

    return HMAC(EVP_sha256(), key, SHA256_DIGEST_LENGTH, (const unsigned char *)bytes, length, out, &out_length) !=
           NULL;
}

/* The salt as it stands in server-first. */
static void read_salt(const struct sasl *sasl, struct text *salt)
{
    struct piece rest = {text_bytes(&sasl->server), text_length(&sasl->server)};
    struct piece value;

    if (take_attribute(&rest, 'r', &value) && take_attribute(&rest, 's', &value))
        (void)base64_decode(salt, value.at, value.length);
}

/* What the client's proof must be, and the server's own signature (RFC 5802 3). False: OpenSSL cannot. */
static bool derive(const struct sasl *sasl, const struct text *auth_message, unsigned char proof[SHA256_DIGEST_LENGTH],
                   unsigned char signature[SHA256_DIGEST_LENGTH])
{
    const char *password = sasl->account->password;
    unsigned char salted[SHA256_DIGEST_LENGTH];
    unsigned char client_key[SHA256_DIGEST_LENGTH];
    unsigned char server_key[SHA256_DIGEST_LENGTH];
    unsigned char stored[SHA256_DIGEST_LENGTH];
    struct text salt = {0};
    bool done;

    read_salt(sasl, &salt);
    done = PKCS5_PBKDF2_HMAC(password, (int)strlen(password), (const unsigned char *)text_bytes(&salt),
                             (int)text_length(&salt), SCRAM_ITERATIONS, EVP_sha256(), sizeof(salted), salted) == 1 &&
           hmac(salted, "Client Key", 10, client_key) && hmac(salted, "Server Key", 10, server_key) &&
           SHA256(client_key, sizeof(client_key), stored) != NULL &&
           hmac(stored, text_bytes(auth_message), text_length(auth_message), proof) &&
           hmac(server_key, text_bytes(auth_message), text_length(auth_message), signature);
    text_free(&salt);
    for (size_t i = 0; done && i < SHA256_DIGEST_LENGTH; i++)
        proof[i] ^= client_key[i];
    return done;
}

/* Looks at client-final; `bound` is its part before the proof. */
static enum sasl_step read_final(const struct sasl *sasl, const char *message, size_t length, struct piece *bound,
                                 struct text *proof)
{
    struct piece rest = {message, length};
    struct piece binding = {0};
    struct piece nonce = {0};
    struct piece value = {0};

    if (!take_attribute(&rest, 'c', &binding) || !take_attribute(&rest, 'r', &nonce))
        return SASL_MALFORMED;
    *bound = (struct piece){message, (size_t)(nonce.at + nonce.length - message)};
    if (!take_attribute(&rest, 'p', &value) || rest.length > 0 || !base64_decode(proof, value.at, value.length))
        return SASL_MALFORMED;
    /* "n,," or "y,,": what the client said at the start about channel binding. */
    if (binding.length != 4 || memcmp(binding.at, sasl->binding_flag == 'n' ? "biws" : "eSws", 4) != 0)
        return SASL_REFUSED;
    if (nonce.length != text_length(&sasl->nonce) || memcmp(nonce.at, text_bytes(&sasl->nonce), nonce.length) != 0)
        return SASL_REFUSED;
    return SASL_CONTINUE;
}

enum sasl_step sasl_scram_final(struct sasl *sasl, const char *message, size_t length)
{
    unsigned char wanted[SHA256_DIGEST_LENGTH];
    unsigned char signature[SHA256_DIGEST_LENGTH];
    struct text auth_message = {0};
    struct text proof = {0};
    struct piece bound = {0};
    enum sasl_step step = read_final(sasl, message, length, &bound, &proof);

    if (step == SASL_CONTINUE) {
        text_add(&auth_message, text_bytes(&sasl->client), text_length(&sasl->client));
        text_add_string(&auth_message, ",");
        text_add(&auth_message, text_bytes(&sasl->server), text_length(&sasl->server));
        text_add_string(&auth_message, ",");
        text_add(&auth_message, bound.at, bound.length);
        if (!derive(sasl, &auth_message, wanted, signature) || text_length(&proof) != sizeof(wanted) ||
            memcmp(text_bytes(&proof), wanted, sizeof(wanted)) != 0 || !sasl->right_user) {
            step = SASL_REFUSED;
        } else {
            text_add_string(&sasl->challenge, "v=");
            base64_encode(&sasl->challenge, (const char *)signature, sizeof(signature));
        }
    }
    text_free(&auth_message);
    text_free(&proof);
    return step;
}
