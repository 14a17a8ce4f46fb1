/*
 * tls_private.h - what the files behind tls.h share: tls_context.c (OpenSSL set up, the BIO, sessions), tls_peer.c
 * (whom a connection expects), tls.c (a connection at work).
 */
#ifndef POSTHASTE_ENGINE_NET_TLS_PRIVATE_H
#define POSTHASTE_ENGINE_NET_TLS_PRIVATE_H

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "base/buffer.h"
#include "engine/net/tls.h"
#include "engine/net/tls_sessions.h"

#define RECORD_BYTES ((size_t)SSL3_RT_MAX_PLAIN_LENGTH) /* 16 KB: RFC 8446 section 5.1 */
#define HOST_MAX_BYTES 253                              /* RFC 1035 section 2.3.4, without the root's dot */

struct tls_context {
    SSL_CTX *ssl_ctx;
    BIO_METHOD *method;
    struct tls_sessions sessions;
    struct buffer spare; /* memory of an output that has drained, for the next one */
    size_t connections;
    char plain[RECORD_BYTES];  /* what tls_read() shows */
    char gather[RECORD_BYTES]; /* where tls_write() puts small pieces together */
};

struct tls {
    struct tls_context *context;
    SSL *ssl;
    enum tls_policy policy;
    enum tls_state state;
    bool dane;        /* TLSA records decide */
    bool notified;    /* our close_notify is queued */
    bool out_refused; /* `out` could not take what OpenSSL wanted to say */
    unsigned tickets; /* sessions kept of this connection */
    const char *in;   /* borrowed */
    size_t in_len;
    struct buffer out;
    size_t out_done;  /* its bytes that have left */
    const char *host; /* normal form, inside `key` */
    struct error fault;
    enum tls_result fault_result;
    char key[HOST_MAX_BYTES + 16]; /* of the session: "policy port host" */
};

/* OpenSSL's own words for the oldest error in its queue, which is the cause of the others; empties the queue. Returns
 * `code`. */
int tls_openssl_error(struct error *err, int code, const char *what);

/* Makes tls->ssl for the peer: BIO, name, policy, TLSA records, a session to resume. 0, -EINVAL (no such host),
 * -ENOMEM, -EIO; then tls_free() takes what is there. */
int tls_prepare(struct tls *tls, const struct tls_peer *peer, struct error *err) ATTR_MUSTCHECK;

#endif
