/*
 * inbox.c - the lock, the condition and the wake-up rule of struct inbox.
 *
 * Success of a send means that the node is in the inbox and that the receiver is, or will be, awake for it: it is woken
 * exactly when the inbox goes from empty to filled, so a receiver must take everything each time (inbox_take() does).
 * The wake function runs after the unlock; whoever frees the inbox must first have ended its senders, as the last of
 * them may still be inside that call.
 */
#include "base/inbox.h"

#include <errno.h>
#include <time.h>

#include "base/clock.h"

int inbox_init(struct inbox *inbox, void (*wake)(void *context), void *context)
{
    *inbox = (struct inbox){.wake = wake, .wake_context = context};
    list_init(&inbox->nodes);

    pthread_condattr_t attributes;
    int rc = pthread_condattr_init(&attributes);
    if (rc != 0)
        return -rc;
    rc = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (rc == 0)
        rc = pthread_cond_init(&inbox->filled, &attributes);
    pthread_condattr_destroy(&attributes);
    if (rc != 0)
        return -rc;
    rc = pthread_mutex_init(&inbox->lock, NULL);
    if (rc != 0)
        pthread_cond_destroy(&inbox->filled);
    return -rc;
}

void inbox_finish(struct inbox *inbox)
{
    assure(list_empty(&inbox->nodes));
    pthread_cond_destroy(&inbox->filled);
    pthread_mutex_destroy(&inbox->lock);
}

static void lock(struct inbox *inbox)
{
    assure(pthread_mutex_lock(&inbox->lock) == 0);
}

static void unlock(struct inbox *inbox)
{
    assure(pthread_mutex_unlock(&inbox->lock) == 0);
}

static void unlock_and_wake(struct inbox *inbox)
{
    /* Read under the lock; the fields never change after inbox_init(), but the inbox may be gone once a receiver saw
     * the nodes. */
    void (*wake)(void *context) = inbox->wake;
    void *context = inbox->wake_context;
    if (wake == NULL)
        pthread_cond_broadcast(&inbox->filled);
    unlock(inbox);
    if (wake != NULL)
        wake(context);
}

int inbox_send_all(struct inbox *inbox, struct list *nodes)
{
    if (list_empty(nodes))
        return inbox_closed(inbox) ? -EPIPE : 0;
    lock(inbox);
    if (inbox->closed) {
        unlock(inbox);
        return -EPIPE;
    }
    bool was_empty = list_empty(&inbox->nodes);
    list_splice(&inbox->nodes, nodes);
    if (was_empty)
        unlock_and_wake(inbox);
    else
        unlock(inbox);
    return 0;
}

int inbox_send(struct inbox *inbox, struct list *node)
{
    struct list one;
    list_init(&one);
    list_append(&one, node);
    int rc = inbox_send_all(inbox, &one);
    if (rc < 0)
        list_remove(node);
    return rc;
}

static bool take_locked(struct inbox *inbox, struct list *out)
{
    bool any = !list_empty(&inbox->nodes);
    list_splice(out, &inbox->nodes);
    return any;
}

bool inbox_take(struct inbox *inbox, struct list *out)
{
    lock(inbox);
    bool any = take_locked(inbox, out);
    unlock(inbox);
    return any;
}

bool inbox_wait(struct inbox *inbox, struct list *out, int timeout_ms)
{
    int64_t until_us = clock_monotonic_us() + (int64_t)timeout_ms * 1000;
    struct timespec until = {.tv_sec = (time_t)(until_us / 1000000), .tv_nsec = (long)(until_us % 1000000) * 1000};

    lock(inbox);
    while (list_empty(&inbox->nodes) && !inbox->closed && !inbox->nudged) {
        int rc = timeout_ms < 0 ? pthread_cond_wait(&inbox->filled, &inbox->lock)
                                : pthread_cond_timedwait(&inbox->filled, &inbox->lock, &until);
        if (rc == ETIMEDOUT)
            break;
        assure(rc == 0);
    }
    inbox->nudged = false;
    bool any = take_locked(inbox, out);
    unlock(inbox);
    return any;
}

void inbox_nudge(struct inbox *inbox)
{
    lock(inbox);
    inbox->nudged = true;
    unlock_and_wake(inbox);
}

void inbox_close(struct inbox *inbox)
{
    lock(inbox);
    inbox->closed = true;
    unlock_and_wake(inbox);
}

bool inbox_closed(struct inbox *inbox)
{
    lock(inbox);
    bool closed = inbox->closed;
    unlock(inbox);
    return closed;
}
