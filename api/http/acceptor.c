/*
 * acceptor.c - see acceptor.h.
 *
 * libmicrohttpd could accept by itself. But when the process has no descriptor left and the worker that tries has no
 * connection of its own, it tries again without a pause for as long as that lasts: a core for nothing, in a program
 * that is waiting for slow servers. Here nobody spins: whoever cannot be let in stays in the kernel's backlog, and is
 * looked after REST_MS later.
 */
#include "api/http/acceptor.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

#define REST_MS 50

struct acceptor {
    pthread_mutex_t lock; /* held while a connection is handed over */
    struct MHD_Daemon *daemon;
    unsigned connections_max;
    int listen_fd, stop_fd;
    pthread_t thread;
};

static bool is_full(struct acceptor *acceptor)
{
    pthread_mutex_lock(&acceptor->lock);
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(acceptor->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    bool full = info != NULL && info->num_connections >= acceptor->connections_max;
    pthread_mutex_unlock(&acceptor->lock);
    return full;
}

/* False: nobody can be let in for a while. */
static bool accept_one(struct acceptor *acceptor)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    int fd = accept4(acceptor->listen_fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) /* a client that has gone again is nobody's trouble */
        return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED;
    /* The library closes it itself when it does not want it: too many from one address, no memory. */
    pthread_mutex_lock(&acceptor->lock);
    enum MHD_Result taken = MHD_add_connection(acceptor->daemon, fd, (struct sockaddr *)&address, len);
    pthread_mutex_unlock(&acceptor->lock);
    if (taken != MHD_YES)
        log_debug("http", "connection_refused");
    return true;
}

static void *acceptor_main(void *context)
{
    struct acceptor *acceptor = context;
    (void)pthread_setname_np(pthread_self(), "acceptor");
    for (bool rest = false;;) {
        struct pollfd wait[] = {{.fd = acceptor->stop_fd, .events = POLLIN},
                                {.fd = acceptor->listen_fd, .events = POLLIN}};
        int count = poll(wait, rest ? 1 : 2, rest ? REST_MS : -1);
        if (count > 0 && wait[0].revents != 0)
            return NULL;
        rest = is_full(acceptor) || (!rest && count > 0 && !accept_one(acceptor));
    }
}

int acceptor_start(struct MHD_Daemon *daemon, int listen_fd, unsigned connections_max, struct acceptor **out,
                   struct error *err)
{
    struct acceptor *acceptor = calloc(1, sizeof(*acceptor));
    if (acceptor == NULL)
        return error_memory(err);
    *acceptor = (struct acceptor){.daemon = daemon,
                                  .connections_max = connections_max,
                                  .listen_fd = listen_fd,
                                  .stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    (void)pthread_mutex_init(&acceptor->lock, NULL);
    int code = acceptor->stop_fd < 0 ? errno : pthread_create(&acceptor->thread, NULL, acceptor_main, acceptor);
    if (code != 0) {
        if (acceptor->stop_fd >= 0)
            (void)close(acceptor->stop_fd);
        (void)pthread_mutex_destroy(&acceptor->lock);
        free(acceptor);
        return error_errno(err, -code, "cannot start the thread that accepts connections");
    }
    *out = acceptor;
    return 0;
}

void acceptor_switch(struct acceptor *acceptor, struct MHD_Daemon *daemon)
{
    pthread_mutex_lock(&acceptor->lock);
    acceptor->daemon = daemon;
    pthread_mutex_unlock(&acceptor->lock);
}

void acceptor_stop(struct acceptor *acceptor)
{
    if (acceptor == NULL)
        return;
    ssize_t written = write(acceptor->stop_fd, &(uint64_t){1}, sizeof(uint64_t));
    assure(written == sizeof(uint64_t));
    pthread_join(acceptor->thread, NULL);
    (void)close(acceptor->stop_fd);
    (void)close(acceptor->listen_fd);
    (void)pthread_mutex_destroy(&acceptor->lock);
    free(acceptor);
}
