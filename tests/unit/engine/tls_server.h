/*
 * tls_server.h - for the tests of engine/net/tls: certificates made on the spot, and a real OpenSSL server over memory,
 * joined to a client by pump(), which carries the bytes in random cuts. Failures of the test's own means stop the test.
 */
#ifndef POSTHASTE_TESTS_UNIT_ENGINE_TLS_SERVER_H
#define POSTHASTE_TESTS_UNIT_ENGINE_TLS_SERVER_H

#include "unit.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/buffer.h"
#include "engine/net/tls.h"

struct identity {
    EVP_PKEY *key;
    X509 *cert;
};

struct cert_spec {
    const char *cn;
    const char *san;      /* "DNS:a,IP:192.0.2.1", NULL = none */
    const char *raw_name; /* a dNSName of raw_name_len bytes, as it is */
    size_t raw_name_len;
    const char *usage;             /* extendedKeyUsage, NULL = none */
    const struct identity *issuer; /* NULL = self-signed */
    const EVP_MD *digest;          /* NULL = SHA-256 */
    int rsa_bits;                  /* 0 = P-256 */
    bool ca;
    long from_s, until_s; /* relative to now; both 0 = an hour ago until in an hour */
};

struct identity identity_make(const struct cert_spec *spec);
void identity_free(struct identity *identity);

/* Writes the certificate to a new file, whose name is the caller's to unlink() and free(). */
char *identity_to_file(const struct identity *identity);

struct server {
    SSL_CTX *ctx; /* owned when the server made it */
    SSL *ssl;
    BIO *in, *out;
    bool finished; /* its handshake is done */
    bool failed;
    struct buffer received; /* plaintext */
};

/* A context with this certificate, at security level 0, so that it can do all that is bad; `chain` may be NULL. */
SSL_CTX *server_ctx(const struct identity *identity, const struct identity *chain);
void server_init(struct server *server, SSL_CTX *ctx);
void server_finish(struct server *server); /* not the context */
void server_say(struct server *server, const char *bytes, size_t len);

struct joint {
    struct tls *tls;
    struct server *server;
    struct buffer received; /* plaintext at the client */
    uint64_t random;
    size_t cut_max_bytes; /* 0 = all at once */
};

/* Carries bytes until neither side has any: true when something was carried. */
bool pump(struct joint *joint);
void feed_all(struct joint *joint, const char *bytes, size_t len);      /* to the client, with all reads after it */
size_t take_server_bytes(struct server *server, char *out, size_t max); /* what it would send now, without sending it */

/* A client and a server that have shaken hands, or failed to. */
void joint_open(struct joint *joint, struct tls_context *context, const struct tls_peer *peer, struct server *server,
                SSL_CTX *ctx);
void joint_close(struct joint *joint);

#endif
