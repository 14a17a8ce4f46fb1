/*
 * limit.h - the noun "limit" as people see it, and the measures that lower one for a time. A part of the engine's door.
 *
 * A limit has somebody whom it is for (scope and name), something that it counts, a value, a place where it was set,
 * and a standing: how much is used, whether it is what holds the site up now, when it lets the next message go.
 *
 * A measure is a limit for a time: a suspension by hand, or what an automation rule (share/shaping-rules.conf) did. It
 * is listed, can be cancelled, and outlives the process.
 */
#ifndef POSTHASTE_ENGINE_LIMIT_H
#define POSTHASTE_ENGINE_LIMIT_H

#include "base/error.h"
#include "base/list.h"
#include "base/rate.h"

struct engine;

enum limit_scope {
    SCOPE_NONE,
    SCOPE_MACHINE,
    SCOPE_SOURCE,
    SCOPE_SENDER, /* a sending domain */
    SCOPE_CAMPAIGN,
    SCOPE_PROVIDER, /* a source at all sites of one profile */
    SCOPE_SITE,
    SCOPE_SITE_SOURCE, /* a source at one site */
    SCOPE_DOMAIN,      /* a recipient domain */
    SCOPE_COUNT
};
enum limit_what {
    WHAT_NONE,
    WHAT_RATE,
    WHAT_QUOTA,
    WHAT_BYTE_RATE,
    WHAT_CONNECTIONS,
    WHAT_CONNECTION_RATE,
    WHAT_PER_CONNECTION, /* messages on one connection */
    WHAT_ADAPTIVE,
    WHAT_WARMUP,
    WHAT_SUSPENDED,
    WHAT_COUNT
};
const char *limit_scope_name(enum limit_scope scope); /* "machine", "source", "sending domain", … */
const char *limit_what_name(enum limit_what what);    /* "rate", "byte rate", … */

/* Strings live during the call that shows it. */
struct engine_limit {
    enum limit_scope scope;
    enum limit_what what;
    const char *name;   /* whose: "gmail.com", "ip1", "campaign 7", … */
    const char *value;  /* "100/s", "5", "suspended: why" */
    const char *now;    /* "83.2/s", "5 in use", "120 of 200 used", or "" */
    const char *origin; /* "FILE:LINE", "built in", a rule, "by hand" */
    bool binding;       /* this is what holds the site up now */
    int64_t next_ms;    /* from now until it lets the next message go; 0 = now, -1 = not known */
};

#define MEASURE_TARGET_BYTES 256
struct engine_measure {
    struct list node; /* the engine's */
    uint64_t id;
    enum limit_scope scope;            /* SITE, SOURCE, DOMAIN, CAMPAIGN, SENDER, SITE_SOURCE */
    char target[MEASURE_TARGET_BYTES]; /* the site, domain, …; a campaign's number */
    char source[48];                   /* of SITE_SOURCE */
    enum limit_what what;              /* SUSPENDED, RATE, CONNECTIONS, PER_CONNECTION */
    struct rate rate;                  /* of RATE */
    uint32_t number;                   /* of CONNECTIONS, PER_CONNECTION */
    int64_t since_wall_ms;
    int64_t until_wall_ms; /* 0 = until it is cancelled */
    char reason[200];
    char origin[128]; /* "by hand", or the rule: "FILE:LINE NAME" */
    int64_t until_us; /* the engine's: monotonic */
};

/* Puts a measure into force, in place of one with the same scope, target, source, what and origin. Any thread. The id
 * is set. It is durable when engine_callbacks.save has had its records saved. -ENOMEM, -E2BIG (MEASURES_MAX are in
 * force). */
#define MEASURES_MAX 10000
int engine_measure_set(struct engine *engine, struct engine_measure *measure) ATTR_MUSTCHECK;
int engine_measure_cancel(struct engine *engine, uint64_t id); /* 0, or -ENOENT */
typedef void engine_measure_cb(void *context, const struct engine_measure *measure);
void engine_measures(struct engine *engine, engine_measure_cb *each, void *context); /* those in force; any thread */

/* What is wrong with the automation rules that would be in force: one sentence each, with file and line, about a rule
 * that can never decide. 0; -EINVAL, -errno, -ENOMEM: they cannot be read, and `err` says where. Any thread. */
typedef void engine_rules_cb(void *context, const char *sentence);
int engine_rules_check(engine_rules_cb *each, void *context, struct error *err) ATTR_MUSTCHECK;

/* State that must outlive the process: text under a key. The engine's memory until engine_saved() (any thread), which
 * is due when it is durable. */
struct engine_record {
    struct list node; /* the saver's */
    void *owner;      /* the engine's */
    const char *key;
    const char *value; /* "" = it may be forgotten */
};
void engine_saved(struct engine *engine, struct engine_record *record);
struct engine_restored { /* one record of an earlier process */
    const char *key, *value;
};

/* How a source stands. Strings live during the call. */
struct engine_source_stats {
    const char *name, *address, *hostname;
    uint32_t connections, connections_max; /* 0 = no limit */
    const char *suspended;                 /* why, or "" */
    uint32_t warm_day, warm_days;          /* 0 = no warm-up (any more) */
    uint32_t warm_quota;                   /* messages of this day to each provider */
    const char *provider;                  /* one line for each that was used today; "" = none yet */
    uint32_t warm_left;                    /* to that provider, today */
};
typedef void engine_source_cb(void *context, const struct engine_source_stats *stats);
/* Each source, once for each provider that it has sent to in this day of its warm-up. Any thread. */
void engine_sources(struct engine *engine, engine_source_cb *each, void *context);

#endif
