/*
 * sasl_private.h - the inside of an exchange, shared by sasl.c (choice, lines, the simple mechanisms) and sasl_scram.c.
 */
#ifndef POSTHASTE_ENGINE_SMTP_SASL_PRIVATE_H
#define POSTHASTE_ENGINE_SMTP_SASL_PRIVATE_H

#include "engine/smtp/sasl.h"

#define SHA256_BYTES 32
#define SCRAM_NONCE_BYTES 24         /* characters of ours: base64 of 18 random bytes */
#define SCRAM_NONCE_MAX_BYTES 512    /* ours and the server's together */
#define SCRAM_ITERATIONS_MIN 4096    /* RFC 7677 section 4 */
#define SCRAM_ITERATIONS_MAX 1000000 /* half a second of work; more is an attack on us */
#define SASL_RAW_MAX_BYTES                                                                                             \
    2048 /* of a response before base64: the longest is SCRAM's first, with every byte of the user escaped */
#define SASL_LINE_MAX_BYTES (SASL_RAW_MAX_BYTES / 3 * 4 + 64)

enum sasl_state {
    SASL_STATE_INITIAL, /* the initial response was too long for the command: the first, empty challenge asks for it */
    SASL_STATE_FIRST,   /* waits for the mechanism's first challenge */
    SASL_STATE_SECOND,
    SASL_STATE_DONE, /* we have said all, and know all */
    SASL_STATE_FAILED,
};

struct sasl_scram {
    char nonce[SCRAM_NONCE_MAX_BYTES + 1];
    char first_bare[SASL_RAW_MAX_BYTES + 1]; /* client-first-message-bare */
    unsigned char server_signature[SHA256_BYTES];
};

struct raw { /* a response before base64 */
    size_t len;
    char bytes[SASL_RAW_MAX_BYTES];
};

struct sasl_mechanism_spec {
    const char *name;
    bool bares_password; /* whoever listens has the password */
    bool initial;        /* the client speaks first */
    bool ascii_only;
    enum sasl_state first; /* state after the client's initial response (or at the start, if it has none) */
    /* Fills the initial response. 0 or negative. */
    int (*begin)(struct sasl *sasl, struct raw *out, struct error *err);
    /* Answers a challenge in FIRST or SECOND and sets the next state. `challenge` is decoded and NUL-terminated. */
    int (*step)(struct sasl *sasl, const char *challenge, size_t len, struct raw *out, struct error *err);
};

struct sasl {
    const struct sasl_mechanism_spec *spec;
    struct sasl_options options;
    enum sasl_state state;
    unsigned rounds;
    struct sasl_scram scram;
    struct raw initial; /* kept for SASL_STATE_INITIAL */
    char line[SASL_LINE_MAX_BYTES];
};

/* Appends text to the response: -EINVAL when it is full. */
int raw_append(struct raw *raw, const char *text, size_t len);

void sasl_base64_encode(const void *bytes, size_t len, char *out); /* `out` holds (len + 2) / 3 * 4 + 1 */

int scram_begin(struct sasl *sasl, struct raw *out, struct error *err);
int scram_step(struct sasl *sasl, const char *challenge, size_t len, struct raw *out, struct error *err);

#endif
