/*
 * The connection.
 *
 * A read feeds the session, which queues replies and notes; then pump() gives to the socket what is due. Usually that
 * is one read and one write(2) for a whole group of commands, and nothing is queued in libuv. If the peer does not
 * read, the rest goes through uv_write(), and above a high-water mark the connection stops reading until the peer has
 * taken its replies, so memory stays bounded.
 *
 * The end has two moments. When the connection is over as far as the protocol goes (the peer has closed, or we have
 * said the last word), its "close" line is written. After an orderly close of ours the socket lingers for a second, so
 * that what the peer has still in flight does not turn into a reset that destroys our last reply on its side.
 */
#include "tests/sink/conn_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sink/clock.h"

enum {
    OUT_HIGH_BYTES = 1024 * 1024, /* queued for a peer that does not read: we stop reading */
    OUT_LOW_BYTES = 256 * 1024,   /* and begin again */
    LINGER_MS = 1000,
    REPEAT_BLOCK_BYTES = 64 * 1024,
};

struct write_request {
    uv_write_t request;
    struct conn *conn;
    size_t length;
    char bytes[];
};

static void pump(struct conn *conn);

static struct conn *of_handle(uv_handle_t *handle)
{
    return handle->data;
}

static void on_closed(uv_handle_t *handle)
{
    struct conn *conn = of_handle(handle);

    if (--conn->open_handles > 0)
        return;
    if (conn->previous != NULL)
        conn->previous->next = conn->next;
    else
        conn->server->connections = conn->next;
    if (conn->next != NULL)
        conn->next->previous = conn->previous;
    session_free(conn->session);
    tls_free(conn->tls);
    text_free(&conn->sealed);
    outflow_free(&conn->out);
    records_free(&conn->records);
    text_free(&conn->repeat);
    free(conn);
}

/* The connection is over for the protocol: what has not got out never will. */
static void end(struct conn *conn, const char *by)
{
    struct server *server = conn->server;

    if (conn->ended)
        return;
    conn->ended = true;
    server->counts.open--;
    conn_introduce(conn);
    records_lose(&conn->records, &server->ledger, &server->counts);
    conn_end_tls(conn);
    record_close(&server->ledger, conn->number, conn->messages, conn->session, conn->peer_left ? "client" : by);
}

static void destroy(struct conn *conn, bool reset)
{
    if (conn->closing)
        return;
    conn->closing = true;
    uv_close((uv_handle_t *)&conn->timer, on_closed);
    if (!reset || uv_tcp_close_reset(&conn->tcp, on_closed) != 0)
        uv_close((uv_handle_t *)&conn->tcp, on_closed);
}

static void on_linger(uv_timer_t *timer)
{
    destroy(of_handle((uv_handle_t *)timer), false);
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    /* Whether the FIN went out or the peer was gone before: the linger timer or the peer's EOF closes the handles. */
    (void)request;
    (void)status;
}

static void on_due(uv_timer_t *timer)
{
    pump(of_handle((uv_handle_t *)timer));
}

static void wake_at(struct conn *conn, uint64_t due_us)
{
    uint64_t now_us = clock_monotonic_us();
    uint64_t wait_ms = due_us > now_us ? (due_us - now_us + 999) / 1000 : 0;

    /* The loop's own idea of the time may lag behind a long read. */
    uv_update_time(conn->server->loop);
    (void)uv_timer_start(&conn->timer, on_due, wait_ms, 0);
}

static void took(struct conn *conn, size_t length)
{
    conn->written_bytes += length;
    records_settle(&conn->records, conn->written_bytes, &conn->server->ledger);
}

static void lost(struct conn *conn)
{
    end(conn, "client");
    destroy(conn, false);
}

static void on_written(uv_write_t *request, int status)
{
    struct write_request *write = request->data;
    struct conn *conn = write->conn;
    size_t length = write->length;

    free(write);
    conn->write_pending = false;
    if (conn->closing)
        return;
    if (status < 0) {
        lost(conn);
        return;
    }
    took(conn, length);
    pump(conn);
}

static void write_later(struct conn *conn, const char *bytes, size_t length)
{
    struct write_request *write = sink_realloc(NULL, sizeof(*write) + length);
    uv_buf_t buffer;

    write->conn = conn;
    write->length = length;
    write->request.data = write;
    memcpy(write->bytes, bytes, length);
    buffer = uv_buf_init(write->bytes, (unsigned)length);
    conn->write_pending = true;
    if (uv_write(&write->request, (uv_stream_t *)&conn->tcp, &buffer, 1, on_written) != 0) {
        free(write);
        conn->write_pending = false;
        lost(conn);
    }
}

/* Writes bytes of the outflow. False: pump() has to stop, since the rest waits in libuv or the connection is lost. */
static bool write_now(struct conn *conn, const struct outflow_step *step, uint64_t now_us)
{
    uv_buf_t buffer = uv_buf_init((char *)step->bytes, (unsigned)step->length);
    int written = uv_try_write((uv_stream_t *)&conn->tcp, &buffer, 1);

    if (written < 0 && written != UV_EAGAIN) {
        lost(conn);
        return false;
    }
    written = written < 0 ? 0 : written;
    if ((size_t)written < step->length)
        write_later(conn, step->bytes + written, step->length - (size_t)written);
    if (conn->closing)
        return false;
    outflow_wrote(&conn->out, step->length, now_us);
    took(conn, (size_t)written);
    return !conn->write_pending;
}

static void on_repeated(uv_write_t *request, int status)
{
    struct conn *conn = request->data;

    conn->write_pending = false;
    if (conn->closing)
        return;
    if (status < 0)
        lost(conn);
    else
        pump(conn);
}

/*
 * "endless": a block at a time as the peer takes them, or a byte at a time by the clock. Counted as written once, so
 * that the records before it are settled. The block belongs to the connection and is sent from where it lies.
 */
static void repeat(struct conn *conn, const struct outflow_step *step, uint64_t now_us)
{
    const struct text *block = &conn->repeat;
    size_t one = conn->repeat_at;
    uv_buf_t buffer;
    int written;

    took(conn, (size_t)(conn->out.queued_bytes - conn->written_bytes));
    while (text_length(&conn->repeat) < REPEAT_BLOCK_BYTES)
        text_add(&conn->repeat, step->bytes, step->length);
    if (conn->tls != NULL) {
        text_clear(&conn->sealed);
        if (step->drip_ms == 0)
            tls_seal(conn->tls, text_bytes(block), text_length(block), &conn->sealed);
        else
            tls_seal(conn->tls, text_bytes(block) + one, 1, &conn->sealed);
        block = &conn->sealed;
        one = 0;
    }
    if (step->drip_ms == 0) {
        buffer = uv_buf_init((char *)text_bytes(block), (unsigned)text_length(block));
        conn->repeat_write.data = conn;
        conn->write_pending = true;
        if (uv_write(&conn->repeat_write, (uv_stream_t *)&conn->tcp, &buffer, 1, on_repeated) != 0) {
            conn->write_pending = false;
            lost(conn);
        }
        return;
    }
    /* A record of TLS is small enough for any socket that takes something at all; a lost rest ends the connection. */
    buffer = uv_buf_init((char *)text_bytes(block) + one, conn->tls == NULL ? 1 : (unsigned)text_length(block));
    written = uv_try_write((uv_stream_t *)&conn->tcp, &buffer, 1);
    if ((written < 0 && written != UV_EAGAIN) || (conn->tls != NULL && written != (int)buffer.len)) {
        lost(conn);
        return;
    }
    if (written > 0)
        conn->repeat_at = (conn->repeat_at + 1) % text_length(&conn->repeat);
    wake_at(conn, now_us + (uint64_t)step->drip_ms * 1000);
}

static void finish(struct conn *conn, enum after after)
{
    if (after == AFTER_HOLD) {
        conn->held = true;
        took(conn, 0); /* a note of silence waits for no bytes */
        return;
    }
    end(conn, "server");
    if (after == AFTER_RESET || uv_shutdown(&conn->shutdown, (uv_stream_t *)&conn->tcp, on_shutdown) != 0) {
        destroy(conn, after == AFTER_RESET);
        return;
    }
    uv_update_time(conn->server->loop);
    (void)uv_timer_start(&conn->timer, on_linger, LINGER_MS, 0);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)suggested;
    *buffer = uv_buf_init(of_handle(handle)->server->read_buffer, READ_BUFFER_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
    struct conn *conn = of_handle((uv_handle_t *)stream);

    if (conn->closing || length == 0)
        return;
    if (length < 0) {
        lost(conn);
        return;
    }
    if (conn->ended || session_is_over(conn->session))
        return;
    conn->arrival_us = clock_monotonic_us();
    if (conn->tls == NULL)
        session_feed(conn->session, buffer->base, (size_t)length);
    else
        conn_read_sealed(conn, buffer->base, (size_t)length);
    pump(conn);
}

/* Stops reading while the peer does not take its replies. */
static void balance(struct conn *conn)
{
    size_t queued = text_length(&conn->out.bytes);

    if (conn->closing || conn->ended)
        return;
    if (!conn->paused && queued > OUT_HIGH_BYTES) {
        conn->paused = true;
        (void)uv_read_stop((uv_stream_t *)&conn->tcp);
    } else if (conn->paused && queued < OUT_LOW_BYTES) {
        conn->paused = false;
        if (uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read) != 0)
            lost(conn);
    }
}

static void pump(struct conn *conn)
{
    bool more = !conn->write_pending && !conn->held && !conn->ended && !conn->closing;

    while (more) {
        uint64_t now_us = clock_monotonic_us();
        struct outflow_step step = outflow_next(&conn->out, now_us);

        more = false;
        switch (step.wish) {
        case OUTFLOW_NOTHING:
            break;
        case OUTFLOW_WAIT:
            wake_at(conn, step.due_us);
            break;
        case OUTFLOW_WRITE:
            more = write_now(conn, &step, now_us);
            break;
        case OUTFLOW_REPEAT:
            repeat(conn, &step, now_us);
            break;
        case OUTFLOW_END:
            finish(conn, step.after);
            break;
        }
    }
    balance(conn);
}

static void on_send(void *context, const char *bytes, size_t length, const struct manner *manner)
{
    struct conn *conn = context;

    if (conn->tls == NULL)
        conn_queue(conn, bytes, length, manner, 0);
    else
        conn_send_sealed(conn, bytes, length, manner);
}

void conn_queue(struct conn *conn, const char *bytes, size_t length, const struct manner *manner, uint64_t late_us)
{
    outflow_add(&conn->out, bytes, length, manner, conn->arrival_us + conn->server->delay_us + late_us);
}

static void on_secure(void *context)
{
    conn_begin_tls(context);
}

static void on_note(void *context, const struct note *note)
{
    struct conn *conn = context;

    conn_introduce(conn);
    counts_note(&conn->server->counts, note);
    if (note->kind == NOTE_MESSAGE && note->first)
        conn->messages++;
    records_add(&conn->records, conn->number, note, conn->out.queued_bytes);
}

/* "127.0.0.1:25" or "[::1]:25"; returns how much of it is the address. */
static size_t name_address(const struct sockaddr_storage *address, char name[NAME_BYTES])
{
    char ip[INET6_ADDRSTRLEN] = "";
    bool v6 = address->ss_family == AF_INET6;
    unsigned port;

    if (v6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;

        (void)uv_ip6_name(in6, ip, sizeof(ip));
        port = ntohs(in6->sin6_port);
    } else {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;

        (void)uv_ip4_name(in, ip, sizeof(ip));
        port = ntohs(in->sin_port);
    }
    (void)snprintf(name, NAME_BYTES, v6 ? "[%s]:%u" : "%s:%u", ip, port);
    return strlen(ip) + (v6 ? 2 : 0);
}

void conn_introduce(struct conn *conn)
{
    if (conn->introduced)
        return;
    conn->introduced = true;
    record_connect(&conn->server->ledger, &conn->records, conn->number, conn->peer, conn->local);
}

static void start(struct conn *conn)
{
    static const struct session_host host = {on_send, on_note, on_secure};
    struct server *server = conn->server;
    struct sockaddr_storage address = {0};
    int size = sizeof(address);
    size_t local_ip_length;

    (void)uv_tcp_nodelay(&conn->tcp, 1);
    (void)uv_tcp_getpeername(&conn->tcp, (struct sockaddr *)&address, &size);
    name_address(&address, conn->peer);
    size = sizeof(address);
    (void)uv_tcp_getsockname(&conn->tcp, (struct sockaddr *)&address, &size);
    local_ip_length = name_address(&address, conn->local);

    conn->number = ++server->counts.connections;
    server->counts.open++;
    if (server->counts.open > server->counts.most_open)
        server->counts.most_open = server->counts.open;
    conn->arrival_us = clock_monotonic_us();
    conn->session = session_create(&server->settings, &host, conn, conn->number, conn->local, local_ip_length);
    if (conn->implicit) {
        conn_begin_tls(conn);
    } else {
        conn_introduce(conn);
        session_start(conn->session);
    }
    if (uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read) != 0) {
        lost(conn);
        return;
    }
    pump(conn);
}

void conn_accept(struct server *server, uv_stream_t *listener, bool implicit_tls)
{
    struct conn *conn = sink_realloc(NULL, sizeof(*conn));
    int result;

    *conn = (struct conn){.server = server, .open_handles = 2, .next = server->connections, .implicit = implicit_tls};
    if (uv_tcp_init(server->loop, &conn->tcp) != 0 || uv_timer_init(server->loop, &conn->timer) != 0) {
        /* Neither can fail without flags: no socket is made yet. */
        fputs("sink: cannot make a handle\n", stderr);
        exit(1);
    }
    conn->tcp.data = conn;
    conn->timer.data = conn;
    if (conn->next != NULL)
        conn->next->previous = conn;
    server->connections = conn;
    result = uv_accept(listener, (uv_stream_t *)&conn->tcp);
    if (result != 0) {
        fprintf(stderr, "sink: accept: %s\n", uv_strerror(result));
        conn->ended = true;
        destroy(conn, false);
        return;
    }
    start(conn);
}

void conn_end_all(struct server *server)
{
    for (struct conn *conn = server->connections; conn != NULL; conn = conn->next) {
        end(conn, "server");
        destroy(conn, false);
    }
}
