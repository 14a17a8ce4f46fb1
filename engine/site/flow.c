/*
 * flow.c - flows: birth, turn, end.
 *
 * The next flow is found by looking at all that can do something: a site has as many flows as campaigns that send to it
 * at the time, which are few.
 */
#include "engine/site/flow.h"

#include <stdlib.h>

#include "engine/site/site.h"

#define STRIDE UINT64_C(1000000000) /* of a message at weight 1 */

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
    }
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
    settle_in(&site->senders, &flow->send, !list_empty(&flow->senders), &flow->send_mark, site->send_mark);
    settle_in(&site->feeders, &flow->feed, !list_empty(&flow->feeders), &flow->feed_mark, site->feed_mark);
}

struct flow *flow_next_sender(struct site *site)
{
    struct flow *next = NULL;
    list_for_each(node, &site->senders)
    {
        struct flow *flow = list_entry(node, struct flow, send);
        if (next == NULL || flow->send_mark < next->send_mark)
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
        if (next == NULL || flow->feed_mark < next->feed_mark)
            next = flow;
    }
    return next;
}

void flow_sent(struct flow *flow)
{
    flow->site->send_mark = flow->send_mark;
    flow->send_mark += STRIDE / flow->weight;
}

void flow_fed(struct flow *flow)
{
    flow->site->feed_mark = flow->feed_mark;
    flow->feed_mark += STRIDE / flow->weight;
}
