/*
 * server.c - opens the socket and runs libmicrohttpd behind it.
 *
 * The socket is made here and not by the library, so that "address in use" is told before anything else of the program
 * has started, and so that port 0 can be told apart from the port that the system chose.
 */
#include "api/http/server.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/http/acceptor.h"
#include "api/http/exchange.h"
#include "api/http/throttle.h"
#include "base/log.h"
#include "base/str.h"

#define IDLE_TIMEOUT_S 60u
#define PEM_MAX_BYTES (1 << 20)
static char TLS_PRIORITIES[] =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"; /* GnuTLS's language; the library takes no const */

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

static void library_log(void *context, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void library_log(void *context, const char *format, va_list args)
{
    char text[256];
    struct http_server *server = context;
    bool ours = pthread_equal(pthread_self(), server->starter);
    if ((log_get_level() < LOG_LEVEL_DEBUG && !ours) || vsnprintf(text, sizeof(text), format, args) < 0)
        return;
    str_make_line(text);
    if (ours)
        (void)str_copy(server->library_error.text, sizeof(server->library_error.text), text);
    log_debug("http", "library text=%s", LOG_QUOTE(text));
}

/* A quarter of the descriptors: the rest is for sending. */
static unsigned connections_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur / 4 >= HTTP_CONNECTIONS_MAX)
        return HTTP_CONNECTIONS_MAX;
    return MAX_OF((unsigned)(limit.rlim_cur / 4), HTTP_THREADS);
}

/*
 * The acceptor keeps the limit of connections. The library's own is never reached: it counts each thread's connections
 * when the thread takes them over, and one that then turns out to be too many leaves the thread's lock taken (0.9.75).
 */
static struct MHD_Daemon *start_daemon(struct http_server *server)
{
    bool tls = server->certificate != NULL;
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)library_log, server},
        {MHD_OPTION_THREAD_POOL_SIZE, HTTP_THREADS, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)(connections_max() * HTTP_THREADS * 2), NULL},
        {MHD_OPTION_PER_IP_CONNECTION_LIMIT, HTTP_CONNECTIONS_PER_IP_MAX, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)HTTP_HEAD_MAX_BYTES, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, IDLE_TIMEOUT_S, NULL},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
        {MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, NULL},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)exchange_create, server},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)exchange_connection, server},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)exchange_end, server},
        /* The last ones are left out without TLS. */
        {tls ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, server->certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, server->key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, TLS_PRIORITIES},
        {MHD_OPTION_END, 0, NULL},
    };
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC | MHD_USE_ERROR_LOG |
                     MHD_ALLOW_SUSPEND_RESUME | (tls ? (unsigned)MHD_USE_TLS : 0u);
    return MHD_start_daemon(flags, 0, NULL, NULL, exchange_step, server, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
}

static int read_pem(const char *path, const char *what, char **out, struct error *err)
{
    struct buffer text = BUFFER_INIT(PEM_MAX_BYTES);
    char piece[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, -errno, "%s: cannot read %s", what, path);
    ssize_t n;
    while ((n = read(fd, piece, sizeof(piece))) > 0 && !text.failed)
        buffer_append(&text, piece, (size_t)n);
    int rc = n < 0 ? error_errno(err, -errno, "%s: cannot read %s", what, path) : 0;
    (void)close(fd);
    if (rc == 0 && (text.failed || strstr(buffer_text(&text), "-----BEGIN ") == NULL))
        rc = error_set(err, -EINVAL, "%s: %s is not a PEM file of at most %d bytes", what, path, PEM_MAX_BYTES);
    if (rc == 0 && (*out = buffer_steal(&text, NULL)) == NULL)
        rc = error_memory(err);
    buffer_finish(&text);
    return rc;
}

static int load_tls(struct http_server *server, const struct config *config, struct error *err)
{
    if (config->tls_cert[0] == '\0')
        return 0;
    if (MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
        return error_set(err, -ENOSYS,
                         "tls_cert: this libmicrohttpd was built without TLS; put a proxy in front of it");
    int rc = read_pem(config->tls_cert, "tls_cert", &server->certificate, err);
    return rc == 0 ? read_pem(config->tls_key, "tls_key", &server->key, err) : rc;
}

static void free_server(struct http_server *server)
{
    watch_stop(server->watch);
    throttle_free(server->throttle);
    free(server->certificate);
    if (server->key != NULL)
        explicit_bzero(server->key, strlen(server->key));
    free(server->key);
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
        rc = load_tls(server, app->config, err);
    if (rc == 0 && (server->throttle = throttle_create(app->config->api_rate)) == NULL)
        rc = error_memory(err);
    if (rc == 0) {
        server->daemon = start_daemon(server);
        if (server->daemon == NULL)
            rc = error_set(err, -EIO, "the HTTP server did not start%s%s%s",
                           server->certificate != NULL ? " (do tls_cert and tls_key belong together?)" : "",
                           server->library_error.text[0] != '\0' ? ": " : "", server->library_error.text);
    }
    if (rc == 0)
        rc = acceptor_start(server->daemon, listen_fd, connections_max(), &server->acceptor, err);
    if (rc != 0) {
        (void)close(listen_fd);
        if (server->daemon != NULL)
            MHD_stop_daemon(server->daemon);
        free_server(server);
        return rc;
    }
    *out = server;
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
    MHD_stop_daemon(server->daemon);
    free_server(server);
}
