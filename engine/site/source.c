/*
 * source.c - reading, changing and choosing sources.
 */
#include "engine/site/source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
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

static void source_free(struct source *source)
{
    if (source == NULL)
        return;
    free(source->name);
    free(source->ehlo_name);
    free(source->address_text);
    free(source);
}

static struct source *source_make(const char *name, const char *ehlo_name, const char *address)
{
    struct source *source = calloc(1, sizeof *source);
    if (source == NULL)
        return NULL;
    source->name = str_dup(name);
    source->ehlo_name = str_dup(ehlo_name);
    source->address_text = str_dup(address);
    source->weight = 1;
    if (source->name != NULL && source->ehlo_name != NULL && source->address_text != NULL)
        return source;
    source_free(source);
    return NULL;
}

int source_pool_reserve(struct source_pool *pool, size_t room)
{
    struct source **sources = room > pool->room ? reallocarray(pool->sources, room, sizeof *sources) : pool->sources;
    if (sources == NULL)
        return -ENOMEM;
    pool->sources = sources;
    pool->room = MAX_OF(room, pool->room);
    return 0;
}

static void append(struct source_pool *pool, struct source *source)
{
    assure(pool->count < pool->room);
    source->index = pool->count;
    pool->sources[pool->count++] = source;
}

static int add_named(struct source_pool *pool, const struct config *config, const char *name, struct error *err)
{
    const struct config_source *from = config_source_named(config, name);
    if (from == NULL)
        return error_set(err, -EINVAL, "pool \"default\" names the source \"%s\", which does not exist", name);
    bool own_name = from->hostname != NULL && from->hostname[0] != '\0';
    struct source *source = source_make(from->name, own_name ? from->hostname : config->hostname, from->address);
    if (source == NULL)
        return error_memory(err);
    append(pool, source);
    source->weight = MAX_OF(from->weight, 1u);
    source->conn_max = from->connections;
    if (stream_address_parse(from->address, 0, &source->address) < 0)
        return error_set(err, -EINVAL, "source \"%s\": \"%s\" is not an IP address", from->name, from->address);
    return 0;
}

static int add_any(struct source_pool *pool, const struct config *config, struct error *err)
{
    struct source *source = source_make("", config->hostname, "");
    if (source == NULL)
        return error_memory(err);
    append(pool, source);
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
    *pool = (struct source_pool){0};
    if (source_pool_reserve(pool, chosen ? from->source_count : 1) < 0)
        return error_memory(err);
    int r = chosen ? 0 : add_any(pool, config, err);
    for (size_t i = 0; chosen && i < from->source_count && r == 0; i++)
        r = add_named(pool, config, from->sources[i], err);
    if (r < 0)
        source_pool_finish(pool);
    return r;
}

void source_pool_finish(struct source_pool *pool)
{
    for (size_t i = 0; i < pool->count; i++)
        source_free(pool->sources[i]);
    free(pool->sources);
    *pool = (struct source_pool){0};
}

static struct source *same_in(const struct source_pool *pool, const struct source *source)
{
    for (size_t i = 0; i < pool->count; i++) {
        struct source *each = pool->sources[i];
        if (strcmp(each->name, source->name) == 0 && strcmp(each->address_text, source->address_text) == 0 &&
            strcmp(each->ehlo_name, source->ehlo_name) == 0)
            return each;
    }
    return NULL;
}

void source_pool_change(struct source_pool *pool, struct source_pool *plan)
{
    for (size_t i = 0; i < pool->count; i++)
        pool->sources[i]->retired = same_in(plan, pool->sources[i]) == NULL;
    for (size_t i = 0; i < plan->count; i++) {
        struct source *wanted = plan->sources[i];
        struct source *same = same_in(pool, wanted);
        if (same == NULL) {
            append(pool, wanted);
            continue;
        }
        same->weight = wanted->weight;
        same->conn_max = wanted->conn_max;
        source_free(wanted);
    }
    plan->count = 0;
    source_pool_finish(plan);
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
        struct source *source = pool->sources[i];
        if (source->retired || !is_for(source, family))
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
    source->warm_begun_us = clock_monotonic_us() - MAX_OF(elapsed_us, 0); /* elapsed until now, at a reload too */
}

static void shape_warmup(struct source *source, const struct config *config, struct shaping *shaping)
{
    const struct config_warmup *warmup = NULL;
    for (size_t i = 0; i < config->warmup_count; i++) {
        if (strcmp(config->warmups[i].source, source->name) == 0)
            warmup = &config->warmups[i];
    }
    source->warmup = NULL;
    if (warmup == NULL)
        return;
    source->warm = *warmup;
    source->warm.source = NULL;
    source->warmup = &source->warm;
    begin_warmup(source, shaping);
}

int source_pool_shape(struct source_pool *pool, const struct config *config, uint64_t version, struct shaping *shaping)
{
    bool lacked = false;
    for (size_t i = 0; i < pool->count; i++) {
        struct source *source = pool->sources[i];
        const struct config_source *from = config_source_named(config, source->name);
        if (from == NULL)
            continue; /* the system's choice, or a retired one, which keeps what it has */
        const struct bounds_spec spec = {.rate = from->rate,
                                         .byte_rate = from->byte_rate,
                                         .connection_rate = from->connection_rate,
                                         .connections = from->connections,
                                         .burst = from->burst};
        struct shared *limits = shaping_shared(shaping, version, SCOPE_SOURCE, source->name, &spec, &lacked);
        if (!lacked)
            source->limits = limits;
        shape_warmup(source, config, shaping);
    }
    return lacked ? -ENOMEM : 0;
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
    shaping_lock(shaping);
    for (size_t i = 0; i < pool->count; i++) {
        const struct source *source = pool->sources[i];
        if (source->retired)
            continue;
        struct engine_measure measure = {0};
        bool suspended = shaping_measure_find(shaping, SCOPE_SOURCE, source->name, "", WHAT_SUSPENDED, &measure);
        struct warm_show show = {.source = source, .each = each, .context = context};
        show.stats = (struct engine_source_stats){.name = source->name,
                                                  .address = source->address_text,
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
    shaping_unlock(shaping);
}
