/*
 * lane.h - the jobs of one campaign for one recipient domain inside its site, with the domain's own limits.
 *
 * A site that serves many domains takes from the lanes of a flow (flow.h) in turn, one message each; a lane whose limit
 * is reached steps aside without holding up the others. The limits themselves are the domain's, whatever campaigns send
 * to it: they are in the zone, which the lanes of the domain share. A domain without limits of its own has none. Every
 * lane is in the site's heap `waiting`, by the time (in microseconds) at which its limit lets it do something again.
 * lane_settle() puts a lane where it belongs after any change.
 *
 * Loop thread only.
 */
#ifndef POSTHASTE_ENGINE_SITE_LANE_H
#define POSTHASTE_ENGINE_SITE_LANE_H

#include "base/heap.h"
#include "engine/engine.h"
#include "engine/site/via.h"

struct flow;
struct site;
struct conn;
struct sts_policy;

struct zone_use { /* a connection that holds messages of the domain */
    const struct conn *conn;
    uint32_t held;
};

struct zone { /* what one recipient domain may do at its site */
    struct site *site;
    const struct config_domain *config;
    struct bounds bounds;
    uint32_t users;    /* lanes */
    uint32_t conn_max; /* 0 = no limit of its own */
    uint32_t use_count, use_room;
    struct zone_use *uses; /* use_room of them, at least conn_max when limited */
    size_t name_len;
    char name[];
};

struct lane {
    struct site *site;
    struct flow *flow;
    struct zone *zone;     /* NULL = the domain has no limits of its own */
    struct list node;      /* of site->lanes_all */
    struct list send;      /* of flow->senders: has composed messages and may start one now */
    struct list feed;      /* of flow->feeders: has jobs that are worth composing now */
    struct heap_node wait; /* of site->waiting */
    struct list queue, ready;
    uint32_t queued, ready_count, composing_count, sending_count;
    struct ruling ruling;      /* measures on the domain */
    struct gate held;          /* what holds it up, what == NONE: nothing */
    int64_t aside_until_us;    /* no connection will do; 0 = not known */
    uint32_t held_back;        /* of ready: counted in site->held_back, because the limit does not let them start */
    struct sts_policy *sts;    /* the domain's, held; NULL = none */
    enum tls_result sts_fault; /* why it could not be fetched anew */
    size_t name_len;
    char name[];
};

/* The lane of the job's campaign and domain, made when there is none; NULL = no memory. */
struct lane *lane_get(struct site *site, const struct engine_job *job) ATTR_MUSTCHECK;
void lane_free(struct lane *lane); /* without jobs */
/* The domain's MTA-STS policy may be another since its lanes began, for a new one counts at once (RFC 8461 section 3.1). */
void lanes_renew_policy(struct site *site, const char *domain);
void lane_settle(struct lane *lane);
/* No connection that is open will do for its mail (transport.h), but another may: it waits a moment, and the site opens
 * one. */
void lane_step_aside(struct lane *lane);
void lane_step_back(struct lane *lane); /* there is one */
/* The domain's limits by what the configuration says now. -ENOMEM: again later. */
int lane_reshape(struct lane *lane) ATTR_MUSTCHECK;
/* Frees it when it has nothing to do and forgetting its limit changes nothing; true = gone. */
bool lane_rest(struct lane *lane);

/* The connection limit of a domain: messages of it are on at most conn_max connections at a time. */
bool lane_may_use(const struct lane *lane, const struct conn *conn);
void lane_use(struct lane *lane, const struct conn *conn);
void lane_unuse(struct lane *lane, const struct conn *conn);

static inline uint32_t lane_jobs(const struct lane *lane)
{
    return lane->queued + lane->ready_count + lane->composing_count + lane->sending_count;
}

#endif
