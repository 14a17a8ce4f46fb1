/*
 * source.h - the local addresses that connections come from: the sources of the pool "default".
 *
 * Each new connection takes one by weight, among those of the peer's address family that are below their own limit of
 * connections. A source that cannot be bound (its address is not on this machine, or not yet) is suspended for a while,
 * with a line in the log; mail goes on from the others, and waits when there is none. Without a pool the system
 * chooses.
 *
 * A source is the triple of name, address and EHLO name. One that a reload takes away or changes is *retired*: it opens
 * nothing any more, and stays where it is for the connections that still know it. So a source's address and index are
 * good for as long as the pool.
 *
 * Loop thread only; what spans the loops is in `limits`. What other threads look at changes under the shaping's lock.
 */
#ifndef POSTHASTE_ENGINE_SITE_SOURCE_H
#define POSTHASTE_ENGINE_SITE_SOURCE_H

#include "base/config.h"
#include "engine/limit.h"
#include "engine/net/stream.h"

struct shaping;

struct source {
    struct stream_address address; /* len 0 = the system's choice */
    char *name;                    /* "" = the system's choice */
    char *ehlo_name;
    char *address_text;            /* "" = the system's choice */
    size_t index;                  /* in the pool */
    bool retired;
    uint32_t weight;
    uint32_t conn_count, conn_max;      /* of this loop; of all (0 = no limit), which `limits` keeps */
    struct shared *limits;              /* of the source on all loops; NULL = none */
    const struct config_warmup *warmup; /* NULL = warm; else &warm, whose name is not kept */
    struct config_warmup warm;
    int64_t warm_begun_us;              /* monotonic; may lie before the machine's start */
    int64_t suspended_until_ms;         /* 0 = not */
};

struct source_pool {
    struct source **sources; /* at least one */
    size_t count;
    size_t room; /* for so many there is memory */
};

/* Reads the pool "default". 0, -EINVAL (what the configuration says makes no sense), -ENOMEM. */
int source_pool_init(struct source_pool *pool, const struct config *config, struct error *err) ATTR_MUSTCHECK;
void source_pool_finish(struct source_pool *pool);

enum source_result {
    SOURCE_FOUND,
    SOURCE_BUSY,      /* all that would do have as many connections as they may */
    SOURCE_SUSPENDED, /* all that would do are suspended */
    SOURCE_NONE,      /* no source has an address of the peer's family */
};

/* `random` is any number. `fits` (may be NULL): of use for what it is wanted for. SOURCE_FOUND: *out; count it with
 * conn_count. */
typedef bool source_fits(void *context, struct source *source);
enum source_result source_pick(struct source_pool *pool, int family, int64_t now_ms, uint32_t random, source_fits *fits,
                               void *context, struct source **out);
/* Its day of warm-up (from 1; 0 = it is warm) and how many messages it may send on it to each provider (via.c). */
uint32_t source_warm_quota(const struct source *source, int64_t now_us, uint32_t *day);
int64_t source_warm_day_ends_us(const struct source *source, uint32_t day);
/* What engine_sources() says; any thread. */
void sources_show(const struct source_pool *pool, struct shaping *shaping, engine_source_cb *each, void *context);
/* Looks up limits and the beginning of the warm-up. -ENOMEM: not of all; again later. */
int source_pool_shape(struct source_pool *pool, const struct config *config, uint64_t version,
                      struct shaping *shaping) ATTR_MUSTCHECK;
/* Memory for so many sources in all. */
int source_pool_reserve(struct source_pool *pool, size_t room) ATTR_MUSTCHECK;
/* Makes of `pool` what `plan` says, retiring what it does not have; both have room for all. `plan` is finished. Under
 * the shaping's lock. */
void source_pool_change(struct source_pool *pool, struct source_pool *plan);
void source_suspend(struct source *source, int64_t now_ms, int code); /* `code` is the -errno of bind() */

#endif
