/*
 * loop.h - one event loop on one thread: uv_loop, timers, a shared read buffer, work put off to the end of the turn,
 * and a wake-up from other threads.
 *
 * A turn is: due timers, then whatever the sockets and the inboxes brought, then on_turn() once. Everything that can be
 * gathered is gathered there, so that a burst of events costs one pass over the sites and one write per connection.
 */
#ifndef POSTHASTE_ENGINE_NET_LOOP_H
#define POSTHASTE_ENGINE_NET_LOOP_H

#include <stdbool.h>
#include <uv.h>

#include "base/error.h"
#include "base/heap.h"
#include "base/list.h"

#define LOOP_READ_BYTES ((size_t)64 << 10)
#define LOOP_TIMER_OFF INT64_MAX

struct loop;

struct loop_events {
    void (*on_wake)(void *context); /* loop_wake() was called since the last time (one or more times) */
    void (*on_turn)(void *context); /* end of a turn */
    void *context;
};

/* A timer stays in the heap while its owner lives, so that arming it cannot fail. */
struct loop_timer {
    struct heap_node node;
    void (*fire)(struct loop_timer *timer); /* disarmed when it fires */
};

struct loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_timer_t clock;
    uv_prepare_t prepare;
    uv_idle_t idle; /* active while another turn is wanted at once */
    struct heap timers;
    int64_t armed_ms; /* what `clock` is set to; LOOP_TIMER_OFF = not running */
    int64_t now_ms;   /* monotonic; as of the last timer, wake-up or socket event, or of on_turn() */
    bool stopping;
    struct loop_events events;
    char read_buffer[LOOP_READ_BYTES];
};

int loop_init(struct loop *loop, const struct loop_events *events, struct error *err) ATTR_MUSTCHECK;
void loop_run(struct loop *loop);    /* on its thread; returns after loop_stop() when all handles are closed */
void loop_stop(struct loop *loop);   /* loop thread: closes the loop's own handles; others must be closing or closed */
void loop_finish(struct loop *loop); /* after loop_run() returned, or in place of running */

/* Loop thread: first in every uv_poll callback, for the wait before it may have been long. */
void loop_refresh(struct loop *loop);

void loop_wake(struct loop *loop);  /* any thread, before loop_stop() */
void loop_again(struct loop *loop); /* loop thread: on_turn() once more, without waiting for events */

int loop_timer_add(struct loop *loop, struct loop_timer *timer,
                   void (*fire)(struct loop_timer *timer)) ATTR_MUSTCHECK; /* off; 0 or -ENOMEM */
void loop_timer_set(struct loop *loop, struct loop_timer *timer,
                    int64_t at_ms); /* loop->now_ms based; LOOP_TIMER_OFF disarms */
void loop_timer_remove(struct loop *loop, struct loop_timer *timer);
static inline int64_t loop_timer_at(const struct loop_timer *timer)
{
    return timer->node.key;
}

#endif
