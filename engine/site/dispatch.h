/*
 * dispatch.h - everything of one loop thread: its sites, its connections' quota, and the inboxes through which jobs,
 * compose answers and orders come in.
 *
 * All functions are for the loop's own thread, except where "any thread" is said. Sites and connections that have
 * something to do are marked dirty and served once at the end of the turn (loop.h), so a burst of replies costs one
 * pass and one write per connection.
 */
#ifndef POSTHASTE_ENGINE_SITE_DISPATCH_H
#define POSTHASTE_ENGINE_SITE_DISPATCH_H

#include <stdatomic.h>

#include "base/hashmap.h"
#include "base/inbox.h"
#include "engine/engine.h"
#include "engine/net/mx_lookup.h"
#include "engine/net/wire.h"
#include "engine/site/memory.h"
#include "engine/site/rules.h"
#include "engine/site/shaping.h"
#include "engine/site/source.h"
#include "engine/smtp/sasl.h"
#include "engine/tuning.h"

struct site;
struct conn;
struct sts;

/* What a job of ours is doing (engine_job.state); JOB_WANTED_BACK is added when engine_release() asked for it,
 * JOB_CONTENT_OUT while content_out() was called and neither content_back() nor done(). */
enum job_state {
    JOB_QUEUED = 1,
    JOB_COMPOSING,
    JOB_READY,
    JOB_SENDING,
    JOB_STATE_MASK = 15,
    JOB_WANTED_BACK = 16,
    JOB_CONTENT_OUT = 32
};

static inline struct engine_job *job_of(struct list *node)
{
    return list_entry(node, struct engine_job, node);
}

struct dispatch_login { /* of the route with the same index; user "" = none */
    struct credentials credentials;
    struct sasl_keys keys;
    uint32_t users; /* sessions */
    bool replaced;  /* by a reload: the last session frees it */
};
/* Of every route; NULL with -errno. Any thread. */
struct dispatch_login **logins_load(const struct config *config, struct error *err) ATTR_MUSTCHECK;
void logins_replace(struct dispatch_login **logins, size_t count); /* frees those that no session uses */
void login_leave(struct dispatch_login *login);                    /* a session has ended; NULL is allowed */

struct dispatch_counts {
    uint64_t delivered, temporary, permanent, transport;
};

/* Deliveries of the last seconds. */
#define METER_SECONDS 5
struct meter {
    int64_t second;
    uint32_t counts[METER_SECONDS + 1];
};
void meter_add(struct meter *meter, int64_t now_ms);
double meter_per_second(struct meter *meter, int64_t now_ms); /* over the last METER_SECONDS whole seconds */

/* An order to the loop. It is freed by the loop after execute(). */
struct dispatch_order {
    struct list node;
    void (*execute)(struct dispatch_order *order);
    struct dispatch *dispatch;
};

struct dispatch {
    struct loop loop;
    pthread_t thread;
    const struct config *config; /* held; a reload replaces it between two turns */
    uint64_t version;            /* of the configuration: 1, and one more for each reload */
    struct config_timeouts timeouts; /* the configuration's, where sessions look at them */
    struct engine_callbacks callbacks;
    struct engine_tuning tuning;
    struct source_pool sources;
    struct shaping *shaping; /* the engine's */
    struct tally tally;      /* of replies that rules count */
    struct dispatch_login **logins; /* config->route_count of them */
    struct rules *rules;            /* held */
    struct shared *machine;         /* limits of all that this server sends; NULL = none */
    struct dispatch **loops;       /* all of the engine; complete before the first job comes */
    unsigned index, loop_count;
    struct hashmap sites;   /* by key */
    struct hashmap domains; /* whose look-up is not done, by name */
    struct list domains_all;
    struct dns *dns;          /* made with the first look-up; NULL = not yet */
    struct mx_lookup *lookup; /* the same */
    struct hashmap dane;      /* dane.c's, by "_25._tcp.HOST" */
    struct sts *sts;          /* the engine's; NULL = off */
    engine_tls_counts tls_counts;
    struct mx_address *own;   /* the sources' addresses */
    bool has_moved;           /* jobs went to another loop: orders to take jobs back have to follow them */
    struct list dirty_sites, dirty_conns;
    struct list starved; /* sites that wait for a connection of the quota */
    struct list idle;    /* connections without a message */
    uint32_t conn_count, conn_max;
    uint32_t jobs;  /* held, in whatever state */
    uint32_t composing_count; /* of them, asked for and not answered yet */
    int64_t begun_us; /* when the loop was made, or got its configuration: limits keep their distance to an earlier process */
    int64_t now_us;   /* as of this turn */
    bool flush_due, stopping, forced;
    bool held;                /* nothing new begins */
    _Atomic bool held_wanted; /* what `held` is to become */
    _Atomic bool release_all; /* an order for which there was no memory */
    struct loop_timer stop_timer;
    struct loop_timer memory_timer; /* until what was learnt is saved again */
    struct loop_timer reshape_timer; /* until what a reload had no memory for is tried again */
    struct inbox submitted;    /* engine_job.node */
    struct inbox composed;     /* engine_job.answer */
    struct inbox orders;       /* dispatch_order.node */
    pthread_mutex_t wake_lock; /* guards `wakeable`: a late sender must not wake a loop that is gone */
    bool wakeable;
    struct dispatch_counts counts;
    struct meter meter;
    struct memory memory;    /* of sites by name, and of addresses */
    struct tls_context *tls; /* made with the first handshake; NULL = not yet */
    uint64_t random;
};

int dispatch_init(struct dispatch *dispatch,
                  struct error *err) ATTR_MUSTCHECK; /* the fields config .. index and conn_max are set before */
int dispatch_start(struct dispatch *dispatch, struct error *err) ATTR_MUSTCHECK;
void dispatch_join(struct dispatch *dispatch);   /* waits for the thread's end */
void dispatch_finish(struct dispatch *dispatch); /* when its thread has ended or was never started */

void dispatch_hold(struct dispatch *dispatch, bool held); /* see engine_hold(); any thread */
void dispatch_release_all(struct dispatch *dispatch);     /* gives back all that has not begun; any thread */

/* reload.c: what there was no memory for is tried again a little later. */
void dispatch_reshape_later(struct dispatch *dispatch);
void dispatch_on_reshape_timer(struct loop_timer *timer);
/* The configuration's sources are others now; takes over `own`, which has room for all of them. */
void dispatch_own_addresses(struct dispatch *dispatch, struct mx_address *own);

/* Orders, on the loop thread. */
void dispatch_release(struct dispatch *dispatch, const struct engine_release *which); /* on this loop */
void dispatch_stop(struct dispatch *dispatch, int64_t deadline_ms); /* milliseconds from now */

/* For sites and connections. */
struct dispatch *dispatch_home(const struct dispatch *dispatch, const char *name); /* the loop of a domain or a site */
struct mx_lookup *dispatch_lookup(struct dispatch *dispatch, struct error *err) ATTR_MUSTCHECK; /* NULL = cannot */
void dispatch_done(struct dispatch *dispatch, struct engine_job *job, struct outcome *outcome); /* the job leaves us */
void dispatch_content_out(struct dispatch *dispatch, struct engine_job *job);  /* see engine_callbacks */
void dispatch_content_back(struct dispatch *dispatch, struct engine_job *job); /* if it was out */
uint32_t dispatch_random(struct dispatch *dispatch, uint32_t below);                            /* for jitter only */
struct tls_context *dispatch_tls(struct dispatch *dispatch, struct error *err) ATTR_MUSTCHECK;  /* NULL = cannot */
void dispatch_conn_gone(struct dispatch *dispatch); /* a place of the quota is free */

#endif
