/*
 * loop.c - the turn of an event loop.
 *
 * One uv_timer follows the first key of our own heap: connections move their deadlines thousands of times a second,
 * mostly later, and an intrusive heap update that touches no other node is the cheapest way to do that. on_turn() runs
 * from the prepare phase, the last moment before the loop waits: by then timers, sockets and inboxes have all had their
 * say.
 */
#include "engine/net/loop.h"

#include "base/clock.h"

void loop_refresh(struct loop *loop)
{
    loop->now_ms = clock_monotonic_ms();
}

static void fire_due(struct loop *loop)
{
    loop_refresh(loop);
    struct heap_node *first;
    while ((first = heap_first(&loop->timers)) != NULL && first->key <= loop->now_ms) {
        struct loop_timer *timer = container_of(first, struct loop_timer, node);
        heap_update(&loop->timers, first, LOOP_TIMER_OFF);
        timer->fire(timer);
    }
}

static void on_clock(uv_timer_t *clock)
{
    struct loop *loop = clock->data;
    loop->armed_ms = LOOP_TIMER_OFF;
    fire_due(loop);
}

static void arm_clock(struct loop *loop)
{
    struct heap_node *first = heap_first(&loop->timers);
    int64_t wanted = first != NULL ? first->key : LOOP_TIMER_OFF;
    /* An alarm that rings too early is harmless (nothing is due, it is set anew); moving it for every deadline that
     * moved is not. */
    if (wanted >= loop->armed_ms || loop->stopping)
        return;
    loop->armed_ms = wanted;
    uv_update_time(&loop->uv);
    int64_t now_ms = clock_monotonic_ms();
    (void)uv_timer_start(&loop->clock, on_clock, wanted > now_ms ? (uint64_t)(wanted - now_ms) : 0, 0);
}

static void turn(struct loop *loop)
{
    if (loop->stopping)
        return;
    (void)uv_idle_stop(&loop->idle);
    loop_refresh(loop);
    loop->events.on_turn(loop->events.context);
    arm_clock(loop);
}

static void on_prepare(uv_prepare_t *prepare)
{
    turn(prepare->data);
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* its being active is all: the poll phase does not wait */
}

static void on_wake(uv_async_t *wake)
{
    struct loop *loop = wake->data;
    loop_refresh(loop);
    loop->events.on_wake(loop->events.context);
}

int loop_init(struct loop *loop, const struct loop_events *events, struct error *err)
{
    loop->timers = (struct heap){0};
    loop->events = *events;
    loop->stopping = false;
    loop->armed_ms = LOOP_TIMER_OFF;
    int r = uv_loop_init(&loop->uv);
    if (r < 0)
        return error_set(err, r, "cannot make an event loop: %s", uv_strerror(r));
    r = uv_async_init(&loop->uv, &loop->wake, on_wake);
    if (r < 0) {
        (void)uv_loop_close(&loop->uv);
        return error_set(err, r, "cannot make an event loop: %s", uv_strerror(r));
    }
    /* These only fill in structures; they have no way to fail. */
    (void)uv_timer_init(&loop->uv, &loop->clock);
    (void)uv_prepare_init(&loop->uv, &loop->prepare);
    (void)uv_idle_init(&loop->uv, &loop->idle);
    loop->wake.data = loop->clock.data = loop->prepare.data = loop->idle.data = loop;
    (void)uv_prepare_start(&loop->prepare, on_prepare);
    loop_refresh(loop);
    return 0;
}

void loop_run(struct loop *loop)
{
    loop_refresh(loop);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *loop)
{
    if (loop->stopping)
        return;
    loop->stopping = true;
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->clock, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->idle, NULL);
}

void loop_finish(struct loop *loop)
{
    if (!loop->stopping) {
        loop_stop(loop);
        (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    }
    assure(uv_loop_close(&loop->uv) == 0);
    heap_finish(&loop->timers);
}

void loop_wake(struct loop *loop)
{
    (void)uv_async_send(&loop->wake);
}

void loop_again(struct loop *loop)
{
    if (!loop->stopping)
        (void)uv_idle_start(&loop->idle, on_idle);
}

int loop_timer_add(struct loop *loop, struct loop_timer *timer, void (*fire)(struct loop_timer *timer))
{
    timer->node = (struct heap_node){0};
    timer->fire = fire;
    return heap_insert(&loop->timers, &timer->node, LOOP_TIMER_OFF);
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, int64_t at_ms)
{
    if (timer->node.key != at_ms)
        heap_update(&loop->timers, &timer->node, at_ms);
}

void loop_timer_remove(struct loop *loop, struct loop_timer *timer)
{
    heap_remove(&loop->timers, &timer->node);
}
