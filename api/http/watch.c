/*
 * watch.c - walks all connections once a second and shuts down those that are past their deadline.
 *
 * shutdown(2) and not close(2): the descriptor stays the HTTP library's, which sees the end of the stream and clears up
 * in its own thread. The lock makes sure that the number was not given to another socket meanwhile, because
 * watch_remove() comes before the close.
 */
#include "api/http/watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "base/list.h"

#define STEP_MS 1000

struct watch {
    pthread_mutex_t lock;
    pthread_cond_t stopped;
    pthread_t thread;
    struct list entries;
    bool stop;
};

struct watch_entry {
    struct list node;
    int fd;
    int64_t due_ms; /* monotonic */
};

static void end_overdue(struct watch *watch)
{
    int64_t now_ms = clock_monotonic_ms();
    list_for_each(node, &watch->entries)
    {
        struct watch_entry *entry = list_entry(node, struct watch_entry, node);
        if (entry->due_ms <= now_ms)
            (void)shutdown(entry->fd, SHUT_RDWR);
    }
}

static void *run(void *context)
{
    struct watch *watch = context;
    (void)pthread_mutex_lock(&watch->lock);
    while (!watch->stop) {
        struct timespec until;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += STEP_MS / 1000;
        (void)pthread_cond_timedwait(&watch->stopped, &watch->lock, &until);
        end_overdue(watch);
    }
    (void)pthread_mutex_unlock(&watch->lock);
    return NULL;
}

int watch_start(struct watch **out, struct error *err)
{
    struct watch *watch = calloc(1, sizeof(*watch));
    if (watch == NULL)
        return error_memory(err);
    list_init(&watch->entries);
    pthread_condattr_t attributes;
    assure(pthread_mutex_init(&watch->lock, NULL) == 0);
    assure(pthread_condattr_init(&attributes) == 0);
    assure(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    assure(pthread_cond_init(&watch->stopped, &attributes) == 0);
    (void)pthread_condattr_destroy(&attributes);
    int rc = pthread_create(&watch->thread, NULL, run, watch);
    if (rc != 0) {
        (void)pthread_cond_destroy(&watch->stopped);
        (void)pthread_mutex_destroy(&watch->lock);
        free(watch);
        return error_errno(err, -rc, "cannot start a thread");
    }
    *out = watch;
    return 0;
}

void watch_stop(struct watch *watch)
{
    if (watch == NULL)
        return;
    (void)pthread_mutex_lock(&watch->lock);
    watch->stop = true;
    (void)pthread_cond_signal(&watch->stopped);
    (void)pthread_mutex_unlock(&watch->lock);
    (void)pthread_join(watch->thread, NULL);
    assure(list_empty(&watch->entries));
    (void)pthread_cond_destroy(&watch->stopped);
    (void)pthread_mutex_destroy(&watch->lock);
    free(watch);
}

struct watch_entry *watch_add(struct watch *watch, int fd, int64_t deadline_ms)
{
    struct watch_entry *entry = calloc(1, sizeof(*entry));
    if (entry == NULL)
        return NULL;
    entry->fd = fd;
    entry->due_ms = clock_monotonic_ms() + deadline_ms;
    (void)pthread_mutex_lock(&watch->lock);
    list_append(&watch->entries, &entry->node);
    (void)pthread_mutex_unlock(&watch->lock);
    return entry;
}

void watch_remove(struct watch *watch, struct watch_entry *entry)
{
    if (entry == NULL)
        return;
    (void)pthread_mutex_lock(&watch->lock);
    list_remove(&entry->node);
    (void)pthread_mutex_unlock(&watch->lock);
    free(entry);
}

void watch_set(struct watch *watch, struct watch_entry *entry, int64_t deadline_ms)
{
    if (entry == NULL)
        return;
    int64_t due_ms = clock_monotonic_ms() + deadline_ms;
    (void)pthread_mutex_lock(&watch->lock);
    entry->due_ms = due_ms;
    (void)pthread_mutex_unlock(&watch->lock);
}
