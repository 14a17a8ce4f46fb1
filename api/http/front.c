/*
 * front.c - see front.h.
 */
#include "api/http/front.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/http/exchange.h"
#include "base/log.h"
#include "base/str.h"

#define IDLE_TIMEOUT_S 60u
#define PEM_MAX_BYTES (1 << 20)
static char TLS_PRIORITIES[] =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"; /* GnuTLS's language; the library takes no const */

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
static intptr_t connections_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur / 4 >= HTTP_CONNECTIONS_MAX)
        return HTTP_CONNECTIONS_MAX;
    return MAX_OF((intptr_t)(limit.rlim_cur / 4), (intptr_t)HTTP_THREADS);
}

/* The library closes the socket when it fails. listen_fd < 0: none. */
static struct MHD_Daemon *start_daemon(const struct front *front, struct http_server *server, int listen_fd)
{
    bool tls = front->certificate != NULL;
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)library_log, server},
        {MHD_OPTION_THREAD_POOL_SIZE, HTTP_THREADS, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, connections_max(), NULL},
        {MHD_OPTION_PER_IP_CONNECTION_LIMIT, HTTP_CONNECTIONS_PER_IP_MAX, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)HTTP_HEAD_MAX_BYTES, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, IDLE_TIMEOUT_S, NULL},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
        {MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, NULL},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)exchange_create, server},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)exchange_connection, server},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)exchange_end, server},
        /* The last ones are left out without TLS. */
        {tls ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, front->certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, front->key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, TLS_PRIORITIES},
        {MHD_OPTION_END, 0, NULL},
    };
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME |
                     (tls ? (unsigned)MHD_USE_TLS : 0u) | (listen_fd < 0 ? (unsigned)MHD_USE_NO_LISTEN_SOCKET : 0u);
    server->library_error.text[0] = '\0';
    return listen_fd < 0 ? MHD_start_daemon(flags, 0, NULL, NULL, exchange_step, server, MHD_OPTION_ARRAY, options,
                                            MHD_OPTION_END)
                         : MHD_start_daemon(flags, 0, NULL, NULL, exchange_step, server, MHD_OPTION_LISTEN_SOCKET,
                                            listen_fd, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
}

static int refused(const struct front *front, const struct http_server *server, struct error *err)
{
    return error_set(err, -EIO, "the HTTP server did not start%s%s%s",
                     front->certificate != NULL ? " (do tls_cert and tls_key belong together?)" : "",
                     server->library_error.text[0] != '\0' ? ": " : "", server->library_error.text);
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

int front_load(struct front *front, const char *cert_file, const char *key_file, struct error *err)
{
    *front = (struct front){0};
    if (cert_file[0] == '\0')
        return 0;
    if (MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
        return error_set(err, -ENOSYS,
                         "tls_cert: this libmicrohttpd was built without TLS; put a proxy in front of it");
    int rc = read_pem(cert_file, "tls_cert", &front->certificate, err);
    if (rc == 0)
        rc = read_pem(key_file, "tls_key", &front->key, err);
    if (rc != 0)
        front_stop(front);
    return rc;
}

bool front_same(const struct front *a, const struct front *b)
{
    if (a->certificate == NULL || b->certificate == NULL)
        return a->certificate == b->certificate;
    return strcmp(a->certificate, b->certificate) == 0 && strcmp(a->key, b->key) == 0;
}

int front_check(const struct front *front, struct http_server *server, struct error *err)
{
    struct MHD_Daemon *daemon = start_daemon(front, server, -1);
    if (daemon == NULL)
        return refused(front, server, err);
    MHD_stop_daemon(daemon);
    return 0;
}

int front_start(struct front *front, struct http_server *server, int listen_fd, struct error *err)
{
    int own = fcntl(listen_fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return error_errno(err, -errno, "the HTTP server did not start");
    front->daemon = start_daemon(front, server, own);
    return front->daemon != NULL ? 0 : refused(front, server, err);
}

void front_retire(struct front *front)
{
    int own = MHD_quiesce_daemon(front->daemon);
    if (own >= 0)
        (void)close(own);
}

bool front_is_idle(const struct front *front)
{
    const union MHD_DaemonInfo *info =
        front->daemon == NULL ? NULL : MHD_get_daemon_info(front->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info == NULL || info->num_connections == 0;
}

void front_stop(struct front *front)
{
    if (front->daemon != NULL)
        MHD_stop_daemon(front->daemon);
    free(front->certificate);
    if (front->key != NULL)
        explicit_bzero(front->key, strlen(front->key));
    free(front->key);
    *front = (struct front){0};
}
