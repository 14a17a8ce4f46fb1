/*
 * flow.c - flows: birth, turn, end.
 *
 * The next flow is found by looking at all that can do something: a site has as many flows as campaigns that send to it
 * at the time, which are few.
 */
#include "engine/site/flow.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "engine/site/site.h"

#define STRIDE UINT64_C(1000000000) /* of a message at weight 1 */

#define COMPOSE_AHEAD_US ((int64_t)500000)

int flow_reshape(struct flow *flow)
{
    struct dispatch *dispatch = flow->site->dispatch;
    bool lacked = false;
    const struct config_sender *config =
        flow->sender != NULL ? config_sender_for(dispatch->config, flow->sender) : NULL;
    struct bounds_spec spec = {.connections = 0};
    if (config != NULL)
        spec = (struct bounds_spec){.rate = config->rate, .byte_rate = config->byte_rate, .burst = config->burst};
    struct shared *limits = flow->sender != NULL ? shaping_shared(dispatch->shaping, dispatch->version, SCOPE_SENDER,
                                                                  flow->sender, &spec, &lacked)
                                                 : NULL;
    if (lacked)
        return -ENOMEM;
    flow->sender_limits = limits;
    return 0;
}

/* What is set for the campaign and for its sending domain. */
static void find_limits(struct flow *flow, const struct engine_campaign *campaign)
{
    struct dispatch *dispatch = flow->site->dispatch;
    char name[32];
    if (dispatch == NULL || campaign == NULL)
        return;
    const struct bounds_spec own = {.rate = campaign->rate};
    (void)snprintf(name, sizeof name, "%" PRIu64, flow->group);
    flow->campaign_limits = shaping_shared(dispatch->shaping, 1, SCOPE_CAMPAIGN, name, &own, NULL);
    if (campaign->sender == NULL)
        return;
    flow->sender = str_dup(campaign->sender);
    if (flow_reshape(flow) < 0)
        dispatch_reshape_later(dispatch);
}

struct flow *flow_get(struct site *site, const struct engine_job *job)
{
    uint32_t weight = job->campaign != NULL ? atomic_load_explicit(&job->campaign->weight, memory_order_relaxed) : 0;
    struct flow *flow = NULL;
    list_for_each(node, &site->flows)
    {
        struct flow *each = list_entry(node, struct flow, node);
        if (each->group == job->group)
            flow = each;
    }
    if (flow == NULL) {
        flow = calloc(1, sizeof *flow);
        if (flow == NULL)
            return NULL;
        flow->site = site;
        flow->group = job->group;
        list_init(&flow->send);
        list_init(&flow->feed);
        list_init(&flow->senders);
        list_init(&flow->feeders);
        list_append(&site->flows, &flow->node);
        find_limits(flow, job->campaign);
    }
    flow->urgent = job->campaign != NULL && job->campaign->urgent;
    flow->weight = weight == 0 ? FLOW_WEIGHT_DEFAULT : MIN_OF(weight, (uint32_t)FLOW_WEIGHT_MAX);
    return flow;
}

void flow_free(struct flow *flow)
{
    assure(flow->lanes.count == 0);
    list_remove(&flow->node);
    list_remove(&flow->send);
    list_remove(&flow->feed);
    hashmap_finish(&flow->lanes);
    ruled_finish(&flow->campaign_ruled);
    ruled_finish(&flow->sender_ruled);
    free(flow->sender);
    free(flow);
}

static void settle_in(struct list *head, struct list *node, bool member, uint64_t *mark, uint64_t now_mark)
{
    if (!member) {
        list_remove(node);
    } else if (list_empty(node)) {
        *mark = MAX_OF(*mark, now_mark);
        list_append(head, node);
    }
}

void flow_settle(struct flow *flow)
{
    struct site *site = flow->site;
    bool held = flow->held_until_us != 0;
    bool soon = !held || flow->held_until_us - site->dispatch->now_us < COMPOSE_AHEAD_US;
    settle_in(&site->senders, &flow->send, !held && !list_empty(&flow->senders), &flow->send_mark, site->send_mark);
    settle_in(&site->feeders, &flow->feed, (!held || (soon && flow->ahead == 0)) && !list_empty(&flow->feeders),
              &flow->feed_mark, site->feed_mark);
}

int64_t flow_wait_until_us(struct flow *flow)
{
    struct dispatch *dispatch = flow->site->dispatch;
    int64_t now_us = dispatch->now_us;
    enum limit_what what = WHAT_NONE;
    char name[32];
    if (flow->held_until_us > now_us)
        return flow->held_until_us;
    (void)snprintf(name, sizeof name, "%" PRIu64, flow->group);
    ruled_refresh(&flow->campaign_ruled, dispatch->shaping, SCOPE_CAMPAIGN, name, "", now_us);
    int64_t until = ruled_wait_until_us(&flow->campaign_ruled, now_us, &what);
    if (until == 0 && flow->sender != NULL) {
        ruled_refresh(&flow->sender_ruled, dispatch->shaping, SCOPE_SENDER, flow->sender, "", now_us);
        until = ruled_wait_until_us(&flow->sender_ruled, now_us, &what);
        if (until > 0)
            flow_hold(flow, SCOPE_SENDER, what, until);
    } else if (until > 0) {
        flow_hold(flow, SCOPE_CAMPAIGN, what, until);
    }
    return until;
}

void flow_hold(struct flow *flow, enum limit_scope scope, enum limit_what what, int64_t until_us)
{
    flow->held_until_us = until_us;
    flow->held = (struct gate){.scope = scope, .what = what, .until_us = until_us};
    flow_settle(flow);
}

int64_t flows_wake(struct site *site)
{
    int64_t next = INT64_MAX, now_us = site->dispatch->now_us;
    uint64_t generation = atomic_load_explicit(&site->dispatch->shaping->generation, memory_order_acquire);
    list_for_each(node, &site->flows)
    {
        struct flow *flow = list_entry(node, struct flow, node);
        bool cancelled = flow->held.what == WHAT_SUSPENDED && flow->campaign_ruled.ruling.generation != generation;
        if (flow->held_until_us != 0 && (flow->held_until_us <= now_us || cancelled)) {
            flow->held_until_us = 0;
            flow_settle(flow);
        } else if (flow->held_until_us != 0) {
            gate_note(&site->gate, flow->held.scope, flow->held.what, flow->held_until_us);
            bool waits = flow->ahead == 0 && flow->held_until_us - now_us > COMPOSE_AHEAD_US;
            next = MIN_OF(next, waits ? flow->held_until_us - COMPOSE_AHEAD_US + 1 : flow->held_until_us);
            flow_settle(flow);
        }
    }
    return next;
}

static bool goes_before(const struct flow *flow, const struct flow *other, bool earlier)
{
    return flow->urgent != other->urgent ? flow->urgent : earlier;
}

struct flow *flow_next_sender(struct site *site)
{
    struct flow *next = NULL;
    list_for_each(node, &site->senders)
    {
        struct flow *flow = list_entry(node, struct flow, send);
        if (next == NULL || goes_before(flow, next, flow->send_mark < next->send_mark))
            next = flow;
    }
    return next;
}

struct flow *flow_next_feeder(struct site *site)
{
    struct flow *next = NULL;
    list_for_each(node, &site->feeders)
    {
        struct flow *flow = list_entry(node, struct flow, feed);
        if (next == NULL || goes_before(flow, next, flow->feed_mark < next->feed_mark))
            next = flow;
    }
    return next;
}

void flow_sent(struct flow *flow)
{
    if (!flow->urgent)
        flow->site->send_mark = flow->send_mark;
    flow->send_mark += STRIDE / flow->weight;
}

void flow_fed(struct flow *flow)
{
    if (!flow->urgent)
        flow->site->feed_mark = flow->feed_mark;
    flow->feed_mark += STRIDE / flow->weight;
}
