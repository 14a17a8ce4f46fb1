/*
 * via.h - one source at one site: its limits there, the rate that the site bears from it, its warm-up, and what the
 * site's refusals lead to.
 *
 * Loop thread only. What is rare (limits of its own, an adapted rate) is allocated when it comes up.
 */
#ifndef POSTHASTE_ENGINE_SITE_VIA_H
#define POSTHASTE_ENGINE_SITE_VIA_H

#include "base/outcome.h"
#include "engine/engine.h"
#include "engine/site/adapt.h"
#include "engine/site/shaping.h"

struct site;
struct source;
struct conn;

/* What holds something up. */
struct gate {
    enum limit_scope scope;
    enum limit_what what;
    int64_t until_us; /* INT64_MAX = nothing, or not by itself */
};
#define GATE_OPEN ((struct gate){.until_us = INT64_MAX})
/* Keeps the one that opens first. */
void gate_note(struct gate *gate, enum limit_scope scope, enum limit_what what, int64_t until_us);
const char *gate_name(const struct gate *gate); /* "rate", "domain rate", "suspended", …; static */

/* Measures in force on one thing, with the limit that a rate among them makes. */
struct ruled {
    struct ruling ruling;
    struct limit *limit; /* NULL = no rate */
};
void ruled_refresh(struct ruled *ruled, struct shaping *shaping, enum limit_scope scope, const char *target,
                   const char *source, int64_t now_us);
int64_t ruled_wait_until_us(struct ruled *ruled, int64_t now_us, enum limit_what *what); /* 0 = open */
void ruled_take(struct ruled *ruled, int64_t now_us);
void ruled_finish(struct ruled *ruled);

struct via {
    struct bounds *bounds;     /* NULL = no limits of its own */
    struct shared *provider;   /* NULL = none */
    struct ruled ruled;        /* measures on the source at this site ... */
    struct ruled source_ruled; /* ... and on the source */
    struct adapt *adapt;       /* NULL = nothing was learnt */
    struct limit pace;         /* of the adapted rate */
    int64_t saved_ms;
    bool changed; /* since it was saved */
    uint32_t conn_count;
    struct quota_entry *warm; /* of warm_day; NULL = warm */
    uint32_t warm_day;
    int64_t held_until_us; /* a shared limit of the source gave us this time */
    struct gate held;
};

/* Made when it is asked for first; NULL = no memory. */
struct via *via_get(struct site *site, struct source *source) ATTR_MUSTCHECK;
/* NULL = nobody has asked for it yet. */
struct via *via_known(const struct site *site, const struct source *source);
void via_finish_all(struct site *site); /* saves what was learnt */
/* Writes down what was learnt, if it is new. */
void via_keep_learnt(struct site *site, struct source *source);
/* What the configuration says now; `source` is the via's. -ENOMEM: not all of it; again later. */
int via_reshape(struct site *site, struct source *source, struct via *via) ATTR_MUSTCHECK;

/* May a message go out this way now? 0, or when to ask again; the gate is noted. */
int64_t via_wait_until_us(struct site *site, struct source *source, struct via *via, struct gate *gate);
/* After it said 0, and after shaping_take(), which pays the quotas. */
int via_take(struct site *site, struct via *via, size_t bytes, uint64_t *ticket) ATTR_MUSTCHECK;
void via_done(struct via *via, uint64_t ticket, int64_t now_us);
/* May a connection be opened this way? The same. */
int64_t via_connect_wait_us(struct site *site, struct source *source, struct via *via, struct gate *gate);
/* True when nothing more goes out this way for a while, so that its connections are of no use. */
bool via_is_closed(struct site *site, struct source *source, struct via *via);

/* The site has taken a message. */
void via_delivered(struct site *site, struct source *source);
/* It has refused one (`job` NULL: a connection), or could not be connected to. */
void via_refused(struct site *site, struct source *source, const struct engine_job *job, const struct outcome *outcome);

#endif
