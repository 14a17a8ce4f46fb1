/*
 * stream.h - one TCP connection of an event loop: bytes in by callback, bytes out by scatter list.
 *
 * Nothing is buffered here: stream_write() gives the kernel what it takes now and says how much that was; when it was
 * not all, events.writable comes once there is room again. So content can be borrowed up to the moment it has left. TLS
 * slides in between these calls and the socket without a change of this interface.
 *
 * No callback is made inside a call of this interface. After stream_close() none is made but `closed`.
 */
#ifndef POSTHASTE_ENGINE_NET_STREAM_H
#define POSTHASTE_ENGINE_NET_STREAM_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "engine/net/loop.h"

struct stream;

struct stream_events {
    void (*connected)(struct stream *stream, int status);               /* 0, or -errno: close it then */
    void (*data)(struct stream *stream, const char *bytes, size_t len); /* valid during the call */
    void (*writable)(struct stream *stream);
    void (*ended)(struct stream *stream, int status); /* the peer closed (0), or -errno; no data follows */
    void (*closed)(struct stream *stream);            /* the memory is the caller's again */
};

struct stream {
    const struct stream_events *events;
    struct loop *loop;
    uv_poll_t poll;
    int fd;           /* -1 = closed */
    int early_status; /* connect() failed at once: told later */
    bool connecting, want_write, ended, closing;
};

struct stream_address {
    struct sockaddr_storage storage;
    socklen_t len; /* 0 = none */
};

/*
 * Starts to connect. `local` may be NULL. 0: exactly one `connected` follows. -EMFILE and the like: no socket could be
 * made, no callback follows.
 */
int stream_connect(struct stream *stream, struct loop *loop, const struct stream_address *peer,
                   const struct stream_address *local, const struct stream_events *events) ATTR_MUSTCHECK;

/* A socket that is connected already (accept()); it is the stream's. No `connected` follows. -errno: it was closed, no
 * callback follows. */
int stream_adopt(struct stream *stream, struct loop *loop, int fd, const struct stream_events *events) ATTR_MUSTCHECK;

/* Bytes taken, 0..total; less than all means that `writable` will come. -errno: the connection is broken; what the peer
 * said before is still delivered, then `ended` comes. */
ssize_t stream_write(struct stream *stream, const struct iovec *iov, size_t count) ATTR_MUSTCHECK;

void stream_shutdown(struct stream *stream); /* we have said all; the peer sees the end */
void stream_close(struct stream *stream);    /* closes the socket at once; `closed` follows later */

/* "192.0.2.1:25" or "[2001:db8::1]:25". */
#define STREAM_ADDRESS_TEXT_BYTES 64
const char *stream_address_text(const struct stream_address *address, char out[STREAM_ADDRESS_TEXT_BYTES]);
/* Parses an address literal: 0 or -EINVAL. */
int stream_address_parse(const char *text, uint16_t port, struct stream_address *out) ATTR_MUSTCHECK;

#endif
