/*
 * server.h - a receiver on a real loopback socket: one thread, many connections, each a model of receiver.h.
 */
#ifndef POSTHASTE_TESTS_UNIT_ENGINE_SERVER_H
#define POSTHASTE_TESTS_UNIT_ENGINE_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/engine/receiver.h"

#define SERVER_CONNECTIONS_MAX 32

struct server {
    /* set before server_start() */
    const char *greeting;                    /* NULL = "220 model"; "" = never says anything */
    const char *after_ehlo;                  /* see struct receiver */
    uint32_t places;                         /* after_ehlo is for connections beyond so many */
    bool pipelining, chunking, mute_content; /* mute: never answers the end of a content */
    uint32_t trouble, messages_per_connection;
    int64_t patience_ms; /* who has said no MAIL until then is closed; 0 = waits for ever */
    /* kept by its thread, read after server_stop() */
    uint32_t taken[4096];
    int64_t taken_us[4096];
    uint32_t connections, connections_most;
    struct sockaddr_in peer; /* of the last connection */
    const char *violation;
    /* read at any time */
    atomic_uint begun;    /* transactions: RCPT accepted */
    atomic_uint accepted; /* connections */
    uint16_t port;
    /* its own */
    int listener;
    atomic_bool stop;
    pthread_t thread;
    uint64_t seed;
    int64_t since_ms[SERVER_CONNECTIONS_MAX + 1];
};

static inline void server_answer(struct server *server, struct receiver *r, int fd)
{
    bool was_open = r->rcpt_ok;
    receiver_work(r, server->mute_content ? 1 : 1000);
    if (!was_open && r->rcpt_ok)
        atomic_fetch_add(&server->begun, 1);
    if (r->out.len > 0)
        (void)!send(fd, r->out.data, r->out.len, MSG_NOSIGNAL);
    buffer_clear(&r->out);
}

static inline void server_accept(struct server *server, struct pollfd *fds, struct receiver *models)
{
    socklen_t len = sizeof server->peer;
    int fd = accept(server->listener, (struct sockaddr *)&server->peer, &len);
    if (fd < 0)
        return;
    for (size_t i = 1; i <= SERVER_CONNECTIONS_MAX; i++) {
        if (fds[i].fd >= 0)
            continue;
        fds[i] = (struct pollfd){.fd = fd, .events = POLLIN};
        models[i] = (struct receiver){.seed = &server->seed,
                                      .pipelining = server->pipelining,
                                      .chunking = server->chunking,
                                      .trouble = server->trouble,
                                      .after_ehlo = server->connections >= server->places ? server->after_ehlo : NULL,
                                      .count = countof(server->taken),
                                      .taken = server->taken,
                                      .taken_us = server->taken_us};
        server->since_ms[i] = clock_monotonic_ms();
        atomic_fetch_add(&server->accepted, 1);
        server->connections++;
        server->connections_most = MAX_OF(server->connections_most, server->connections);
        const char *greeting = server->greeting != NULL ? server->greeting : "220 model";
        if (greeting[0] != '\0')
            receiver_say(&models[i], greeting);
        server_answer(server, &models[i], fd);
        return;
    }
    (void)close(fd);
}

static inline void server_close(struct server *server, struct pollfd *slot, struct receiver *r)
{
    if (server->violation == NULL)
        server->violation = r->violation;
    (void)close(slot->fd);
    slot->fd = -1;
    server->connections--;
    buffer_finish(&r->in);
    buffer_finish(&r->out);
    buffer_finish(&r->content);
}

static inline void server_serve(struct server *server, struct pollfd *slot, struct receiver *r)
{
    char bytes[16384];
    ssize_t got = recv(slot->fd, bytes, sizeof bytes, 0);
    bool over = got <= 0;
    if (got > 0) {
        buffer_append(&r->in, bytes, (size_t)got);
        while (r->in.len > 0 && !r->closed &&
               !(server->mute_content && r->rcpt_ok && (r->in_data || r->chunk_left > 0))) {
            size_t before = r->in.len;
            server_answer(server, r, slot->fd);
            if (r->in.len == before)
                break;
        }
        over = r->closed;
    }
    if (over)
        server_close(server, slot, r);
}

static inline void *server_run(void *context)
{
    struct server *server = context;
    struct pollfd fds[SERVER_CONNECTIONS_MAX + 1];
    struct receiver *models = calloc(SERVER_CONNECTIONS_MAX + 1, sizeof *models);
    assure(models != NULL);
    for (size_t i = 0; i <= SERVER_CONNECTIONS_MAX; i++)
        fds[i] = (struct pollfd){.fd = -1};
    fds[0] = (struct pollfd){.fd = server->listener, .events = POLLIN};
    while (!atomic_load(&server->stop)) {
        (void)poll(fds, SERVER_CONNECTIONS_MAX + 1, 20);
        /* Ends before beginnings, as they came. */
        for (size_t i = 1; i <= SERVER_CONNECTIONS_MAX; i++) {
            if (fds[i].fd >= 0 && fds[i].revents != 0)
                server_serve(server, &fds[i], &models[i]);
            if (fds[i].fd >= 0 && server->patience_ms > 0 && !models[i].mail_open &&
                clock_monotonic_ms() - server->since_ms[i] > server->patience_ms)
                server_close(server, &fds[i], &models[i]);
        }
        if (fds[0].revents != 0)
            server_accept(server, fds, models);
    }
    for (size_t i = 1; i <= SERVER_CONNECTIONS_MAX; i++) {
        if (fds[i].fd < 0)
            continue;
        (void)close(fds[i].fd);
        buffer_finish(&models[i].in);
        buffer_finish(&models[i].out);
        buffer_finish(&models[i].content);
    }
    free(models);
    return NULL;
}

ATTR_UNUSED static void server_start(struct server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(server->listener >= 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(server->listener, 64), 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &len), 0);
    server->port = ntohs(address.sin_port);
    server->seed = 4711;
    assert_int_equal(pthread_create(&server->thread, NULL, server_run, server), 0);
}

ATTR_UNUSED static void server_stop(struct server *server)
{
    atomic_store(&server->stop, true);
    (void)pthread_join(server->thread, NULL);
    (void)close(server->listener);
}

#endif
