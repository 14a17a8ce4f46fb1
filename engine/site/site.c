/*
 * site.c - a site's pump: what to compose, which connection gets which job, when to open one more.
 *
 * Order of a pump: overdue jobs out, next hop known, compose ahead, give, open. Composing ahead is bounded by what the
 * ready connections can take (depth + 1 each) and by the rate (half a second of it), so a throttled site holds a
 * message or two and an unreachable one none. Connections are opened by demand and never all at once: while none has
 * proved to work one is tried, then as many again as work (the count can double per round trip), and none while a rate
 * or the compose pool is what holds the site up.
 */
#include "engine/site/site.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "engine/site/pool.h"

/* A connection is opened so long before a rate lets the next message start, not earlier: it would only idle. */
#define CONNECT_AHEAD_US ((int64_t)500000)

static struct conn *conn_at(struct list *node)
{
    return list_entry(node, struct conn, node);
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

static void on_timer(struct loop_timer *timer)
{
    site_mark_dirty(container_of(timer, struct site, timer));
}

struct site *site_create(struct dispatch *dispatch, const char *domain)
{
    struct site *site = calloc(1, sizeof *site);
    if (site == NULL)
        return NULL;
    site->domain = str_dup(domain);
    if (site->domain == NULL || loop_timer_add(&dispatch->loop, &site->timer, on_timer) < 0) {
        free(site->domain);
        free(site);
        return NULL;
    }
    site->dispatch = dispatch;
    site->profile = config_profile_for_domain(dispatch->config, domain);
    site->route = config_route_for(dispatch->config, domain);
    const struct config_domain *own = config_domain_for(dispatch->config, domain);
    site->domain_rate = own != NULL ? own->rate : RATE_UNLIMITED;
    site->conn_max = MAX_OF(site->profile->connections, 1u);
    if (own != NULL && own->connections > 0)
        site->conn_max = MIN_OF(site->conn_max, own->connections);
    limit_init(&site->limit, site->profile->rate);
    limit_init(&site->domain_limit, site->domain_rate);
    list_init(&site->dirty);
    list_init(&site->starved);
    list_init(&site->queue);
    list_init(&site->composing);
    list_init(&site->ready);
    list_init(&site->sending);
    list_init(&site->conns);
    site->limited_by = "idle";
    site->idle_since_ms = dispatch->loop.now_ms;
    return site;
}

static void forget_hosts(struct site *site)
{
    free(site->hosts);
    free(site->next_hop);
    site->hosts = NULL;
    site->next_hop = NULL;
    site->host_count = site->host_next = 0;
}

void site_free(struct site *site)
{
    assure(site->queued + site->composing_count + site->ready_count + site->sending_count + site->conn_count == 0);
    if (site->query != NULL)
        nexthop_cancel(site->query);
    loop_timer_remove(&site->dispatch->loop, &site->timer);
    list_remove(&site->dirty);
    list_remove(&site->starved);
    limit_finish(&site->limit);
    limit_finish(&site->domain_limit);
    forget_hosts(site);
    free(site->trouble);
    free(site->domain);
    free(site);
}

/* Jobs. */

void site_submit(struct site *site, struct engine_job *job)
{
    job->owner = site;
    job->state = JOB_QUEUED;
    job->taken_ms = now_ms(site);
    list_append(&site->queue, &job->node);
    site->queued++;
    site_mark_dirty(site);
}

static void end_job(struct site *site, struct engine_job *job, struct outcome *outcome)
{
    struct dispatch *dispatch = site->dispatch;
    switch (outcome->class_) {
    case OUTCOME_DELIVERED:
        site->counts.delivered++;
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
    dispatch_done(dispatch, job, outcome);
}

static void end_released(struct site *site, struct engine_job *job)
{
    struct outcome outcome;
    outcome_set(&outcome, OUTCOME_RELEASED, STAGE_NONE, "given back untried");
    end_job(site, job, &outcome);
}

static void end_transport(struct site *site, struct engine_job *job, const struct outcome *why)
{
    struct outcome outcome = *why;
    outcome.class_ = OUTCOME_TRANSPORT;
    end_job(site, job, &outcome);
}

/* The clock is read anew: `now_us` is from before the wait for this very reply, and the window rule would then move no
 * start (limits.c). */
static void pay_back(struct site *site, struct engine_job *job)
{
    int64_t now_us = clock_monotonic_us();
    limit_done(&site->limit, job->tickets[0], now_us);
    limit_done(&site->domain_limit, job->tickets[1], now_us);
}

void site_job_ended(struct site *site, struct engine_job *job, struct outcome *outcome)
{
    list_remove(&job->node);
    site->sending_count--;
    pay_back(site, job);
    end_job(site, job, outcome);
}

bool site_job_back(struct site *site, struct engine_job *job, bool charged, bool begun, const struct outcome *why)
{
    list_remove(&job->node);
    site->sending_count--;
    pay_back(site, job);
    if (charged)
        job->drops++;
    bool wanted_back = (job->state & JOB_WANTED_BACK) != 0 || site->dispatch->stopping;
    if (why != NULL && (job->drops >= 2 || (begun && site->dispatch->forced))) {
        end_transport(site, job, why);
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
    struct list all = LIST_INIT(all);
    list_for_each(node, jobs)
    {
        job_of(node)->state = JOB_READY;
        site->ready_count++;
    }
    list_splice(&all, jobs);
    list_splice(&all, &site->ready);
    list_splice(&site->ready, &all);
    site_mark_dirty(site);
}

static void drop_message(struct engine_job *job)
{
    if (job->message != NULL)
        job->message->release(job->message);
    job->message = NULL;
}

/* Nobody knows when the site can be reached again: its composed messages are given up and composed anew then. */
static void uncompose(struct site *site)
{
    struct list *node;
    while (!list_empty(&site->ready)) {
        node = site->ready.prev;
        list_remove(node);
        drop_message(job_of(node));
        job_of(node)->state = JOB_QUEUED;
        list_prepend(&site->queue, node);
        site->ready_count--;
        site->queued++;
    }
}

void site_composed(struct site *site, struct engine_job *job)
{
    bool wanted_back = (job->state & JOB_WANTED_BACK) != 0 || site->dispatch->stopping;
    list_remove(&job->node);
    site->composing_count--;
    if (wanted_back) {
        end_released(site, job);
    } else if (job->message == NULL) {
        struct outcome outcome;
        outcome_set(&outcome, OUTCOME_COMPOSE, STAGE_COMPOSE, "%s",
                    job->why != NULL ? job->why : "the message could not be composed");
        end_job(site, job, &outcome);
    } else {
        job->state = JOB_READY;
        list_append(&site->ready, &job->node);
        site->ready_count++;
    }
    site_mark_dirty(site);
}

static bool is_meant(const struct site_release *release, const struct engine_job *job)
{
    return (release->group == 0 || job->group == release->group) && job->taken_ms <= release->taken_until_ms;
}

static void release_from(struct site *site, struct list *jobs, uint32_t *count, const struct site_release *release)
{
    list_for_each_safe(node, jobs)
    {
        struct engine_job *job = job_of(node);
        if (!is_meant(release, job))
            continue;
        list_remove(node);
        (*count)--;
        end_released(site, job);
    }
}

static void want_back(struct list *jobs, const struct site_release *release)
{
    list_for_each(node, jobs)
    {
        if (is_meant(release, job_of(node)))
            job_of(node)->state |= JOB_WANTED_BACK;
    }
}

void site_release(struct site *site, const struct site_release *release)
{
    list_for_each(node, &site->conns) conn_withdraw(conn_at(node));
    release_from(site, &site->ready, &site->ready_count, release);
    release_from(site, &site->queue, &site->queued, release);
    want_back(&site->composing, release);
    want_back(&site->sending, release); /* should its connection end before its content is out, it is not tried again */
    site_mark_dirty(site);
}

/* What its connections tell. */

void site_conn_ready(struct site *site, uint32_t depth)
{
    site->depth = depth;
    site->host_next = 0;
}

void site_answered(struct site *site)
{
    if (site->backoff_ms == 0 && site->failing_since_ms == 0)
        return;
    site->backoff_ms = site->backoff_until_ms = site->failing_since_ms = 0;
    free(site->trouble);
    site->trouble = NULL;
}

void site_conn_failed(struct site *site, const struct outcome *why)
{
    const struct engine_tuning *tuning = &site->dispatch->tuning;
    log_debug("engine", "%s connection failed stage=%s reason=%s", site->domain, outcome_stage_name(why->stage),
              LOG_QUOTE(why->text));
    if (site->trouble == NULL)
        site->trouble = calloc(1, sizeof *site->trouble);
    if (site->trouble != NULL)
        *site->trouble = *why;
    if (site->failing_since_ms == 0)
        site->failing_since_ms = now_ms(site);
    site_mark_dirty(site);
    if (why->stage <= STAGE_GREETING && ++site->host_next < site->host_count)
        return; /* another address of it may do */
    site->host_next = 0;
    int64_t next = site->backoff_ms == 0 ? tuning->backoff_first_ms : site->backoff_ms * 2;
    site->backoff_ms = MIN_OF(next, tuning->backoff_max_ms);
    int64_t jitter = (int64_t)dispatch_random(site->dispatch, (uint32_t)(site->backoff_ms / 5) + 1);
    site->backoff_until_ms = now_ms(site) + site->backoff_ms - jitter;
}

/* Next hop. */

static void fail_all(struct site *site, const struct outcome *why)
{
    struct list *node;
    uncompose(site);
    while ((node = list_take_first(&site->queue)) != NULL) {
        struct outcome outcome = *why;
        site->queued--;
        end_job(site, job_of(node), &outcome);
    }
}

static void on_next_hop(void *context, const struct nexthop_answer *answer)
{
    struct site *site = context;
    site->query = NULL;
    site_mark_dirty(site);
    forget_hosts(site);
    if (!answer->found) {
        fail_all(site, &answer->failure);
        return;
    }
    site->hosts = calloc(answer->host_count, sizeof *site->hosts);
    site->next_hop = str_dup(answer->text);
    if (site->hosts == NULL || site->next_hop == NULL) {
        forget_hosts(site);
        site->backoff_until_ms = now_ms(site) + site->dispatch->tuning.backoff_first_ms;
        return;
    }
    memcpy(site->hosts, answer->hosts, answer->host_count * sizeof *site->hosts);
    site->host_count = answer->host_count;
    site->hosts_until_ms = now_ms(site) + answer->lifetime_ms;
}

/* False while the next hop is not known. */
static bool know_next_hop(struct site *site)
{
    if (site->hosts != NULL && now_ms(site) < site->hosts_until_ms)
        return true;
    if (site->query == NULL && now_ms(site) >= site->backoff_until_ms) {
        site->query = nexthop_ask(&site->dispatch->loop, site->dispatch->config, site->domain, on_next_hop, site);
        if (site->query == NULL) /* no memory: a little later */
            site->backoff_until_ms = now_ms(site) + site->dispatch->tuning.backoff_first_ms;
    }
    return site->hosts != NULL;
}

/* The pump. */

/* Jobs that have waited too long for a site that cannot be reached. Returns when the next one is due. */
static int64_t end_overdue(struct site *site)
{
    if (site->failing_since_ms == 0 || site->conn_ready > 0 || site->trouble == NULL)
        return LOOP_TIMER_OFF;
    uncompose(site);
    while (!list_empty(&site->queue)) {
        struct engine_job *job = job_of(site->queue.next);
        int64_t due = MAX_OF(job->taken_ms, site->failing_since_ms) + site->dispatch->tuning.hold_ms;
        if (due > now_ms(site))
            return due;
        list_remove(&job->node);
        site->queued--;
        end_transport(site, job, site->trouble);
    }
    return LOOP_TIMER_OFF;
}

/* Composed messages worth having ready beyond those on connections. */
static uint32_t prefetch_target(const struct site *site)
{
    uint64_t target = (uint64_t)site->conn_ready * (site->depth + 1);
    double per_second = rate_per_second(site->limit.rate);
    double domain_per_second = rate_per_second(site->domain_rate);
    if (domain_per_second > 0 && (per_second <= 0 || domain_per_second < per_second))
        per_second = domain_per_second;
    if (per_second > 0 && site->conn_ready > 0)
        target = MIN_OF(target, (uint64_t)(per_second / 2) + 1);
    return (uint32_t)MIN_OF(target, site->dispatch->tuning.prefetch_max);
}

static void compose_ahead(struct site *site)
{
    struct dispatch *dispatch = site->dispatch;
    uint32_t target = prefetch_target(site);
    while (site->ready_count + site->composing_count < target && site->queued > 0) {
        struct engine_job *job = job_of(site->queue.next);
        list_remove(&job->node);
        site->queued--;
        site->composing_count++;
        job->state = JOB_COMPOSING;
        list_append(&site->composing, &job->node);
        dispatch->callbacks.compose(dispatch->callbacks.context, job);
    }
}

/* When the limits let the next message start: 0 = now. */
static int64_t limits_wait_until_us(struct site *site)
{
    int64_t now_us = site->dispatch->now_us;
    int64_t until = limit_wait_until_us(&site->limit, now_us);
    int64_t domain_until = limit_wait_until_us(&site->domain_limit, now_us);
    return MAX_OF(until, domain_until);
}

struct engine_job *site_next_job(struct site *site)
{
    if (site->ready_count == 0 || limits_wait_until_us(site) != 0)
        return NULL;
    struct engine_job *job = job_of(site->ready.next);
    int64_t now_us = site->dispatch->now_us;
    if (limit_take(&site->limit, now_us, &job->tickets[0]) < 0 ||
        limit_take(&site->domain_limit, now_us, &job->tickets[1]) < 0)
        return NULL;
    list_remove(&job->node);
    site->ready_count--;
    site->sending_count++;
    list_append(&site->sending, &job->node);
    job->state = JOB_SENDING;
    return job;
}

/* Empty connections first, so that a short queue is spread; then all are filled. */
static void give(struct site *site)
{
    for (int filling = 0; filling < 2; filling++) {
        list_for_each(node, &site->conns)
        {
            struct conn *conn = conn_at(node);
            if (site->ready_count == 0)
                return;
            if (!filling && !conn_is_empty(conn))
                continue;
            uint32_t room = filling ? conn_room(conn) : MIN_OF(conn_room(conn), 1u);
            while (room-- > 0) {
                struct engine_job *job = site_next_job(site);
                if (job == NULL)
                    return;
                conn_give(conn, job);
            }
        }
    }
}

static bool some_conn_has_room(const struct site *site)
{
    for (struct list *node = site->conns.next; node != &site->conns; node = node->next) {
        if (conn_room(conn_at(node)) > 0)
            return true;
    }
    return false;
}

static void starve(struct site *site)
{
    if (list_empty(&site->starved))
        list_append(&site->dispatch->starved, &site->starved);
}

static void open_connections(struct site *site)
{
    struct dispatch *dispatch = site->dispatch;
    uint64_t work = (uint64_t)site->queued + site->composing_count + site->ready_count + site->sending_count;
    uint32_t per_conn = MAX_OF(site->depth, 1u);
    uint64_t wanted = MIN_OF((work + per_conn - 1) / per_conn, (uint64_t)site->conn_max);
    while (site->conn_count < wanted && site->conn_starting < MAX_OF(site->conn_ready, 1u)) {
        if (dispatch->conn_count >= dispatch->conn_max) {
            starve(site);
            return;
        }
        int r = conn_open(site, &site->hosts[site->host_next]);
        if (r == -EMFILE || r == -ENFILE || r == -ENOBUFS || r == -ENOMEM) { /* ours, not the site's fault */
            site->backoff_until_ms = now_ms(site) + dispatch->tuning.backoff_first_ms;
            return;
        }
        if (r < 0) {
            struct outcome why;
            outcome_set(&why, OUTCOME_TRANSPORT, STAGE_CONNECT, "cannot connect to %s: %s", site->next_hop,
                        strerror(-r));
            site_conn_failed(site, &why);
            return;
        }
    }
}

static void pump_stopping(struct site *site)
{
    list_for_each_safe(node, &site->conns) conn_quit(conn_at(node));
}

/* A site that has nothing to do is forgotten after a while, when that loosens no limit. Returns true when it is gone.
 */
static bool rest(struct site *site)
{
    int64_t until = site->idle_since_ms + site->dispatch->tuning.site_idle_ms;
    if (site->idle_since_ms == 0)
        site->idle_since_ms = now_ms(site);
    else if (now_ms(site) >= until && site->conn_count == 0 && limit_is_idle(&site->limit, site->dispatch->now_us) &&
             limit_is_idle(&site->domain_limit, site->dispatch->now_us) && now_ms(site) >= site->backoff_until_ms) {
        (void)hashmap_remove(&site->dispatch->sites, site->domain, strlen(site->domain));
        site_free(site);
        return true;
    }
    until = MAX_OF(site->idle_since_ms + site->dispatch->tuning.site_idle_ms, now_ms(site) + 1000);
    until = MAX_OF(until, MAX_OF(site->limit.next_us, site->domain_limit.next_us) / 1000 + 1);
    loop_timer_set(&site->dispatch->loop, &site->timer, until);
    site->limited_by = "idle";
    return false;
}

static int64_t ms_of_us(int64_t us)
{
    return (us + 999) / 1000;
}

void site_pump(struct site *site)
{
    if (site->dispatch->stopping) {
        pump_stopping(site);
        return;
    }
    int64_t wake_ms = end_overdue(site);
    if (site->queued + site->composing_count + site->ready_count + site->sending_count == 0) {
        (void)rest(site);
        return;
    }
    site->idle_since_ms = 0;
    compose_ahead(site);
    give(site);
    int64_t limit_us = limits_wait_until_us(site);
    bool waiting = site->queued + site->ready_count + site->composing_count > 0;
    bool room = some_conn_has_room(site);
    if (!waiting) {
        site->limited_by = "nothing";
    } else if (limit_us != 0 && (site->conn_count > 0 || limit_us - site->dispatch->now_us > CONNECT_AHEAD_US)) {
        bool by_site = limit_wait_until_us(&site->limit, site->dispatch->now_us) != 0;
        site->limited_by = by_site ? "rate" : "domain rate";
        wake_ms = MIN_OF(wake_ms, ms_of_us(limit_us));
    } else if (room) {
        site->limited_by = "compose";
    } else if (now_ms(site) < site->backoff_until_ms) {
        site->limited_by = "back-off";
        wake_ms = MIN_OF(wake_ms, site->backoff_until_ms);
    } else {
        site->limited_by = "connections";
        if (know_next_hop(site))
            open_connections(site);
        if (now_ms(site) < site->backoff_until_ms)
            wake_ms = MIN_OF(wake_ms, site->backoff_until_ms);
    }
    loop_timer_set(&site->dispatch->loop, &site->timer, wake_ms);
}
