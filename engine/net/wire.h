/*
 * wire.h - a connection whose bytes may be encrypted: a stream (stream.h) with room for TLS (tls.h) between it and its
 * user, who sees plaintext only.
 *
 * The same rules as for a stream: nothing of the user's is kept, and no callback is made inside a call. In clear text a
 * byte that wire_write() took is with the kernel; under TLS it may still wait in a record here (at most some
 * TLS_OUTPUT_HIGH_BYTES), which counts as sent: should the connection end then, nobody knows whether it arrived.
 */
#ifndef POSTHASTE_ENGINE_NET_WIRE_H
#define POSTHASTE_ENGINE_NET_WIRE_H

#include "engine/net/stream.h"
#include "engine/net/tls.h"

struct wire;

struct wire_events {
    void (*connected)(struct wire *wire, int status);               /* 0, or -errno: close it then */
    void (*secured)(struct wire *wire);                             /* the handshake that wire_secure() began is done */
    void (*data)(struct wire *wire, const char *bytes, size_t len); /* valid during the call */
    void (*writable)(struct wire *wire);
    /* The peer closed (NULL), or why the connection ended, one sentence; no data follows. */
    void (*ended)(struct wire *wire, const char *why);
    void (*closed)(struct wire *wire); /* the memory is the caller's again */
};

struct wire {
    struct stream stream;
    const struct wire_events *events;
    struct tls *tls; /* NULL = clear text */
    bool securing;   /* the handshake runs */
    bool broken;     /* a write failed, what the peer said before is still read */
    bool shut;       /* wire_shutdown() was called */
    bool ended;      /* told */
};

/* As stream_connect(). */
int wire_connect(struct wire *wire, struct loop *loop, const struct stream_address *peer,
                 const struct stream_address *local, const struct wire_events *events) ATTR_MUSTCHECK;

/* Begins the handshake: `secured` or `ended` follows, unless it is closed before. 0, or what tls_create() says. */
int wire_secure(struct wire *wire, struct tls_context *context, const struct tls_peer *peer,
                struct error *err) ATTR_MUSTCHECK;

/* Bytes taken; fewer than all: `writable` will come. -errno: nothing can be sent any more, `ended` will come. */
ssize_t wire_write(struct wire *wire, const struct iovec *iov, size_t count) ATTR_MUSTCHECK;
bool wire_may_write(const struct wire *wire); /* false until `writable` has come */

void wire_shutdown(struct wire *wire); /* we have said all; the peer sees the end */
void wire_close(struct wire *wire);    /* closes the socket at once; `closed` follows later */

#endif
