/*
 * server.c - opens the socket and runs libmicrohttpd behind it.
 *
 * The socket is made here and not by the library, so that "address in use" is told before anything else of the program
 * has started, and so that port 0 can be told apart from the port that the system chose.
 */
#include "api/http/server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/http/acceptor.h"
#include "api/http/exchange.h"
#include "api/http/throttle.h"
#include "base/log.h"
#include "base/str.h"

static int bind_address(const struct addrinfo *address, int *fd)
{
    int one = 1;
    int made = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (made < 0)
        return -errno;
    if (setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(made, address->ai_addr, address->ai_addrlen) != 0 || listen(made, 256) != 0) {
        int rc = -errno;
        (void)close(made);
        return rc;
    }
    *fd = made;
    return 0;
}

static int real_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        return -errno;
    if (address.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
    return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

int http_listen(const struct config *config, int *fd, char url[HTTP_URL_BYTES], struct error *err)
{
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", (unsigned)config->listen_port);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *addresses = NULL;
    int rc = getaddrinfo(config->listen_host, port, &hints, &addresses);
    if (rc != 0)
        return error_set(err, -EINVAL, "cannot listen on %s:%s: %s", config->listen_host, port, gai_strerror(rc));
    rc = -EADDRNOTAVAIL;
    for (const struct addrinfo *at = addresses; at != NULL && rc != 0; at = at->ai_next)
        rc = bind_address(at, fd);
    freeaddrinfo(addresses);
    if (rc == -EADDRINUSE)
        return error_set(
            err, rc,
            "cannot listen on %s:%s: the port is in use by another program (see `listen` in the configuration)",
            config->listen_host, port);
    if (rc != 0)
        return error_errno(err, rc, "cannot listen on %s:%s", config->listen_host, port);
    int chosen = real_port(*fd);
    if (chosen < 0) {
        (void)close(*fd);
        return error_errno(err, chosen, "cannot listen on %s:%s", config->listen_host, port);
    }
    bool literal6 = strchr(config->listen_host, ':') != NULL;
    (void)snprintf(url, HTTP_URL_BYTES, literal6 ? "%s://[%s]:%d" : "%s://%s:%d",
                   config->tls_cert[0] != '\0' ? "https" : "http", config->listen_host, chosen);
    return 0;
}

static void free_server(struct http_server *server)
{
    front_stop(&server->front);
    for (size_t i = 0; i < FRONTS_FORMER; i++)
        front_stop(&server->former[i]);
    watch_stop(server->watch);
    throttle_free(server->throttle);
    free(server);
}

int http_server_start(struct app *app, int listen_fd, const struct route *routes, size_t route_count,
                      struct http_server **out, struct error *err)
{
    struct http_server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        (void)close(listen_fd);
        return error_memory(err);
    }
    *server = (struct http_server){.app = app, .routes = routes, .route_count = route_count, .starter = pthread_self()};
    int rc = watch_start(&server->watch, err);
    if (rc == 0)
        rc = front_load(&server->front, app->config->tls_cert, app->config->tls_key, err);
    if (rc == 0 && (server->throttle = throttle_create(app->config->api_rate)) == NULL)
        rc = error_memory(err);
    if (rc == 0)
        rc = front_start(&server->front, server, err);
    if (rc == 0)
        rc = acceptor_start(server->front.daemon, listen_fd, front_connections_max(), &server->acceptor, err);
    if (rc != 0) {
        (void)close(listen_fd);
        free_server(server);
        return rc;
    }
    *out = server;
    return 0;
}

/* A place for the front that goes; NULL: people are still connected to all that went before. */
static struct front *former_place(struct http_server *server)
{
    for (size_t i = 0; i < FRONTS_FORMER; i++) {
        if (front_is_idle(&server->former[i])) {
            front_stop(&server->former[i]);
            return &server->former[i];
        }
    }
    return NULL;
}

int http_server_renew(struct http_server *server, struct error *err)
{
    struct front next;
    int rc = front_load(&next, server->app->config->tls_cert, server->app->config->tls_key, err);
    if (rc != 0)
        return rc;
    struct front *place = front_same(&next, &server->front) ? NULL : former_place(server);
    if (place == NULL) {
        if (!front_same(&next, &server->front))
            rc = error_set(err, -EBUSY,
                           "tls_cert: clients of the last %d certificates are still connected; try again"
                           " when they have gone",
                           FRONTS_FORMER);
        front_stop(&next);
        return rc;
    }
    rc = front_start(&next, server, err);
    if (rc != 0) {
        front_stop(&next);
        return rc;
    }
    acceptor_switch(server->acceptor, next.daemon);
    *place = server->front;
    server->front = next;
    log_info("http", "certificate_renewed file=%s", LOG_QUOTE(server->app->config->tls_cert));
    return 0;
}

void http_server_reload(struct http_server *server, const struct config *config)
{
    throttle_set(server->throttle, config->api_rate);
}

void http_server_stop(struct http_server *server)
{
    if (server == NULL)
        return;
    acceptor_stop(server->acceptor);
    free_server(server);
}
