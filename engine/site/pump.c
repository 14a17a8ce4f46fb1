/*
 * pump.c - a site's pump: what to compose, which connection gets which job, when to open one more.
 *
 * Order of a pump: overdue jobs out, lanes whose time has come, compose ahead, give, open. Composing ahead is bounded
 * by what the ready connections can take (depth + 1 each) and by the rate (half a second of it), so a throttled site
 * holds a message or two and an unreachable one none. Connections are opened by demand and never all at once: while
 * none has proved to work one is tried, then as many again as work (the count can double per round trip), and none
 * while a rate or the compose pool is what holds the site up.
 */
#include <errno.h>
#include <string.h>

#include "engine/site/domain.h"
#include "engine/site/hosts.h"
#include "engine/site/pool.h"

/* A connection is opened so long before a rate lets the next message start, not earlier: it would only idle. */
#define CONNECT_AHEAD_US ((int64_t)500000)
#define SITES_EASY 4096 /* of a loop; beyond it a site is forgotten as soon as it has nothing to do */
#define SITE_IDLE_SHORT_MS ((int64_t)1000)
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

/* Composed messages worth having ready beyond those on connections. */
static uint32_t prefetch_target(const struct site *site)
{
    uint64_t target = (uint64_t)site->conn_ready * (site->depth + 1);
    double per_second = rate_per_second(site->limit.rate);
    if (per_second > 0 && site->conn_ready > 0)
        target = MIN_OF(target, (uint64_t)(per_second / 2) + 1);
    return (uint32_t)MIN_OF(target, site->dispatch->tuning.prefetch_max);
}

/* Messages that a lane's limit holds back keep no other lane from composing, within twice the bound. */
static void compose_ahead(struct site *site)
{
    uint32_t target = prefetch_target(site);
    uint32_t most = 2 * site->dispatch->tuning.prefetch_max;
    while (site->ready_count - site->held_back + site->composing_count < target &&
           site->ready_count + site->composing_count < most) {
        if (!site_compose_next(site))
            return;
    }
    /* What a big campaign has composed already must not keep a more urgent one from its turn. */
    if (site->conn_ready > 0)
        site_compose_starved(site, most);
}

/* Empty connections first, so that a short queue is spread; then all are filled. */
static void give(struct site *site)
{
    for (int filling = 0; filling < 2; filling++) {
        list_for_each(node, &site->conns)
        {
            struct conn *conn = conn_at(node);
            if (list_empty(&site->senders))
                return;
            if (!filling && !conn_is_empty(conn))
                continue;
            uint32_t room = filling ? conn_room(conn) : MIN_OF(conn_room(conn), 1u);
            while (room-- > 0) {
                struct engine_job *job = site_next_job(site, conn);
                if (job == NULL)
                    break;
                conn_give(conn, job);
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

static void starve(struct site *site)
{
    if (list_empty(&site->starved))
        list_append(&site->dispatch->starved, &site->starved);
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

static void open_connections(struct site *site)
{
    struct dispatch *dispatch = site->dispatch;
    uint64_t work = (uint64_t)site->queued + site->composing_count + site->ready_count + site->sending_count;
    uint32_t per_conn = MAX_OF(site->depth, 1u);
    uint64_t wanted = MIN_OF((work + per_conn - 1) / per_conn, (uint64_t)site->conn_max);
    while (site->conn_count < wanted && site->conn_starting < MAX_OF(site->conn_ready, 1u)) {
        if (dispatch->conn_count >= dispatch->conn_max) {
            starve(site);
            return;
        }
        const struct nexthop_host *host = hosts_pick(site);
        int r = conn_open(site, host);
        if (r < 0) {
            not_opened(site, host, r);
            return;
        }
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
    else if (now_ms(site) >= until && site->conn_count == 0 && limit_is_idle(&site->limit, dispatch->now_us) &&
             list_empty(&site->lanes_all) && now_ms(site) >= site->backoff_until_ms) {
        (void)hashmap_remove(&dispatch->sites, site->key, strlen(site->key));
        site_free(site);
        return true;
    }
    until = MAX_OF(site->idle_since_ms + idle_ms, now_ms(site) + 1000);
    until = MAX_OF(until, site->limit.next_us / 1000 + 1);
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
    if (site->route != NULL || site->queued == 0 || now_ms(site) < site->hosts_until_ms)
        return false;
    struct list jobs = LIST_INIT(jobs);
    site_take_queued(site, &jobs);
    domain_send_home(site->dispatch, &jobs);
    return true;
}

void site_pump(struct site *site)
{
    if (site->dispatch->stopping) {
        pump_stopping(site);
        return;
    }
    serve_waiting(site);
    int64_t wake_ms = site_end_overdue(site);
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
    compose_ahead(site);
    give(site);
    int64_t now_us = site->dispatch->now_us;
    int64_t site_us = limit_wait_until_us(&site->limit, now_us);
    int64_t lanes_us = lanes_wait_until_us(site);
    bool lanes_held = list_empty(&site->senders) && list_empty(&site->feeders) && site->composing_count == 0;
    int64_t limit_us = site_us != 0 ? site_us : lanes_held && lanes_us != INT64_MAX ? lanes_us : 0;
    wake_ms = MIN_OF(wake_ms, ms_of_us(lanes_us));
    if (site->queued + site->ready_count + site->composing_count == 0) {
        site->limited_by = "nothing";
    } else if (limit_us != 0 && (site->conn_count > 0 || limit_us - now_us > CONNECT_AHEAD_US)) {
        site->limited_by = site_us != 0 ? "rate" : "domain rate";
        wake_ms = MIN_OF(wake_ms, ms_of_us(limit_us));
    } else if (some_conn_has_room(site)) {
        site->limited_by = "compose";
    } else if (now_ms(site) < site->backoff_until_ms) {
        site->limited_by = site->wants_source ? "sources" : "back-off";
        wake_ms = MIN_OF(wake_ms, site->backoff_until_ms);
    } else {
        site->limited_by = "connections";
        site->wants_source = false;
        if (hosts_known(site))
            open_connections(site);
        if (now_ms(site) < site->backoff_until_ms)
            wake_ms = MIN_OF(wake_ms, site->backoff_until_ms);
    }
    loop_timer_set(&site->dispatch->loop, &site->timer, wake_ms);
}
