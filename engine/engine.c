/*
 * engine.c - the door: spreads jobs over the loops, carries orders to them, and waits for their end.
 *
 * A domain belongs to the loop that its hash names, for as long as the engine lives; so all that is decided about a
 * site is decided on one thread. Orders (release, stop, look) are small allocations that go through the loops' inboxes;
 * an order to stop is made when the engine starts, so that stopping needs no memory.
 */
#include "engine/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "base/config_live.h"
#include "base/hashmap.h"
#include "base/str.h"
#include "engine/net/dns_config.h"
#include "engine/net/sts.h"
#include "engine/site/explain.h"
#include "engine/site/reload.h"
#include "engine/site/site.h"

#define LOOPS_MAX 64
#define SITES_WAIT_MS 2000
#define DESCRIPTORS_KEPT 256 /* for the database, HTTP and everything else of the process */
#define CONNECTIONS_MIN 16

struct stop_order {
    struct dispatch_order order;
    int64_t deadline_ms;
};

struct engine {
    const struct config *config;
    struct engine_callbacks callbacks;
    struct shaping shaping;
    bool shaped;
    struct rules *rules; /* those of the start, held */
    size_t sources_ever; /* in one loop's pool, at most: reloads only add to it */
    unsigned loop_count;
    struct dispatch *loops[LOOPS_MAX];
    struct stop_order *stop_orders[LOOPS_MAX];
    bool stopped;
    struct sts *sts; /* NULL = off */
    pthread_mutex_t late_lock;
    struct list late; /* jobs that were submitted when the loops had ended already */
};

/* Start. */

/* A campaign to a hundred thousand small domains would else have as many connections as there are descriptors, 15 KB
 * each and a message; a few thousand are as fast. */
#define CONNECTIONS_MAX 2000

static uint32_t connections_per_loop(unsigned loops)
{
    struct rlimit limit;
    rlim_t most = CONNECTIONS_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        most = MIN_OF(most, limit.rlim_cur > DESCRIPTORS_KEPT ? limit.rlim_cur - DESCRIPTORS_KEPT : limit.rlim_cur / 4);
    return (uint32_t)MAX_OF(most / loops, (rlim_t)CONNECTIONS_MIN);
}

static void forget_config(struct dispatch *dispatch)
{
    source_pool_finish(&dispatch->sources);
    if (dispatch->logins != NULL)
        logins_replace(dispatch->logins, dispatch->config->route_count);
    rules_free(dispatch->rules);
    config_drop(dispatch->config);
}

static int start_loop(struct engine *engine, const struct engine_tuning *tuning, struct error *err)
{
    unsigned index = engine->loop_count;
    struct dispatch *dispatch = calloc(1, sizeof *dispatch);
    struct stop_order *stop = calloc(1, sizeof *stop);
    int r = -ENOMEM;
    if (dispatch == NULL || stop == NULL) {
        (void)error_memory(err);
        goto fail;
    }
    dispatch->config = config_hold(engine->config);
    dispatch->version = 1;
    dispatch->timeouts = engine->config->timeouts;
    dispatch->rules = rules_hold(engine->rules);
    dispatch->callbacks = engine->callbacks;
    dispatch->sts = engine->sts;
    dispatch->tuning = *tuning;
    dispatch->index = index;
    unsigned loops = MAX_OF(MIN_OF(engine->config->loops, (uint32_t)LOOPS_MAX), 1u);
    dispatch->loops = engine->loops;
    dispatch->loop_count = loops;
    dispatch->conn_max = tuning->connections_max > 0 ? tuning->connections_max : connections_per_loop(loops);
    dispatch->shaping = &engine->shaping;
    r = source_pool_init(&dispatch->sources, engine->config, err);
    if (r == 0 && reshape_shared(dispatch) < 0)
        r = error_memory(err);
    if (r == 0) {
        dispatch->logins = logins_load(engine->config, err);
        r = dispatch->logins != NULL ? 0 : -EINVAL;
    }
    if (r < 0)
        goto fail;
    r = dispatch_init(dispatch, err);
    if (r < 0)
        goto fail;
    r = dispatch_start(dispatch, err);
    if (r < 0) {
        dispatch_finish(dispatch);
        goto fail;
    }
    engine->loops[index] = dispatch;
    engine->stop_orders[index] = stop;
    engine->loop_count++;
    return 0;
fail:
    if (dispatch != NULL)
        forget_config(dispatch);
    free(dispatch);
    free(stop);
    return r;
}

int engine_start_tuned(const struct config *config, const struct engine_callbacks *callbacks,
                       const struct engine_tuning *tuning, struct engine **out, struct error *err)
{
    *out = NULL;
    struct engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        return error_memory(err);
    engine->config = config;
    engine->callbacks = *callbacks;
    list_init(&engine->late);
    int r = pthread_mutex_init(&engine->late_lock, NULL);
    if (r != 0) {
        free(engine);
        return error_errno(err, -r, "cannot start the engine");
    }
    unsigned loops = MAX_OF(MIN_OF(config->loops, (uint32_t)LOOPS_MAX), 1u);
    r = shaping_init(&engine->shaping, &engine->callbacks, err);
    engine->shaped = r == 0;
    if (r == 0)
        r = rules_load(NULL, &engine->rules, err);
    if (r == 0)
        r = dns_settings_check(config, err);
    if (r == 0 && config->mta_sts)
        r = sts_create(config, &engine->sts, err);
    if (r < 0) {
        engine->stopped = true;
        engine_free(engine);
        return r;
    }
    while (engine->loop_count < loops) {
        r = start_loop(engine, tuning, err);
        if (r < 0) {
            engine_stop(engine, 0);
            engine_free(engine);
            return r;
        }
    }
    engine->sources_ever = engine->loops[0]->sources.count;
    *out = engine;
    return 0;
}

int engine_start(const struct config *config, const struct engine_callbacks *callbacks, struct engine **out,
                 struct error *err)
{
    return engine_start_tuned(config, callbacks, &ENGINE_TUNING_DEFAULT, out, err);
}

/* Jobs. */

void engine_submit(struct engine *engine, struct list *jobs)
{
    struct list per_loop[LOOPS_MAX];
    struct list *node;
    for (unsigned i = 0; i < engine->loop_count; i++)
        list_init(&per_loop[i]);
    while ((node = list_take_first(jobs)) != NULL) {
        const char *domain = job_of(node)->domain;
        list_append(&per_loop[dispatch_home(engine->loops[0], domain)->index], node);
    }
    for (unsigned i = 0; i < engine->loop_count; i++) {
        if (list_empty(&per_loop[i]) || inbox_send_all(&engine->loops[i]->submitted, &per_loop[i]) == 0)
            continue;
        (void)pthread_mutex_lock(&engine->late_lock);
        list_splice(&engine->late, &per_loop[i]);
        (void)pthread_mutex_unlock(&engine->late_lock);
    }
}

void engine_composed(struct engine *engine, struct engine_job *job, struct engine_message *message, const char *why)
{
    (void)engine;
    struct dispatch *dispatch = ((struct lane *)job->owner)->site->dispatch; /* written before compose() was called */
    job->message = message;
    if (message == NULL)
        job->why = str_dup(why != NULL ? why : ""); /* without memory for it the outcome has a sentence of ours */
    int r = inbox_send(&dispatch->composed, &job->answer);
    assure(r == 0); /* a loop waits for all answers that it is owed before it closes its inbox */
}

/* Jobs that came when no loop could take them any more. */
static void end_late(struct engine *engine)
{
    struct list jobs = LIST_INIT(jobs);
    struct list *node;
    (void)pthread_mutex_lock(&engine->late_lock);
    list_splice(&jobs, &engine->late);
    (void)pthread_mutex_unlock(&engine->late_lock);
    bool any = !list_empty(&jobs);
    while ((node = list_take_first(&jobs)) != NULL) {
        struct outcome outcome;
        outcome_set(&outcome, OUTCOME_RELEASED, STAGE_NONE, "given back untried");
        outcome.ended_wall_ms = clock_wall_ms();
        engine->callbacks.done(engine->callbacks.context, job_of(node), &outcome);
    }
    if (any && engine->callbacks.flush != NULL)
        engine->callbacks.flush(engine->callbacks.context, 0);
}

/* Orders. */

struct release_order {
    struct dispatch_order order;
    struct engine_release which;
    bool echo;
};

static void execute_release(struct dispatch_order *order);

static void post_release(struct dispatch *to, const struct engine_release *which, bool echo)
{
    struct release_order *release = calloc(1, sizeof *release);
    if (release == NULL) { /* not made it would send mail that a person has stopped: everything goes back then */
        dispatch_release_all(to);
        return;
    }
    release->order.execute = execute_release;
    release->which = *which;
    release->echo = echo;
    if (inbox_send(&to->orders, &release->order.node) < 0)
        free(release);
}

/* Jobs on their way from this loop to another may have missed the order there: it is sent after them once more. */
static void execute_release(struct dispatch_order *order)
{
    const struct release_order *release = container_of(order, struct release_order, order);
    struct dispatch *dispatch = order->dispatch;
    dispatch_release(dispatch, &release->which);
    for (unsigned i = 0; dispatch->has_moved && !release->echo && i < dispatch->loop_count; i++) {
        if (i != dispatch->index)
            post_release(dispatch->loops[i], &release->which, true);
    }
}

void engine_release(struct engine *engine, const struct engine_release *which)
{
    for (unsigned i = 0; i < engine->loop_count; i++)
        post_release(engine->loops[i], which, false);
}

void engine_hold(struct engine *engine, bool held)
{
    for (unsigned i = 0; i < engine->loop_count; i++)
        dispatch_hold(engine->loops[i], held);
}

static void execute_stop(struct dispatch_order *order)
{
    dispatch_stop(order->dispatch, container_of(order, struct stop_order, order)->deadline_ms);
}

void engine_stop(struct engine *engine, int64_t deadline_ms)
{
    if (engine->stopped)
        return;
    engine->stopped = true;
    for (unsigned i = 0; i < engine->loop_count; i++) {
        struct stop_order *stop = engine->stop_orders[i];
        engine->stop_orders[i] = NULL;
        stop->order.execute = execute_stop;
        stop->deadline_ms = deadline_ms;
        int r = inbox_send(&engine->loops[i]->orders, &stop->order.node);
        assure(r == 0);
    }
    for (unsigned i = 0; i < engine->loop_count; i++)
        dispatch_join(engine->loops[i]);
    if (engine->shaped)
        shaping_close(&engine->shaping);
    end_late(engine);
}

void engine_free(struct engine *engine)
{
    if (engine == NULL)
        return;
    assure(engine->stopped);
    end_late(engine);
    sts_free(engine->sts); /* its threads post to the loops' inboxes */
    for (unsigned i = 0; i < engine->loop_count; i++) {
        dispatch_finish(engine->loops[i]);
        forget_config(engine->loops[i]);
        free(engine->loops[i]);
    }
    if (engine->shaped)
        shaping_finish(&engine->shaping);
    rules_free(engine->rules);
    (void)pthread_mutex_destroy(&engine->late_lock);
    free(engine);
}

/* Another configuration. */

int engine_reload(struct engine *engine, const struct config *config, struct error *err)
{
    struct reload_order *orders[LOOPS_MAX] = {NULL};
    struct rules *rules = NULL;
    int r = rules_load(NULL, &rules, err);
    for (unsigned i = 0; i < engine->loop_count && r == 0; i++)
        r = reload_make(config, rules, engine->sources_ever, &orders[i], err);
    if (r == 0)
        engine->sources_ever += orders[0]->sources.count;
    for (unsigned i = 0; i < engine->loop_count; i++) {
        if (r < 0 || inbox_send(&engine->loops[i]->orders, &orders[i]->order.node) < 0)
            reload_free(orders[i]); /* it cannot be taken over, or that loop has ended */
    }
    rules_free(rules);
    return r;
}

/* Limits. */

static void execute_stir(struct dispatch_order *order)
{
    size_t cursor = 0;
    struct site *site;
    while ((site = hashmap_next(&order->dispatch->sites, &cursor)) != NULL)
        site_unhold(site);
}

/* A measure is seen by each site when it is served next: at once. Without memory for that it is seen a little later. */
static void stir(struct engine *engine)
{
    for (unsigned i = 0; i < engine->loop_count; i++) {
        struct dispatch_order *order = calloc(1, sizeof *order);
        if (order == NULL)
            continue;
        order->execute = execute_stir;
        if (inbox_send(&engine->loops[i]->orders, &order->node) < 0)
            free(order);
    }
}

int engine_measure_set(struct engine *engine, struct engine_measure *measure)
{
    int r = shaping_measure_set(&engine->shaping, measure);
    if (r == 0)
        stir(engine);
    return r;
}

int engine_measure_cancel(struct engine *engine, uint64_t id)
{
    int r = shaping_measure_cancel(&engine->shaping, id);
    if (r == 0)
        stir(engine);
    return r;
}

void engine_measures(struct engine *engine, engine_measure_cb *each, void *context)
{
    shaping_measures(&engine->shaping, each, context);
}

/* A source is each loop's own, but for what the shaping keeps; counts are read without a lock, for people only. */
void engine_sources(struct engine *engine, engine_source_cb *each, void *context)
{
    for (unsigned i = 0; i < MIN_OF(engine->loop_count, 1u); i++)
        sources_show(&engine->loops[i]->sources, &engine->shaping, each, context);
}

void engine_saved(struct engine *engine, struct engine_record *record)
{
    shaping_saved(&engine->shaping, record);
}

/* Looking at sites. */

/* Shared by the asker and the loops, because the asker may give up first. */
struct look {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    unsigned waiting; /* loops that have not answered */
    unsigned users;   /* the asker and the orders that hold it */
    int result;
    char only[256]; /* "" = all sites */
    uint64_t group; /* 0 = of all campaigns */
    struct explain explains[LOOPS_MAX];
};

struct look_order {
    struct dispatch_order order;
    struct look *look;
};

static void look_leave(struct look *look)
{
    (void)pthread_mutex_lock(&look->lock);
    bool last = --look->users == 0;
    (void)pthread_mutex_unlock(&look->lock);
    if (!last)
        return;
    for (unsigned i = 0; i < LOOPS_MAX; i++)
        explain_finish(&look->explains[i]);
    (void)pthread_cond_destroy(&look->answered);
    (void)pthread_mutex_destroy(&look->lock);
    free(look);
}

static void look_answer(struct look *look, unsigned index, struct explain *explain, int result)
{
    (void)pthread_mutex_lock(&look->lock);
    if (explain != NULL)
        look->explains[index] = *explain;
    if (result < 0)
        look->result = result;
    look->waiting--;
    (void)pthread_cond_signal(&look->answered);
    (void)pthread_mutex_unlock(&look->lock);
    look_leave(look);
}

static void execute_look(struct dispatch_order *order)
{
    struct look *look = container_of(order, struct look_order, order)->look;
    struct explain explain;
    int r = explain_take(order->dispatch, look->only, look->group, &explain);
    look_answer(look, order->dispatch->index, r == 0 ? &explain : NULL, r);
}

static struct look *look_create(unsigned loops, const char *only, uint64_t group)
{
    pthread_condattr_t monotonic;
    struct look *look = calloc(1, sizeof *look);
    if (look == NULL)
        return NULL;
    (void)str_copy(look->only, sizeof look->only, only);
    look->group = group;
    look->waiting = loops;
    look->users = loops + 1;
    if (pthread_condattr_init(&monotonic) != 0) {
        free(look);
        return NULL;
    }
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    bool made = pthread_mutex_init(&look->lock, NULL) == 0 && pthread_cond_init(&look->answered, &monotonic) == 0;
    (void)pthread_condattr_destroy(&monotonic);
    if (made)
        return look;
    free(look);
    return NULL;
}

static int look_wait(struct look *look)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += SITES_WAIT_MS / 1000;
    int r = 0;
    (void)pthread_mutex_lock(&look->lock);
    while (look->waiting > 0 && r == 0)
        r = pthread_cond_timedwait(&look->answered, &look->lock, &until);
    int result = look->waiting > 0 ? -ETIMEDOUT : look->result;
    (void)pthread_mutex_unlock(&look->lock);
    return result;
}

static void add_totals(struct engine_totals *sum, const struct engine_totals *more)
{
    sum->delivered += more->delivered;
    sum->temporary += more->temporary;
    sum->permanent += more->permanent;
    sum->transport += more->transport;
    for (size_t rule = 0; rule < TLS_RULE_COUNT; rule++)
        for (size_t result = 0; result < TLS_RESULT_COUNT; result++)
            sum->tls[rule][result] += more->tls[rule][result];
    sum->rate_now += more->rate_now;
    sum->sites += more->sites;
    sum->connections += more->connections;
    sum->queued += more->queued;
    sum->in_flight += more->in_flight;
}

static int look_at(struct engine *engine, const char *only, uint64_t group, engine_site_cb *each, void *context,
                   struct engine_totals *totals)
{
    if (totals != NULL)
        *totals = (struct engine_totals){0};
    struct look *look = look_create(engine->loop_count, only, group);
    if (look == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < engine->loop_count; i++) {
        struct look_order *order = calloc(1, sizeof *order);
        if (order != NULL) {
            order->order.execute = execute_look;
            order->look = look;
        }
        if (order == NULL || inbox_send(&engine->loops[i]->orders, &order->order.node) < 0) {
            look_answer(look, i, NULL, order == NULL ? -ENOMEM : 0); /* an engine that has stopped has no sites */
            free(order);
        }
    }
    int r = look_wait(look);
    for (unsigned i = 0; r == 0 && i < engine->loop_count; i++) {
        if (each != NULL)
            explain_each(&look->explains[i], each, context);
        if (totals != NULL)
            add_totals(totals, &look->explains[i].totals);
    }
    look_leave(look);
    return r;
}

int engine_sites(struct engine *engine, engine_site_cb *each, void *context, struct engine_totals *totals)
{
    return look_at(engine, "", 0, each, context, totals);
}

int engine_group_sites(struct engine *engine, uint64_t group, engine_site_cb *each, void *context)
{
    return look_at(engine, "", group, each, context, NULL);
}

int engine_explain(struct engine *engine, const char *name, engine_site_cb *each, void *context)
{
    return name[0] != '\0' ? look_at(engine, name, 0, each, context, NULL) : 0;
}
