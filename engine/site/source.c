/*
 * source.c - reading and choosing sources.
 */
#include "engine/site/source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/site/shaping.h"

#define SUSPENDED_MS ((int64_t)60000)

static const struct config_source *config_source_named(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->source_count; i++) {
        if (strcmp(config->sources[i].name, name) == 0)
            return &config->sources[i];
    }
    return NULL;
}

static int fill(struct source *source, const struct config *config, const char *name, struct error *err)
{
    const struct config_source *from = config_source_named(config, name);
    if (from == NULL)
        return error_set(err, -EINVAL, "pool \"default\" names the source \"%s\", which does not exist", name);
    bool own_name = from->hostname != NULL && from->hostname[0] != '\0';
    *source = (struct source){.name = from->name,
                              .ehlo_name = own_name ? from->hostname : config->hostname,
                              .weight = MAX_OF(from->weight, 1u),
                              .conn_max = from->connections};
    if (stream_address_parse(from->address, 0, &source->address) < 0)
        return error_set(err, -EINVAL, "source \"%s\": \"%s\" is not an IP address", from->name, from->address);
    return 0;
}

int source_pool_init(struct source_pool *pool, const struct config *config, struct error *err)
{
    const struct config_pool *from = NULL;
    for (size_t i = 0; i < config->pool_count; i++) {
        if (strcmp(config->pools[i].name, "default") == 0)
            from = &config->pools[i];
    }
    bool chosen = from != NULL && from->source_count > 0;
    pool->count = chosen ? from->source_count : 1;
    pool->sources = calloc(pool->count, sizeof *pool->sources);
    if (pool->sources == NULL)
        return error_memory(err);
    int r = 0;
    if (!chosen)
        pool->sources[0] = (struct source){.name = "", .ehlo_name = config->hostname, .weight = 1};
    for (size_t i = 0; chosen && i < pool->count && r == 0; i++)
        r = fill(&pool->sources[i], config, from->sources[i], err);
    if (r < 0)
        source_pool_finish(pool);
    return r;
}

void source_pool_finish(struct source_pool *pool)
{
    free(pool->sources);
    pool->sources = NULL;
    pool->count = 0;
}

static bool is_for(const struct source *source, int family)
{
    return source->address.len == 0 || source->address.storage.ss_family == family;
}

enum source_result source_pick(struct source_pool *pool, int family, int64_t now_ms, uint32_t random, source_fits *fits,
                               void *context, struct source **out)
{
    enum source_result result = SOURCE_NONE;
    uint64_t weight = 0;
    *out = NULL;
    for (size_t i = 0; i < pool->count; i++) {
        struct source *source = &pool->sources[i];
        if (!is_for(source, family))
            continue;
        if (source->suspended_until_ms > now_ms) {
            result = result == SOURCE_NONE ? SOURCE_SUSPENDED : result;
            continue;
        }
        bool full = source->limits == NULL && source->conn_max > 0 && source->conn_count >= source->conn_max;
        if (full || (fits != NULL && !fits(context, source))) {
            result = result != SOURCE_FOUND ? SOURCE_BUSY : result;
            continue;
        }
        result = SOURCE_FOUND;
        weight += source->weight;
        /* Each keeps its place with its share of what was seen so far; the number is stirred for the next one. */
        if (random % weight < source->weight)
            *out = source;
        random = random * 1664525u + 1013904223u;
        random ^= random >> 16;
    }
    return result;
}

static const struct config_source *config_of(const struct config *config, const char *name)
{
    return name[0] != '\0' ? config_source_named(config, name) : NULL;
}

/* The first start with the warm-up in the configuration is its beginning. */
static void begin_warmup(struct source *source, struct shaping *shaping)
{
    char key[80];
    int64_t elapsed_us = 0;
    (void)snprintf(key, sizeof key, "warmup-begun %.47s", source->name);
    char *begun = shaping_restored(shaping, key, &elapsed_us);
    if (begun == NULL)
        shaping_save(shaping, key, "begun");
    free(begun);
    source->warm_begun_us = shaping->begun_us - MAX_OF(elapsed_us, 0);
}

void source_pool_shape(struct source_pool *pool, const struct config *config, struct shaping *shaping)
{
    for (size_t i = 0; i < pool->count; i++) {
        struct source *source = &pool->sources[i];
        const struct config_source *from = config_of(config, source->name);
        if (from == NULL)
            continue;
        const struct bounds_spec spec = {.rate = from->rate,
                                         .byte_rate = from->byte_rate,
                                         .connection_rate = from->connection_rate,
                                         .connections = from->connections,
                                         .burst = from->burst};
        source->limits = shaping_shared(shaping, SCOPE_SOURCE, source->name, &spec);
        for (size_t j = 0; j < config->warmup_count; j++) {
            if (strcmp(config->warmups[j].source, source->name) == 0)
                source->warmup = &config->warmups[j];
        }
        if (source->warmup != NULL)
            begin_warmup(source, shaping);
    }
}

void source_suspend(struct source *source, int64_t now_ms, int code)
{
    source->suspended_until_ms = now_ms + SUSPENDED_MS;
    log_warn("engine", "source-suspended source=%s for_s=%d reason=%s", source->name, (int)(SUSPENDED_MS / 1000),
             LOG_QUOTE(strerror(-code)));
}

struct warm_show {
    const struct source *source;
    struct engine_source_stats stats;
    engine_source_cb *each;
    void *context;
};

static void show_provider(void *context, const char *key, uint32_t used)
{
    struct warm_show *show = context;
    char prefix[80], profile[200];
    uint32_t day;
    (void)snprintf(prefix, sizeof prefix, "quota warmup %s\t", show->source->name);
    size_t len = strlen(prefix);
    if (strncmp(key, prefix, len) != 0 || sscanf(key + len, "%199[^\t]\t%u", profile, &day) != 2 ||
        day != show->stats.warm_day)
        return;
    show->stats.provider = profile;
    show->stats.warm_left = show->stats.warm_quota > used ? show->stats.warm_quota - used : 0;
    show->each(show->context, &show->stats);
}

void sources_show(const struct source_pool *pool, struct shaping *shaping, engine_source_cb *each, void *context)
{
    for (size_t i = 0; i < pool->count; i++) {
        const struct source *source = &pool->sources[i];
        const struct config_source *config = config_of(shaping->config, source->name);
        struct engine_measure measure = {0};
        bool suspended = shaping_measure_find(shaping, SCOPE_SOURCE, source->name, "", WHAT_SUSPENDED, &measure);
        struct warm_show show = {.source = source, .each = each, .context = context};
        show.stats = (struct engine_source_stats){.name = source->name,
                                                  .address = config != NULL ? config->address : "",
                                                  .hostname = source->ehlo_name,
                                                  .connections = shaping_connections(shaping, source->limits),
                                                  .connections_max = source->conn_max,
                                                  .suspended = suspended ? measure.reason : "",
                                                  .provider = ""};
        show.stats.warm_quota = source_warm_quota(source, clock_monotonic_us(), &show.stats.warm_day);
        show.stats.warm_days = source->warmup != NULL ? source->warmup->days : 0;
        each(context, &show.stats);
        if (show.stats.warm_day > 0)
            shaping_quotas(shaping, show_provider, &show);
    }
}
