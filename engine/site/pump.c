/*
 * pump.c - a site's pump: what to compose, which connection gets which job, when to open one more.
 *
 * Order of a pump: lanes whose time has come, compose ahead, give, open. Composing ahead is bounded by what the ready
 * connections can take (depth + 1 each) and by the rate (half a second of it), so a throttled site holds a message or
 * two and an unreachable one none. While the composers are behind, what a site has asked of them is its share of them:
 * then it asks for what all its connections could take, or the share would hang on how many it had open when they fell
 * behind. Connections are opened by demand and never all at once: while none has proved to work one is tried, then as
 * many again as work (the count can double per round trip), and none while a rate or the compose pool is what holds the
 * site up.
 */
#include <errno.h>
#include <string.h>

#include "engine/site/domain.h"
#include "engine/site/hosts.h"
#include "engine/site/pool.h"
#include "engine/site/transport.h"

/* A connection is opened so long before a rate lets the next message start, not earlier: it would only idle. */
#define CONNECT_AHEAD_US ((int64_t)500000)
#define SITES_EASY 4096 /* of a loop; beyond it a site is forgotten as soon as it has nothing to do */
#define SITE_IDLE_SHORT_MS ((int64_t)1000)
#define LANES_LOOKED_AT 256
#define COMPOSERS_BEHIND 256 /* messages of a loop that are being composed, or wait for it */
#define SOURCE_WAIT_MS ((int64_t)100) /* when all sources have as many connections as they may */

static struct conn *conn_at(struct list *node)
{
    return list_entry(node, struct conn, node);
}

static int64_t now_ms(const struct site *site)
{
    return site->dispatch->loop.now_ms;
}

static void serve_waiting(struct site *site)
{
    struct heap_node *first;
    while ((first = heap_first(&site->waiting)) != NULL && first->key <= site->dispatch->now_us) {
        struct lane *lane = container_of(first, struct lane, wait);
        if (!lane_rest(lane))
            lane_settle(lane);
    }
}

/* When a lane may do something again; INT64_MAX = none waits. */
static int64_t lanes_wait_until_us(const struct site *site)
{
    struct heap_node *first = heap_first(&site->waiting);
    return first != NULL ? first->key : INT64_MAX;
}

/* Connections that are composed for. */
static uint32_t conns_to_feed(const struct site *site)
{
    bool behind = site->ready_count == 0 && site->dispatch->composing_count >= COMPOSERS_BEHIND;
    return behind && site->conn_ready > 0 ? MAX_OF(site_conn_max(site), site->conn_ready) : site->conn_ready;
}

/* Composed messages worth having ready beyond those on connections. */
static uint32_t prefetch_target(const struct site *site)
{
    uint64_t target = (uint64_t)conns_to_feed(site) * (site->depth + 1);
    double per_second = rate_per_second(site->bounds.messages.rate);
    if (per_second > 0 && site->conn_ready > 0)
        target = MIN_OF(target, (uint64_t)(per_second / 2) + 1);
    return (uint32_t)MIN_OF(target, site->dispatch->tuning.prefetch_max);
}

static uint32_t held_by_flows(const struct site *site)
{
    uint32_t held = 0;
    for (const struct list *node = site->flows.next; node != &site->flows; node = node->next) {
        const struct flow *flow = list_entry(node, struct flow, node);
        held += flow->held_until_us != 0 ? flow->ahead : 0;
    }
    return held;
}

/* Messages that a lane's limit holds back keep no other lane from composing, within twice the bound. */
static void compose_ahead(struct site *site)
{
    uint32_t target = prefetch_target(site);
    uint32_t most = 2 * site->dispatch->tuning.prefetch_max;
    uint32_t held = site->held_back + held_by_flows(site);
    while (site->ready_count - MIN_OF(held, site->ready_count) + site->composing_count < target &&
           site->ready_count + site->composing_count < most) {
        if (!site_compose_next(site))
            return;
    }
    /* What a big campaign has composed already must not keep a more urgent one from its turn. */
    if (site->conn_ready > 0)
        site_compose_starved(site, most);
}

/* Connections of a source that is suspended, or has sent all that it may today, are not kept idle. */
static void dismiss_useless(struct site *site)
{
    list_for_each_safe(node, &site->conns)
    {
        struct conn *conn = conn_at(node);
        struct via *via = conn_is_empty(conn) ? via_get(site, conn->source) : NULL;
        if (via != NULL && via_is_closed(site, conn->source, via))
            conn_quit(conn);
    }
}

/* Empty connections first, so that a short queue is spread; then all are filled. */
static void give(struct site *site)
{
    dismiss_useless(site);
    for (int filling = 0; filling < 2; filling++) {
        list_for_each(node, &site->conns)
        {
            struct conn *conn = conn_at(node);
            if (list_empty(&site->senders))
                return;
            if (!filling && !conn_is_empty(conn))
                continue;
            /* Asked anew each time: a session that has no memory for a message is over. */
            while (conn_room(conn) > 0) {
                struct engine_job *job = site_next_job(site, conn);
                if (job == NULL) /* a way that is closed costs one question */
                    break;
                conn_give(conn, job);
                if (!filling)
                    break;
            }
        }
    }
}

static bool some_conn_has_room(const struct site *site)
{
    for (struct list *node = site->conns.next; node != &site->conns; node = node->next) {
        if (conn_room(conn_at(node)) > 0)
            return true;
    }
    return false;
}

/* A lane has stepped aside, and no connection that is there or on its way will do for it, while another might. */
static bool lacks_connection(const struct site *site)
{
    const struct lane *lane = site->passed;
    if (lane == NULL || lane->ready_count == 0 || !hosts_have_one_for(lane))
        return false;
    for (const struct list *node = site->conns.next; node != &site->conns; node = node->next) {
        if (transport_promises(lane, list_entry(node, const struct conn, node)))
            return false;
    }
    return true;
}

/* For one that will do, when there are as many as there may be; one at a time. */
static void make_way(struct site *site)
{
    struct conn *useless = NULL;
    list_for_each(node, &site->conns)
    {
        struct conn *conn = conn_at(node);
        if (conn->quitting || conn->starting)
            return;
        if (useless == NULL || conn_is_empty(conn))
            useless = conn;
    }
    if (useless != NULL)
        conn_quit(useless);
}

static void starve(struct site *site)
{
    if (list_empty(&site->starved))
        list_append(&site->dispatch->starved, &site->starved);
    conn_quit_idle(site->dispatch);
}

static void not_opened(struct site *site, const struct nexthop_host *host, int code)
{
    struct outcome why;
    char where[STREAM_ADDRESS_TEXT_BYTES];
    (void)stream_address_text(&host->address, where);
    if (conn_error_is_ours(code)) {
        site->backoff_until_ms = now_ms(site) + site->dispatch->tuning.backoff_first_ms;
    } else if (code == -EBUSY) {
        site->backoff_until_ms = now_ms(site) + SOURCE_WAIT_MS;
        site->wants_source = true;
    } else if (code == -EADDRNOTAVAIL) {
        outcome_set(&why, OUTCOME_TRANSPORT, STAGE_CONNECT, "no source address can be bound");
        hosts_failed(site, NULL, &why);
    } else {
        const char *reason = code == -EAFNOSUPPORT ? "no source has an address of this family" : strerror(-code);
        outcome_set(&why, OUTCOME_TRANSPORT, STAGE_CONNECT, "cannot connect to %s: %s", where, reason);
        hosts_failed(site, where, &why);
    }
}

uint32_t site_conn_max(const struct site *site)
{
    uint32_t ruled = site->ruled.ruling.connections;
    uint32_t most = ruled > 0 ? MIN_OF(site->conn_max, ruled) : site->conn_max;
    if (site->places > 0)
        most = MIN_OF(most, site->places + (now_ms(site) >= site->places_until_ms ? 1u : 0u));
    return most;
}

/* `lane`: one that lacks a connection, which the first is opened for; NULL = none does. */
static void open_connections(struct site *site, const struct lane *lane)
{
    struct dispatch *dispatch = site->dispatch;
    uint64_t work = (uint64_t)site->queued + site->composing_count + site->ready_count + site->sending_count;
    uint32_t per_conn = MAX_OF(site->depth, 1u);
    uint64_t wanted = (work + per_conn - 1) / per_conn;
    if (lane != NULL && site->conn_count >= site_conn_max(site))
        make_way(site);
    wanted = MIN_OF(lane != NULL ? MAX_OF(wanted, site->conn_count + 1) : wanted, (uint64_t)site_conn_max(site));
    while (site->conn_count < wanted && site->conn_starting < MAX_OF(site->conn_ready, 1u)) {
        enum limit_what what = WHAT_NONE;
        int64_t until = bounds_connect_wait_us(&site->bounds, dispatch->now_us, &what);
        if (until > 0) {
            gate_note(&site->gate, SCOPE_SITE, what, until);
            return;
        }
        if (dispatch->conn_count >= dispatch->conn_max) {
            starve(site);
            return;
        }
        const struct nexthop_host *host = hosts_pick(site, lane);
        bool wait = false;
        if (site->route == NULL && !site->any_tls && !transport_host_usable(site, host, &wait))
            return;
        int r = conn_open(site, host, lane != NULL);
        if (r < 0) {
            not_opened(site, host, r);
            return;
        }
        lane = NULL;
    }
}

static void pump_stopping(struct site *site)
{
    list_for_each_safe(node, &site->conns) conn_quit(conn_at(node));
}

/* A site that has nothing to do is forgotten after a while, when that loosens no limit. Returns true when it is gone.
 */
static bool rest(struct site *site)
{
    struct dispatch *dispatch = site->dispatch;
    int64_t idle_ms = dispatch->tuning.site_idle_ms;
    if (dispatch->sites.count > SITES_EASY)
        idle_ms = MIN_OF(idle_ms, SITE_IDLE_SHORT_MS);
    int64_t until = site->idle_since_ms + idle_ms;
    if (site->idle_since_ms == 0)
        site->idle_since_ms = now_ms(site);
    else if (now_ms(site) >= until && site->conn_count == 0 && bounds_is_idle(&site->bounds, dispatch->now_us) &&
             list_empty(&site->lanes_all) && now_ms(site) >= site->backoff_until_ms) {
        (void)hashmap_remove(&dispatch->sites, site->key, strlen(site->key));
        site_free(site);
        return true;
    }
    until = MAX_OF(site->idle_since_ms + idle_ms, now_ms(site) + 1000);
    until = MAX_OF(until, site->bounds.messages.next_us / 1000 + 1);
    loop_timer_set(&dispatch->loop, &site->timer, until);
    site->limited_by = "idle";
    return false;
}

static int64_t ms_of_us(int64_t us)
{
    return us == INT64_MAX ? LOOP_TIMER_OFF : (us + 999) / 1000;
}

/* Hosts found by MX are believed for their time; then what waits asks anew, from the door. */
static bool send_home(struct site *site)
{
    if (site->left)
        site_uncompose(site);
    else if (site->route != NULL || now_ms(site) < site->hosts_until_ms)
        return false;
    if (site->queued == 0)
        return false;
    struct list jobs = LIST_INIT(jobs);
    site_take_queued(site, &jobs);
    domain_send_home(site->dispatch, &jobs);
    return true;
}

/* Nothing goes to a suspended site; what waits for it goes on waiting, and no row is written for it. */
static bool is_suspended(struct site *site)
{
    struct dispatch *dispatch = site->dispatch;
    ruled_refresh(&site->ruled, dispatch->shaping, SCOPE_SITE, site->name, "", dispatch->now_us);
    if (site->ruled.ruling.suspended_until_us <= dispatch->now_us)
        return false;
    site_uncompose(site);
    list_for_each_safe(node, &site->conns)
    {
        if (conn_is_empty(conn_at(node)))
            conn_quit(conn_at(node));
    }
    gate_note(&site->gate, SCOPE_SITE, WHAT_SUSPENDED, site->ruled.ruling.suspended_until_us);
    site->limited_by = gate_name(&site->gate);
    loop_timer_set(&dispatch->loop, &site->timer, ms_of_us(site->ruled.ruling.suspended_until_us));
    return true;
}

/* What the lanes are held up by first, when none of them can do anything now. */
static void note_lanes(struct site *site)
{
    size_t looked = 0;
    for (const struct list *node = site->lanes_all.next; node != &site->lanes_all && looked++ < LANES_LOOKED_AT;
         node = node->next) {
        const struct lane *lane = list_entry(node, struct lane, node);
        if (lane_jobs(lane) > 0 && lane->held.what != WHAT_NONE)
            gate_note(&site->gate, SCOPE_DOMAIN, lane->held.what, lane->held.until_us);
    }
}

/* Another source may be free when the gate is one source's. */
static bool gate_is_of_a_source(const struct site *site)
{
    enum limit_scope scope = site->gate.scope;
    return site->dispatch->sources.count > 1 && /* retired ones included: it costs a look */
           (scope == SCOPE_SOURCE || scope == SCOPE_SITE_SOURCE || scope == SCOPE_PROVIDER);
}

/* Without a connection nobody has asked the site's own limit. */
static void note_site(struct site *site)
{
    enum limit_what what = WHAT_NONE;
    int64_t until = bounds_wait_until_us(&site->bounds, site->dispatch->now_us, &what);
    if (until == 0)
        until = ruled_wait_until_us(&site->ruled, site->dispatch->now_us, &what);
    if (until != 0)
        gate_note(&site->gate, SCOPE_SITE, what, until);
}

/* Whether to open one more, and what holds the site up; returns when to look again. */
static int64_t connect_or_wait(struct site *site)
{
    int64_t now_us = site->dispatch->now_us;
    bool gated =
        site->gate.what != WHAT_NONE && (site->conn_count > 0 || site->gate.until_us - now_us > CONNECT_AHEAD_US);
    if (gated && !gate_is_of_a_source(site)) {
        site->limited_by = gate_name(&site->gate);
        return ms_of_us(site->gate.until_us);
    }
    bool lacking = lacks_connection(site);
    if (!gated && !lacking && some_conn_has_room(site)) {
        site->limited_by = "compose";
        return LOOP_TIMER_OFF;
    }
    if (now_ms(site) < site->backoff_until_ms) {
        bool explained = site->wants_source && site->gate.what != WHAT_NONE && site->gate.what != WHAT_CONNECTIONS;
        site->limited_by = explained ? gate_name(&site->gate) : site->wants_source ? "sources" : "back-off";
        return site->backoff_until_ms;
    }
    site->limited_by = gated ? gate_name(&site->gate) : "connections";
    site->wants_source = false;
    uint32_t before = site->conn_count;
    if (hosts_known(site))
        open_connections(site, lacking ? site->passed : NULL);
    if (!gated && site->conn_count == before && site->gate.what != WHAT_NONE && site->gate.what != WHAT_CONNECTIONS)
        site->limited_by = gate_name(&site->gate);
    int64_t wake_ms = site->gate.what != WHAT_NONE ? ms_of_us(site->gate.until_us) : LOOP_TIMER_OFF;
    if (now_ms(site) < site->places_until_ms)
        wake_ms = MIN_OF(wake_ms, site->places_until_ms);
    return now_ms(site) < site->backoff_until_ms ? MIN_OF(wake_ms, site->backoff_until_ms) : wake_ms;
}

void site_pump(struct site *site)
{
    if (site->dispatch->stopping) {
        pump_stopping(site);
        return;
    }
    serve_waiting(site);
    int64_t wake_ms = LOOP_TIMER_OFF;
    if (site->failing_since_ms != 0 && site->conn_ready == 0)
        site_uncompose(site);
    (void)send_home(site);
    if (site->queued + site->composing_count + site->ready_count + site->sending_count == 0) {
        (void)rest(site);
        return;
    }
    site->idle_since_ms = 0;
    if (site->dispatch->held) {
        site_uncompose(site); /* it may take long */
        site->limited_by = "storage";
        loop_timer_set(&site->dispatch->loop, &site->timer, wake_ms);
        return;
    }
    site->gate = GATE_OPEN;
    if (is_suspended(site))
        return;
    int64_t flows_us = flows_wake(site);
    compose_ahead(site);
    give(site);
    bool held = list_empty(&site->senders) && list_empty(&site->feeders) && site->composing_count == 0;
    int64_t lanes_us = lanes_wait_until_us(site);
    wake_ms = MIN_OF(wake_ms, ms_of_us(MIN_OF(lanes_us, flows_us)));
    if (held && site->gate.what == WHAT_NONE)
        note_lanes(site);
    if (site->gate.what == WHAT_NONE && site->conn_count == 0)
        note_site(site);
    if (site->queued + site->ready_count + site->composing_count == 0)
        site->limited_by = "nothing";
    else
        wake_ms = MIN_OF(wake_ms, connect_or_wait(site));
    loop_timer_set(&site->dispatch->loop, &site->timer, wake_ms);
}
