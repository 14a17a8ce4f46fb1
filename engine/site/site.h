/*
 * site.h - one destination: its jobs by recipient domain, its limits, its connections, and what it knows about the
 * servers there.
 *
 * A site is the set of MX hosts that serves a domain, so that all domains of a provider share it (and the profile that
 * holds for them); a domain with a route is a site of its own. A job's way: queue of its lane -> composing -> ready ->
 * a connection -> outcome; back to ready (at its front, in order) when a connection ends before its content was
 * finished, and from ready to queue when the site is unreachable, so that no composed message lies about. There it waits
 * until the site can be reached or it is asked back, for what was not tried has no outcome. Success of a site means that
 * it answers; what it answers is each message's own matter.
 *
 * Loop thread only.
 */
#ifndef POSTHASTE_ENGINE_SITE_SITE_H
#define POSTHASTE_ENGINE_SITE_SITE_H

#include "engine/net/nexthop.h"
#include "engine/site/dispatch.h"
#include "engine/site/flow.h"
#include "engine/site/lane.h"
#include "engine/site/latency.h"
#include "engine/site/limits.h"
#include "engine/site/via.h"

struct site_tls { /* attempts that a rule about TLS held for */
    uint64_t good, bad;
    enum tls_rule rule; /* of the last */
    enum tls_result failure;
};

struct site {
    struct dispatch *dispatch;
    struct list dirty, starved; /* nodes of the dispatch's lists */
    char *key;                  /* of dispatch->sites */
    char *name;                 /* as people see it: the domain of the route, or the MX hosts */
    const struct config_profile *profile;
    const struct config_route *route; /* NULL = by MX */
    bool any_tls;                     /* policies of others about TLS do not hold (engine_job.any_tls) */
    struct list flows;                /* struct flow.node: one for each campaign that has jobs here */
    struct list senders, feeders;     /* struct flow.send, .feed */
    uint64_t send_mark, feed_mark;    /* of the flow that was served last (flow.h) */
    struct hashmap zones;             /* limits of recipient domains, by domain */
    struct list lanes_all;
    struct heap waiting;            /* lanes, by when their limit lets them do something again */
    struct list composing, sending; /* engine_job.node */
    uint32_t held_back;             /* of ready: their lane's limit does not let them start */
    uint32_t queued, composing_count, ready_count, sending_count;
    struct lane *passed; /* the last that stepped aside; NULL = none, or it has been served since */
    struct list conns;   /* struct conn.node, whose socket is not closed */
    uint32_t conn_count, conn_starting, conn_ready, conn_max;
    struct bounds bounds;
    struct ruled ruled; /* measures on the site */
    struct via **vias;  /* by source; NULL until one is needed */
    size_t via_count;
    struct gate gate;   /* what the last pump was held up by first */
    /* next hop */
    struct nexthop_query *query; /* asked, not answered */
    struct nexthop_host *hosts;  /* NULL = not known */
    size_t host_count;
    char *next_hop; /* as text, NULL = not known */
    int64_t hosts_until_ms;
    /* trouble */
    int64_t backoff_ms, backoff_until_ms; /* no new connection before; 0 = none */
    int64_t failing_since_ms;             /* no message was answered since; 0 = not failing */
    struct outcome *trouble;              /* why, NULL = unknown */
    uint32_t content_losses;              /* connections lost in their first content, in a row */
    uint32_t stream_losses;               /* connections lost with several messages on them, in a row */
    int64_t loss_ms;                      /* the last of them */
    uint32_t places;                      /* connections that it takes: it turned a further one away; 0 = unknown */
    int64_t places_ms, places_until_ms;   /* no further one for so long; then one is tried */
    bool left;                            /* by a reload: what waits here goes home, what is under way ends */
    bool wants_source;                    /* the back-off is for want of a source */
    uint32_t depth;                       /* messages one connection can have outstanding; 0 = not known yet */
    struct loop_timer timer;
    int64_t idle_since_ms;
    const char *limited_by; /* as of the last pump */
    struct dispatch_counts counts;
    struct site_tls tls;
    struct latency latency; /* of what was delivered */
    struct meter meter;
    char last_reply[256];
};

struct site_release {       /* whose jobs are wanted back */
    uint64_t group;         /* 0 = any */
    int64_t taken_until_ms; /* submitted at or before it; INT64_MAX = whenever */
    bool shared;            /* only jobs that are */
};

struct site_origin { /* what makes a site; strings are copied */
    const char *key, *name;
    const struct config_route *route; /* NULL = by MX: hosts_set() follows */
    bool any_tls;
    const struct config_profile *profile;
};
struct site *site_create(struct dispatch *dispatch,
                         const struct site_origin *origin) ATTR_MUSTCHECK; /* NULL = no memory */
void site_free(struct site *site);                                         /* no jobs, no connections */
/* Limits by what the dispatch's configuration says now. -ENOMEM: not all of them; again later. */
int site_reshape(struct site *site) ATTR_MUSTCHECK;
/* One that was left is wanted again. */
void site_return(struct site *site, const struct site_origin *origin);

bool site_release_means(const struct site_release *release, const struct engine_job *job);

void site_submit(struct site *site, struct engine_job *job);   /* job->taken_ms is set */
void site_composed(struct site *site, struct engine_job *job); /* its answer is in job->message / job->why */
void site_release(struct site *site, const struct site_release *release);
void site_mark_dirty(struct site *site);
void site_unhold(struct site *site); /* limits have changed: everything is asked anew */
void site_pump(
    struct site *site); /* pump.c: serves it: composes, gives, opens; may free a site that was idle for long */

/* For its pump (pump.c). */
void site_uncompose(
    struct site *site); /* it cannot be reached: composed messages are given up and composed anew then */
void site_take_queued(struct site *site, struct list *out);
bool site_compose_next(struct site *site);   /* false: there is none to compose now */
void site_compose_starved(struct site *site, uint32_t most); /* one for each flow that has none, up to so many in all */

/* From its connections (pool.c). `why` and `outcome` live during the call. */
void site_conn_ready(struct site *site, uint32_t depth); /* it takes messages now, `depth` at a time */
void site_job_ended(struct site *site, const struct conn *conn, struct engine_job *job, struct outcome *outcome);
/* Returns false when the job has ended (its second drop, or wanted back); else it is the caller's to put into
 * site_take_back(). */
struct site_return {
    bool charged, begun; /* as session_event says */
    const struct outcome *why;
};
bool site_job_back(struct site *site, const struct conn *conn, struct engine_job *job, const struct site_return *how);
void site_take_back(struct site *site, struct list *jobs); /* to the front of ready, in order */

uint32_t site_conn_max(const struct site *site); /* pump.c: connections that it may have now */

/* The limits that the site shares with others, for a message of the flow (NULL: a connection) by the source. */
struct shared_set site_shared(const struct site *site, const struct source *source, const struct via *via,
                              const struct flow *flow);

/* The next job for this connection, limits paid; NULL = none now. */
struct engine_job *site_next_job(struct site *site, struct conn *conn);

#endif
