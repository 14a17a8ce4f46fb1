/*
 * The server's side of an AUTH exchange (RFC 4954): PLAIN (RFC 4616), LOGIN, CRAM-MD5 (RFC 2195) and SCRAM-SHA-256 (RFC
 * 5802, 7677; without channel binding), against one user. Decoded challenges and responses in and out; knows no base64,
 * no reply codes and no I/O.
 */
#ifndef TESTS_SINK_SASL_H
#define TESTS_SINK_SASL_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/sink/text.h"

#define SASL_MAP(X)                                                                                                    \
    X(PLAIN, "PLAIN", 0)                                                                                               \
    X(LOGIN, "LOGIN", 1)                                                                                               \
    X(CRAM_MD5, "CRAM-MD5", 2)                                                                                         \
    X(SCRAM_SHA_256, "SCRAM-SHA-256", 3)

enum sasl_mechanism {
#define X(name, text, bit) SASL_##name = 1 << (bit),
    SASL_MAP(X)
#undef X
        SASL_ALL = (1 << 4) - 1
};

/* The one who may come in. Strings belong to the caller. */
struct sasl_account {
    const char *user;
    const char *password;
};

enum sasl_step {
    SASL_CONTINUE,  /* send the challenge */
    SASL_ACCEPTED,  /* it is the user */
    SASL_REFUSED,   /* wrong user, password or proof */
    SASL_MALFORMED, /* not what the mechanism says comes here */
};

/* One exchange. All zero is none. */
struct sasl {
    const struct sasl_account *account;
    enum sasl_mechanism mechanism;
    unsigned round;        /* responses taken */
    bool right_user;       /* LOGIN, SCRAM: the user name was right */
    char binding_flag;     /* SCRAM: 'n' or 'y', to be repeated by the client */
    struct text challenge; /* to be sent after SASL_CONTINUE; may be empty */
    struct text client;    /* SCRAM: client-first-message-bare */
    struct text server;    /* SCRAM: server-first-message; CRAM-MD5: the challenge */
    struct text nonce;     /* SCRAM: client's and server's */
};

/* The mechanism with that name, case ignored; 0 when there is none. */
enum sasl_mechanism sasl_mechanism_named(const char *name, size_t length);

const char *sasl_mechanism_name(enum sasl_mechanism mechanism);

/*
 * Begins. `initial` is the initial response, NULL when the client sent none. `host` stands in challenges. `account`
 * must outlive the exchange.
 */
enum sasl_step sasl_begin(struct sasl *sasl, enum sasl_mechanism mechanism, const struct sasl_account *account,
                          const char *host, const struct text *initial);

/* Takes the client's response to the challenge. */
enum sasl_step sasl_respond(struct sasl *sasl, const struct text *response);

void sasl_free(struct sasl *sasl);

/* --- sasl_scram.c --- */

enum sasl_step sasl_scram_first(struct sasl *sasl, const char *message, size_t length);
enum sasl_step sasl_scram_final(struct sasl *sasl, const char *message, size_t length);

/* Appends `length` random bytes as base64. */
void sasl_add_random(struct text *text, size_t length);

#endif
