/*
 * explain.c - copies the standing of sites.
 *
 * All strings of one loop go into one buffer: a hundred thousand sites must not become three hundred thousand
 * allocations.
 */
#include "engine/site/explain.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/site/domain.h"

static size_t keep(struct buffer *text, const char *value)
{
    size_t at = text->len;
    buffer_append(text, value, strlen(value) + 1);
    return at;
}

static bool serves(const struct site *site, const char *domain)
{
    list_for_each(node, &site->flows)
    {
        if (hashmap_get(&list_entry(node, struct flow, node)->lanes, domain, strlen(domain)) != NULL)
            return true;
    }
    return false;
}

/* Of the sources that the site has slowed down; 0 = none. */
static double slowest_rate(const struct site *site)
{
    double slowest = 0;
    for (size_t i = 0; i < site->via_count; i++) {
        const struct via *via = site->vias[i];
        double rate = via != NULL && via->adapt != NULL ? via->adapt->rate : 0;
        if (rate > 0 && (slowest <= 0 || rate < slowest))
            slowest = rate;
    }
    return slowest;
}

static void copy_site(struct explain *out, struct site *site, const char *only, int64_t now_ms, int64_t wall_ms)
{
    if (only[0] != '\0' && strcmp(site->name, only) != 0 && !serves(site, only))
        return;
    struct explain_site *copy = &out->sites[out->count++];
    bool backing_off = site->backoff_until_ms > now_ms;
    copy->site_at = keep(&out->text, site->name);
    copy->next_hop_at = keep(&out->text, site->next_hop != NULL ? site->next_hop : "");
    copy->last_reply_at = keep(&out->text, site->last_reply);
    copy->first_limit = out->limit_count;
    if (only[0] != '\0')
        explain_site_limits(site, out);
    copy->limit_count = out->limit_count - copy->first_limit;
    copy->explanation_at = out->text.len;
    if (only[0] != '\0')
        explain_site_words(site, out, copy->first_limit, &out->text);
    buffer_append(&out->text, "", 1);
    copy->stats = (struct engine_site_stats){
        .profile = site->profile->name,
        .queued = site->queued,
        .in_flight = site->composing_count + site->ready_count + site->sending_count,
        .connections = site->conn_count,
        .connections_max = site_conn_max(site),
        .rate = site->bounds.messages.rate,
        .rate_now = meter_per_second(&site->meter, now_ms),
        .delivered = site->counts.delivered,
        .p50_ms = latency_quantile_ms(&site->latency, 50),
        .p95_ms = latency_quantile_ms(&site->latency, 95),
        .temporary = site->counts.temporary,
        .permanent = site->counts.permanent,
        .transport = site->counts.transport,
        .tls_rule = site->tls.rule,
        .tls_good = site->tls.good,
        .tls_bad = site->tls.bad,
        .tls_failure = site->tls.failure,
        .limited_by = site->limited_by,
        .adaptive_rate = slowest_rate(site),
        .backoff_until_wall_ms = backing_off ? wall_ms + (site->backoff_until_ms - now_ms) : 0,
    };
    out->totals.queued += copy->stats.queued;
    out->totals.in_flight += copy->stats.in_flight;
    out->totals.sites++;
}

/* A domain whose look-up runs or fails has no site yet, but somebody may ask why nothing happens. */
static void copy_domain(struct explain *out, const struct domain *domain, const char *only)
{
    if (only[0] != '\0' && strcmp(domain->name, only) != 0)
        return;
    struct explain_site *copy = &out->sites[out->count++];
    copy->site_at = keep(&out->text, domain->name);
    copy->next_hop_at = keep(&out->text, "");
    copy->last_reply_at = keep(&out->text, "");
    copy->explanation_at = out->text.len;
    if (only[0] != '\0')
        explain_domain_words(domain, &out->text);
    buffer_append(&out->text, "", 1);
    copy->stats = (struct engine_site_stats){.profile = "", .queued = domain->job_count, .limited_by = "dns"};
    out->totals.queued += domain->job_count;
}

/* What holds up one campaign's mail at the site: a limit of its own, or what holds up everybody. */
static const char *limit_of_flow(const struct flow *flow)
{
    const struct site *site = flow->site;
    bool of_another = site->gate.what != WHAT_NONE && site->limited_by == gate_name(&site->gate) &&
                      (site->gate.scope == SCOPE_CAMPAIGN || site->gate.scope == SCOPE_SENDER);
    if (flow->held_until_us != 0)
        return gate_name(&flow->held);
    return of_another ? "nothing" : site->limited_by;
}

static void copy_flow(struct explain *out, const struct site *site, uint64_t group)
{
    list_for_each(node, &site->flows)
    {
        struct flow *flow = list_entry(node, struct flow, node);
        const struct lane *lane;
        uint32_t waiting = 0;
        size_t cursor = 0;
        while (flow->group == group && (lane = hashmap_next(&flow->lanes, &cursor)) != NULL)
            waiting += lane_jobs(lane) - lane->sending_count;
        if (waiting > 0) {
            struct explain_site *copy = &out->sites[out->count++];
            copy->site_at = keep(&out->text, site->name);
            copy->next_hop_at = copy->last_reply_at = copy->explanation_at = keep(&out->text, "");
            copy->stats = (struct engine_site_stats){
                .profile = site->profile->name, .queued = waiting, .limited_by = limit_of_flow(flow)};
            return;
        }
    }
}

static void copy_waiting(struct explain *out, const struct domain *domain, uint64_t group)
{
    uint32_t waiting = 0;
    list_for_each(node, &domain->jobs) waiting += job_of(node)->group == group;
    if (waiting == 0)
        return;
    struct explain_site *copy = &out->sites[out->count++];
    copy->site_at = keep(&out->text, domain->name);
    copy->next_hop_at = copy->last_reply_at = copy->explanation_at = keep(&out->text, "");
    copy->stats = (struct engine_site_stats){.profile = "", .queued = waiting, .limited_by = "dns"};
}

int explain_take(struct dispatch *dispatch, const char *only, uint64_t group, struct explain *out)
{
    int64_t now_ms = dispatch->loop.now_ms, wall_ms = clock_wall_ms();
    *out = (struct explain){.text = BUFFER_INIT((size_t)256 << 20)};
    size_t most = dispatch->sites.count + dispatch->domains.count;
    if (most > 0) {
        out->sites = calloc(most, sizeof *out->sites);
        if (out->sites == NULL)
            return -ENOMEM;
    }
    size_t cursor = 0;
    struct site *site;
    while ((site = hashmap_next(&dispatch->sites, &cursor)) != NULL) {
        if (group != 0)
            copy_flow(out, site, group);
        else
            copy_site(out, site, only, now_ms, wall_ms);
    }
    list_for_each(node, &dispatch->domains_all)
    {
        const struct domain *domain = list_entry(node, struct domain, node);
        if (group != 0)
            copy_waiting(out, domain, group);
        else
            copy_domain(out, domain, only);
    }
    if (out->text.failed) {
        explain_finish(out);
        return -ENOMEM;
    }
    out->totals.delivered = dispatch->counts.delivered;
    out->totals.temporary = dispatch->counts.temporary;
    out->totals.permanent = dispatch->counts.permanent;
    out->totals.transport = dispatch->counts.transport;
    memcpy(out->totals.tls, dispatch->tls_counts, sizeof out->totals.tls);
    out->totals.rate_now = meter_per_second(&dispatch->meter, now_ms);
    out->totals.connections = dispatch->conn_count;
    return 0;
}

void explain_each(struct explain *explain, engine_site_cb *each, void *context)
{
    const char *text = buffer_text(&explain->text);
    if (explain->limit_count > 0 && explain->shown == NULL)
        explain->shown = calloc(explain->limit_count, sizeof *explain->shown);
    for (size_t i = 0; explain->shown != NULL && i < explain->limit_count; i++) {
        const struct explain_limit *limit = &explain->limits[i];
        explain->shown[i] = limit->limit;
        explain->shown[i].name = text + limit->name_at;
        explain->shown[i].value = text + limit->value_at;
        explain->shown[i].now = text + limit->now_at;
        explain->shown[i].origin = text + limit->origin_at;
    }
    for (size_t i = 0; i < explain->count; i++) {
        struct explain_site *copy = &explain->sites[i];
        copy->stats.site = text + copy->site_at;
        copy->stats.next_hop = text + copy->next_hop_at;
        copy->stats.last_reply = text + copy->last_reply_at;
        copy->stats.explanation = text + copy->explanation_at;
        copy->stats.limits = explain->shown != NULL ? explain->shown + copy->first_limit : NULL;
        copy->stats.limit_count = explain->shown != NULL ? copy->limit_count : 0;
        each(context, &copy->stats);
    }
}

void explain_finish(struct explain *explain)
{
    buffer_finish(&explain->text);
    free(explain->sites);
    free(explain->limits);
    free(explain->shown);
    explain->limits = NULL;
    explain->shown = NULL;
    explain->limit_count = 0;
    explain->sites = NULL;
    explain->count = 0;
}
