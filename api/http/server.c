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

#include "api/http/exchange.h"
#include "api/http/spare.h"
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
    spare_stop(server->spare);
    (void)close(server->listen_fd);
    front_stop(&server->front);
    front_stop(&server->next);
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
    *server = (struct http_server){
        .app = app, .listen_fd = listen_fd, .routes = routes, .route_count = route_count, .starter = pthread_self()};
    int rc = watch_start(&server->watch, err);
    if (rc == 0)
        rc = front_load(&server->front, app->config->tls_cert, app->config->tls_key, err);
    if (rc == 0 && (server->throttle = throttle_create(app->config->api_rate)) == NULL)
        rc = error_memory(err);
    if (rc == 0)
        rc = front_start(&server->front, server, listen_fd, err);
    if (rc == 0)
        rc = spare_start(listen_fd, &server->spare, err);
    if (rc != 0) {
        free_server(server);
        return rc;
    }
    *out = server;
    return 0;
}

int http_server_check(struct http_server *server, struct error *err)
{
    front_stop(&server->next);
    int rc = front_load(&server->next, server->app->config->tls_cert, server->app->config->tls_key, err);
    bool same = rc == 0 && front_same(&server->next, &server->front);
    if (rc == 0 && !same)
        rc = front_check(&server->next, server, err);
    if (rc != 0 || same)
        front_stop(&server->next);
    return rc;
}

int http_files_check(const struct config *config, struct error *err)
{
    struct http_server *server = calloc(1, sizeof(*server)); /* for the library's words; it listens nowhere */
    if (server == NULL)
        return error_memory(err);
    server->starter = pthread_self();
    int rc = front_load(&server->next, config->tls_cert, config->tls_key, err);
    if (rc == 0 && server->next.certificate != NULL)
        rc = front_check(&server->next, server, err);
    front_stop(&server->next);
    free(server);
    return rc;
}

/* The place of a front that nobody is connected to any more; NULL: there is none. */
static struct front *free_place(struct http_server *server)
{
    struct front *place = NULL;
    for (size_t i = 0; i < FRONTS_FORMER; i++) {
        if (!front_is_idle(&server->former[i]))
            continue;
        front_stop(&server->former[i]);
        place = &server->former[i];
    }
    return place;
}

static int renew(struct http_server *server, struct error *err)
{
    struct front *place = free_place(server);
    if (server->next.certificate == NULL)
        return 0;
    if (place == NULL)
        return error_set(err, -EBUSY, "clients of the last %d certificates are still connected", FRONTS_FORMER);
    int rc = front_start(&server->next, server, server->listen_fd, err);
    if (rc != 0)
        return rc;
    front_retire(&server->front);
    *place = server->front;
    server->front = server->next;
    server->next = (struct front){0};
    log_info("http", "certificate_renewed file=%s", LOG_QUOTE(server->app->config->tls_cert));
    return 0;
}

void http_server_reload(struct http_server *server, const struct config *config)
{
    struct error err = {""};
    throttle_set(server->throttle, config->api_rate);
    if (renew(server, &err) != 0)
        log_error("http", "the certificate was not renewed, the one before is still shown: %s", err.text);
    front_stop(&server->next);
}

void http_server_stop(struct http_server *server)
{
    if (server != NULL)
        free_server(server);
}
