/*
 * sasl.h - logging in at an SMTP server (RFC 4954) as a client: PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login),
 * CRAM-MD5 (RFC 2195), SCRAM-SHA-256 without channel binding (RFC 5802, RFC 7677). Text in, text out; no I/O.
 *
 * Use: sasl_start() chooses and gives the AUTH command. For each 334, sasl_step() gives the line that answers it. After
 * 235, sasl_finish() says whether to believe it. Any 4xx or 5xx ends the exchange: free it. Lines are without CRLF.
 *
 * Success of sasl_finish() means: the server said 235 (the caller saw that), and with SCRAM it has proved that it knows
 * the password too. A failure here is the server's or the configuration's; it says nothing about any message.
 *
 * Not done: SASLprep (RFC 4013). It changes nothing in printable ASCII; credentials with anything else never go by
 * SCRAM, where the server has hashed a prepared form that we would have to guess.
 */
#ifndef POSTHASTE_ENGINE_SMTP_SASL_H
#define POSTHASTE_ENGINE_SMTP_SASL_H

#include <stdbool.h>

#include "base/error.h"

#include "engine/smtp/credentials.h"

#define SASL_CHALLENGE_MAX_BYTES 12288 /* RFC 4954 section 4: base64 of a line */
#define SASL_ROUNDS_MAX 8              /* challenges answered in one exchange; the mechanisms need 3 at most */
#define SASL_NONE_FITS 1               /* sasl_start(): nothing on offer may be used */

struct sasl;

/*
 * What SCRAM derived from the password for one server: without it every connection would pay the server's iteration
 * count again (4,096 rounds are 2 ms, 1,000,000 half a second of the loop). Zeroed at first; one per credentials and
 * server, one thread.
 */
struct sasl_keys {
    bool filled;
    uint32_t iterations;
    size_t salt_len;
    unsigned char salt[128];
    unsigned char client_key[32], server_key[32];
};
void sasl_keys_wipe(struct sasl_keys *keys);

struct sasl_options {
    const struct credentials *credentials; /* outlive the exchange */
    bool tls;                              /* the connection is encrypted */
    bool allow_clear;                      /* the operator has said that a password may go over it even if not */
    struct sasl_keys *keys;                /* may be NULL */
    const char *nonce; /* SCRAM's, printable without comma; NULL = a random one (which it must be on a wire) */
};

/*
 * `offered`: the mechanisms of the AUTH keyword, separated by spaces, any case. The strongest of SCRAM-SHA-256,
 * CRAM-MD5, PLAIN, LOGIN is taken; the last two only under TLS or with allow_clear. 0; SASL_NONE_FITS (*out is NULL and
 * err says why); -EINVAL: bad credentials; -ENOMEM; -EIO.
 */
int sasl_start(const char *offered, const struct sasl_options *options, struct sasl **out,
               struct error *err) ATTR_MUSTCHECK;

const char *sasl_mechanism(const struct sasl *sasl); /* "SCRAM-SHA-256", … */
const char *
sasl_command(const struct sasl *sasl); /* "AUTH PLAIN AGFiYwBkZWY=": secret, never to be logged; until the first step */

/*
 * `challenge` is the text of a 334 reply (base64, may be empty). 0: *response is to be sent (secret). -EPROTO, -EIO:
 * the exchange has failed and *response is "*", which takes it back (RFC 4954 section 4); the server's 501 follows.
 * *response is good until the next call.
 */
int sasl_step(struct sasl *sasl, const char *challenge, size_t len, const char **response,
              struct error *err) ATTR_MUSTCHECK;

/* After 235. 0, or -EPROTO: the server has not done its part; the connection must not be used. */
int sasl_finish(struct sasl *sasl, struct error *err) ATTR_MUSTCHECK;

void sasl_free(struct sasl *sasl); /* wipes; NULL is allowed */

#endif
