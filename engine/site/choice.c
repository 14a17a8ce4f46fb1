/*
 * choice.c - which message of a site is next for a connection: whose turn it is, and what the limits say.
 */
#include <string.h>

#include "engine/site/hosts.h"
#include "engine/site/pool.h"
#include "engine/site/site_private.h"
#include "engine/site/transport.h"

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

enum taken { TAKEN, FLOW_HELD, WAY_HELD };

/* All limits are asked first, then all are paid. */
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
        return FLOW_HELD;
    }
    struct shared_set set = site_shared(site, conn->source, via, flow);
    if (site_set_has_any(&set)) {
        struct shared *by;
        enum limit_what what = WHAT_NONE;
        int64_t until = shaping_take(dispatch->shaping, &set, now_us, bytes, job->tickets + 3, &by, &what);
        if (until > 0 && (by == flow->campaign_limits || by == flow->sender_limits)) {
            flow_hold(flow, by->scope, what, until);
            gate_note(&site->gate, by->scope, what, until);
            return FLOW_HELD;
        }
        if (until > 0) {
            via->held_until_us = until;
            via->held = (struct gate){.scope = by->scope, .what = what, .until_us = until};
            gate_note(&site->gate, by->scope, what, until);
        }
        if (until != 0)
            return WAY_HELD;
    }
    if (bounds_take(&site->bounds, now_us, bytes, &job->tickets[0]) < 0 ||
        (lane->zone != NULL && bounds_take(&lane->zone->bounds, now_us, bytes, &job->tickets[1]) < 0) ||
        via_take(site, via, bytes, &job->tickets[2]) < 0)
        return WAY_HELD; /* no memory */
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
        if (taken == FLOW_HELD)
            job = NULL; /* another campaign may send */
    }
    if (job == NULL)
        return NULL;
    if (site->passed == lane)
        site->passed = NULL;
    transport_used(lane, conn);
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
