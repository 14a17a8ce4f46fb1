/*
 * listener.c - the listening socket: who is let in, the thread, start and stop.
 *
 * Connections (connection.c) are counted here, and bounded: in all, and from one address.
 */
#include "engine/receive/listener_private.h"

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
#define BUDGET_BYTES ((size_t)64 << 20) /* contents in memory, all connections together */

/* ---- what connections ask of it ---- */

void listener_maybe_end(struct listener *listener)
{
    if (!listener->ending || listener->count > 0 || atomic_load(&listener->unanswered) > 0 || listener->loop.stopping)
        return;
    loop_timer_remove(&listener->loop, &listener->deadline);
    loop_stop(&listener->loop);
}

static bool ask_recipient(void *context, const char *address)
{
    struct listener *listener = context;
    return listener->callbacks.recipient(listener->callbacks.context, address);
}

void listener_answer(struct receive_mail *mail, enum receive_answer answer)
{
    struct listener *listener = mail->listener;
    mail->answer = answer;
    int r = inbox_send(&listener->inbox, &mail->node);
    assure(r == 0); /* closed only in listener_free() */
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
        const struct receive_connection *other = list_entry(node, struct receive_connection, node);
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

/* Sessions under way hold what they need of the former one. */
static void take_renewed(struct listener *listener)
{
    struct secure_context *renewed = atomic_exchange(&listener->renewed, NULL);
    if (renewed == NULL)
        return;
    secure_context_free(listener->secure);
    listener->secure = renewed;
}

static void on_acceptable(uv_poll_t *poll, int status, int what)
{
    struct listener *listener = poll->data;
    (void)what;
    loop_refresh(&listener->loop);
    take_renewed(listener);
    for (int i = 0; i < ACCEPTS_A_TURN && status == 0 && !listener->ending; i++) {
        struct stream_address peer = {.len = sizeof(peer.storage)};
        int fd =
            accept4(listener->listen_fd, (struct sockaddr *)&peer.storage, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE))
            fd = accept_with_spare(listener);
        if (fd < 0)
            return;
        if (!has_room(listener, &peer) || receive_connection_open(listener, fd, &peer) != 0)
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
    list_for_each_safe(node, &listener->connections)
        receive_connection_close(list_entry(node, struct receive_connection, node));
    listener_maybe_end(listener);
}

static void begin_end(struct listener *listener)
{
    listener->ending = true;
    stop_listening(listener);
    list_for_each_safe(node, &listener->connections)
        receive_connection_end(list_entry(node, struct receive_connection, node));
    loop_timer_set(&listener->loop, &listener->deadline, listener->loop.now_ms + atomic_load(&listener->deadline_ms));
    listener_maybe_end(listener);
}

static void on_wake(void *context)
{
    struct listener *listener = context;
    struct list answered = LIST_INIT(answered);
    struct list *node;
    (void)inbox_take(&listener->inbox, &answered);
    while ((node = list_take_first(&answered)) != NULL)
        receive_connection_answer(listener, list_entry(node, struct receive_mail, node));
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

static int read_certificate(const struct listener *listener, struct secure_context **out, struct error *err)
{
    const struct config_bounces *bounces = &listener->config->bounces;
    *out = NULL;
    return bounces->tls_cert[0] == '\0' ? 0 : secure_context_create(bounces->tls_cert, bounces->tls_key, out, err);
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
    int r = read_certificate(listener, &listener->secure, err);
    listener->settings = (struct receive_settings){.hostname = config->hostname,
                                                   .message_bytes = config->bounces.message_bytes,
                                                   .tls = listener->secure != NULL,
                                                   .budget = &listener->budget,
                                                   .context = listener,
                                                   .recipient = ask_recipient,
                                                   .mail = receive_connection_hand_over};
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

int listener_check(const struct listener *listener, struct error *err)
{
    struct secure_context *context;
    int r = read_certificate(listener, &context, err);
    if (r == 0)
        secure_context_free(context);
    return r;
}

void listener_reload(struct listener *listener)
{
    struct secure_context *renewed;
    struct error err = {""};
    if (read_certificate(listener, &renewed, &err) == 0)
        secure_context_free(atomic_exchange(&listener->renewed, renewed));
    else
        log_error("engine", "the listener's certificate was not renewed: %s", err.text);
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
        receive_connection_answer(listener, list_entry(node, struct receive_mail, node));
    assure(atomic_load(&listener->unanswered) == 0);
    inbox_finish(&listener->inbox);
    loop_finish(&listener->loop);
    if (listener->spare_fd >= 0)
        (void)close(listener->spare_fd);
    secure_context_free(listener->secure);
    secure_context_free(atomic_load(&listener->renewed));
    free(listener);
}

void listener_stats(const struct listener *listener, struct listener_stats *out)
{
    *out = (struct listener_stats){.connections = atomic_load(&listener->total),
                                   .refused_connections = atomic_load(&listener->refused),
                                   .mails = atomic_load(&listener->mails),
                                   .open = atomic_load(&listener->open)};
}
