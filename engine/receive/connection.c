/*
 * connection.c - one client of the listener: its bytes in and out, its time, and the way of a mail to its user and of
 * the answer back.
 *
 * A connection lives until its socket is closed and, if a mail of it is with the user, until that was answered: the
 * mail points to the connection, and forgets it when the connection goes first. Time is bounded twice: `timeout`
 * between two pieces of input, and CONNECTION_MS in all, so that one byte a minute buys nobody a place for ever.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/str.h"
#include "engine/receive/listener_private.h"

#define CONNECTION_MS ((int64_t)30 * 60 * 1000)
#define LINGER_MS 5000                   /* for the client to take our last words */
#define OUTPUT_BYTES ((size_t)256 << 10) /* encrypted */

/* ---- a connection's life ---- */

static void connection_free(struct receive_connection *connection)
{
    receive_session_free(connection->session);
    secure_free(connection->secure);
    buffer_finish(&connection->out);
    free(connection);
}

static void on_closed(struct stream *stream)
{
    struct receive_connection *connection = container_of(stream, struct receive_connection, stream);
    struct listener *listener = connection->listener;
    list_remove(&connection->node);
    listener->count--;
    atomic_store(&listener->open, listener->count);
    connection_free(connection);
    listener_maybe_end(listener);
}

void receive_connection_close(struct receive_connection *connection)
{
    if (connection->closing)
        return;
    connection->closing = true;
    if (connection->mail != NULL)
        connection->mail->connection = NULL;
    connection->mail = NULL;
    loop_timer_remove(&connection->listener->loop, &connection->timer);
    stream_close(&connection->stream);
}

static void on_time(struct loop_timer *timer)
{
    struct receive_connection *connection = container_of(timer, struct receive_connection, timer);
    receive_connection_close(connection);
}

static void touch(struct receive_connection *connection)
{
    struct loop *loop = &connection->listener->loop;
    int64_t at_ms = loop->now_ms + connection->listener->config->bounces.timeout_ms;
    /* While we make it wait for an answer, the client is not to blame. */
    if (receive_is_waiting(connection->session))
        at_ms = loop->now_ms + CONNECTION_MS;
    else
        at_ms = MIN_OF(at_ms, connection->began_ms + CONNECTION_MS);
    loop_timer_set(loop, &connection->timer, at_ms);
}

/* ---- bytes out ---- */

static void gather_output(struct receive_connection *connection)
{
    struct buffer *said = receive_session_output(connection->session);
    if (connection->secure != NULL) {
        bool good = said->len == 0 || secure_write(connection->secure, buffer_text(said), said->len) == 0;
        secure_output(connection->secure, &connection->out);
        if (!good)
            connection->out.failed = true;
    } else if (said->len > 0) {
        buffer_append(&connection->out, said->data, said->len);
    }
    buffer_consume(said, said->len);
}

/* All was sent: what was to follow it. */
static void after_output(struct receive_connection *connection)
{
    struct listener *listener = connection->listener;
    if (receive_wants_tls(connection->session) && connection->secure == NULL) {
        connection->secure = secure_create(listener->secure);
        if (connection->secure == NULL)
            receive_connection_close(connection);
    } else if (receive_wants_close(connection->session) && !connection->shut) {
        connection->shut = true;
        if (connection->secure != NULL) {
            secure_close(connection->secure);
            secure_output(connection->secure, &connection->out);
            struct iovec last = {.iov_base = connection->out.data, .iov_len = connection->out.len};
            if (last.iov_len > 0 && stream_write(&connection->stream, &last, 1) < 0)
                connection->out.failed = true;
        }
        /* Closing with unread input would reset the connection and our last words with it. */
        stream_shutdown(&connection->stream);
        loop_timer_set(&listener->loop, &connection->timer, listener->loop.now_ms + LINGER_MS);
    }
}

static void pump(struct receive_connection *connection)
{
    if (connection->closing || connection->shut)
        return;
    gather_output(connection);
    while (connection->out.len > 0 && !connection->stream.want_write && !connection->out.failed) {
        struct iovec piece = {.iov_base = connection->out.data, .iov_len = connection->out.len};
        ssize_t sent = stream_write(&connection->stream, &piece, 1);
        if (sent < 0) {
            receive_connection_close(connection);
            return;
        }
        buffer_consume(&connection->out, (size_t)sent);
    }
    if (connection->out.failed)
        receive_connection_close(connection);
    else if (connection->out.len == 0)
        after_output(connection);
}

/* ---- bytes in ---- */

static void read_secure(struct receive_connection *connection, const char *bytes, size_t len)
{
    char plain[16384];
    ssize_t got = 0;
    bool good = secure_feed(connection->secure, bytes, len);
    if (good && receive_wants_tls(connection->session) && secure_is_open(connection->secure))
        receive_session_secured(connection->session);
    while (good && !connection->closing && !receive_wants_tls(connection->session) &&
           (got = secure_read(connection->secure, plain, sizeof(plain))) > 0)
        receive_session_feed(connection->session, plain, (size_t)got);
    if (!good || got < 0) {
        pump(connection); /* an alert */
        receive_connection_close(connection);
    }
}

static void on_data(struct stream *stream, const char *bytes, size_t len)
{
    struct receive_connection *connection = container_of(stream, struct receive_connection, stream);
    if (connection->shut || connection->closing)
        return; /* read and dropped, until the client has seen the end */
    if (connection->secure != NULL)
        read_secure(connection, bytes, len);
    else
        receive_session_feed(connection->session, bytes, len);
    if (connection->closing)
        return;
    touch(connection);
    pump(connection);
}

static void on_writable(struct stream *stream)
{
    pump(container_of(stream, struct receive_connection, stream));
}

static void on_ended(struct stream *stream, int status)
{
    (void)status;
    receive_connection_close(container_of(stream, struct receive_connection, stream));
}

static void on_connected(struct stream *stream, int status)
{
    (void)stream, (void)status; /* accepted ones are */
}

static const struct stream_events events = {
    .connected = on_connected, .data = on_data, .writable = on_writable, .ended = on_ended, .closed = on_closed};

/* ---- mails ---- */

void receive_connection_hand_over(void *context, struct receive_session *session)
{
    struct listener *listener = context;
    struct receive_connection *connection = receive_session_owner(session);
    struct receive_mail *mail = calloc(1, sizeof(*mail));
    if (mail == NULL) { /* answered at once would be within the call: the connection is lost instead, and mail is not */
        receive_connection_close(connection);
        return;
    }
    list_init(&mail->node);
    receive_content_take(session, &mail->content);
    mail->budget_bytes = mail->content.data.len;
    mail->listener = listener;
    mail->connection = connection;
    mail->encrypted = connection->secure != NULL;
    char text[STREAM_ADDRESS_TEXT_BYTES];
    (void)str_copy(mail->client, sizeof(mail->client), stream_address_text(&connection->peer, text));
    connection->mail = mail;
    atomic_fetch_add(&listener->mails, 1);
    atomic_fetch_add(&listener->unanswered, 1);
    listener->callbacks.mail(listener->callbacks.context, mail);
}

void receive_connection_answer(struct listener *listener, struct receive_mail *mail)
{
    struct receive_connection *connection = mail->connection;
    enum receive_answer answer = mail->answer;
    receive_budget_return(&listener->budget, mail->budget_bytes);
    receive_content_finish(&mail->content);
    free(mail);
    atomic_fetch_sub(&listener->unanswered, 1);
    if (connection == NULL) {
        listener_maybe_end(listener);
        return;
    }
    connection->mail = NULL;
    receive_session_answer(connection->session, answer);
    if (listener->ending)
        receive_session_end(connection->session, "4.3.2 going down");
    if (connection->closing)
        return;
    touch(connection);
    pump(connection);
}

/* ---- birth, and the end of the listener ---- */

int receive_connection_open(struct listener *listener, int fd, const struct stream_address *peer)
{
    struct receive_connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL || (connection->session = receive_session_create(&listener->settings, connection)) == NULL ||
        loop_timer_add(&listener->loop, &connection->timer, on_time) != 0) {
        if (connection != NULL)
            receive_session_free(connection->session);
        free(connection);
        return -ENOMEM;
    }
    connection->listener = listener;
    connection->peer = *peer;
    connection->out = BUFFER_INIT(OUTPUT_BYTES);
    connection->began_ms = listener->loop.now_ms;
    if (stream_adopt(&connection->stream, &listener->loop, fd, &events) < 0) {
        loop_timer_remove(&listener->loop, &connection->timer);
        connection_free(connection);
        return 0;
    }
    list_append(&listener->connections, &connection->node);
    listener->count++;
    atomic_store(&listener->open, listener->count);
    atomic_fetch_add(&listener->total, 1);
    touch(connection);
    pump(connection);
    return 0;
}

void receive_connection_end(struct receive_connection *connection)
{
    if (receive_is_waiting(connection->session))
        return; /* its answer comes first */
    receive_session_end(connection->session, "4.3.2 going down");
    pump(connection);
}
