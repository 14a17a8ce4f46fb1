/*
 * PLAIN, LOGIN and CRAM-MD5, and the choice among all four.
 *
 * Success is SASL_ACCEPTED: the client has proved that it knows the password. This receiver holds test passwords only,
 * so nothing is wiped and comparisons take no care of timing.
 */
#include "tests/sink/sasl.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "tests/sink/base64.h"
#include "tests/sink/clock.h"

enum { SASL_RANDOM_LIMIT_BYTES = 64 };

static const struct {
    enum sasl_mechanism mechanism;
    const char *name;
} mechanisms[] = {
#define X(name, text, bit) {SASL_##name, text},
    SASL_MAP(X)
#undef X
};

enum sasl_mechanism sasl_mechanism_named(const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof(mechanisms) / sizeof(mechanisms[0]); i++) {
        if (strlen(mechanisms[i].name) == length && strncasecmp(mechanisms[i].name, name, length) == 0)
            return mechanisms[i].mechanism;
    }
    return 0;
}

const char *sasl_mechanism_name(enum sasl_mechanism mechanism)
{
    for (size_t i = 0; i < sizeof(mechanisms) / sizeof(mechanisms[0]); i++) {
        if (mechanisms[i].mechanism == mechanism)
            return mechanisms[i].name;
    }
    return "";
}

void sasl_free(struct sasl *sasl)
{
    text_free(&sasl->challenge);
    text_free(&sasl->client);
    text_free(&sasl->server);
    text_free(&sasl->nonce);
    *sasl = (struct sasl){0};
}

void sasl_add_random(struct text *text, size_t length)
{
    unsigned char bytes[SASL_RANDOM_LIMIT_BYTES];

    if (length > sizeof(bytes) || RAND_bytes(bytes, (int)length) != 1) {
        fputs("sink: no random bytes\n", stderr);
        exit(1);
    }
    base64_encode(text, (const char *)bytes, length);
}

static bool is_exactly(const char *bytes, size_t length, const char *wanted)
{
    return length == strlen(wanted) && memcmp(bytes, wanted, length) == 0;
}

/* [authzid] NUL authcid NUL passwd; the authzid, if there is one, must be the user too. */
static enum sasl_step check_plain(const struct sasl *sasl, const char *message, size_t length)
{
    const char *end = message + length;
    const char *user = memchr(message, '\0', length);
    const char *password = user == NULL ? NULL : memchr(user + 1, '\0', (size_t)(end - user - 1));
    size_t identity = user == NULL ? 0 : (size_t)(user - message);

    if (password == NULL || memchr(password + 1, '\0', (size_t)(end - password - 1)) != NULL)
        return SASL_MALFORMED;
    user++;
    if (identity > 0 && !is_exactly(message, identity, sasl->account->user))
        return SASL_REFUSED;
    if (!is_exactly(user, (size_t)(password - user), sasl->account->user))
        return SASL_REFUSED;
    password++;
    return is_exactly(password, (size_t)(end - password), sasl->account->password) ? SASL_ACCEPTED : SASL_REFUSED;
}

static enum sasl_step take_login(struct sasl *sasl, const char *message, size_t length)
{
    if (sasl->round == 1) {
        sasl->right_user = is_exactly(message, length, sasl->account->user);
        text_add_string(&sasl->challenge, "Password:");
        return SASL_CONTINUE;
    }
    return sasl->right_user && is_exactly(message, length, sasl->account->password) ? SASL_ACCEPTED : SASL_REFUSED;
}

/* user SP hexadecimal HMAC-MD5 of the challenge; the user name may hold blanks. */
static enum sasl_step check_cram(const struct sasl *sasl, const char *message, size_t length)
{
    static const char hex[] = "0123456789abcdef";
    const char *blank = memrchr(message, ' ', length);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_length = 0;
    char wanted[2 * EVP_MAX_MD_SIZE + 1] = "";

    if (blank == NULL)
        return SASL_MALFORMED;
    if (HMAC(EVP_md5(), sasl->account->password, (int)strlen(sasl->account->password),
             (const unsigned char *)text_bytes(&sasl->server), text_length(&sasl->server), digest,
             &digest_length) == NULL)
        return SASL_REFUSED;
    for (unsigned i = 0; i < digest_length; i++) {
        wanted[2 * i] = hex[digest[i] >> 4];
        wanted[2 * i + 1] = hex[digest[i] & 15];
    }
    if (!is_exactly(message, (size_t)(blank - message), sasl->account->user))
        return SASL_REFUSED;
    blank++;
    return is_exactly(blank, (size_t)(message + length - blank), wanted) ? SASL_ACCEPTED : SASL_REFUSED;
}

static void challenge_cram(struct sasl *sasl, const char *host)
{
    text_add_string(&sasl->server, "<");
    text_add_number(&sasl->server, clock_monotonic_us());
    text_add_string(&sasl->server, ".");
    text_add_number(&sasl->server, (uint64_t)getpid());
    text_add_string(&sasl->server, "@");
    text_add_string(&sasl->server, host);
    text_add_string(&sasl->server, ">");
    text_add(&sasl->challenge, text_bytes(&sasl->server), text_length(&sasl->server));
}

enum sasl_step sasl_begin(struct sasl *sasl, enum sasl_mechanism mechanism, const struct sasl_account *account,
                          const char *host, const struct text *initial)
{
    sasl_free(sasl);
    sasl->mechanism = mechanism;
    sasl->account = account;
    if (mechanism == SASL_CRAM_MD5) {
        if (initial != NULL)
            return SASL_MALFORMED; /* the server speaks first */
        challenge_cram(sasl, host);
        return SASL_CONTINUE;
    }
    if (initial != NULL)
        return sasl_respond(sasl, initial);
    if (mechanism == SASL_LOGIN)
        text_add_string(&sasl->challenge, "Username:");
    return SASL_CONTINUE;
}

enum sasl_step sasl_respond(struct sasl *sasl, const struct text *response)
{
    const char *message = text_bytes(response);
    size_t length = text_length(response);

    sasl->round++;
    text_clear(&sasl->challenge);
    switch (sasl->mechanism) {
    case SASL_PLAIN:
        return check_plain(sasl, message, length);
    case SASL_LOGIN:
        return take_login(sasl, message, length);
    case SASL_CRAM_MD5:
        return check_cram(sasl, message, length);
    case SASL_SCRAM_SHA_256:
        if (sasl->round == 1)
            return sasl_scram_first(sasl, message, length);
        /* The third is the client's empty answer to the server's signature, RFC 5802 5 over RFC 4954 4. */
        if (sasl->round == 2)
            return sasl_scram_final(sasl, message, length);
        return length == 0 ? SASL_ACCEPTED : SASL_MALFORMED;
    case SASL_ALL:
        break;
    }
    return SASL_MALFORMED;
}
