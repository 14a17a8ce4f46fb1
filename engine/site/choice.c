/*
 * choice.c - which message of a site is next for a connection: whose turn it is, and what the limits say.
 */
#include <string.h>

#include "engine/site/hosts.h"
#include "engine/site/pool.h"
#include "engine/site/site_private.h"
#include "engine/site/transport.h"

#define NO_MEMORY_US ((int64_t)100000)
#define LANES_TRIED_MAX 64 /* of those in whose turn this connection is of no use */

/* A lane of the flow whose turn it is and to which this connection is of use. */
static struct lane *next_lane(struct flow *flow, struct conn *conn, int *tries)
{
    while ((*tries)-- > 0 && !list_empty(&flow->senders)) {
        struct lane *lane = list_entry(flow->senders.next, struct lane, send);
        list_remove(&lane->send);
        lane_settle(lane); /* to the end, or out when its limit has been reached meanwhile */
        struct outcome why;
        if (list_empty(&lane->send) || !lane_may_use(lane, conn))
            continue;
        if (transport_allows(lane, conn, &why))
            return lane;
        if (hosts_have_one_for(lane))
            lane_step_aside(lane);
        else
            site_fail_lane(lane, &why);
    }
    return NULL;
}

/* The flow with the first claim may have nothing for this connection: then the next one is asked. */
static struct lane *choose_lane(struct site *site, struct conn *conn)
{
    struct list passed = LIST_INIT(passed);
    struct lane *lane = NULL;
    int tries = LANES_TRIED_MAX;
    struct flow *flow;
    while (lane == NULL && tries > 0 && (flow = flow_next_sender(site)) != NULL) {
        lane = next_lane(flow, conn, &tries);
        if (lane == NULL) {
            list_remove(&flow->send);
            list_append(&passed, &flow->send);
        }
    }
    struct list *node;
    while ((node = list_take_first(&passed)) != NULL)
        flow_settle(list_entry(node, struct flow, send));
    return lane;
}

/* Everything of the connection's way that does not depend on the message. */
static bool way_is_open(struct site *site, const struct conn *conn, struct via *via)
{
    int64_t now_us = site->dispatch->now_us;
    enum limit_what what = WHAT_NONE;
    int64_t until = bounds_wait_until_us(&site->bounds, now_us, &what);
    if (until == 0)
        until = ruled_wait_until_us(&site->ruled, now_us, &what);
    if (until != 0) {
        gate_note(&site->gate, SCOPE_SITE, what, until);
        return false;
    }
    return via_wait_until_us(site, conn->source, via, &site->gate) == 0;
}

enum taken { TAKEN, LANE_HELD, WAY_HELD };

enum quota_of { QUOTA_OF_SITE, QUOTA_OF_DOMAIN, QUOTA_OF_SITE_SOURCE, QUOTA_OF_WARMUP };

static struct quota_set quotas_of(const struct site *site, const struct via *via, const struct lane *lane)
{
    return (struct quota_set){.each = {[QUOTA_OF_SITE] = site->bounds.quota,
                                       [QUOTA_OF_DOMAIN] = lane->zone != NULL ? lane->zone->bounds.quota : NULL,
                                       [QUOTA_OF_SITE_SOURCE] = via->bounds != NULL ? via->bounds->quota : NULL,
                                       [QUOTA_OF_WARMUP] = via->warm}};
}

static bool has_any_quota(const struct quota_set *quotas)
{
    for (size_t i = 0; i < QUOTAS_MAX; i++) {
        if (quotas->each[i] != NULL)
            return true;
    }
    return false;
}

/* A quota that was open when its bounds were asked, and that another loop has used up since. */
static enum taken quota_holds(struct site *site, const struct conn *conn, const struct via *via, struct lane *lane,
                              enum quota_of which, int64_t until)
{
    switch (which) {
    case QUOTA_OF_SITE:
        gate_note(&site->gate, SCOPE_SITE, WHAT_QUOTA, until);
        break;
    case QUOTA_OF_DOMAIN:
        lane_settle(lane); /* asks again, and notes what it finds */
        return LANE_HELD;
    case QUOTA_OF_SITE_SOURCE:
        gate_note(&site->gate, SCOPE_SITE_SOURCE, WHAT_QUOTA, until);
        break;
    case QUOTA_OF_WARMUP:
        if (until == INT64_MAX) /* this day's, for good */
            until = source_warm_day_ends_us(conn->source, via->warm_day);
        gate_note(&site->gate, SCOPE_SOURCE, WHAT_WARMUP, until);
        break;
    }
    return WAY_HELD;
}

static enum taken shared_holds(struct site *site, struct via *via, struct flow *flow, const struct holder *holder,
                               int64_t until)
{
    const struct shared *by = holder->shared;
    gate_note(&site->gate, by->scope, holder->what, until);
    if (by == flow->campaign_limits || by == flow->sender_limits) {
        flow_hold(flow, by->scope, holder->what, until);
        return LANE_HELD;
    }
    via->held_until_us = until;
    via->held = (struct gate){.scope = by->scope, .what = holder->what, .until_us = until};
    return WAY_HELD;
}

/* No event follows from it, so the site is to look again by itself. */
static enum taken memory_holds(struct site *site)
{
    gate_note(&site->gate, SCOPE_MACHINE, WHAT_RATE, site->dispatch->now_us + NO_MEMORY_US);
    return WAY_HELD;
}

/* All limits are asked first, then all are paid: those that other loops pay into, too, first and at once. */
static enum taken take_limits(struct site *site, const struct conn *conn, struct via *via, struct lane *lane,
                              struct engine_job *job)
{
    struct dispatch *dispatch = site->dispatch;
    struct flow *flow = lane->flow;
    int64_t now_us = dispatch->now_us;
    size_t bytes = job->message->size_bytes;
    memset(job->tickets, 0,
           sizeof job->tickets); /* of limits that are not there now, should they come before it ends */
    if (flow_wait_until_us(flow) != 0) {
        gate_note(&site->gate, flow->held.scope, flow->held.what, flow->held_until_us);
        return LANE_HELD;
    }
    struct shared_set set = site_shared(site, conn->source, via, flow);
    struct quota_set quotas = quotas_of(site, via, lane);
    if (site_set_has_any(&set) || has_any_quota(&quotas)) {
        struct holder holder;
        int64_t until = shaping_take(dispatch->shaping, &set, &quotas, now_us, bytes, job->tickets + 3, &holder);
        if (until > 0 && holder.shared != NULL)
            return shared_holds(site, via, flow, &holder, until);
        if (until > 0)
            return quota_holds(site, conn, via, lane, (enum quota_of)holder.quota, until);
        if (until < 0)
            return memory_holds(site);
    }
    if (bounds_take(&site->bounds, now_us, bytes, &job->tickets[0]) < 0 ||
        (lane->zone != NULL && bounds_take(&lane->zone->bounds, now_us, bytes, &job->tickets[1]) < 0) ||
        via_take(site, via, bytes, &job->tickets[2]) < 0)
        return memory_holds(site);
    ruled_take(&site->ruled, now_us);
    ruled_take(&flow->campaign_ruled, now_us);
    ruled_take(&flow->sender_ruled, now_us);
    return TAKEN;
}

struct engine_job *site_next_job(struct site *site, struct conn *conn)
{
    struct via *via = site->ready_count > 0 ? via_get(site, conn->source) : NULL;
    if (via == NULL || !way_is_open(site, conn, via))
        return NULL;
    struct lane *lane;
    struct engine_job *job = NULL;
    while (job == NULL && (lane = choose_lane(site, conn)) != NULL) {
        job = job_of(lane->ready.next);
        enum taken taken = take_limits(site, conn, via, lane, job);
        if (taken == WAY_HELD)
            return NULL;
        if (taken == LANE_HELD)
            job = NULL; /* another domain or campaign may send */
    }
    if (job == NULL)
        return NULL;
    if (site->passed == lane)
        site->passed = NULL;
    transport_used(lane, conn, job);
    flow_sent(lane->flow);
    site_take(job);
    site->sending_count++;
    lane->sending_count++;
    lane_use(lane, conn);
    job->carrier = conn;
    list_append(&site->sending, &job->node);
    job->state = JOB_SENDING;
    lane_settle(lane);
    return job;
}
