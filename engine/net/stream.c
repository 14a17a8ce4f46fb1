/*
 * stream.c - a non-blocking TCP socket behind uv_poll.
 *
 * uv_poll and not uv_tcp, because a uv_write() that does not finish at once owns the buffers until it does; here a
 * write that the kernel does not take is simply not made, and the session is asked again when the socket is writable.
 */
#include "engine/net/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void on_poll(uv_poll_t *poll, int status, int events);

static int watch(struct stream *stream)
{
    int events = stream->want_write || stream->connecting ? UV_WRITABLE : 0;
    if (!stream->connecting && !stream->ended)
        events |= UV_READABLE;
    return events != 0 ? uv_poll_start(&stream->poll, events, on_poll) : uv_poll_stop(&stream->poll);
}

static void end(struct stream *stream, int status)
{
    stream->ended = true;
    (void)watch(stream);
    stream->events->ended(stream, status);
}

static void on_connected(struct stream *stream)
{
    int status = stream->early_status;
    socklen_t len = sizeof status;
    if (status == 0) {
        if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &status, &len) < 0)
            status = errno;
        status = -status;
    }
    stream->connecting = false;
    if (status < 0)
        stream->ended = true;
    int r = watch(stream);
    stream->events->connected(stream, status < 0 ? status : r);
}

static bool would_block(int code)
{
    return code == EAGAIN; /* on Linux the same as EWOULDBLOCK */
}

static ssize_t receive(struct stream *stream)
{
    ssize_t got;
    do {
        got = recv(stream->fd, stream->loop->read_buffer, LOOP_READ_BYTES, 0);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

static void on_readable(struct stream *stream)
{
    ssize_t got = receive(stream);
    if (got > 0)
        stream->events->data(stream, stream->loop->read_buffer, (size_t)got);
    else if (!would_block((int)-got))
        end(stream, (int)got);
}

/* The peer reset the connection. What it said before is still to be read: it may well be the 421 that explains the
 * reset. */
static void on_broken(struct stream *stream)
{
    ssize_t got;
    while ((got = receive(stream)) > 0) {
        stream->events->data(stream, stream->loop->read_buffer, (size_t)got);
        if (stream->closing)
            return;
    }
    end(stream, would_block((int)-got) ? -ECONNRESET : (int)got);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct stream *stream = container_of(poll, struct stream, poll);
    if (stream->closing)
        return;
    loop_refresh(stream->loop);
    if (stream->connecting) {
        on_connected(stream);
        return;
    }
    if (status < 0) {
        if (!stream->ended)
            on_broken(stream);
        return;
    }
    if ((events & UV_READABLE) != 0 && !stream->ended)
        on_readable(stream);
    if ((events & UV_WRITABLE) != 0 && !stream->closing && stream->want_write) {
        stream->want_write = false;
        (void)watch(stream);
        stream->events->writable(stream);
    }
}

static int make_socket(const struct stream_address *peer, const struct stream_address *local)
{
    int fd = socket(peer->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0)
        return -errno;
    int one = 1;
    /* Groups are written whole, so there is nothing that Nagle's algorithm could gather. A kernel without the option is
     * no failure. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (local != NULL && local->len > 0 && local->storage.ss_family == peer->storage.ss_family) {
        (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(fd, (const struct sockaddr *)&local->storage, local->len) < 0) {
            int r = -errno;
            (void)close(fd);
            return r;
        }
    }
    return fd;
}

int stream_connect(struct stream *stream, struct loop *loop, const struct stream_address *peer,
                   const struct stream_address *local, const struct stream_events *events)
{
    *stream = (struct stream){.events = events, .loop = loop, .connecting = true};
    stream->fd = make_socket(peer, local);
    if (stream->fd < 0)
        return stream->fd;
    if (connect(stream->fd, (const struct sockaddr *)&peer->storage, peer->len) < 0 && errno != EINPROGRESS)
        stream->early_status = -errno; /* epoll calls a socket that never connected writable, so this is told there */
    int r = uv_poll_init(&loop->uv, &stream->poll, stream->fd);
    if (r < 0) {
        (void)close(stream->fd);
        stream->fd = -1;
        return r;
    }
    r = watch(stream);
    assure(r == 0); /* uv_poll_start() only notes the wish; epoll is told before the next wait */
    return 0;
}

int stream_adopt(struct stream *stream, struct loop *loop, int fd, const struct stream_events *events)
{
    int one = 1;
    *stream = (struct stream){.events = events, .loop = loop, .fd = fd};
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int r = uv_poll_init(&loop->uv, &stream->poll, fd);
    if (r < 0) {
        (void)close(fd);
        stream->fd = -1;
        return r;
    }
    r = watch(stream);
    assure(r == 0);
    return 0;
}

ssize_t stream_write(struct stream *stream, const struct iovec *iov, size_t count)
{
    assure(!stream->closing && !stream->connecting);
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = count};
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += iov[i].iov_len;
    ssize_t sent;
    do {
        sent = sendmsg(stream->fd, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && !would_block(errno))
        return -errno;
    if (sent < 0)
        sent = 0;
    if ((size_t)sent < total) {
        stream->want_write = true;
        (void)watch(stream);
    }
    return sent;
}

void stream_shutdown(struct stream *stream)
{
    stream->want_write = false;
    (void)watch(stream);
    (void)shutdown(stream->fd, SHUT_WR);
}

static void on_closed(uv_handle_t *handle)
{
    struct stream *stream = container_of((uv_poll_t *)handle, struct stream, poll);
    stream->events->closed(stream);
}

void stream_close(struct stream *stream)
{
    assure(!stream->closing);
    stream->closing = true;
    uv_close((uv_handle_t *)&stream->poll, on_closed); /* takes the descriptor out of epoll at once */
    (void)close(stream->fd);
    stream->fd = -1;
}

const char *stream_address_text(const struct stream_address *address, char out[STREAM_ADDRESS_TEXT_BYTES])
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->storage;
        (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        (void)snprintf(out, STREAM_ADDRESS_TEXT_BYTES, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&address->storage;
        (void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        (void)snprintf(out, STREAM_ADDRESS_TEXT_BYTES, "%s:%u", host, ntohs(in->sin_port));
    }
    return out;
}

int stream_address_parse(const char *text, uint16_t port, struct stream_address *out)
{
    *out = (struct stream_address){0};
    struct sockaddr_in *in = (struct sockaddr_in *)&out->storage;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->storage;
    if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        out->len = sizeof *in;
        return 0;
    }
    *out = (struct stream_address){0};
    if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(port);
        out->len = sizeof *in6;
        return 0;
    }
    return -EINVAL;
}
