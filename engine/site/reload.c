/*
 * reload.c - orders that replace the configuration of a loop.
 */
#include "engine/site/reload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/config_live.h"
#include "base/log.h"
#include "engine/site/domain.h"
#include "engine/site/hosts.h"
#include "engine/site/pool.h"

#define RESHAPE_AGAIN_MS ((int64_t)1000)

/* What the configuration shares with other loops. */

int reshape_shared(struct dispatch *dispatch)
{
    const struct config_machine *limits = &dispatch->config->limits;
    const struct bounds_spec spec = {.rate = limits->rate,
                                     .byte_rate = limits->byte_rate,
                                     .connection_rate = limits->connection_rate,
                                     .connections = limits->connections,
                                     .burst = limits->burst};
    bool lacked = false;
    struct shared *machine =
        shaping_shared(dispatch->shaping, dispatch->version, SCOPE_MACHINE, "this server", &spec, &lacked);
    if (!lacked)
        dispatch->machine = machine;
    shaping_lock(dispatch->shaping); /* engine_sources() looks at sources */
    int r = source_pool_shape(&dispatch->sources, dispatch->config, dispatch->version, dispatch->shaping);
    shaping_unlock(dispatch->shaping);
    return lacked ? -ENOMEM : r;
}

/* Sites. */

static bool same_text(const char *a, const char *b)
{
    return strcmp(a != NULL ? a : "", b != NULL ? b : "") == 0;
}

static bool same_hop(const struct config_route *a, const struct config_route *b)
{
    return same_text(a->host, b->host) && a->port == b->port && a->tls == b->tls &&
           a->implicit_tls == b->implicit_tls && a->auth_clear == b->auth_clear && same_text(a->user, b->user) &&
           same_text(a->password_file, b->password_file);
}

static const struct config_profile *profile_named(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->profile_count; i++) {
        if (strcmp(config->profiles[i].name, name) == 0)
            return &config->profiles[i];
    }
    return NULL;
}

static void quit_all(struct site *site)
{
    list_for_each_safe(node, &site->conns) conn_quit(list_entry(node, struct conn, node));
}

static void forget_hops(struct site *site)
{
    if (site->query != NULL)
        nexthop_cancel(site->query);
    site->query = NULL;
    hosts_forget(site);
    quit_all(site);
}

/* The site of a domain with a route of its own. */
static void rewire_routed(struct site *site, const struct config *config)
{
    const struct config_route *before = site->route, *route = config_route_for(config, site->name);
    site->profile = config_profile_for_domain(config, site->name);
    site->route = route;
    site->left = route == NULL;
    if (route == NULL || before == NULL || !same_hop(before, route))
        forget_hops(site);
}

/* Would a job of the lane come to this site today? */
static bool fits(const struct site *site, const struct lane *lane, const struct config *config)
{
    return config_route_for(config, lane->name) == NULL &&
           strcmp(domain_profile(config, lane->name, site->hosts, site->host_count)->name, site->profile->name) == 0;
}

/* A site of MX hosts: it is of one profile, for good. True: what waits has to find its site anew. */
static bool rewire_by_mx(struct site *site, const struct config *config)
{
    const struct config_profile *profile = profile_named(config, site->profile->name);
    bool misfits = false, fitting = list_empty(&site->lanes_all);
    list_for_each(node, &site->lanes_all)
    {
        bool one = profile != NULL && fits(site, list_entry(node, struct lane, node), config);
        fitting |= one;
        misfits |= !one;
    }
    site->left = profile == NULL || !fitting;
    site->profile = profile != NULL ? profile : &config->profiles[0];
    if (site->left)
        quit_all(site);
    return misfits;
}

/* Connections that would be made otherwise today. */
static void quit_misfits(struct site *site)
{
    enum tls_policy tls = site->route != NULL ? site->route->tls : site->profile->tls;
    list_for_each_safe(node, &site->conns)
    {
        struct conn *conn = list_entry(node, struct conn, node);
        if (conn->source->retired || conn->tls != tls)
            conn_quit(conn);
    }
}

static bool stays(const struct conn *conn)
{
    return !conn->quitting && (conn->phase == CONN_CONNECTING || conn->phase == CONN_OPEN);
}

/* The limit of connections may be lower now: those that hold nothing go first. */
static void quit_surplus(struct site *site)
{
    uint32_t count = 0, most = site_conn_max(site);
    list_for_each(node, &site->conns) count += stays(list_entry(node, struct conn, node)) ? 1 : 0;
    for (int busy = 0; busy < 2; busy++) {
        list_for_each_safe(node, &site->conns)
        {
            struct conn *conn = list_entry(node, struct conn, node);
            if (count <= most)
                return;
            if (!stays(conn) || (!busy && !conn_is_empty(conn)))
                continue;
            conn_quit(conn);
            count--;
        }
    }
}

static int reshape_site(struct site *site)
{
    int r = site_reshape(site);
    list_for_each_safe(node, &site->conns)
    {
        struct conn *conn = list_entry(node, struct conn, node);
        conn_recount(conn);
        conn_mark_dirty(conn); /* its deadlines may be nearer now */
    }
    site_unhold(site);
    return r;
}

static int reshape_all(struct dispatch *dispatch)
{
    size_t cursor = 0;
    struct site *site;
    int r = reshape_shared(dispatch);
    while ((site = hashmap_next(&dispatch->sites, &cursor)) != NULL) {
        int one = reshape_site(site);
        r = r == 0 ? one : r;
    }
    return r;
}

/* Limits for which there was no memory are as they were until then. */
void dispatch_reshape_later(struct dispatch *dispatch)
{
    loop_timer_set(&dispatch->loop, &dispatch->reshape_timer, dispatch->loop.now_ms + RESHAPE_AGAIN_MS);
}

void dispatch_on_reshape_timer(struct loop_timer *timer)
{
    struct dispatch *dispatch = container_of(timer, struct dispatch, reshape_timer);
    dispatch->now_us = clock_monotonic_us();
    if (reshape_all(dispatch) < 0)
        dispatch_reshape_later(dispatch);
}

/* The order. */

static void swap_sources(struct dispatch *dispatch, struct reload_order *reload)
{
    shaping_lock(dispatch->shaping);
    if (reload->room_count > dispatch->sources.room) {
        memcpy(reload->room, dispatch->sources.sources, dispatch->sources.count * sizeof(*reload->room));
        struct source **before = dispatch->sources.sources;
        dispatch->sources.sources = reload->room;
        dispatch->sources.room = reload->room_count;
        reload->room = before;
    }
    source_pool_change(&dispatch->sources, &reload->sources);
    shaping_unlock(dispatch->shaping);
}

static void save_retired(struct dispatch *dispatch, struct site *site)
{
    for (size_t i = 0; i < dispatch->sources.count; i++) {
        if (dispatch->sources.sources[i]->retired)
            via_keep_learnt(site, dispatch->sources.sources[i]);
    }
}

static void take_over(struct dispatch *dispatch, struct reload_order *reload)
{
    struct list home = LIST_INIT(home);
    struct site *site;
    const struct config *before = dispatch->config, *config = reload->config;
    logins_replace(dispatch->logins, before->route_count);
    rules_free(dispatch->rules);
    dispatch->logins = reload->logins;
    dispatch->rules = reload->rules;
    dispatch->config = config;
    dispatch->timeouts = config->timeouts;
    dispatch->version++;
    dispatch->begun_us = dispatch->now_us; /* sites that are made anew follow those that are left */
    shaping_lock(dispatch->shaping);
    dispatch->shaping->changed_us = dispatch->now_us;
    shaping_unlock(dispatch->shaping);
    swap_sources(dispatch, reload);
    dispatch_own_addresses(dispatch, reload->own);
    reload->logins = NULL;
    reload->rules = NULL;
    reload->own = NULL;
    for (size_t cursor = 0; (site = hashmap_next(&dispatch->sites, &cursor)) != NULL;) {
        bool misfits = false;
        save_retired(dispatch, site);
        if (site->key[0] == '=')
            rewire_routed(site, config);
        else
            misfits = rewire_by_mx(site, config);
        if (site->left || misfits) {
            site_uncompose(site);
            site_take_queued(site, &home);
        }
        if (!site->left)
            quit_misfits(site);
    }
    if (reshape_all(dispatch) < 0)
        dispatch_reshape_later(dispatch);
    for (size_t cursor = 0; (site = hashmap_next(&dispatch->sites, &cursor)) != NULL;)
        quit_surplus(site);
    reload->config = before; /* nothing points into it any more */
    domain_send_home(dispatch, &home);
}

static void let_go(struct reload_order *reload)
{
    if (reload->logins != NULL)
        logins_replace(reload->logins, reload->config->route_count);
    config_drop(reload->config);
    rules_free(reload->rules);
    source_pool_finish(&reload->sources);
    free(reload->room);
    free(reload->own);
}

static void execute_reload(struct dispatch_order *order)
{
    struct reload_order *reload = container_of(order, struct reload_order, order);
    struct dispatch *dispatch = order->dispatch;
    if (!dispatch->stopping) {
        dispatch->now_us = clock_monotonic_us();
        take_over(dispatch, reload);
    }
    let_go(reload);
}

void reload_free(struct reload_order *reload)
{
    if (reload == NULL)
        return;
    let_go(reload);
    free(reload);
}

int reload_make(const struct config *config, struct rules *rules, size_t sources_ever, struct reload_order **out,
                struct error *err)
{
    struct reload_order *reload = calloc(1, sizeof *reload);
    *out = NULL;
    if (reload == NULL)
        return error_memory(err);
    reload->order.execute = execute_reload;
    reload->config = config_hold(config);
    reload->rules = rules_hold(rules);
    int r = source_pool_init(&reload->sources, config, err);
    if (r == 0) {
        reload->room_count = sources_ever + reload->sources.count;
        reload->room = calloc(reload->room_count, sizeof(*reload->room));
        reload->own = calloc(MAX_OF(config->source_count, (size_t)1), sizeof *reload->own);
        r = reload->room != NULL && reload->own != NULL ? 0 : error_memory(err);
    }
    if (r == 0) {
        reload->logins = logins_load(config, err);
        r = reload->logins != NULL ? 0 : -EINVAL;
    }
    if (r < 0) {
        reload_free(reload);
        return r;
    }
    *out = reload;
    return 0;
}
