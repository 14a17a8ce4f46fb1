/*
 * engine.h - the door of the engine room: sends composed messages to the sites of their recipients' domains under limits, and tells what became of each.
 *
 * The engine knows nothing of campaigns, keys, templates or SQL. It is given jobs (one recipient each), asks its *message source* for the
 * message of a job only when a connection is about to need it, and hands every job back exactly once through its *outcome sink*.
 *
 * Where a message goes: a route of the configuration if there is one for the recipient's domain, else the hosts of its MX records. Domains that
 * publish the same hosts (and have the same profile) are one site and share its limits; a domain with a route is a site of its own.
 *
 * Threads: `loops` uv loops, one thread each. A site belongs to one loop, so its queue, limits and connections need no lock. Calls marked "any thread" post to the loops' inboxes and return at once. Callbacks come on a loop thread and must not block.
 * Async is always async: no callback is ever made inside the call that caused it.
 */
#ifndef POSTHASTE_ENGINE_ENGINE_H
#define POSTHASTE_ENGINE_ENGINE_H

#include <stdatomic.h>

#include "base/config.h"
#include "base/list.h"
#include "base/outcome.h"
#include "engine/limit.h"

struct engine;

/* A composed message. Whoever made it owns the bytes; they stay valid and unchanged until release() (any thread). */
struct engine_message {
    const char *mail_from; /* RFC 5321 reverse-path without brackets (VERP); "" = null path */
    const char *data;      /* RFC 5322 content, CRLF line ends only, not dot-stuffed, ends with CRLF */
    size_t size_bytes;
    bool eight_bit;        /* content has bytes over 127: BODY=8BITMIME needed */
    bool smtputf8;         /* an address in the envelope or the header has UTF-8 */
    void (*release)(struct engine_message *message);
};

/* What the engine is to know of a campaign. The caller's memory; constant while a job of it is out, but for the weight. */
struct engine_campaign {
    _Atomic uint32_t weight; /* its share of a site for which several campaigns have mail, 1 to 1000; 0 = 100. Read when a job comes */
    bool urgent;             /* its mail goes before that of the others at a site, whatever their weights */
    struct rate rate;        /* of all its messages together; count 0 = no limit of its own */
    const char *sender;      /* the sending domain: that of the From address; NULL = not known */
};

/* One delivery to make. The caller's memory, which the engine borrows from engine_submit() until `done`. */
struct engine_job {
    struct list node;      /* the engine's while it holds the job */
    const char *rcpt_to;   /* normal form of base/address.h */
    const char *domain;    /* the domain part of rcpt_to */
    uint64_t group;        /* the campaign: engine_release() takes jobs back by it */
    bool shared;           /* it came from a queue of many domains, whom it must not hold up: engine_release() may ask for such alone */
    const struct engine_campaign *campaign; /* NULL = nothing is known of it */
    bool smtputf8;         /* the local part of rcpt_to has UTF-8 */
    bool any_tls;          /* it goes whatever policies of others say about TLS, and is not told of to tls_session: a TLS report (RFC 8460 section 3) */
    /* the engine's own, zeroed by the caller */
    struct list answer;    /* the way of the compose answer */
    struct engine_message *message;
    void *owner;
    const void *carrier; /* the connection that has it, and what held for it when it was given the job */
    enum tls_rule tls_rule;
    enum tls_result tls_result;
    char *why;
    uint64_t tickets[8];
    int64_t taken_ms;
    uint32_t state, drops;
};

/* A session as TLS reports count it: the first time that a connection is of use, or of none, to mail of a domain. Strings live during the call. */
struct engine_tls_session {
    const char *domain;
    enum tls_rule rule;     /* NONE: no policy was found, or (result is one of MTA-STS's) none could be had */
    enum tls_result result; /* OK, or what failed */
    const char *mx_host, *address, *source; /* the server's name and address, our address; "" when not known */
    const char *policy;     /* as it is published, one line a string of RFC 8460 section 4.4; "" = none */
};

struct engine_callbacks {
    void *context;
    /* Message source. Loop thread. Answer later, exactly once, from any thread, with engine_composed(). */
    void (*compose)(void *context, struct engine_job *job);
    /*
     * The flight journal's two calls; both or neither (NULL). Loop thread, no system calls, please: once a message.
     * content_out: the bytes that end the job's content are about to be handed to the kernel; from here on the receiver
     * may have taken the message. Followed by `done`, or by content_back: it is certain that this attempt left no
     * message there (the end did not leave after all, or the server said so), and the job goes on waiting as before.
     */
    void (*content_out)(void *context, struct engine_job *job);
    void (*content_back)(void *context, struct engine_job *job);
    /* Outcome sink. Loop thread. The job is the caller's again; `outcome` lives during the call. */
    void (*done)(void *context, struct engine_job *job, const struct outcome *outcome);
    /* End of a batch of `done` calls of this loop turn (may be NULL): the place to post what was gathered. `loop` is 0..loops-1. */
    void (*flush)(void *context, unsigned loop);
    /* NULL = nobody counts. Any thread of the engine's; must not block. */
    void (*tls_session)(void *context, const struct engine_tls_session *session);
    /* State of limits that must outlive the process (limit.h): saved in the order in which it comes, and handed back with engine_saved() when it is
     * durable. Any thread of the engine's; must not block. NULL = nothing outlives the process. */
    void (*save)(void *context, struct engine_record *record);
    const struct engine_restored *restored; /* what was saved before; read during engine_start() */
    size_t restored_count;
};

/* Starts the loops. `config` is from config_load() and outlives the engine. */
int engine_start(const struct config *config, const struct engine_callbacks *callbacks, struct engine **out, struct error *err) ATTR_MUSTCHECK;

/* Each file of the configuration that would keep the engine or the listener from starting: trusted certificates, trust anchor, passwords, the
 * listener's certificate. One sentence a call; nothing is kept. Any thread. */
void engine_files_check(const struct config *config, engine_rules_cb *each, void *context);

/*
 * Another configuration from now on: profiles, routes, sources, limits, time-outs and automation rules. No connection is
 * closed before what is under way on it has ended, and no limit is exceeded that holds before and after (site/reload.h).
 * Keys that are `fixed` (base/config_live.h) must be as they were. 0; else nothing has changed, and `err` says why: a
 * source's address, a password or a rules file that cannot be read. The engine holds `config` as long as it needs it. One
 * call at a time, and before engine_stop(); returns before the loops have taken it over, which takes a moment.
 */
int engine_reload(struct engine *engine, const struct config *config, struct error *err) ATTR_MUSTCHECK;

/*
 * Hands over jobs (list of engine_job.node) and empties the list. Any thread. Order within a domain is kept. Jobs that come after
 * engine_stop() began end OUTCOME_RELEASED (before it returns, or in engine_free()); none may come after engine_free() began.
 */
void engine_submit(struct engine *engine, struct list *jobs);

/* Answers `compose`: `message`, or NULL when it could not be made (the job ends as OUTCOME_COMPOSE with `why`, copied). Any thread. */
void engine_composed(struct engine *engine, struct engine_job *job, struct engine_message *message, const char *why);

/* Gives back, as OUTCOME_RELEASED, every job that is meant and whose transaction has not begun on the wire. Nothing else makes a job come back
 * untried: for a site that cannot be reached, is suspended or throttled it waits as long as nobody asks. Any thread; jobs come back through `done`. */
struct engine_release {
    uint64_t group;     /* 0 = all */
    int64_t waiting_ms; /* those that have waited for at least so long; 0 = all */
    bool shared;        /* only jobs that are */
};
void engine_release(struct engine *engine, const struct engine_release *which);

/* While held nothing new begins on the wire: what is under way ends, everything else waits where it is. For when what is
 * sent could not be recorded. Any thread; takes no memory. */
void engine_hold(struct engine *engine, bool held);

/* Stops: releases what was not begun, waits up to deadline_ms for what is in the air, then closes (the rest ends TRANSPORT or UNCERTAIN). Blocks; not from a loop
 * thread. All jobs have come back when it returns; compose answers that are still owed are waited for. */
void engine_stop(struct engine *engine, int64_t deadline_ms);
void engine_free(struct engine *engine); /* after engine_stop() */

/* One site as people see it. Strings live during the call. */
struct engine_site_stats {
    const char *site;         /* name: the domain of a route, or the MX hosts, "(mx1|mx2).example.com"; a domain whose look-up runs is shown too */
    const char *next_hop;     /* "host:port" of the best host, or "" */
    const char *profile;
    uint32_t queued;          /* jobs waiting */
    uint32_t in_flight;       /* messages on the wire or composed for it */
    uint32_t connections, connections_max;
    struct rate rate;
    double rate_now;          /* delivered/s over the last seconds */
    uint64_t delivered, temporary, permanent, transport; /* since start */
    uint32_t p50_ms, p95_ms;  /* MAIL to the final reply, of what was delivered lately; 0 = nothing was */
    const char *limited_by;   /* "nothing", "idle", "compose", "connections", "sources", "back-off", "dns", "suspended", "adaptive rate", "warm-up", "storage" (engine_hold()), or
                               * a scope and what it counts: "rate" (of the site), "domain rate", "campaign byte rate", … */
    int64_t backoff_until_wall_ms; /* 0 = none */
    const char *last_reply;   /* last reply that was not 2xx, or "" */
    const char *explanation;  /* engine_explain(): sentences, one a line; else "" */
    const struct engine_limit *limits; /* engine_explain(): every limit that mail to the site has to pass; else none */
    size_t limit_count;
    enum tls_rule tls_rule;   /* about TLS, of the last attempt that had one */
    uint64_t tls_good, tls_bad; /* attempts that a rule held for, since start: it was kept; it was not */
    enum tls_result tls_failure; /* the last of these; TLS_RESULT_NONE = none */
    double adaptive_rate;     /* messages/s that the site bears from its slowest source; 0 = nothing has lowered it */
};
/* Attempts since start, by the rule about TLS that held for them and how it went. */
typedef uint64_t engine_tls_counts[TLS_RULE_COUNT][TLS_RESULT_COUNT];
struct engine_totals { engine_tls_counts tls; uint64_t delivered, temporary, permanent, transport; double rate_now; uint32_t sites, connections, queued, in_flight; };
typedef void engine_site_cb(void *context, const struct engine_site_stats *stats);
/* A consistent copy of each loop's sites, busiest first is NOT promised. Blocks for a moment (bounded by 2 s: -ETIMEDOUT); any thread but a loop's. */
int engine_sites(struct engine *engine, engine_site_cb *each, void *context, struct engine_totals *totals);

/* As engine_sites(), of the sites where mail of one group waits: `queued` counts that mail alone, whatever was begun for it, and `limited_by` is what
 * holds it up there. */
int engine_group_sites(struct engine *engine, uint64_t group, engine_site_cb *each, void *context);

/* The site of this name, or the one that serves the recipient domain of this name, with its explanation: what limits it right now, and what is known
 * about its servers. `each` is called for each that fits (a domain's old and new site, say), or never. As engine_sites() else. */
int engine_explain(struct engine *engine, const char *name, engine_site_cb *each, void *context);

#include "engine/receive/listener.h"
#include "engine/fetch.h"
#include "engine/resolve.h"

#endif
