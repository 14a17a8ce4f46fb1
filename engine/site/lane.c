/*
 * lane.c - lanes and zones: birth, standing, end.
 */
#include "engine/net/sts.h"
#include "engine/site/lane.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/site/site.h"

/* A message is composed so long before a rate lets it start, not earlier: it would only lie about. */
#define COMPOSE_AHEAD_US ((int64_t)500000)
#define LOOK_AGAIN_US ((int64_t)1000000)
#define ASIDE_US ((int64_t)500000)

/* Zones. */

static void zone_free(struct zone *zone)
{
    (void)hashmap_remove(&zone->site->zones, zone->name, zone->name_len);
    bounds_finish(&zone->bounds);
    free(zone->uses);
    free(zone);
}

#define ZONE_KEY_BYTES 300
static const char *zone_key(const char *domain, char out[ZONE_KEY_BYTES])
{
    (void)snprintf(out, ZONE_KEY_BYTES, "domain %.255s", domain);
    return out;
}

static struct bounds_spec spec_of(const struct config_domain *config)
{
    return (struct bounds_spec){.rate = config->rate, .byte_rate = config->byte_rate, .burst = config->burst};
}

/* Places for the connections that hold messages of the domain. */
static bool make_places(struct zone *zone, uint32_t count)
{
    if (count <= zone->use_room)
        return true;
    struct zone_use *uses = reallocarray(zone->uses, count, sizeof *uses);
    if (uses == NULL)
        return false;
    zone->uses = uses;
    zone->use_room = count;
    return true;
}

static void use(struct zone *zone, const struct conn *conn)
{
    for (uint32_t i = 0; i < zone->use_count; i++) {
        if (zone->uses[i].conn == conn) {
            zone->uses[i].held++;
            return;
        }
    }
    assure(zone->use_count < zone->use_room);
    zone->uses[zone->use_count++] = (struct zone_use){.conn = conn, .held = 1};
}

static bool is_of(const struct engine_job *job, const struct zone *zone)
{
    return strcmp(job->domain, zone->name) == 0;
}

/* A limit of connections that was not there before counts those that are in use already. */
static bool count_connections(struct zone *zone)
{
    uint32_t on_wire = 0;
    list_for_each(node, &zone->site->sending) on_wire += is_of(job_of(node), zone) ? 1 : 0;
    if (!make_places(zone, on_wire))
        return false;
    list_for_each(node, &zone->site->sending)
    {
        if (is_of(job_of(node), zone))
            use(zone, job_of(node)->carrier);
    }
    return true;
}

/* False = no memory. *out stays NULL for a domain without limits of its own. */
static bool zone_join(struct site *site, const char *domain, int64_t since_us, struct zone **out)
{
    const struct config_domain *config = config_domain_for(site->dispatch->config, domain);
    size_t len = strlen(domain);
    *out = NULL;
    if (config == NULL)
        return true;
    struct zone *zone = hashmap_get(&site->zones, domain, len);
    if (zone == NULL) {
        zone = calloc(1, sizeof *zone + len + 1);
        if (zone == NULL)
            return false;
        memcpy(zone->name, domain, len);
        zone->name_len = len;
        zone->site = site;
        zone->config = config;
        zone->conn_max = config->connections;
        char key[ZONE_KEY_BYTES];
        const struct bounds_spec spec = spec_of(config);
        if (bounds_init(&zone->bounds, &spec, site->dispatch->shaping, zone_key(domain, key), since_us) < 0) {
            free(zone);
            return false;
        }
        bool counted = zone->conn_max == 0 || (make_places(zone, zone->conn_max) && count_connections(zone));
        if (!counted || hashmap_put(&site->zones, zone->name, len, zone) != 0) {
            bounds_finish(&zone->bounds);
            free(zone->uses);
            free(zone);
            return false;
        }
    }
    zone->users++;
    *out = zone;
    return true;
}

static int zone_reshape(struct zone *zone, const struct config_domain *config)
{
    struct dispatch *dispatch = zone->site->dispatch;
    char key[ZONE_KEY_BYTES];
    const struct bounds_spec spec = spec_of(config);
    zone->config = config;
    if (!make_places(zone, config->connections))
        return -ENOMEM;
    if (config->connections == 0)
        zone->use_count = 0; /* nobody counts any more */
    else if (zone->conn_max == 0 && !count_connections(zone))
        return -ENOMEM;
    zone->conn_max = config->connections;
    return bounds_change(&zone->bounds, &spec, dispatch->shaping, zone_key(zone->name, key), dispatch->now_us);
}

static void zone_leave(struct zone *zone)
{
    if (zone != NULL && --zone->users == 0)
        zone_free(zone);
}

/* Lanes. */

static bool is_limited(const struct lane *lane)
{
    return lane->zone != NULL && !rate_is_unlimited(lane->zone->bounds.messages.rate);
}

/* 0 = a message of it may start; lane->held says what it waits for else. */
static int64_t wait_until_us(struct lane *lane)
{
    struct dispatch *dispatch = lane->site->dispatch;
    enum limit_what what = WHAT_NONE;
    int64_t until = lane->zone != NULL ? bounds_wait_until_us(&lane->zone->bounds, dispatch->now_us, &what) : 0;
    shaping_rule(dispatch->shaping, &lane->ruling, SCOPE_DOMAIN, lane->name, "", dispatch->now_us);
    if (lane->ruling.suspended_until_us > MAX_OF(until, dispatch->now_us)) {
        until = lane->ruling.suspended_until_us;
        what = WHAT_SUSPENDED;
    }
    lane->held = (struct gate){.scope = SCOPE_DOMAIN, .what = until > 0 ? what : WHAT_NONE, .until_us = until};
    return lane->aside_until_us > dispatch->now_us ? MAX_OF(until, lane->aside_until_us) : until;
}

static void look_up_policy(struct lane *lane)
{
    struct site *site = lane->site;
    sts_policy_release(lane->sts);
    lane->sts = NULL;
    if (site->route == NULL && !site->any_tls && site->dispatch->sts != NULL)
        lane->sts = sts_find(site->dispatch->sts, lane->name, &lane->sts_fault);
}

void lanes_renew_policy(struct site *site, const char *domain)
{
    list_for_each(node, &site->flows)
    {
        struct lane *lane = hashmap_get(&list_entry(node, struct flow, node)->lanes, domain, strlen(domain));
        if (lane != NULL)
            look_up_policy(lane);
    }
}

static struct lane *lane_create(struct flow *flow, const char *domain, size_t len)
{
    struct site *site = flow->site;
    struct lane *lane = calloc(1, sizeof *lane + len + 1);
    if (lane == NULL)
        return NULL;
    memcpy(lane->name, domain, len);
    lane->name_len = len;
    lane->site = site;
    lane->flow = flow;
    if (!zone_join(site, domain, site->dispatch->begun_us, &lane->zone)) {
        free(lane);
        return NULL;
    }
    if (heap_insert(&site->waiting, &lane->wait, INT64_MAX) < 0) {
        zone_leave(lane->zone);
        free(lane);
        return NULL;
    }
    if (hashmap_put(&flow->lanes, lane->name, len, lane) != 0) {
        heap_remove(&site->waiting, &lane->wait);
        zone_leave(lane->zone);
        free(lane);
        return NULL;
    }
    look_up_policy(lane);
    list_init(&lane->send);
    list_init(&lane->feed);
    list_init(&lane->queue);
    list_init(&lane->ready);
    list_append(&site->lanes_all, &lane->node);
    return lane;
}

struct lane *lane_get(struct site *site, const struct engine_job *job)
{
    size_t len = strlen(job->domain);
    struct flow *flow = flow_get(site, job);
    if (flow == NULL)
        return NULL;
    struct lane *lane = hashmap_get(&flow->lanes, job->domain, len);
    if (lane == NULL)
        lane = lane_create(flow, job->domain, len);
    if (lane == NULL && flow->lanes.count == 0)
        flow_free(flow);
    return lane;
}

void lane_free(struct lane *lane)
{
    assure(lane_jobs(lane) == 0);
    struct site *site = lane->site;
    struct flow *flow = lane->flow;
    if (site->passed == lane)
        site->passed = NULL;
    (void)hashmap_remove(&flow->lanes, lane->name, lane->name_len);
    heap_remove(&site->waiting, &lane->wait);
    list_remove(&lane->node);
    list_remove(&lane->send);
    list_remove(&lane->feed);
    zone_leave(lane->zone);
    sts_policy_release(lane->sts);
    free(lane);
    if (flow->lanes.count == 0)
        flow_free(flow);
    else
        flow_settle(flow);
}

static void set_member(struct list *head, struct list *node, bool member)
{
    if (!member)
        list_remove(node);
    else if (list_empty(node))
        list_append(head, node);
}

void lane_settle(struct lane *lane)
{
    struct site *site = lane->site;
    struct flow *flow = lane->flow;
    int64_t now_us = site->dispatch->now_us;
    int64_t until = wait_until_us(lane);
    bool soon = until == 0 || until - now_us < COMPOSE_AHEAD_US;
    uint32_t enough =
        is_limited(lane) ? (uint32_t)(rate_per_second(lane->zone->bounds.messages.rate) / 2) + 1 : UINT32_MAX;
    set_member(&flow->senders, &lane->send, lane->ready_count > 0 && until == 0);
    set_member(&flow->feeders, &lane->feed,
               lane->queued > 0 && soon && lane->ready_count + lane->composing_count < enough);
    flow_settle(flow);
    uint32_t held_back = until != 0 ? lane->ready_count : 0;
    site->held_back += held_back - lane->held_back;
    lane->held_back = held_back;
    int64_t look = INT64_MAX;
    if (until != 0 && lane->ready_count > 0)
        look = until;
    else if (until != 0 && lane->queued > 0)
        look = soon ? until : until - COMPOSE_AHEAD_US + 1;
    else if (lane_jobs(lane) == 0) /* lane_rest() ends it; later, while a limit of any kind remembers it */
        look = lane->zone == NULL || bounds_is_idle(&lane->zone->bounds, now_us)
                   ? now_us
                   : MAX_OF(lane->zone->bounds.messages.next_us, now_us + LOOK_AGAIN_US);
    heap_update(&site->waiting, &lane->wait, look);
}

void lane_step_aside(struct lane *lane)
{
    lane->aside_until_us = lane->site->dispatch->now_us + ASIDE_US;
    lane->site->passed = lane;
    lane_settle(lane);
}

void lane_step_back(struct lane *lane)
{
    lane->aside_until_us = 0;
    lane_settle(lane);
}

int lane_reshape(struct lane *lane)
{
    struct dispatch *dispatch = lane->site->dispatch;
    const struct config_domain *config = config_domain_for(dispatch->config, lane->name);
    if (config == NULL) {
        zone_leave(lane->zone);
        lane->zone = NULL;
        return 0;
    }
    if (lane->zone != NULL)
        return zone_reshape(lane->zone, config);
    return zone_join(lane->site, lane->name, dispatch->now_us, &lane->zone) ? 0 : -ENOMEM;
}

bool lane_rest(struct lane *lane)
{
    if (lane_jobs(lane) > 0 ||
        (lane->zone != NULL && !bounds_is_idle(&lane->zone->bounds, lane->site->dispatch->now_us)))
        return false;
    lane_free(lane);
    return true;
}

bool lane_may_use(const struct lane *lane, const struct conn *conn)
{
    const struct zone *zone = lane->zone;
    if (zone == NULL || zone->conn_max == 0 || zone->use_count < zone->conn_max)
        return true;
    for (uint32_t i = 0; i < zone->use_count; i++) {
        if (zone->uses[i].conn == conn)
            return true;
    }
    return false;
}

void lane_use(struct lane *lane, const struct conn *conn)
{
    struct zone *zone = lane->zone;
    if (zone == NULL || zone->conn_max == 0)
        return;
    use(zone, conn);
}

void lane_unuse(struct lane *lane, const struct conn *conn)
{
    struct zone *zone = lane->zone;
    for (uint32_t i = 0; zone != NULL && i < zone->use_count; i++) {
        if (zone->uses[i].conn != conn)
            continue;
        if (--zone->uses[i].held == 0)
            zone->uses[i] = zone->uses[--zone->use_count];
        return;
    }
}
