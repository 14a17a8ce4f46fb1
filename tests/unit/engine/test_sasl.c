/*
 * test_sasl.c - logging in: the RFCs' own examples, which mechanism is taken when, hostile servers (failures row 12), a
 * SCRAM server of our own against random users and passwords, and that no secret is left in memory that was given back.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "base/base64.h"
#include "engine/smtp/sasl.h"
#include "engine/smtp/sasl_private.h"

/* ---- every block that the engine gives back is looked at before it goes ---- */

static const char *watched_secret;
static size_t leaked_blocks;

void __real_free(void *block);
void __wrap_free(void *block);

void __wrap_free(void *block)
{
    if (block != NULL && watched_secret != NULL &&
        memmem(block, malloc_usable_size(block), watched_secret, strlen(watched_secret)) != NULL)
        leaked_blocks++;
    __real_free(block);
}

/* ---- helpers ---- */

static uint64_t random_state = 88172645463325252ULL;

static uint32_t pick(uint32_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32) % below;
}

static struct credentials person(const char *user, const char *password)
{
    struct credentials c = {{0}, {0}};
    (void)snprintf(c.user, sizeof c.user, "%s", user);
    (void)snprintf(c.password, sizeof c.password, "%s", password);
    return c;
}

static const char *encode(const char *text, size_t len)
{
    static char out[20000];
    sasl_base64_encode(text, len, out);
    return out;
}

/* One step with the plain challenge; what comes back is decoded too. */
static int step(struct sasl *sasl, const char *challenge, const char **plain, struct error *err)
{
    static char decoded[8192];
    const char *response = NULL;
    const char *text = encode(challenge, strlen(challenge));
    int rc = sasl_step(sasl, text, strlen(text), &response, err);
    if (rc < 0) {
        assert_string_equal(response, "*");
        assert_string_not_equal(err->text, "");
        *plain = "*";
        return rc;
    }
    ssize_t n = base64_decode(response, strlen(response), false, decoded);
    assert_true(n >= 0);
    decoded[n] = '\0';
    *plain = decoded;
    return rc;
}

static struct sasl *start(const char *offered, const struct sasl_options *options)
{
    struct sasl *sasl = NULL;
    struct error err = {{0}};
    int rc = sasl_start(offered, options, &sasl, &err);
    assert_string_equal(err.text, "");
    assert_int_equal(rc, 0);
    return sasl;
}

/* ---- the RFCs' examples ---- */

static void plain_is_rfc4616(void **state)
{
    (void)state;
    struct credentials c = person("tim", "tanstaaftanstaaf");
    struct sasl_options options = {.credentials = &c, .tls = true};
    struct sasl *sasl = start("PLAIN", &options);
    assert_string_equal(sasl_mechanism(sasl), "PLAIN");
    assert_string_equal(sasl_command(sasl), "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm");
    assert_int_equal(sasl_finish(sasl, NULL), 0);
    sasl_free(sasl);
}

static void cram_md5_is_rfc2195(void **state)
{
    (void)state;
    struct credentials c = person("tim", "tanstaaftanstaaf");
    struct sasl_options options = {.credentials = &c};
    struct error err = {{0}};
    const char *plain;
    struct sasl *sasl = start("LOGIN CRAM-MD5 PLAIN", &options);
    assert_string_equal(sasl_command(sasl), "AUTH CRAM-MD5");
    assert_int_equal(step(sasl, "<1896.697170952@postoffice.reston.mci.net>", &plain, &err), 0);
    assert_string_equal(plain, "tim b913a602c7eda7a495b4e6e7334d3890");
    assert_int_equal(sasl_finish(sasl, NULL), 0);
    sasl_free(sasl);
}

static void login_answers_in_order(void **state)
{
    (void)state;
    static const char *const prompts[][2] = {
        {"Username:", "Password:"}, {"", ""}, {"Password:", "Username:"}, {"User Name", "\xff\xfe"}};
    struct credentials c = person("tim", "tanstaaftanstaaf");
    struct sasl_options options = {.credentials = &c, .tls = true};
    for (size_t i = 0; i < countof(prompts); i++) {
        struct error err = {{0}};
        const char *plain;
        struct sasl *sasl = start("LOGIN", &options);
        assert_string_equal(sasl_command(sasl), "AUTH LOGIN");
        assert_int_equal(step(sasl, prompts[i][0], &plain, &err), 0);
        assert_string_equal(plain, "tim");
        assert_int_equal(step(sasl, prompts[i][1], &plain, &err), 0);
        assert_string_equal(plain, "tanstaaftanstaaf");
        assert_int_equal(sasl_finish(sasl, NULL), 0);
        sasl_free(sasl);
    }
}

#define RFC7677_NONCE "rOprNGfwEbeRWgbNEkqO"
#define RFC7677_BOTH RFC7677_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define RFC7677_FIRST "r=" RFC7677_BOTH ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define RFC7677_FINAL "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

static void scram_is_rfc7677(void **state)
{
    (void)state;
    struct credentials c = person("user", "pencil");
    struct sasl_keys keys = {.filled = false};
    struct sasl_options options = {.credentials = &c, .nonce = RFC7677_NONCE, .keys = &keys};
    /* The second time the keys are there already and the result must be the same. */
    for (int round = 0; round < 2; round++) {
        struct error err = {{0}};
        const char *plain;
        struct sasl *sasl = start("plain login scram-sha-256", &options);
        assert_memory_equal(sasl_command(sasl), "AUTH SCRAM-SHA-256 ", 19);
        assert_string_equal(sasl_command(sasl) + 19, encode("n,,n=user,r=" RFC7677_NONCE, 12 + 20));
        assert_int_equal(step(sasl, RFC7677_FIRST, &plain, &err), 0);
        assert_string_equal(plain, "c=biws,r=" RFC7677_BOTH ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert_true(keys.filled);
        assert_int_equal(step(sasl, RFC7677_FINAL, &plain, &err), 0);
        assert_string_equal(plain, "");
        assert_int_equal(sasl_finish(sasl, NULL), 0);
        sasl_free(sasl);
    }
    sasl_keys_wipe(&keys);
    assert_false(keys.filled);
}

/* ---- choosing ---- */

static void the_strongest_allowed_is_taken(void **state)
{
    (void)state;
    enum { CLEAR, ENCRYPTED, ALLOWED };
    static const struct {
        const char *offered;
        int how;
        const char *user;
        const char *taken; /* NULL = none */
    } cases[] = {
        {"PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256", CLEAR, "tim", "SCRAM-SHA-256"},
        {"PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256", ENCRYPTED, "tim", "SCRAM-SHA-256"},
        {"PLAIN LOGIN CRAM-MD5", ENCRYPTED, "tim", "CRAM-MD5"},
        {"LOGIN PLAIN", ENCRYPTED, "tim", "PLAIN"},
        {"LOGIN", ENCRYPTED, "tim", "LOGIN"},
        {"login", ENCRYPTED, "tim", "LOGIN"},
        {"LOGIN PLAIN", CLEAR, "tim", NULL},
        {"LOGIN PLAIN", ALLOWED, "tim", "PLAIN"},
        {"LOGIN PLAIN CRAM-MD5", CLEAR, "tim", "CRAM-MD5"},
        {"LOGIN PLAIN CRAM-MD5", ALLOWED, "tim", "CRAM-MD5"},
        {"SCRAM-SHA-256-PLUS SCRAM-SHA-1 XOAUTH2 PLAIN", ENCRYPTED, "tim", "PLAIN"},
        {"SCRAM-SHA-256-PLUS", ENCRYPTED, "tim", NULL},
        {"PLAINLY XPLAIN LOGIN2", ENCRYPTED, "tim", NULL},
        {"", ENCRYPTED, "tim", NULL},
        {"   ", ENCRYPTED, "tim", NULL},
        {"  \tPLAIN  ", ENCRYPTED, "tim", "PLAIN"},
        {"PLAIN SCRAM-SHA-256", ENCRYPTED, "j\xc3\xbcrgen", "PLAIN"}, /* would need SASLprep */
        {"SCRAM-SHA-256", ENCRYPTED, "j\xc3\xbcrgen", NULL},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct credentials c = person(cases[i].user, "secret");
        struct sasl_options options = {
            .credentials = &c, .tls = cases[i].how == ENCRYPTED, .allow_clear = cases[i].how == ALLOWED};
        struct sasl *sasl = NULL;
        struct error err = {{0}};
        int rc = sasl_start(cases[i].offered, &options, &sasl, &err);
        if (cases[i].taken == NULL) {
            assert_int_equal(rc, SASL_NONE_FITS);
            assert_null(sasl);
            assert_string_not_equal(err.text, "");
        } else {
            assert_int_equal(rc, 0);
            assert_string_equal(sasl_mechanism(sasl), cases[i].taken);
        }
        sasl_free(sasl);
    }
}

static void bad_credentials_start_nothing(void **state)
{
    (void)state;
    char longest[CREDENTIAL_MAX_BYTES + 1];
    memset(longest, ',', CREDENTIAL_MAX_BYTES); /* each escaped by SCRAM: the longest of all responses */
    longest[CREDENTIAL_MAX_BYTES] = '\0';
    static const char *const bad[][2] = {{"", "x"},     {"x", ""},     {"a\r\nRSET", "x"}, {"a", "b\nc"},
                                         {"a", "\x7f"}, {"\xff", "x"}, {"a", "\t"}};
    for (size_t i = 0; i < countof(bad); i++) {
        struct credentials c = person(bad[i][0], bad[i][1]);
        struct sasl_options options = {.credentials = &c, .tls = true};
        struct sasl *sasl = NULL;
        struct error err = {{0}};
        assert_int_equal(sasl_start("PLAIN", &options, &sasl, &err), -EINVAL);
        assert_null(sasl);
    }
    static const char *const all[] = {"SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"};
    for (size_t i = 0; i < countof(all); i++) {
        struct credentials c = person(longest, longest);
        struct sasl_options options = {.credentials = &c, .tls = true};
        struct sasl *sasl = start(all[i], &options);
        assert_true(strlen(sasl_command(sasl)) <= 510);
        sasl_free(sasl);
    }
}

/* RFC 4954 section 4: an AUTH line keeps to the length of a command; what does not fit is asked for by an empty
 * challenge. */
static void long_initial_response_waits_to_be_asked(void **state)
{
    (void)state;
    for (size_t len = 300; len <= CREDENTIAL_MAX_BYTES; len++) {
        char word[CREDENTIAL_MAX_BYTES + 1];
        memset(word, 'p', len);
        word[len] = '\0';
        struct credentials c = person("tim", word);
        struct sasl_options options = {.credentials = &c, .tls = true};
        struct sasl *sasl = start("PLAIN", &options);
        struct error err = {{0}};
        const char *plain;
        bool fits = 11 + (len + 5 + 2) / 3 * 4 <= 510;
        if (fits) {
            assert_true(strlen(sasl_command(sasl)) > 11);
        } else {
            assert_string_equal(sasl_command(sasl), "AUTH PLAIN");
            assert_int_equal(step(sasl, "", &plain, &err), 0);
            assert_memory_equal(plain, "\0tim\0", 5);
            assert_string_equal(plain + 5, word);
        }
        assert_int_equal(sasl_finish(sasl, &err), 0);
        sasl_free(sasl);
    }
}

/* ---- hostile servers ---- */

static void endless_challenges_end(void **state)
{
    (void)state;
    static const char *const all[] = {"SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"};
    static const char *const said[] = {"", "Zm9v", "UGFzc3dvcmQ6"};
    struct credentials c = person("tim", "tanstaaftanstaaf");
    struct sasl_options options = {.credentials = &c, .tls = true};
    for (size_t i = 0; i < countof(all); i++) {
        for (size_t k = 0; k < countof(said); k++) {
            struct sasl *sasl = start(all[i], &options);
            unsigned answers = 0;
            for (int round = 0; round < 1000; round++) {
                const char *response;
                struct error err = {{0}};
                if (sasl_step(sasl, said[k], strlen(said[k]), &response, &err) == 0)
                    answers++;
                else
                    assert_string_equal(response, "*");
            }
            assert_true(answers <= SASL_ROUNDS_MAX);
            assert_int_equal(sasl_finish(sasl, NULL), -EPROTO); /* a 235 now is not believed */
            sasl_free(sasl);
        }
    }
}

static void huge_challenge_is_refused(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        int rc;
    } cases[] = {{SASL_CHALLENGE_MAX_BYTES, 0}, {SASL_CHALLENGE_MAX_BYTES + 4, -EPROTO}, {(size_t)1 << 20, -EPROTO}};
    struct credentials c = person("tim", "tanstaaftanstaaf");
    struct sasl_options options = {.credentials = &c};
    for (size_t i = 0; i < countof(cases); i++) {
        char *challenge = malloc(cases[i].len);
        assert_non_null(challenge);
        memset(challenge, 'A', cases[i].len);
        struct sasl *sasl = start("CRAM-MD5", &options);
        const char *response;
        assert_int_equal(sasl_step(sasl, challenge, cases[i].len, &response, NULL), cases[i].rc);
        sasl_free(sasl);
        free(challenge);
    }
}

static void bad_base64_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"Zg",    "Zg=",      "Zg===",      "Z===",     "====", "=",    "Zm9v Zm9v",
                                      " Zm9v", "Zm9v\r\n", "Zm9v=",      "Zg==Zg==", "Zm=v", "Zh==", "Zm9=",
                                      "Zm9-",  "Zm9_",     "\303\251aa", "Zm9v!",    "*",    "Zm9vZ"};
    static const char *const good[][2] = {{"", ""},
                                          {"Zg==", "f"},
                                          {"Zm8=", "fo"},
                                          {"Zm9v", "foo"},
                                          {"Zm9vYg==", "foob"},
                                          {"Zm9vYmE=", "fooba"},
                                          {"Zm9vYmFy", "foobar"}};
    struct credentials c = person("tim", "tanstaaftanstaaf");
    struct sasl_options options = {.credentials = &c, .tls = true};
    char out[32];
    for (size_t i = 0; i < countof(bad); i++) {
        struct sasl *sasl = start("LOGIN", &options);
        const char *response;
        struct error err = {{0}};
        assert_int_equal(sasl_step(sasl, bad[i], strlen(bad[i]), &response, &err), -EPROTO);
        assert_string_equal(response, "*");
        sasl_free(sasl);
    }
    for (size_t i = 0; i < countof(good); i++) {
        assert_int_equal(base64_decode(good[i][0], strlen(good[i][0]), false, out), strlen(good[i][1]));
        assert_memory_equal(out, good[i][1], strlen(good[i][1]));
    }
    char all[256], back[256], text[512];
    for (size_t len = 0; len <= sizeof all - 1; len++) {
        for (size_t i = 0; i < len; i++)
            all[i] = (char)pick(256);
        sasl_base64_encode(all, len, text);
        assert_int_equal(base64_decode(text, strlen(text), false, back), len);
        assert_memory_equal(all, back, len);
    }
}

static void plain_and_cram_take_nothing_more(void **state)
{
    (void)state;
    struct credentials c = person("tim", "tanstaaftanstaaf");
    struct sasl_options options = {.credentials = &c, .tls = true};
    struct error err = {{0}};
    const char *plain;
    struct sasl *sasl = start("PLAIN", &options);
    assert_int_equal(step(sasl, "", &plain, &err), -EPROTO);
    sasl_free(sasl);
    sasl = start("CRAM-MD5", &options);
    assert_int_equal(step(sasl, "", &plain, &err), -EPROTO); /* nothing to hash */
    sasl_free(sasl);
    sasl = start("CRAM-MD5", &options);
    assert_int_equal(sasl_finish(sasl, &err), -EPROTO); /* 235 before the challenge */
    sasl_free(sasl);
}

static void scram_refuses_bad_messages(void **state)
{
    (void)state;
    static const struct {
        const char *first;
        const char *final; /* NULL: the first is refused */
    } cases[] = {
        {"", NULL},
        {"r=" RFC7677_BOTH, NULL},
        {"r=" RFC7677_BOTH ",s=W22ZaJ0SNY7soEsUEjb6gQ==", NULL},
        {"r=" RFC7677_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", NULL}, /* the server added nothing */
        {"r=x" RFC7677_BOTH ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", NULL},
        {"r=,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", NULL},
        {"r=" RFC7677_BOTH "\x01,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", NULL},
        {"r=" RFC7677_BOTH " ,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", NULL},
        {"m=x,r=" RFC7677_BOTH ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", NULL}, /* mandatory extension */
        {"r=" RFC7677_BOTH ",s=,i=4096", NULL},
        {"r=" RFC7677_BOTH ",s=W22,i=4096", NULL},
        {"r=" RFC7677_BOTH ",s=W22Z aJ0=,i=4096", NULL},
        {"s=W22ZaJ0SNY7soEsUEjb6gQ==,r=" RFC7677_BOTH ",i=4096", NULL},
        {"r=" RFC7677_BOTH ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=", NULL},
        {"r=" RFC7677_BOTH ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0", NULL},
        {"r=" RFC7677_BOTH ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=-1", NULL},
        {"r=" RFC7677_BOTH ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=+4096", NULL},
        {"r=" RFC7677_BOTH ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0x1000", NULL},
        {"r=" RFC7677_BOTH ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095", NULL},
        {"r=" RFC7677_BOTH ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1000001", NULL},
        {"r=" RFC7677_BOTH ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4294967296", NULL},
        {"r=" RFC7677_BOTH ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=99999999999999999999", NULL},
        {RFC7677_FIRST, ""},
        {RFC7677_FIRST, "v="},
        {RFC7677_FIRST, "v=AAAA"},
        {RFC7677_FIRST, "v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="}, /* one bit off */
        {RFC7677_FIRST, "e=invalid-proof"},
        {RFC7677_FIRST, "w=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
        {RFC7677_FIRST, RFC7677_FIRST},
        {RFC7677_FIRST ",x=extension", RFC7677_FINAL}, /* the extension is signed too, so this signature is wrong */
    };
    struct credentials c = person("user", "pencil");
    struct sasl_options options = {.credentials = &c, .tls = true, .nonce = RFC7677_NONCE};
    for (size_t i = 0; i < countof(cases); i++) {
        struct error err = {{0}};
        const char *plain;
        struct sasl *sasl = start("SCRAM-SHA-256", &options);
        int rc = step(sasl, cases[i].first, &plain, &err);
        if (cases[i].final != NULL) {
            assert_int_equal(rc, 0);
            assert_int_equal(sasl_finish(sasl, NULL), -EPROTO); /* 235 in place of the proof */
            sasl_free(sasl);
            sasl = start("SCRAM-SHA-256", &options);
            assert_int_equal(step(sasl, cases[i].first, &plain, &err), 0);
            rc = step(sasl, cases[i].final, &plain, &err);
        }
        assert_int_equal(rc, -EPROTO);
        assert_int_equal(sasl_finish(sasl, NULL), -EPROTO);
        sasl_free(sasl);
    }
}

static void scram_refuses_a_nul_in_the_challenge(void **state)
{
    (void)state;
    struct credentials c = person("user", "pencil");
    struct sasl_options options = {.credentials = &c, .tls = true, .nonce = RFC7677_NONCE};
    static const char nul[] = RFC7677_FIRST "\0,m=x";
    const char *text = encode(nul, sizeof nul - 1);
    const char *response;
    struct sasl *sasl = start("SCRAM-SHA-256", &options);
    assert_int_equal(sasl_step(sasl, text, strlen(text), &response, NULL), -EPROTO);
    sasl_free(sasl);
}

/* ---- a SCRAM server of our own ---- */

static void server_hmac(const void *key, size_t key_len, const char *text, size_t len, unsigned char out[32])
{
    size_t n;
    assert_non_null(
        EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key, key_len, (const unsigned char *)text, len, out, 32, &n));
}

/* What a server does with the client's two messages: the check of the proof, and its own signature as text. */
static bool server_check(const char *first_bare, const char *server_first, const char *client_final,
                         const char *password, const unsigned char *salt, size_t salt_len, int iterations,
                         char signature_out[64])
{
    unsigned char salted[32], client_key[32], stored[32], server_key[32], signature[32];
    char text[8192], proof[64];
    const char *p = strstr(client_final, ",p=");
    assert_non_null(p);
    assert_int_equal(base64_decode(p + 3, strlen(p + 3), false, proof), 32);
    assert_int_equal(
        PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, (int)salt_len, iterations, EVP_sha256(), 32, salted),
        1);
    server_hmac(salted, 32, "Client Key", 10, client_key);
    server_hmac(salted, 32, "Server Key", 10, server_key);
    assert_int_equal(EVP_Q_digest(NULL, "SHA256", NULL, client_key, 32, stored, NULL), 1);
    int n = snprintf(text, sizeof text, "%s,%s,%.*s", first_bare, server_first, (int)(p - client_final), client_final);
    server_hmac(stored, 32, text, (size_t)n, signature);
    for (size_t i = 0; i < 32; i++)
        proof[i] = (char)((unsigned char)proof[i] ^ signature[i]);
    server_hmac(server_key, 32, text, (size_t)n, signature);
    strcpy(signature_out, "v=");
    sasl_base64_encode(signature, 32, signature_out + 2);
    unsigned char digest[32];
    assert_int_equal(EVP_Q_digest(NULL, "SHA256", NULL, proof, 32, digest, NULL), 1);
    return memcmp(digest, stored, 32) == 0;
}

static void random_text(char *out, size_t max)
{
    size_t len = 1 + pick((uint32_t)max);
    for (size_t i = 0; i < len; i++)
        out[i] = (char)(0x20 + pick(0x5f));
    out[len] = '\0';
}

static void scram_with_random_people(void **state)
{
    (void)state;
    for (int round = 0; round < 60; round++) {
        struct credentials c = person("", "");
        random_text(c.user, 100);
        random_text(c.password, 100);
        struct sasl_options options = {.credentials = &c};
        struct sasl *sasl = start("SCRAM-SHA-256 PLAIN", &options);
        struct error err = {{0}};
        char first[2048], server_first[2048], salt_text[200], signature[64];
        unsigned char salt[90];
        size_t salt_len = 1 + pick(sizeof salt);
        int iterations = 4096 + (int)pick(200);
        /* the client's first message, from the command */
        const char *command = sasl_command(sasl);
        ssize_t first_len = base64_decode(command + 19, strlen(command + 19), false, first);
        assert_true(first_len > 0);
        first[first_len] = '\0';
        assert_memory_equal(first, "n,,n=", 5);
        const char *nonce = strstr(first, ",r=") + 3;
        assert_int_equal(strlen(nonce), SCRAM_NONCE_BYTES);
        for (size_t i = 0; i < salt_len; i++)
            salt[i] = (unsigned char)pick(256);
        sasl_base64_encode(salt, salt_len, salt_text);
        (void)snprintf(server_first, sizeof server_first, "r=%sServer%u,s=%s,i=%d%s", nonce, pick(1000), salt_text,
                       iterations, round % 3 == 0 ? ",x=more" : "");
        const char *plain;
        assert_int_equal(step(sasl, server_first, &plain, &err), 0);
        bool wrong = round % 2 == 1;
        bool right = server_check(first + 3, server_first, plain, wrong ? "something else" : c.password, salt, salt_len,
                                  iterations, signature);
        assert_int_equal(right, !wrong);
        /* A server that does not know the password cannot sign. */
        assert_int_equal(step(sasl, signature, &plain, &err), wrong ? -EPROTO : 0);
        assert_int_equal(sasl_finish(sasl, NULL), wrong ? -EPROTO : 0);
        sasl_free(sasl);
    }
}

/* Servers that answer with mutated and random challenges: every step ends in an answer or a failure, and none in a
 * login. */
static void no_random_server_is_believed(void **state)
{
    (void)state;
    static const char *const all[] = {"SCRAM-SHA-256", "CRAM-MD5", "LOGIN", "PLAIN"};
    struct credentials c = person("user", "pencil");
    struct sasl_keys keys = {.filled = false};
    struct sasl_options options = {.credentials = &c, .tls = true, .nonce = RFC7677_NONCE, .keys = &keys};
    for (int round = 0; round < 6000; round++) {
        struct sasl *sasl = start(all[pick(2) == 0 ? 0 : pick(4)], &options);
        bool scram = strcmp(sasl_mechanism(sasl), "SCRAM-SHA-256") == 0;
        for (int i = 0; i < 4; i++) {
            char challenge[256];
            const char *model = i == 0 ? RFC7677_FIRST : RFC7677_FINAL;
            size_t len = strlen(model);
            memcpy(challenge, model, len);
            for (uint32_t n = 1 + pick(3); n > 0; n--)
                challenge[pick((uint32_t)len)] = (char)(pick(4) == 0 ? ',' : pick(256));
            /* A large count is for the iteration test; here it would only burn time. */
            if (i == 0 && len > 4 && pick(2) == 0)
                memcpy(challenge + len - 4, "4096", 4);
            const char *response;
            const char *text = encode(challenge, pick(8) == 0 ? pick((uint32_t)len) : len);
            size_t text_len = strlen(text);
            if (pick(8) == 0 && text_len > 0)
                text_len = pick((uint32_t)text_len);
            struct error err = {{0}};
            int rc = sasl_step(sasl, text, text_len, &response, &err);
            assert_true(rc == 0 || (rc == -EPROTO && strcmp(response, "*") == 0 && err.text[0] != '\0'));
            assert_true(strlen(response) < SASL_LINE_MAX_BYTES && strpbrk(response, "\r\n ") == NULL);
        }
        if (scram)
            assert_int_equal(sasl_finish(sasl, NULL), -EPROTO);
        sasl_free(sasl);
    }
    sasl_keys_wipe(&keys);
}

/* ---- secrets ---- */

static void no_secret_stays_behind(void **state)
{
    (void)state;
    static const char *const all[] = {"SCRAM-SHA-256", "CRAM-MD5", "LOGIN", "PLAIN"};
    static char response_text[64]; /* the password as it goes over the wire */
    struct credentials c = person("tim", "correct horse battery staple");
    sasl_base64_encode(c.password, strlen(c.password), response_text);
    const char *const secrets[] = {c.password, response_text};
    struct sasl_options options = {.credentials = &c, .tls = true};
    for (size_t i = 0; i < countof(all); i++) {
        for (size_t k = 0; k < countof(secrets); k++) {
            leaked_blocks = 0;
            watched_secret = secrets[k];
            struct sasl *sasl = start(all[i], &options);
            struct error err = {{0}};
            const char *plain;
            (void)step(sasl, "", &plain, &err);
            (void)step(sasl, "", &plain, &err);
            assert_null(strstr(err.text, "horse"));
            sasl_free(sasl);
            watched_secret = NULL;
            assert_int_equal(leaked_blocks, 0);
        }
    }
    /* The watch itself works. */
    watched_secret = secrets[0];
    leaked_blocks = 0;
    char *copy = strdup(c.password);
    assert_non_null(copy);
    free(copy);
    watched_secret = NULL;
    assert_int_equal(leaked_blocks, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_is_rfc4616),
        cmocka_unit_test(cram_md5_is_rfc2195),
        cmocka_unit_test(login_answers_in_order),
        cmocka_unit_test(scram_is_rfc7677),
        cmocka_unit_test(the_strongest_allowed_is_taken),
        cmocka_unit_test(bad_credentials_start_nothing),
        cmocka_unit_test(long_initial_response_waits_to_be_asked),
        cmocka_unit_test(endless_challenges_end),
        cmocka_unit_test(huge_challenge_is_refused),
        cmocka_unit_test(bad_base64_is_refused),
        cmocka_unit_test(plain_and_cram_take_nothing_more),
        cmocka_unit_test(scram_refuses_bad_messages),
        cmocka_unit_test(scram_refuses_a_nul_in_the_challenge),
        cmocka_unit_test(scram_with_random_people),
        cmocka_unit_test(no_random_server_is_believed),
        cmocka_unit_test(no_secret_stays_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
