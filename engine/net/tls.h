/*
 * tls.h - one TLS client connection (TLS 1.2 and 1.3, RFC 5246, RFC 8446) as an engine without I/O: encrypted bytes in,
 * encrypted bytes out, plaintext on the other side. It knows no socket, no loop and no clock but for the age of
 * sessions.
 *
 * Use: after tls_create() write what tls_output() lists. For bytes from the network: tls_feed(), then tls_read() until
 * it returns 0, then look at tls_state() and write what tls_output() lists. To say something: tls_write(), then write
 * what tls_output() lists. The caller keeps the deadline of the handshake; there is none inside.
 *
 * Success means what the policy says and no more. TLS_OPPORTUNISTIC and TLS_REQUIRED take any certificate (what the
 * caller does when there is no TLS at all is where they differ, and not known here); TLS_VERIFIED wants a chain to a
 * trusted root, dates, a key and signatures of today's strength (OpenSSL's level 2), and the name: a subjectAltName
 * that is the host, or a wildcard as the whole leftmost label for exactly one label (RFC 6125 section 6.4.3). The
 * subject's CN is never looked at (RFC 9525). A host that is an address literal needs an iPAddress name, and no SNI is
 * sent (RFC 6066 section 3).
 *
 * What comes after the peer's close_notify is never believed: it is dropped unread, on this call and all later ones.
 *
 * With TLSA records (RFC 7672) those take the place of the policy's demand on the certificate: usage 3 looks at nothing
 * but the record, usage 2 at chain, dates and the host's name.
 *
 * Threads: a context and all its connections belong to one thread. No callback is made.
 */
#ifndef POSTHASTE_ENGINE_NET_TLS_H
#define POSTHASTE_ENGINE_NET_TLS_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/config.h"
#include "base/error.h"
#include "base/tls_result.h"

/*
 * Bytes that tls_output() can list at most. Plaintext is taken while less than TLS_OUTPUT_HIGH_BYTES wait, one record
 * at a time, so content keeps far below; a peer that makes the engine answer without reading the answers ends the
 * connection.
 */
#define TLS_OUTPUT_HIGH_BYTES ((size_t)32 << 10)
#define TLS_OUTPUT_MAX_BYTES ((size_t)128 << 10)

struct tls_context;
struct tls;

/* ---- what the connections of one loop share: trust store, sessions to resume, scratch memory ---- */

struct tls_options {
    const char *ca_file;         /* PEM file of the roots to trust; NULL = the system's */
    size_t sessions_max;         /* sessions kept for resumption; 0 = 1,000 */
    int64_t session_lifetime_ms; /* none is resumed later; 0 = 2 h */
};

/* 0, -ENOMEM, -EINVAL (ca_file), -EIO (OpenSSL refuses). Reads files. */
int tls_context_create(const struct tls_options *options, struct tls_context **out, struct error *err) ATTR_MUSTCHECK;
void tls_context_free(struct tls_context *context); /* after all its connections; NULL is allowed */

/* ---- one connection ---- */

#define TLS_DANE_MAX 8
#define TLS_DANE_DATA_BYTES 8192 /* of one record: matching type 0 is a whole certificate or key */
struct tls_dane_record {
    uint8_t usage, selector, matching; /* RFC 6698 section 2.1 */
    uint16_t len;
    const uint8_t *data;
};
struct tls_dane { /* one block, data and all */
    unsigned references;
    size_t count;
    struct tls_dane_record records[TLS_DANE_MAX];
};

struct tls_peer {
    const char *host;       /* name (A-labels; case and one trailing dot do not matter) or address literal; copied */
    uint16_t port;          /* only tells sessions apart */
    enum tls_policy policy; /* not TLS_NONE */
    const struct tls_dane *dane; /* NULL or empty = none; borrowed during the call */
};

enum tls_state {
    TLS_STATE_HANDSHAKE, /* nothing can be said yet */
    TLS_STATE_OPEN,      /* the policy is satisfied; both directions work */
    TLS_STATE_CLOSING,   /* tls_close() was called: nothing more can be said, reading still works */
    TLS_STATE_EOF,       /* the peer said close_notify, or closed after we did: nothing more comes */
    TLS_STATE_FAILED,    /* tls_fault() says why; an alert for the peer may wait in tls_output() */
};

/*
 * The ClientHello waits in tls_output() after it. 0; -EINVAL: `host` is neither a host name nor an address literal, or
 * the policy is TLS_NONE; -ENOMEM, -EIO. `context` outlives the connection.
 */
int tls_create(struct tls_context *context, const struct tls_peer *peer, struct tls **out,
               struct error *err) ATTR_MUSTCHECK;
void tls_free(struct tls *tls); /* NULL is allowed */

enum tls_state tls_state(const struct tls *tls);
const char *tls_fault(const struct tls *tls);            /* one sentence; "" unless TLS_STATE_FAILED */
enum tls_result tls_fault_result(const struct tls *tls); /* of a handshake that failed; else TLS_RESULT_NONE */

/* Encrypted bytes from the network, borrowed until tls_read() has returned 0; call that before the next feed. */
void tls_feed(struct tls *tls, const char *bytes, size_t len);
/* The network ended (TCP FIN or an error). Without the peer's close_notify before, an open connection fails: it may be
 * cut. */
void tls_feed_end(struct tls *tls);

/*
 * Works on what was fed: the handshake, and then plaintext. Bytes at *bytes, good until the next call for any
 * connection of this context; 0 = no more for now, tls_state() says whether more can come.
 */
size_t tls_read(struct tls *tls, const char **bytes) ATTR_MUSTCHECK;

/*
 * Takes plaintext in order and packs it into full records. Bytes taken: fewer than all (0 too) while the handshake runs
 * or tls_output() lists TLS_OUTPUT_HIGH_BYTES; call again once some were sent. -EPIPE when nothing can be said any
 * more. Taken is not sent: it is on the wire when tls_output() has been emptied.
 */
ssize_t tls_write(struct tls *tls, const struct iovec *iov, size_t count) ATTR_MUSTCHECK;

/* Queues close_notify (once; harmless in any state). Before the handshake is done there is nothing to say. */
void tls_close(struct tls *tls);

/* Encrypted bytes for the network: how many and where, good until the next call for this connection. */
size_t tls_output(const struct tls *tls, const char **bytes);
void tls_sent(struct tls *tls, size_t bytes); /* so many of them have left */

struct tls_info {        /* strings are static */
    const char *version; /* "TLSv1.3", "TLSv1.2"; "" before the handshake is done */
    const char *cipher;  /* "TLS_AES_256_GCM_SHA384", … */
    bool resumed;
    bool verified;          /* the certificate is what TLS_VERIFIED wants, whatever the policy was */
    bool dane;              /* proved by a TLSA record */
    const char *why_not;    /* in OpenSSL's words; "" when verified */
    enum tls_result result; /* the same in RFC 8460's; TLS_RESULT_OK when verified */
};
void tls_info(const struct tls *tls, struct tls_info *out);

#endif
