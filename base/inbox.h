/*
 * inbox.h - how threads talk: many senders, one receiver, batches.
 *
 * A sender links its intrusive node and, if the inbox was empty, wakes the receiver once; the receiver takes the whole
 * batch. One wake-up serves many messages. The wake function is called outside the lock, on the sender's thread (for a
 * uv loop: uv_async_send). A receiver without a loop of its own waits with inbox_wait().
 */
#ifndef POSTHASTE_BASE_INBOX_H
#define POSTHASTE_BASE_INBOX_H

#include <pthread.h>
#include <stdbool.h>

#include "base/list.h"

struct inbox {
    pthread_mutex_t lock;
    pthread_cond_t filled; /* on CLOCK_MONOTONIC */
    struct list nodes;
    bool closed;
    bool nudged; /* a nudge that no wait has seen yet: it must not get lost when nobody waits at that moment */
    void (*wake)(void *context); /* NULL: the receiver uses inbox_wait() */
    void *wake_context;
};

int inbox_init(struct inbox *inbox, void (*wake)(void *context), void *context) ATTR_MUSTCHECK; /* 0 or -errno */
void inbox_finish(struct inbox *inbox);                                                         /* must be empty */

/* 0, or -EPIPE when the inbox is closed (the node stays the sender's). Any thread. */
int inbox_send(struct inbox *inbox, struct list *node) ATTR_MUSTCHECK;
int inbox_send_all(struct inbox *inbox, struct list *nodes) ATTR_MUSTCHECK; /* all or nothing; empties `nodes` */

/* Receiver: moves everything that is there to `out` (appended). Returns false when nothing was there. */
bool inbox_take(struct inbox *inbox, struct list *out);
/* Receiver: waits up to timeout_ms (negative: for ever) for a node, a nudge or the closing; then as inbox_take(). */
bool inbox_wait(struct inbox *inbox, struct list *out, int timeout_ms);
void inbox_nudge(struct inbox *inbox); /* ends a wait without a node */
void inbox_close(struct inbox *inbox); /* no more sends; wakes the receiver */
bool inbox_closed(struct inbox *inbox);

#endif
