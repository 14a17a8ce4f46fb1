/*
 * sasl.c - choosing a mechanism, the lines of RFC 4954, and the mechanisms that need no more than a line or two.
 *
 * The order of strength is what a listener, and then a false server, learns: nothing reusable from SCRAM (and the
 * server must prove itself), a hash to guess at from CRAM-MD5, the password from PLAIN and LOGIN.
 *
 * Every mechanism takes a fixed number of challenges; one more is a failure. So an endless row of 334s costs at most
 * SASL_ROUNDS_MAX lines. After a failure all later steps fail too. Everything of an exchange is in one block of memory,
 * wiped when freed.
 */
#include "engine/smtp/sasl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/base64.h"
#include "base/str.h"

#include "engine/smtp/sasl_private.h"

#define COMMAND_MAX_BYTES 510 /* RFC 5321 section 4.5.3.1.4, without CRLF: RFC 4954 section 4 keeps it for AUTH */

/* ---- base64 ---- */

void sasl_base64_encode(const void *bytes, size_t len, char *out)
{
    int n = EVP_EncodeBlock((unsigned char *)out, bytes, (int)len);
    assure(n >= 0 && (size_t)n == (len + 2) / 3 * 4);
}

int raw_append(struct raw *raw, const char *text, size_t len)
{
    if (len > sizeof raw->bytes - raw->len)
        return -EINVAL;
    memcpy(raw->bytes + raw->len, text, len);
    raw->len += len;
    return 0;
}

/* ---- PLAIN, LOGIN, CRAM-MD5. credentials_check() has bounded both texts, so that the responses have room ---- */

static int append_text(struct raw *out, const char *text)
{
    return raw_append(out, text, strlen(text));
}

static int plain_begin(struct sasl *sasl, struct raw *out, struct error *err)
{
    (void)err;
    const struct credentials *c = sasl->options.credentials;
    int rc = raw_append(out, "", 1); /* no authorization identity: act as the user itself */
    rc |= append_text(out, c->user);
    rc |= raw_append(out, "", 1);
    rc |= append_text(out, c->password);
    assure(rc == 0);
    return 0;
}

static int plain_step(struct sasl *sasl, const char *challenge, size_t len, struct raw *out, struct error *err)
{
    (void)sasl;
    (void)challenge;
    (void)len;
    (void)out;
    return error_set(err, -EPROTO, "the server asks on after PLAIN has said all");
}

/* The prompts are for people and come in any wording; what counts is their order. */
static int login_step(struct sasl *sasl, const char *challenge, size_t len, struct raw *out, struct error *err)
{
    (void)challenge;
    (void)len;
    (void)err;
    bool first = sasl->state == SASL_STATE_FIRST;
    const struct credentials *c = sasl->options.credentials;
    int rc = append_text(out, first ? c->user : c->password);
    assure(rc == 0);
    sasl->state = first ? SASL_STATE_SECOND : SASL_STATE_DONE;
    return 0;
}

static int cram_step(struct sasl *sasl, const char *challenge, size_t len, struct raw *out, struct error *err)
{
    const struct credentials *c = sasl->options.credentials;
    unsigned char digest[16];
    size_t digest_len = 0;
    char hex[2 * sizeof digest + 1];
    if (len == 0)
        return error_set(err, -EPROTO, "the CRAM-MD5 challenge is empty");
    if (EVP_Q_mac(NULL, "HMAC", NULL, "MD5", NULL, c->password, strlen(c->password), (const unsigned char *)challenge,
                  len, digest, sizeof digest, &digest_len) == NULL ||
        digest_len != sizeof digest)
        return error_set(err, -EIO, "HMAC-MD5 is not available here");
    for (size_t i = 0; i < sizeof digest; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    int rc = append_text(out, c->user);
    rc |= append_text(out, " ");
    rc |= append_text(out, hex);
    assure(rc == 0);
    sasl->state = SASL_STATE_DONE;
    return 0;
}

/* Strongest first. */
static const struct sasl_mechanism_spec specs[] = {
    {"SCRAM-SHA-256", .initial = true, .ascii_only = true, .first = SASL_STATE_FIRST, .begin = scram_begin,
     .step = scram_step},
    {"CRAM-MD5", .first = SASL_STATE_FIRST, .step = cram_step},
    {"PLAIN", .bares_password = true, .initial = true, .first = SASL_STATE_DONE, .begin = plain_begin,
     .step = plain_step},
    {"LOGIN", .bares_password = true, .first = SASL_STATE_FIRST, .step = login_step},
};

/* ---- choosing ---- */

static bool offers(const char *offered, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = offered; *at != '\0';) {
        size_t word = strcspn(at, " \t");
        if (word == len && str_starts_nocase(at, name))
            return true;
        at += word;
        at += strspn(at, " \t");
    }
    return false;
}

static bool is_printable_ascii(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < 0x20 || *text > 0x7e)
            return false;
    }
    return true;
}

static const struct sasl_mechanism_spec *choose(const char *offered, const struct sasl_options *options,
                                                struct error *err)
{
    bool ascii = is_printable_ascii(options->credentials->user) && is_printable_ascii(options->credentials->password);
    bool bare = false;
    for (size_t i = 0; i < countof(specs); i++) {
        if (!offers(offered, specs[i].name) || (specs[i].ascii_only && !ascii))
            continue;
        if (!specs[i].bares_password || options->tls || options->allow_clear)
            return &specs[i];
        bare = true;
    }
    (void)error_set(err, -EPROTO,
                    bare ? "the server offers AUTH %.200s: the password would go in clear"
                         : "the server offers no AUTH that we know: %.200s",
                    offered[0] != '\0' ? offered : "(none)");
    return NULL;
}

/* ---- lines ---- */

/* Begins the exchange: writes the AUTH command. RFC 4954 section 4: an initial response that makes it too long waits to
 * be asked for. */
static int begin(struct sasl *sasl, struct error *err)
{
    int n = snprintf(sasl->line, sizeof sasl->line, "AUTH %s", sasl->spec->name);
    assure(n > 0);
    size_t len = (size_t)n;
    sasl->state = sasl->spec->first;
    if (!sasl->spec->initial)
        return 0;
    int rc = sasl->spec->begin(sasl, &sasl->initial, err);
    if (rc < 0)
        return rc;
    if (len + 1 + (sasl->initial.len + 2) / 3 * 4 > COMMAND_MAX_BYTES) {
        sasl->state = SASL_STATE_INITIAL;
        return 0;
    }
    sasl->line[len] = ' ';
    sasl_base64_encode(sasl->initial.bytes, sasl->initial.len, sasl->line + len + 1);
    OPENSSL_cleanse(&sasl->initial, sizeof sasl->initial);
    return 0;
}

int sasl_start(const char *offered, const struct sasl_options *options, struct sasl **out, struct error *err)
{
    *out = NULL;
    int rc = credentials_check(options->credentials, err);
    if (rc < 0)
        return rc;
    const struct sasl_mechanism_spec *spec = choose(offered, options, err);
    if (spec == NULL)
        return SASL_NONE_FITS;
    struct sasl *sasl = calloc(1, sizeof *sasl);
    if (sasl == NULL)
        return error_memory(err);
    sasl->spec = spec;
    sasl->options = *options;
    rc = begin(sasl, err);
    if (rc < 0) {
        sasl_free(sasl);
        return rc;
    }
    *out = sasl;
    return 0;
}

const char *sasl_mechanism(const struct sasl *sasl)
{
    return sasl->spec->name;
}

const char *sasl_command(const struct sasl *sasl)
{
    assure(sasl->rounds == 0);
    return sasl->line;
}

/* Decodes the challenge and lets the mechanism answer it into `out`. */
static int answer(struct sasl *sasl, const char *challenge, size_t len, struct raw *out, struct error *err)
{
    if (sasl->state == SASL_STATE_FAILED)
        return error_set(err, -EPROTO, "the server asks on after %s has failed", sasl->spec->name);
    if (sasl->state == SASL_STATE_DONE)
        return error_set(err, -EPROTO, "the server asks on after %s has said all", sasl->spec->name);
    if (++sasl->rounds > SASL_ROUNDS_MAX)
        return error_set(err, -EPROTO, "the server asks more than %d times", SASL_ROUNDS_MAX);
    if (len > SASL_CHALLENGE_MAX_BYTES)
        return error_set(err, -EPROTO, "the challenge is longer than %d bytes", SASL_CHALLENGE_MAX_BYTES);
    char text[BASE64_DECODED_MAX_BYTES(SASL_CHALLENGE_MAX_BYTES) + 1];
    ssize_t n = base64_decode(challenge, len, false, text);
    if (n < 0)
        return error_set(err, -EPROTO, "the challenge is not base64");
    text[n] = '\0';
    if (sasl->state != SASL_STATE_INITIAL)
        return sasl->spec->step(sasl, text, (size_t)n, out, err);
    if (n > 0)
        return error_set(err, -EPROTO, "the server speaks first, but %s lets the client", sasl->spec->name);
    sasl->state = sasl->spec->first;
    *out = sasl->initial;
    OPENSSL_cleanse(&sasl->initial, sizeof sasl->initial);
    return 0;
}

int sasl_step(struct sasl *sasl, const char *challenge, size_t len, const char **response, struct error *err)
{
    struct raw raw = {.len = 0};
    OPENSSL_cleanse(sasl->line, sizeof sasl->line);
    int rc = answer(sasl, challenge, len, &raw, err);
    if (rc == 0) {
        sasl_base64_encode(raw.bytes, raw.len, sasl->line);
    } else {
        sasl->state = SASL_STATE_FAILED;
        (void)str_copy(sasl->line, sizeof sasl->line, "*");
    }
    OPENSSL_cleanse(&raw, sizeof raw);
    *response = sasl->line;
    return rc;
}

int sasl_finish(struct sasl *sasl, struct error *err)
{
    if (sasl->state == SASL_STATE_DONE)
        return 0;
    const char *name = sasl->spec->name;
    bool failed = sasl->state == SASL_STATE_FAILED;
    sasl->state = SASL_STATE_FAILED;
    return failed ? error_set(err, -EPROTO, "the server accepts %s although it was taken back", name)
                  : error_set(err, -EPROTO, "the server accepts %s before its end: it has proved nothing", name);
}

void sasl_free(struct sasl *sasl)
{
    if (sasl == NULL)
        return;
    OPENSSL_cleanse(sasl, sizeof *sasl);
    free(sasl);
}

void sasl_keys_wipe(struct sasl_keys *keys)
{
    OPENSSL_cleanse(keys, sizeof *keys);
    keys->filled = false;
}
