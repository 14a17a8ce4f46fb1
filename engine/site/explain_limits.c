/*
 * explain_limits.c - every limit that mail to a site has to pass, as the noun of engine/limit.h: for whom, what, how
 * much, where it was set, how much of it is used, and whether it is what holds the site up.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "engine/site/explain.h"
#include "engine/site/site.h"

#define ZONES_SHOWN 5
#define FLOWS_SHOWN 10

struct lister {
    struct site *site;
    struct explain *out;
    int64_t now_us;
    char where[CONFIG_WHERE_BYTES];
};

static size_t keep(struct buffer *text, const char *value)
{
    size_t at = text->len;
    buffer_append(text, value, strlen(value) + 1);
    return at;
}

/* The four texts, and when it lets the next message go (until_us 0 = now, INT64_MAX = not by itself). */
static void add(struct lister *lister, enum limit_scope scope, enum limit_what what, const char *name,
                const char *value, const char *now, const char *origin, int64_t until_us)
{
    struct explain *out = lister->out;
    struct explain_limit *grown = reallocarray(out->limits, out->limit_count + 1, sizeof *grown);
    if (grown == NULL) {
        out->text.failed = true;
        return;
    }
    out->limits = grown;
    const struct gate *gate = &lister->site->gate;
    struct explain_limit *limit = &grown[out->limit_count++];
    limit->name_at = keep(&out->text, name);
    limit->value_at = keep(&out->text, value);
    limit->now_at = keep(&out->text, now);
    limit->origin_at = keep(&out->text, origin);
    int64_t wait_us = until_us > lister->now_us ? until_us - lister->now_us : 0;
    bool same = gate->what == what && gate->scope == scope;
    if (what == WHAT_CONNECTIONS && scope == SCOPE_SITE)
        same = strcmp(lister->site->limited_by, "connections") == 0 &&
               lister->site->conn_count >= site_conn_max(lister->site);
    limit->limit = (struct engine_limit){.scope = scope,
                                         .what = what,
                                         .binding = same && lister->site->queued + lister->site->ready_count > 0,
                                         .next_ms = until_us == INT64_MAX ? -1 : (wait_us + 999) / 1000};
}

static const char *where(struct lister *lister, const char *section, const char *title, const char *key)
{
    return config_where(lister->site->dispatch->config, section, title, key, lister->where);
}

struct place { /* where a scope's values are set */
    enum limit_scope scope;
    const char *name, *section, *title;
    const char *rate_key, *connections_key;
};

static void add_bounds(struct lister *lister, const struct place *place, struct bounds *bounds)
{
    char value[RATE_TEXT_BYTES], now[64] = "";
    const char *section = place->section;
    if (!rate_is_unlimited(bounds->messages.rate)) {
        int64_t until = limit_wait_until_us(&bounds->messages, lister->now_us);
        const char *origin = section != NULL ? where(lister, section, place->title, place->rate_key) : "the campaign";
        add(lister, place->scope, WHAT_RATE, place->name, rate_format(bounds->messages.rate, value), "", origin, until);
        if (bounds->quota != NULL) {
            uint32_t used = shaping_quota_used(bounds->quota, lister->now_us);
            (void)snprintf(now, sizeof now, "%" PRIu32 " of %" PRIu32 " used", used, bounds->messages.rate.count);
            int64_t quota_until = shaping_quota_wait_us(bounds->quota, lister->now_us);
            add(lister, place->scope, WHAT_QUOTA, place->name, value, now, origin, quota_until);
        }
    }
    if (bounds->bytes != NULL)
        add(lister, place->scope, WHAT_BYTE_RATE, place->name, rate_format(bounds->bytes->rate, value), "",
            where(lister, section, place->title, "byte_rate"), limit_wait_until_us(bounds->bytes, lister->now_us));
    if (bounds->connects != NULL)
        add(lister, place->scope, WHAT_CONNECTION_RATE, place->name, rate_format(bounds->connects->rate, value), "",
            where(lister, section, place->title, "connection_rate"),
            limit_wait_until_us(bounds->connects, lister->now_us));
    if (bounds->conn_max > 0) {
        (void)snprintf(value, sizeof value, "%" PRIu32, bounds->conn_max);
        (void)snprintf(now, sizeof now, "%" PRIu32 " in use", bounds->conn_count);
        add(lister, place->scope, WHAT_CONNECTIONS, place->name, value, now,
            where(lister, section, place->title, place->connections_key),
            bounds->conn_count >= bounds->conn_max ? INT64_MAX : 0);
    }
}

static void add_shared(struct lister *lister, const struct place *place, struct shared *shared)
{
    struct shaping *shaping = lister->site->dispatch->shaping;
    if (shared == NULL)
        return;
    (void)pthread_mutex_lock(&shaping->lock);
    add_bounds(lister, place, &shared->bounds);
    (void)pthread_mutex_unlock(&shaping->lock);
}

static void add_site(struct lister *lister)
{
    struct site *site = lister->site;
    const char *profile = site->profile->name;
    char value[32], now[32];
    (void)snprintf(value, sizeof value, "%" PRIu32, site->conn_max);
    (void)snprintf(now, sizeof now, "%" PRIu32 " in use", site->conn_count);
    const struct config_domain *own =
        site->route != NULL ? config_domain_for(site->dispatch->config, site->name) : NULL;
    bool by_domain = own != NULL && own->connections > 0 && own->connections <= site->profile->connections;
    add(lister, SCOPE_SITE, WHAT_CONNECTIONS, site->name, value, now,
        by_domain ? where(lister, "domain", own->name, "connections")
                  : where(lister, "profile", profile, "connections"),
        site->conn_count >= site_conn_max(site) ? INT64_MAX : 0);
    (void)snprintf(value, sizeof value, "%" PRIu32, site->profile->messages_per_connection);
    add(lister, SCOPE_SITE, WHAT_PER_CONNECTION, site->name, value, "",
        where(lister, "profile", profile, "messages_per_connection"), 0);
    const struct place place = {SCOPE_SITE, site->name, "profile", profile, "rate", "connections"};
    add_bounds(lister, &place, &site->bounds);
}

static void add_adaptive(struct lister *lister, const struct via *via, const char *name)
{
    const struct adapt *adapt = via->adapt;
    char value[64], now[96], since[RFC3339_BYTES], origin[ADAPT_WHY_BYTES + 16];
    if (adapt == NULL || adapt->rate <= 0)
        return;
    (void)snprintf(value, sizeof value, "%.2f/s", adapt->rate);
    (void)snprintf(now, sizeof now, "since %s", time_format_rfc3339(adapt->since_wall_ms, since));
    (void)snprintf(origin, sizeof origin, "the site said: %s", adapt->why);
    struct limit pace = via->pace;
    add(lister, SCOPE_SITE_SOURCE, WHAT_ADAPTIVE, name, value, now, origin, limit_wait_until_us(&pace, lister->now_us));
}

static void add_warmup(struct lister *lister, struct source *source, struct via *via)
{
    char value[80], now[64];
    uint32_t day, quota = source_warm_quota(source, lister->now_us, &day);
    if (day == 0)
        return;
    uint32_t used = via->warm != NULL ? shaping_quota_used(via->warm, lister->now_us) : 0;
    (void)snprintf(value, sizeof value, "%" PRIu32 "/d on day %" PRIu32 " of %" PRIu32, quota, day,
                   source->warmup->days);
    (void)snprintf(now, sizeof now, "%" PRIu32 " used", used);
    add(lister, SCOPE_SOURCE, WHAT_WARMUP, source->name, value, now, where(lister, "warmup", source->name, "start"),
        used >= quota ? source_warm_day_ends_us(source, day) : 0);
}

static const char *source_name(const struct source *source)
{
    return source->name[0] != '\0' ? source->name : "any address";
}

static void add_sources(struct lister *lister)
{
    struct site *site = lister->site;
    struct source_pool *pool = &site->dispatch->sources;
    const char *profile = site->profile->name;
    for (size_t i = 0; i < pool->count; i++) {
        struct source *source = pool->sources[i];
        struct via *via = via_known(site, source);
        if (source->retired)
            continue;
        const char *name = source_name(source);
        const struct place own = {SCOPE_SOURCE, name, "source", source->name, "rate", "connections"};
        add_shared(lister, &own, source->limits);
        if (via == NULL)
            continue;
        const struct place here = {SCOPE_SITE_SOURCE, name, "profile", profile, "source_rate", "source_connections"};
        if (via->bounds != NULL)
            add_bounds(lister, &here, via->bounds);
        const struct place all = {SCOPE_PROVIDER, profile, "profile", profile, "provider_rate", "provider_connections"};
        add_shared(lister, &all, via->provider);
        add_adaptive(lister, via, name);
        add_warmup(lister, source, via);
    }
    const struct place machine = {SCOPE_MACHINE, "this server", "limits", "", "rate", "connections"};
    add_shared(lister, &machine, site->dispatch->machine);
}

static void add_flows(struct lister *lister)
{
    struct site *site = lister->site;
    size_t shown = 0;
    list_for_each(node, &site->flows)
    {
        struct flow *flow = list_entry(node, struct flow, node);
        char name[40];
        if (shown++ >= FLOWS_SHOWN)
            break;
        (void)snprintf(name, sizeof name, "campaign %" PRIu64, flow->group);
        const struct place campaign = {SCOPE_CAMPAIGN, name, NULL, "", "rate", ""};
        add_shared(lister, &campaign, flow->campaign_limits);
        if (flow->sender_limits == NULL)
            continue;
        const struct config_sender *config = config_sender_for(site->dispatch->config, flow->sender);
        const struct place sender = {SCOPE_SENDER, flow->sender, "sending_domain", config->name, "rate", ""};
        add_shared(lister, &sender, flow->sender_limits);
    }
}

static void add_zones(struct lister *lister)
{
    size_t cursor = 0, shown = 0;
    struct zone *zone;
    while (shown < ZONES_SHOWN && (zone = hashmap_next(&lister->site->zones, &cursor)) != NULL) {
        const struct place place = {SCOPE_DOMAIN, zone->name, "domain", zone->config->name, "rate", "connections"};
        char value[32], now[32];
        shown++;
        add_bounds(lister, &place, &zone->bounds);
        if (zone->conn_max == 0)
            continue;
        (void)snprintf(value, sizeof value, "%" PRIu32, zone->conn_max);
        (void)snprintf(now, sizeof now, "%" PRIu32 " in use", zone->use_count);
        add(lister, SCOPE_DOMAIN, WHAT_CONNECTIONS, zone->name, value, now,
            where(lister, "domain", zone->config->name, "connections"),
            zone->use_count >= zone->conn_max ? INT64_MAX : 0);
    }
}

/* Measures. */

static bool flow_is_meant(const struct site *site, const struct engine_measure *measure)
{
    list_for_each(node, &site->flows)
    {
        const struct flow *flow = list_entry(node, struct flow, node);
        char number[32];
        (void)snprintf(number, sizeof number, "%" PRIu64, flow->group);
        if (measure->scope == SCOPE_CAMPAIGN ? strcmp(measure->target, number) == 0
                                             : flow->sender != NULL && strcmp(measure->target, flow->sender) == 0)
            return true;
    }
    return false;
}

static bool domain_is_meant(const struct site *site, const char *domain)
{
    list_for_each(node, &site->lanes_all)
    {
        if (strcmp(list_entry(node, struct lane, node)->name, domain) == 0)
            return true;
    }
    return false;
}

/* As what the measure holds here: a site that is named after a domain is the domain (measures.c). */
static enum limit_scope scope_here(const struct site *site, const struct engine_measure *measure)
{
    bool by_domain = measure->scope == SCOPE_SITE && strcmp(measure->target, site->name) != 0;
    return by_domain ? SCOPE_DOMAIN : measure->scope;
}

static bool is_meant(const struct site *site, const struct engine_measure *measure)
{
    switch (scope_here(site, measure)) {
    case SCOPE_SITE:
    case SCOPE_SITE_SOURCE:
        return strcmp(measure->target, site->name) == 0;
    case SCOPE_SOURCE:
        return true;
    case SCOPE_DOMAIN:
        return domain_is_meant(site, measure->target);
    case SCOPE_CAMPAIGN:
    case SCOPE_SENDER:
        return flow_is_meant(site, measure);
    case SCOPE_NONE:
    case SCOPE_MACHINE:
    case SCOPE_PROVIDER:
    case SCOPE_COUNT:
        break;
    }
    return false;
}

static void add_measure(void *context, const struct engine_measure *measure)
{
    struct lister *lister = context;
    char value[RATE_TEXT_BYTES], now[300], until[RFC3339_BYTES], origin[400];
    if (!is_meant(lister->site, measure))
        return;
    if (measure->what == WHAT_RATE)
        (void)rate_format(measure->rate, value);
    else if (measure->what == WHAT_SUSPENDED)
        (void)str_copy(value, sizeof value, "suspended");
    else
        (void)snprintf(value, sizeof value, "%" PRIu32, measure->number);
    if (measure->until_wall_ms != 0)
        (void)snprintf(now, sizeof now, "until %s", time_format_rfc3339(measure->until_wall_ms, until));
    else
        (void)str_copy(now, sizeof now, "until it is resumed");
    (void)snprintf(origin, sizeof origin, "%s: %s", measure->origin, measure->reason);
    const char *name = measure->scope == SCOPE_SITE_SOURCE ? measure->source : measure->target;
    add(lister, scope_here(lister->site, measure), measure->what, name, value, now, origin,
        measure->what == WHAT_SUSPENDED ? measure->until_us : 0);
}

void explain_site_limits(struct site *site, struct explain *out)
{
    struct lister lister = {.site = site, .out = out, .now_us = site->dispatch->now_us};
    add_site(&lister);
    add_sources(&lister);
    add_flows(&lister);
    add_zones(&lister);
    shaping_measures(site->dispatch->shaping, add_measure, &lister);
}
