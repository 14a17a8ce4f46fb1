/*
 * flow.h - the jobs of one campaign at one site: how campaigns share what a site may do.
 *
 * Start-time fair queueing: each message that a flow composes or sends moves its mark on by an amount that is inverse
 * to the campaign's weight, and the flow with the lowest mark is next. A flow that comes (or comes back) begins at the
 * mark of the one that was served last, so that it neither waits behind what came before nor catches up for when it was
 * away. What is urgent (single messages) is next whatever its mark, and does not move that of the site. Inside a flow the recipient domains (lane.h) take turns, one message each.
 *
 * A flow whose campaign or sending domain has reached a limit of its own steps aside (gate.h). Loop thread only.
 */
#ifndef POSTHASTE_ENGINE_SITE_FLOW_H
#define POSTHASTE_ENGINE_SITE_FLOW_H

#include "base/hashmap.h"
#include "engine/engine.h"
#include "engine/site/via.h"

struct site;

#define FLOW_WEIGHT_DEFAULT 100
#define FLOW_WEIGHT_MAX 1000

struct flow {
    struct site *site;
    struct list node;             /* of site->flows */
    struct list send;             /* of site->senders: one of its lanes may start a message */
    struct list feed;             /* of site->feeders: one of its lanes has jobs worth composing */
    struct hashmap lanes;         /* by domain */
    struct list senders, feeders; /* struct lane.send, .feed */
    uint64_t group;               /* the campaign */
    uint32_t weight;
    bool urgent;                  /* has its turn before all that are not */
    uint64_t send_mark, feed_mark;
    uint32_t ahead;                                 /* messages composing or ready */
    char *sender;                                   /* the sending domain; NULL = not known */
    struct shared *campaign_limits, *sender_limits; /* NULL = none */
    struct ruled campaign_ruled, sender_ruled;      /* measures in force */
    int64_t held_until_us; /* a limit of the campaign or the sending domain is reached; 0 = none */
    struct gate held;
};

/* The flow of the job's campaign, made when there is none; NULL = no memory. The weight is brought up to date. */
struct flow *flow_get(struct site *site, const struct engine_job *job) ATTR_MUSTCHECK;
void flow_free(struct flow *flow); /* without lanes */
/* The sending domain's limits by what the configuration says now. -ENOMEM: again later. */
int flow_reshape(struct flow *flow) ATTR_MUSTCHECK;

/* 0 = its own limits let it send; else it steps aside until then. */
int64_t flow_wait_until_us(struct flow *flow);
void flow_hold(struct flow *flow, enum limit_scope scope, enum limit_what what, int64_t until_us);
/* Lets those come back whose time is there; returns when the next one's is, INT64_MAX = none waits. */
int64_t flows_wake(struct site *site);

/* Puts the flow where its lanes' standing says. */
void flow_settle(struct flow *flow);

/* Whose turn it is; NULL = nobody can. flow_sent() and flow_fed() count a turn that was used. */
struct flow *flow_next_sender(struct site *site);
struct flow *flow_next_feeder(struct site *site);
void flow_sent(struct flow *flow);
void flow_fed(struct flow *flow);

#endif
