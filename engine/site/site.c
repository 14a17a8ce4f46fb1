/*
 * site.c - jobs on their way through a site: in, composed, given to connections, back, out.
 *
 * The composing of messages and the giving of them to connections is pump.c's; which message is next is choice.c's;
 * where the servers are is hosts.c's; what each recipient domain may do is lane.c's.
 */
#include "engine/site/site_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "engine/site/hosts.h"
#include "engine/site/pool.h"
#include "engine/site/transport.h"

#define RELEASED_WAIT_MAX_MS ((int64_t)15 * 60 * 1000)

static struct conn *conn_at(struct list *node)
{
    return list_entry(node, struct conn, node);
}

static struct lane *lane_at(struct list *node)
{
    return list_entry(node, struct lane, node);
}

static struct lane *lane_of(const struct engine_job *job)
{
    return job->owner;
}

static int64_t now_ms(const struct site *site)
{
    return site->dispatch->loop.now_ms;
}

void site_mark_dirty(struct site *site)
{
    if (list_empty(&site->dirty))
        list_append(&site->dispatch->dirty_sites, &site->dirty);
}

void site_unhold(struct site *site)
{
    list_for_each(node, &site->flows) list_entry(node, struct flow, node)->held_until_us = 0;
    list_for_each(node, &site->lanes_all) lane_settle(list_entry(node, struct lane, node));
    site_mark_dirty(site);
}

static void on_timer(struct loop_timer *timer)
{
    site_mark_dirty(container_of(timer, struct site, timer));
}

static struct bounds_spec spec_of(const struct config_profile *profile)
{
    return (struct bounds_spec){.rate = profile->rate,
                                .byte_rate = profile->byte_rate,
                                .connection_rate = profile->connection_rate,
                                .burst = profile->burst};
}

#define BOUNDS_KEY_BYTES 512
static const char *bounds_key(const char *name, char out[BOUNDS_KEY_BYTES])
{
    (void)snprintf(out, BOUNDS_KEY_BYTES, "site %.480s", name);
    return out;
}

static bool init_bounds(struct site *site, struct dispatch *dispatch, const struct site_origin *origin)
{
    char key[BOUNDS_KEY_BYTES];
    const struct bounds_spec spec = spec_of(origin->profile);
    return bounds_init(&site->bounds, &spec, dispatch->shaping, bounds_key(origin->name, key), dispatch->begun_us) == 0;
}

/* A routed domain's own limit of connections is its site's. */
static void set_conn_max(struct site *site)
{
    site->conn_max = MAX_OF(site->profile->connections, 1u);
    const struct config_domain *own =
        site->route != NULL ? config_domain_for(site->dispatch->config, site->name) : NULL;
    if (own != NULL && own->connections > 0)
        site->conn_max = MIN_OF(site->conn_max, own->connections);
}

int site_reshape(struct site *site)
{
    struct dispatch *dispatch = site->dispatch;
    char key[BOUNDS_KEY_BYTES];
    const struct bounds_spec spec = spec_of(site->profile);
    set_conn_max(site);
    int r = bounds_change(&site->bounds, &spec, dispatch->shaping, bounds_key(site->name, key), dispatch->now_us);
    for (size_t i = 0; i < site->via_count && r == 0; i++) {
        if (site->vias[i] != NULL)
            r = via_reshape(site, dispatch->sources.sources[i], site->vias[i]);
    }
    list_for_each(node, &site->flows)
    {
        if (r == 0)
            r = flow_reshape(list_entry(node, struct flow, node));
    }
    list_for_each(node, &site->lanes_all)
    {
        if (r == 0)
            r = lane_reshape(lane_at(node));
    }
    return r;
}

void site_return(struct site *site, const struct site_origin *origin)
{
    site->left = false;
    site->route = origin->route;
    site->profile = origin->profile;
    if (site_reshape(site) < 0)
        dispatch_reshape_later(site->dispatch);
}

struct site *site_create(struct dispatch *dispatch, const struct site_origin *origin)
{
    struct site *site = calloc(1, sizeof *site);
    if (site == NULL)
        return NULL;
    site->key = str_dup(origin->key);
    site->name = str_dup(origin->name);
    if (site->key == NULL || site->name == NULL || loop_timer_add(&dispatch->loop, &site->timer, on_timer) < 0) {
        free(site->key);
        free(site->name);
        free(site);
        return NULL;
    }
    if (!init_bounds(site, dispatch, origin)) {
        loop_timer_remove(&dispatch->loop, &site->timer);
        free(site->key);
        free(site->name);
        free(site);
        return NULL;
    }
    site->dispatch = dispatch;
    site->route = origin->route;
    site->any_tls = origin->any_tls;
    site->profile = origin->profile;
    set_conn_max(site);
    list_init(&site->dirty);
    list_init(&site->starved);
    list_init(&site->flows);
    list_init(&site->lanes_all);
    list_init(&site->senders);
    list_init(&site->feeders);
    list_init(&site->composing);
    list_init(&site->sending);
    list_init(&site->conns);
    site->limited_by = "idle";
    site->idle_since_ms = dispatch->loop.now_ms;
    return site;
}

void site_free(struct site *site)
{
    assure(site->queued + site->composing_count + site->ready_count + site->sending_count + site->conn_count == 0);
    if (site->query != NULL)
        nexthop_cancel(site->query);
    while (!list_empty(&site->lanes_all))
        lane_free(lane_at(site->lanes_all.next));
    hashmap_finish(&site->zones);
    heap_finish(&site->waiting);
    loop_timer_remove(&site->dispatch->loop, &site->timer);
    list_remove(&site->dirty);
    list_remove(&site->starved);
    via_finish_all(site);
    bounds_finish(&site->bounds);
    ruled_finish(&site->ruled);
    hosts_forget(site);
    free(site->trouble);
    free(site->name);
    free(site->key);
    free(site);
}

/* Ends. */

static void count_outcome(struct site *site, const struct outcome *outcome)
{
    struct dispatch *dispatch = site->dispatch;
    switch (outcome->class_) {
    case OUTCOME_DELIVERED:
        site->counts.delivered++;
        latency_add(&site->latency, outcome->duration_ms);
        dispatch->counts.delivered++;
        meter_add(&site->meter, now_ms(site));
        meter_add(&dispatch->meter, now_ms(site));
        break;
    case OUTCOME_TEMPORARY:
        site->counts.temporary++;
        dispatch->counts.temporary++;
        break;
    case OUTCOME_PERMANENT:
        site->counts.permanent++;
        dispatch->counts.permanent++;
        break;
    case OUTCOME_TRANSPORT:
    case OUTCOME_UNCERTAIN:
        site->counts.transport++;
        dispatch->counts.transport++;
        break;
    case OUTCOME_COMPOSE:
    case OUTCOME_EXPIRED:
    case OUTCOME_RELEASED:
        break;
    }
}

static void count_tls(struct site *site, const struct outcome *outcome)
{
    bool counts = outcome->class_ <= OUTCOME_UNCERTAIN && outcome->tls_result != TLS_RESULT_NONE;
    if (!counts)
        return;
    bool failed = tls_result_is_failure(outcome->tls_result);
    site->dispatch->tls_counts[outcome->tls_rule][outcome->tls_result]++;
    *(failed ? &site->tls.bad : &site->tls.good) += 1;
    site->tls.rule = outcome->tls_rule;
    if (failed)
        site->tls.failure = outcome->tls_result;
}

static void end_job(struct site *site, struct engine_job *job, struct outcome *outcome)
{
    count_tls(site, outcome);
    count_outcome(site, outcome);
    dispatch_done(site->dispatch, job, outcome);
}

/* How long what it waited for will last yet, as far as one can know: a site that was away for an hour is not there in a
 * minute. */
static uint32_t wait_ms_of(const struct site *site, const struct lane *lane)
{
    const struct gate *gates[] = {&site->gate, &lane->held};
    int64_t wait_ms = 0;
    for (size_t i = 0; i < countof(gates); i++) {
        if (gates[i]->what == WHAT_SUSPENDED || gates[i]->what == WHAT_WARMUP)
            wait_ms = MAX_OF(wait_ms, (gates[i]->until_us - site->dispatch->now_us) / 1000);
    }
    if (site->failing_since_ms != 0)
        wait_ms = MAX_OF(wait_ms, now_ms(site) - site->failing_since_ms);
    return (uint32_t)MIN_OF(wait_ms, RELEASED_WAIT_MAX_MS);
}

static void end_released(struct site *site, struct engine_job *job)
{
    struct outcome outcome;
    if (site->failing_since_ms != 0 && site->trouble != NULL)
        outcome = *site->trouble;
    else
        outcome_set(&outcome, OUTCOME_RELEASED, STAGE_NONE, "given back untried");
    outcome.class_ = OUTCOME_RELEASED;
    outcome.wait_ms = wait_ms_of(site, lane_of(job));
    end_job(site, job, &outcome);
}

/* `conn`: that it was given to; NULL = none. */
static void end_transport(struct site *site, const struct conn *conn, struct engine_job *job, const struct outcome *why)
{
    struct outcome outcome = *why;
    transport_stamp(job, conn, &outcome);
    outcome.class_ = OUTCOME_TRANSPORT;
    end_job(site, job, &outcome);
}

/* Queue and ready of a lane; the site's counts follow. */

static void put(struct engine_job *job, enum job_state state, bool front)
{
    struct lane *lane = lane_of(job);
    bool ready = state == JOB_READY;
    struct list *list = ready ? &lane->ready : &lane->queue;
    job->state = (uint32_t)state;
    if (front)
        list_prepend(list, &job->node);
    else
        list_append(list, &job->node);
    *(ready ? &lane->ready_count : &lane->queued) += 1;
    lane->flow->ahead += ready ? 1 : 0;
    *(ready ? &lane->site->ready_count : &lane->site->queued) += 1;
}

void site_take(struct engine_job *job)
{
    struct lane *lane = lane_of(job);
    bool ready = (job->state & JOB_STATE_MASK) == JOB_READY;
    list_remove(&job->node);
    *(ready ? &lane->ready_count : &lane->queued) -= 1;
    lane->flow->ahead -= ready ? 1 : 0;
    *(ready ? &lane->site->ready_count : &lane->site->queued) -= 1;
}

void site_submit(struct site *site, struct engine_job *job)
{
    struct lane *lane = lane_get(site, job);
    if (lane == NULL) {
        struct outcome outcome;
        outcome_set(&outcome, OUTCOME_TRANSPORT, STAGE_NONE, "out of memory");
        end_job(site, job, &outcome);
        return;
    }
    job->owner = lane;
    put(job, JOB_QUEUED, false);
    lane_settle(lane);
    site_mark_dirty(site);
}

struct shared_set site_shared(const struct site *site, const struct source *source, const struct via *via,
                              const struct flow *flow)
{
    return (struct shared_set){.each = {flow != NULL ? flow->campaign_limits : NULL,
                                        flow != NULL ? flow->sender_limits : NULL, source->limits,
                                        via != NULL ? via->provider : NULL, site->dispatch->machine}};
}

bool site_set_has_any(const struct shared_set *set)
{
    for (size_t i = 0; i < SHARED_MAX; i++) {
        if (set->each[i] != NULL)
            return true;
    }
    return false;
}

/* The clock is read anew: `now_us` is from before the wait for this very reply, and the window rule would then move no
 * start (limits.c). */
static void leave_connection(struct site *site, const struct conn *conn, struct engine_job *job)
{
    struct lane *lane = lane_of(job);
    int64_t now_us = clock_monotonic_us();
    list_remove(&job->node);
    site->sending_count--;
    lane->sending_count--;
    lane_unuse(lane, conn);
    bounds_done(&site->bounds, job->tickets[0], now_us);
    if (lane->zone != NULL)
        bounds_done(&lane->zone->bounds, job->tickets[1], now_us);
    struct via *via = via_known(site, conn->source);
    if (via != NULL)
        via_done(via, job->tickets[2], now_us);
    struct shared_set set = site_shared(site, conn->source, via, lane->flow);
    if (site_set_has_any(&set))
        shaping_done(site->dispatch->shaping, &set, job->tickets + 3, now_us);
    lane_settle(lane);
}

void site_job_ended(struct site *site, const struct conn *conn, struct engine_job *job, struct outcome *outcome)
{
    transport_stamp(job, conn, outcome);
    leave_connection(site, conn, job);
    end_job(site, job, outcome);
}

bool site_job_back(struct site *site, const struct conn *conn, struct engine_job *job, const struct site_return *how)
{
    leave_connection(site, conn, job);
    dispatch_content_back(site->dispatch, job);
    if (how->charged)
        job->drops++;
    bool wanted_back = (job->state & JOB_WANTED_BACK) != 0 || site->dispatch->stopping;
    if (how->why != NULL && (job->drops >= 2 || (how->begun && site->dispatch->forced))) {
        end_transport(site, conn, job, how->why);
        return false;
    }
    if (wanted_back) {
        end_released(site, job);
        return false;
    }
    return true;
}

void site_take_back(struct site *site, struct list *jobs)
{
    while (!list_empty(jobs)) {
        struct engine_job *job = job_of(jobs->prev);
        list_remove(&job->node);
        put(job, JOB_READY, true);
        lane_settle(lane_of(job));
    }
    site_mark_dirty(site);
}

void site_uncompose(struct site *site)
{
    if (site->ready_count == 0)
        return;
    list_for_each(node, &site->lanes_all)
    {
        struct lane *lane = lane_at(node);
        while (!list_empty(&lane->ready)) {
            struct engine_job *job = job_of(lane->ready.prev);
            site_take(job);
            if (job->message != NULL)
                job->message->release(job->message);
            job->message = NULL;
            put(job, JOB_QUEUED, true);
        }
        lane_settle(lane);
    }
}

void site_composed(struct site *site, struct engine_job *job)
{
    bool wanted_back = (job->state & JOB_WANTED_BACK) != 0 || site->dispatch->stopping;
    struct lane *lane = lane_of(job);
    list_remove(&job->node);
    site->composing_count--;
    site->dispatch->composing_count--;
    lane->composing_count--;
    lane->flow->ahead--;
    if (wanted_back) {
        end_released(site, job);
    } else if (job->message == NULL) {
        struct outcome outcome;
        outcome_set(&outcome, OUTCOME_COMPOSE, STAGE_COMPOSE, "%s",
                    job->why != NULL ? job->why : "the message could not be composed");
        end_job(site, job, &outcome);
    } else {
        put(job, JOB_READY, false);
    }
    lane_settle(lane);
    site_mark_dirty(site);
}

/* Taking back. */

bool site_release_means(const struct site_release *release, const struct engine_job *job)
{
    return (release->group == 0 || job->group == release->group) && job->taken_ms <= release->taken_until_ms &&
           (job->shared || !release->shared);
}

static void release_from(struct site *site, struct list *jobs, const struct site_release *release)
{
    list_for_each_safe(node, jobs)
    {
        struct engine_job *job = job_of(node);
        if (!site_release_means(release, job))
            continue;
        site_take(job);
        end_released(site, job);
    }
}

static void want_back(struct list *jobs, const struct site_release *release)
{
    list_for_each(node, jobs)
    {
        if (site_release_means(release, job_of(node)))
            job_of(node)->state |= JOB_WANTED_BACK;
    }
}

void site_release(struct site *site, const struct site_release *release)
{
    list_for_each(node, &site->conns) conn_withdraw(conn_at(node));
    list_for_each(node, &site->lanes_all)
    {
        struct lane *lane = lane_at(node);
        release_from(site, &lane->ready, release);
        release_from(site, &lane->queue, release);
        lane_settle(lane);
    }
    want_back(&site->composing, release);
    want_back(&site->sending, release); /* should its connection end before its content is out, it is not tried again */
    site_mark_dirty(site);
}

void site_take_queued(struct site *site, struct list *out)
{
    list_for_each(node, &site->lanes_all)
    {
        struct lane *lane = lane_at(node);
        site->queued -= lane->queued;
        lane->queued = 0;
        list_splice(out, &lane->queue);
        lane_settle(lane);
    }
}

/* Giving. */

void site_fail_lane(struct lane *lane, const struct outcome *why)
{
    if (lane->site->passed == lane)
        lane->site->passed = NULL;
    struct list *lists[] = {&lane->ready, &lane->queue};
    for (size_t i = 0; i < countof(lists); i++) {
        while (!list_empty(lists[i])) {
            struct engine_job *job = job_of(lists[i]->next);
            site_take(job);
            end_transport(lane->site, NULL, job, why);
        }
    }
    lane_settle(lane);
}

void site_conn_ready(struct site *site, uint32_t depth)
{
    site->depth = depth;
    if (site->passed != NULL)
        lane_step_back(site->passed);
}

static void compose_from(struct flow *flow)
{
    struct site *site = flow->site;
    struct dispatch *dispatch = site->dispatch;
    struct lane *lane = list_entry(flow->feeders.next, struct lane, feed);
    struct engine_job *job = job_of(lane->queue.next);
    site_take(job);
    site->composing_count++;
    dispatch->composing_count++;
    lane->composing_count++;
    flow->ahead++;
    flow_fed(flow);
    job->state = JOB_COMPOSING;
    list_append(&site->composing, &job->node);
    list_remove(&lane->feed); /* its next turn is behind the others' */
    lane_settle(lane);
    dispatch->callbacks.compose(dispatch->callbacks.context, job);
}

bool site_compose_next(struct site *site)
{
    struct flow *flow = flow_next_feeder(site);
    if (flow == NULL)
        return false;
    compose_from(flow);
    return true;
}

void site_compose_starved(struct site *site, uint32_t most)
{
    list_for_each_safe(node, &site->feeders)
    {
        struct flow *flow = list_entry(node, struct flow, feed);
        if (flow->ahead == 0 && (flow->urgent || site->ready_count + site->composing_count < most))
            compose_from(flow);
    }
}
