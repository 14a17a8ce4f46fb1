/*
 * TLS on the server's side, without I/O: encrypted bytes in, encrypted bytes out, plain text between (OpenSSL over
 * memory BIOs). One context for the sink, one `struct tls` for each connection that has begun a handshake.
 *
 * It is the receiver of tests: certificates of any strength, TLS 1.0 too, no client certificates. Sessions are resumed
 * by tickets as OpenSSL does it.
 */
#ifndef TESTS_SINK_TLS_H
#define TESTS_SINK_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/sink/text.h"

enum { TLS_ERROR_BYTES = 160 };

struct tls_options {
    const char *certificate; /* PEM: the server's certificate and what chain goes with it; NULL: no TLS */
    const char *key;         /* PEM */
    int lowest_version;      /* TLS1_VERSION ..., 0: OpenSSL's own lowest */
    int highest_version;
};

struct tls_context;

/* NULL, with a line on stderr that names the file, when certificate or key cannot be used. */
struct tls_context *tls_context_create(const struct tls_options *options);
void tls_context_free(struct tls_context *context);

enum tls_state {
    TLS_HANDSHAKE,
    TLS_OPEN,
    TLS_ENDED, /* the client has said close_notify, or broke the protocol: `error` then says how */
};

/* What one connection shows of its TLS. Strings live as long as it. */
struct tls_facts {
    const char *version; /* "TLSv1.3" */
    const char *cipher;  /* the standard's name, "TLS_AES_256_GCM_SHA384" */
    const char *sni;     /* NULL: the client named none */
    bool resumed;
};

struct tls;

struct tls *tls_create(struct tls_context *context);
void tls_free(struct tls *tls);

enum tls_state tls_state(const struct tls *tls);

/* Why it is TLS_ENDED; "" after an orderly end. */
const char *tls_error(const struct tls *tls);

/* Takes encrypted bytes and goes on with the handshake. What is to be sent goes to the end of `out`. */
void tls_feed(struct tls *tls, const char *bytes, size_t length, struct text *out);

/* Gives up to `room` plain bytes, 0 when there are none now; look at tls_state() then. */
size_t tls_read(struct tls *tls, char *plain, size_t room, struct text *out);

/* Encrypts plain bytes, or says close_notify, to the end of `out`. Only in TLS_OPEN; does nothing otherwise. */
void tls_seal(struct tls *tls, const char *bytes, size_t length, struct text *out);
void tls_close(struct tls *tls, struct text *out);

/* Once the handshake is done. */
struct tls_facts tls_facts(const struct tls *tls);

#endif
