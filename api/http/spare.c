/*
 * spare.c - see spare.h.
 */
#include "api/http/spare.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOOK_MS 50
#define TURNED_AWAY_MAX 4096 /* at a time: more than a backlog holds */

struct spare {
    int listen_fd, spare_fd, stop_fd;
    pthread_t thread;
};

static int open_one(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static bool none_is_left(const struct spare *spare)
{
    int probe = spare->spare_fd >= 0 ? open_one() : -1;
    if (probe >= 0)
        (void)close(probe);
    return probe < 0;
}

static void turn_away(struct spare *spare)
{
    if (spare->spare_fd >= 0)
        (void)close(spare->spare_fd);
    int fd;
    for (int i = 0; i < TURNED_AWAY_MAX && (fd = accept4(spare->listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0; i++)
        (void)close(fd);
    spare->spare_fd = open_one();
}

static void *spare_main(void *context)
{
    struct spare *spare = context;
    struct pollfd stop = {.fd = spare->stop_fd, .events = POLLIN};
    (void)pthread_setname_np(pthread_self(), "spare");
    while (poll(&stop, 1, LOOK_MS) <= 0) {
        if (none_is_left(spare))
            turn_away(spare);
    }
    return NULL;
}

int spare_start(int listen_fd, struct spare **out, struct error *err)
{
    struct spare *spare = calloc(1, sizeof(*spare));
    if (spare == NULL)
        return error_memory(err);
    spare->listen_fd = listen_fd;
    spare->spare_fd = open_one();
    spare->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int code = spare->stop_fd < 0 ? errno : pthread_create(&spare->thread, NULL, spare_main, spare);
    if (code != 0) {
        if (spare->stop_fd >= 0)
            (void)close(spare->stop_fd);
        if (spare->spare_fd >= 0)
            (void)close(spare->spare_fd);
        free(spare);
        return error_errno(err, -code, "cannot start the thread that looks after the HTTP socket");
    }
    *out = spare;
    return 0;
}

void spare_stop(struct spare *spare)
{
    if (spare == NULL)
        return;
    ssize_t written = write(spare->stop_fd, &(uint64_t){1}, sizeof(uint64_t));
    assure(written == sizeof(uint64_t));
    pthread_join(spare->thread, NULL);
    (void)close(spare->stop_fd);
    if (spare->spare_fd >= 0)
        (void)close(spare->spare_fd);
    free(spare);
}
