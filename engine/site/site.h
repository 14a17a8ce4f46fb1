/*
 * site.h - one destination: its queue, its limits, its connections, and what it knows about the servers there.
 *
 * In this stage a site is a recipient domain. A job's way: queue -> composing -> ready -> a connection -> outcome; back
 * to ready (at its front, in order) when a connection ends before its content was finished, and from ready to queue
 * when the site is unreachable, so that no composed message lies about. Success of a site means that it answers; what
 * it answers is each message's own matter.
 *
 * Loop thread only.
 */
#ifndef POSTHASTE_ENGINE_SITE_SITE_H
#define POSTHASTE_ENGINE_SITE_SITE_H

#include "engine/net/nexthop.h"
#include "engine/site/dispatch.h"
#include "engine/site/limits.h"

struct site {
    struct dispatch *dispatch;
    struct list dirty, starved; /* nodes of the dispatch's lists */
    char *domain;
    const struct config_profile *profile;
    const struct config_route *route;             /* NULL = by MX */
    struct list queue, composing, ready, sending; /* engine_job.node */
    uint32_t queued, composing_count, ready_count, sending_count;
    struct list conns; /* struct conn.node, whose socket is not closed */
    uint32_t conn_count, conn_starting, conn_ready, conn_max;
    struct limit limit, domain_limit;
    struct rate domain_rate;
    /* next hop */
    struct nexthop_query *query; /* asked, not answered */
    struct nexthop_host *hosts;  /* NULL = not known */
    size_t host_count, host_next;
    char *next_hop; /* as text, NULL = not known */
    int64_t hosts_until_ms;
    /* trouble */
    int64_t backoff_ms, backoff_until_ms; /* no new connection before; 0 = none */
    int64_t failing_since_ms;             /* no message was answered since; 0 = not failing */
    struct outcome *trouble;              /* why, NULL = unknown */
    uint32_t depth;                       /* messages one connection can have outstanding; 0 = not known yet */
    struct loop_timer timer;
    int64_t idle_since_ms;
    const char *limited_by; /* as of the last pump */
    struct dispatch_counts counts;
    struct meter meter;
    char last_reply[256];
};

struct site_release {       /* whose jobs are wanted back */
    uint64_t group;         /* 0 = any */
    int64_t taken_until_ms; /* submitted at or before it; INT64_MAX = whenever */
};

struct site *site_create(struct dispatch *dispatch, const char *domain) ATTR_MUSTCHECK; /* NULL = no memory */
void site_free(struct site *site);                                                      /* no jobs, no connections */

void site_submit(struct site *site, struct engine_job *job);
void site_composed(struct site *site, struct engine_job *job); /* its answer is in job->message / job->why */
void site_release(struct site *site, const struct site_release *release);
void site_mark_dirty(struct site *site);
void site_pump(struct site *site); /* serves it: composes, gives, opens; may free a site that was idle for long */

/* From its connections (pool.c). `why` and `outcome` live during the call. */
void site_conn_ready(struct site *site, uint32_t depth);             /* it takes messages now, `depth` at a time */
void site_conn_failed(struct site *site, const struct outcome *why); /* it carried no message */
void site_answered(struct site *site);                               /* a server of it answered for a message */
void site_job_ended(struct site *site, struct engine_job *job, struct outcome *outcome);
/* Returns false when the job has ended (its second drop, or wanted back); else it is the caller's to put into
 * site_take_back(). */
bool site_job_back(struct site *site, struct engine_job *job, bool charged, bool begun, const struct outcome *why);
void site_take_back(struct site *site, struct list *jobs); /* to the front of ready, in order */

/* The next job for a connection, limits paid; NULL = none now. */
struct engine_job *site_next_job(struct site *site);

#endif
