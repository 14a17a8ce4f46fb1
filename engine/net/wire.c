/*
 * wire.c - plaintext above, the stream's bytes below.
 *
 * Reading: what the socket brought is fed to TLS and read out of it until there is no more, in the same callback;
 * handshake answers are written on the way. Writing: plaintext becomes records as long as TLS takes it, records go to
 * the socket as it takes them. The end: a close_notify ends the wire like a FIN does; bytes behind it are never looked
 * at (tls.h).
 */
#include "engine/net/wire.h"

#include <errno.h>
#include <string.h>

static struct wire *wire_of(struct stream *stream)
{
    return container_of(stream, struct wire, stream);
}

static void tell_end(struct wire *wire, const char *why)
{
    if (wire->ended)
        return;
    wire->ended = true;
    wire->events->ended(wire, why);
}

/* Records to the socket. A broken socket is noted; its end will be told by the stream. */
static void flush(struct wire *wire)
{
    const char *bytes;
    size_t len;
    while (!wire->broken && !wire->stream.want_write && !wire->stream.closing &&
           (len = tls_output(wire->tls, &bytes)) > 0) {
        struct iovec piece = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
        ssize_t sent = stream_write(&wire->stream, &piece, 1);
        if (sent < 0)
            wire->broken = true;
        else
            tls_sent(wire->tls, (size_t)sent);
    }
}

static void on_connected(struct stream *stream, int status)
{
    struct wire *wire = wire_of(stream);
    wire->events->connected(wire, status);
}

/* All that TLS has for us now. The wire may be closed after it. */
static void read_plaintext(struct wire *wire)
{
    const char *bytes;
    size_t len;
    while (!wire->stream.closing && (len = tls_read(wire->tls, &bytes)) > 0)
        wire->events->data(wire, bytes, len);
}

/* The state of TLS after bytes were fed. */
static void look(struct wire *wire)
{
    if (wire->stream.closing)
        return;
    flush(wire);
    enum tls_state state = tls_state(wire->tls);
    if (state == TLS_STATE_FAILED)
        tell_end(wire, tls_fault(wire->tls));
    else if (state == TLS_STATE_EOF)
        tell_end(wire, NULL);
}

static void on_data(struct stream *stream, const char *bytes, size_t len)
{
    struct wire *wire = wire_of(stream);
    if (wire->ended)
        return;
    if (wire->tls == NULL) {
        wire->events->data(wire, bytes, len);
        return;
    }
    tls_feed(wire->tls, bytes, len);
    if (wire->securing) {
        const char *early;
        size_t count = tls_read(wire->tls, &early); /* works on the handshake */
        enum tls_state state = tls_state(wire->tls);
        if (state != TLS_STATE_HANDSHAKE && state != TLS_STATE_FAILED) {
            wire->securing = false;
            flush(wire);
            wire->events->secured(wire);
        }
        if (count > 0 && !wire->stream.closing && !wire->securing)
            wire->events->data(wire, early, count);
    }
    read_plaintext(wire);
    look(wire);
}

static void on_writable(struct stream *stream)
{
    struct wire *wire = wire_of(stream);
    if (wire->tls != NULL) {
        flush(wire);
        if (wire->shut && !wire->broken && !wire->stream.want_write)
            stream_shutdown(stream);
    }
    if (!wire->shut && !wire->securing && wire_may_write(wire))
        wire->events->writable(wire);
}

static void on_ended(struct stream *stream, int status)
{
    struct wire *wire = wire_of(stream);
    if (wire->ended)
        return;
    if (wire->tls != NULL && status == 0) {
        tls_feed_end(wire->tls);
        read_plaintext(wire);
        look(wire);
        if (wire->stream.closing)
            return;
    }
    tell_end(wire, status == 0 ? NULL : strerror(-status));
}

static void on_closed(struct stream *stream)
{
    struct wire *wire = wire_of(stream);
    tls_free(wire->tls);
    wire->tls = NULL;
    wire->events->closed(wire);
}

static const struct stream_events wire_stream_events = {
    .connected = on_connected,
    .data = on_data,
    .writable = on_writable,
    .ended = on_ended,
    .closed = on_closed,
};

int wire_connect(struct wire *wire, struct loop *loop, const struct stream_address *peer,
                 const struct stream_address *local, const struct wire_events *events)
{
    *wire = (struct wire){.events = events};
    return stream_connect(&wire->stream, loop, peer, local, &wire_stream_events);
}

int wire_secure(struct wire *wire, struct tls_context *context, const struct tls_peer *peer, struct error *err)
{
    assure(wire->tls == NULL);
    int r = tls_create(context, peer, &wire->tls, err);
    if (r < 0)
        return r;
    wire->securing = true;
    flush(wire);
    return 0;
}

bool wire_may_write(const struct wire *wire)
{
    return !wire->broken && !wire->stream.want_write && !wire->securing;
}

ssize_t wire_write(struct wire *wire, const struct iovec *iov, size_t count)
{
    if (wire->broken)
        return -EPIPE;
    if (wire->tls == NULL) {
        ssize_t sent = stream_write(&wire->stream, iov, count);
        wire->broken = sent < 0;
        return sent;
    }
    ssize_t taken = tls_write(wire->tls, iov, count);
    if (taken < 0)
        wire->broken = true;
    flush(
        wire); /* when TLS took less than all, so many records waited that the socket is full now, or has room again */
    return taken;
}

void wire_shutdown(struct wire *wire)
{
    wire->shut = true;
    if (wire->tls != NULL) {
        tls_close(wire->tls);
        flush(wire);
        if (!wire->broken && wire->stream.want_write)
            return; /* the rest, and then the end, when there is room */
    }
    stream_shutdown(&wire->stream);
}

void wire_close(struct wire *wire)
{
    stream_close(&wire->stream);
}
