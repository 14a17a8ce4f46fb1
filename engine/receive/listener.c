/*
 * listener.c - the listening socket, its connections, their time, and the way of a mail to its user and of the answer
 * back.
 *
 * A connection lives until its socket is closed and, if a mail of it is with the user, until that was answered: the
 * mail points to the connection, and forgets it when the connection goes first. Time is bounded twice: `timeout`
 * between two pieces of input, and CONNECTION_MS in all, so that one byte a minute buys nobody a place for ever.
 */
#include "engine/receive/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/inbox.h"
#include "base/log.h"
#include "base/str.h"
#include "engine/net/stream.h"
#include "engine/receive/secure.h"

#define BACKLOG 128
#define ACCEPTS_A_TURN 64
#define CONNECTION_MS ((int64_t)30 * 60 * 1000)
#define LINGER_MS 5000                   /* for the client to take our last words */
#define BUDGET_BYTES ((size_t)64 << 20)  /* contents in memory, all connections together */
#define OUTPUT_BYTES ((size_t)256 << 10) /* of one connection, encrypted */

struct listener {
    const struct config *config;
    struct listener_callbacks callbacks;
    struct receive_settings settings;
    struct receive_budget budget;
    struct secure_context *secure;
    struct loop loop;
    struct inbox inbox; /* receive_mail.node: answered */
    pthread_t thread;
    uv_poll_t poll;
    int listen_fd, spare_fd;
    uint16_t port;
    bool listening, ending;
    struct list connections;
    size_t count;
    struct loop_timer deadline;
    _Atomic int64_t deadline_ms; /* how long the end may take; set before `stopping` */
    atomic_bool stopping;
    atomic_uint_fast64_t total, refused, mails, open, unanswered;
};

struct connection {
    struct list node;
    struct listener *listener;
    struct stream stream;
    struct stream_address peer;
    struct receive_session *session;
    struct secure *secure;
    struct buffer out; /* for the socket */
    struct loop_timer timer;
    int64_t began_ms;
    struct receive_mail *mail; /* with the user */
    bool closing, shut;
};

/* ---- a connection's life ---- */

static void connection_free(struct connection *connection)
{
    receive_session_free(connection->session);
    secure_free(connection->secure);
    buffer_finish(&connection->out);
    free(connection);
}

static void maybe_end(struct listener *listener)
{
    if (!listener->ending || listener->count > 0 || atomic_load(&listener->unanswered) > 0 || listener->loop.stopping)
        return;
    loop_timer_remove(&listener->loop, &listener->deadline);
    loop_stop(&listener->loop);
}

static void on_closed(struct stream *stream)
{
    struct connection *connection = container_of(stream, struct connection, stream);
    struct listener *listener = connection->listener;
    list_remove(&connection->node);
    listener->count--;
    atomic_store(&listener->open, listener->count);
    connection_free(connection);
    maybe_end(listener);
}

static void close_now(struct connection *connection)
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
    struct connection *connection = container_of(timer, struct connection, timer);
    close_now(connection);
}

static void touch(struct connection *connection)
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

static void gather_output(struct connection *connection)
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
static void after_output(struct connection *connection)
{
    struct listener *listener = connection->listener;
    if (receive_wants_tls(connection->session) && connection->secure == NULL) {
        connection->secure = secure_create(listener->secure);
        if (connection->secure == NULL)
            close_now(connection);
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

static void pump(struct connection *connection)
{
    if (connection->closing || connection->shut)
        return;
    gather_output(connection);
    while (connection->out.len > 0 && !connection->stream.want_write && !connection->out.failed) {
        struct iovec piece = {.iov_base = connection->out.data, .iov_len = connection->out.len};
        ssize_t sent = stream_write(&connection->stream, &piece, 1);
        if (sent < 0) {
            close_now(connection);
            return;
        }
        buffer_consume(&connection->out, (size_t)sent);
    }
    if (connection->out.failed)
        close_now(connection);
    else if (connection->out.len == 0)
        after_output(connection);
}

/* ---- bytes in ---- */

static void read_secure(struct connection *connection, const char *bytes, size_t len)
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
        close_now(connection);
    }
}

static void on_data(struct stream *stream, const char *bytes, size_t len)
{
    struct connection *connection = container_of(stream, struct connection, stream);
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
    pump(container_of(stream, struct connection, stream));
}

static void on_ended(struct stream *stream, int status)
{
    (void)status;
    close_now(container_of(stream, struct connection, stream));
}

static void on_connected(struct stream *stream, int status)
{
    (void)stream, (void)status; /* accepted ones are */
}

static const struct stream_events events = {
    .connected = on_connected, .data = on_data, .writable = on_writable, .ended = on_ended, .closed = on_closed};

/* ---- mails ---- */

static bool ask_recipient(void *context, const char *address)
{
    struct listener *listener = context;
    return listener->callbacks.recipient(listener->callbacks.context, address);
}

static void hand_over(void *context, struct receive_session *session)
{
    struct listener *listener = context;
    struct connection *connection = receive_session_owner(session);
    struct receive_mail *mail = calloc(1, sizeof(*mail));
    if (mail == NULL) { /* answered at once would be within the call: the connection is lost instead, and mail is not */
        close_now(connection);
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

void listener_answer(struct receive_mail *mail, enum receive_answer answer)
{
    struct listener *listener = mail->listener;
    mail->answer = answer;
    int r = inbox_send(&listener->inbox, &mail->node);
    assure(r == 0); /* closed only in listener_free() */
}

static void take_answer(struct listener *listener, struct receive_mail *mail)
{
    struct connection *connection = mail->connection;
    enum receive_answer answer = mail->answer;
    receive_budget_return(&listener->budget, mail->budget_bytes);
    receive_content_finish(&mail->content);
    free(mail);
    atomic_fetch_sub(&listener->unanswered, 1);
    if (connection == NULL) {
        maybe_end(listener);
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

/* ---- accepting ---- */

static bool same_address(const struct stream_address *a, const struct stream_address *b)
{
    const struct sockaddr_in *a4 = (const void *)&a->storage, *b4 = (const void *)&b->storage;
    const struct sockaddr_in6 *a6 = (const void *)&a->storage, *b6 = (const void *)&b->storage;
    if (a->storage.ss_family != b->storage.ss_family)
        return false;
    if (a->storage.ss_family == AF_INET)
        return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
    /* Who has one IPv6 address has the 2^64 beside it; an IPv4 one in its clothes is one of many strangers. */
    bool mapped = IN6_IS_ADDR_V4MAPPED(&a6->sin6_addr);
    return memcmp(&a6->sin6_addr, &b6->sin6_addr, mapped ? 16 : 8) == 0;
}

static bool has_room(const struct listener *listener, const struct stream_address *peer)
{
    const struct config_bounces *limits = &listener->config->bounces;
    uint32_t same = 0;
    if (listener->count >= limits->connections)
        return false;
    list_for_each(node, &listener->connections)
    {
        const struct connection *other = list_entry(node, struct connection, node);
        same += same_address(&other->peer, peer);
    }
    return same < limits->connections_per_address;
}

static void turn_away(struct listener *listener, int fd)
{
    static const char sorry[] = "421 4.7.0 too many connections, try again later\r\n";
    atomic_fetch_add(&listener->refused, 1);
    (void)send(fd, sorry, sizeof(sorry) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)close(fd);
}

static void admit(struct listener *listener, int fd, const struct stream_address *peer)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL || (connection->session = receive_session_create(&listener->settings, connection)) == NULL ||
        loop_timer_add(&listener->loop, &connection->timer, on_time) != 0) {
        if (connection != NULL)
            receive_session_free(connection->session);
        free(connection);
        turn_away(listener, fd);
        return;
    }
    connection->listener = listener;
    connection->peer = *peer;
    connection->out = BUFFER_INIT(OUTPUT_BYTES);
    connection->began_ms = listener->loop.now_ms;
    if (stream_adopt(&connection->stream, &listener->loop, fd, &events) < 0) {
        loop_timer_remove(&listener->loop, &connection->timer);
        connection_free(connection);
        return;
    }
    list_append(&listener->connections, &connection->node);
    listener->count++;
    atomic_store(&listener->open, listener->count);
    atomic_fetch_add(&listener->total, 1);
    touch(connection);
    pump(connection);
}

/* No descriptor is left: with the one kept for this the client is told, or the socket would stay readable for ever. */
static int accept_with_spare(struct listener *listener)
{
    if (listener->spare_fd >= 0)
        (void)close(listener->spare_fd);
    int fd = accept4(listener->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        turn_away(listener, fd);
    listener->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return -1;
}

static void on_acceptable(uv_poll_t *poll, int status, int what)
{
    struct listener *listener = poll->data;
    (void)what;
    for (int i = 0; i < ACCEPTS_A_TURN && status == 0 && !listener->ending; i++) {
        struct stream_address peer = {.len = sizeof(peer.storage)};
        int fd =
            accept4(listener->listen_fd, (struct sockaddr *)&peer.storage, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE))
            fd = accept_with_spare(listener);
        if (fd < 0)
            return;
        if (has_room(listener, &peer))
            admit(listener, fd, &peer);
        else
            turn_away(listener, fd);
    }
}

/* ---- the thread ---- */

static void on_listener_closed(uv_handle_t *handle)
{
    (void)handle;
}

static void stop_listening(struct listener *listener)
{
    if (!listener->listening)
        return;
    listener->listening = false;
    uv_close((uv_handle_t *)&listener->poll, on_listener_closed);
    (void)close(listener->listen_fd);
    listener->listen_fd = -1;
}

static void on_deadline(struct loop_timer *timer)
{
    struct listener *listener = container_of(timer, struct listener, deadline);
    list_for_each_safe(node, &listener->connections) close_now(list_entry(node, struct connection, node));
    maybe_end(listener);
}

static void begin_end(struct listener *listener)
{
    listener->ending = true;
    stop_listening(listener);
    list_for_each_safe(node, &listener->connections)
    {
        struct connection *connection = list_entry(node, struct connection, node);
        if (receive_is_waiting(connection->session))
            continue; /* its answer comes first */
        receive_session_end(connection->session, "4.3.2 going down");
        pump(connection);
    }
    loop_timer_set(&listener->loop, &listener->deadline, listener->loop.now_ms + atomic_load(&listener->deadline_ms));
    maybe_end(listener);
}

static void on_wake(void *context)
{
    struct listener *listener = context;
    struct list answered = LIST_INIT(answered);
    struct list *node;
    (void)inbox_take(&listener->inbox, &answered);
    while ((node = list_take_first(&answered)) != NULL)
        take_answer(listener, list_entry(node, struct receive_mail, node));
    if (atomic_load(&listener->stopping) && !listener->ending)
        begin_end(listener);
}

static void on_turn(void *context)
{
    (void)context;
}

static void wake(void *context)
{
    loop_wake(&((struct listener *)context)->loop);
}

static void *run(void *context)
{
    struct listener *listener = context;
    (void)pthread_setname_np(pthread_self(), "listener");
    loop_run(&listener->loop);
    return NULL;
}

/* ---- start and stop ---- */

static int bind_socket(struct listener *listener, struct error *err)
{
    const struct config_bounces *bounces = &listener->config->bounces;
    struct stream_address address;
    int one = 1;
    if (stream_address_parse(bounces->listen_host, bounces->listen_port, &address) != 0)
        return error_set(err, -EINVAL, "bounces: listen: %s is not an address", bounces->listen_host);
    listener->listen_fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener->listen_fd < 0)
        return error_errno(err, -errno, "bounces: no socket");
    (void)setsockopt(listener->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(listener->listen_fd, (const struct sockaddr *)&address.storage, address.len) != 0 ||
        listen(listener->listen_fd, BACKLOG) != 0)
        return error_errno(err, -errno, "bounces: cannot listen at %s port %u", bounces->listen_host,
                           (unsigned)bounces->listen_port);
    address.len = sizeof(address.storage);
    if (getsockname(listener->listen_fd, (struct sockaddr *)&address.storage, &address.len) != 0)
        return error_errno(err, -errno, "bounces: no port");
    listener->port = ntohs(((const struct sockaddr_in *)(const void *)&address.storage)->sin_port);
    return 0;
}

static int start_thread(struct listener *listener, struct error *err)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
    int r = pthread_create(&listener->thread, NULL, run, listener);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r != 0 ? error_errno(err, -r, "cannot start the listener's thread") : 0;
}

static int start_loop(struct listener *listener, struct error *err)
{
    const struct loop_events loop_events = {.on_wake = on_wake, .on_turn = on_turn, .context = listener};
    int r = loop_init(&listener->loop, &loop_events, err);
    if (r < 0)
        return r;
    r = inbox_init(&listener->inbox, wake, listener);
    if (r == 0) {
        r = loop_timer_add(&listener->loop, &listener->deadline, on_deadline);
        if (r == 0)
            r = uv_poll_init(&listener->loop.uv, &listener->poll, listener->listen_fd);
        if (r == 0) {
            listener->listening = true;
            listener->poll.data = listener;
            r = uv_poll_start(&listener->poll, UV_READABLE, on_acceptable);
        }
        if (r == 0)
            r = start_thread(listener, err);
        if (r == 0)
            return 0;
        stop_listening(listener);
        inbox_finish(&listener->inbox);
    }
    loop_finish(&listener->loop);
    return err->text[0] != '\0' ? r : error_errno(err, r, "cannot start the listener");
}

int listener_start(const struct config *config, const struct listener_callbacks *callbacks, struct listener **out,
                   struct error *err)
{
    *out = NULL;
    struct listener *listener = calloc(1, sizeof(*listener));
    if (listener == NULL)
        return error_memory(err);
    listener->config = config;
    listener->callbacks = *callbacks;
    listener->listen_fd = -1;
    listener->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    listener->budget.max_bytes = MAX_OF(BUDGET_BYTES, (size_t)config->bounces.message_bytes);
    list_init(&listener->connections);
    int r = 0;
    if (config->bounces.tls_cert[0] != '\0')
        r = secure_context_create(config->bounces.tls_cert, config->bounces.tls_key, &listener->secure, err);
    listener->settings = (struct receive_settings){.hostname = config->hostname,
                                                   .message_bytes = config->bounces.message_bytes,
                                                   .tls = listener->secure != NULL,
                                                   .budget = &listener->budget,
                                                   .context = listener,
                                                   .recipient = ask_recipient,
                                                   .mail = hand_over};
    if (r == 0)
        r = bind_socket(listener, err);
    if (r == 0)
        r = start_loop(listener, err);
    if (r < 0) {
        if (listener->listen_fd >= 0)
            (void)close(listener->listen_fd);
        if (listener->spare_fd >= 0)
            (void)close(listener->spare_fd);
        secure_context_free(listener->secure);
        free(listener);
        return r;
    }
    *out = listener;
    return 0;
}

uint16_t listener_port(const struct listener *listener)
{
    return listener->port;
}

void listener_stop(struct listener *listener, int64_t deadline_ms)
{
    atomic_store(&listener->deadline_ms, deadline_ms);
    atomic_store(&listener->stopping, true);
    loop_wake(&listener->loop);
    (void)pthread_join(listener->thread, NULL);
}

void listener_free(struct listener *listener)
{
    struct list answered = LIST_INIT(answered);
    struct list *node;
    if (listener == NULL)
        return;
    inbox_close(&listener->inbox);
    (void)inbox_take(&listener->inbox, &answered);
    while ((node = list_take_first(&answered)) != NULL)
        take_answer(listener, list_entry(node, struct receive_mail, node));
    assure(atomic_load(&listener->unanswered) == 0);
    inbox_finish(&listener->inbox);
    loop_finish(&listener->loop);
    if (listener->spare_fd >= 0)
        (void)close(listener->spare_fd);
    secure_context_free(listener->secure);
    free(listener);
}

void listener_stats(const struct listener *listener, struct listener_stats *out)
{
    *out = (struct listener_stats){.connections = atomic_load(&listener->total),
                                   .refused_connections = atomic_load(&listener->refused),
                                   .mails = atomic_load(&listener->mails),
                                   .open = atomic_load(&listener->open)};
}
