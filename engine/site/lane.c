/*
 * lane.c - lanes: birth, standing, end.
 */
#include "engine/site/lane.h"

#include <stdlib.h>
#include <string.h>

#include "engine/site/site.h"

/* A message is composed so long before a rate lets it start, not earlier: it would only lie about. */
#define COMPOSE_AHEAD_US ((int64_t)500000)
#define LOOK_AGAIN_US ((int64_t)1000000)

static bool is_limited(const struct lane *lane)
{
    return !rate_is_unlimited(lane->rate);
}

static void init_limits(struct lane *lane, const struct dispatch *dispatch)
{
    const struct config_domain *own = config_domain_for(dispatch->config, lane->name);
    lane->rate = own != NULL ? own->rate : RATE_UNLIMITED;
    lane->conn_max = own != NULL ? own->connections : 0;
    limit_init(&lane->limit, lane->rate);
    limit_follow(&lane->limit, dispatch->begun_us);
}

struct lane *lane_get(struct site *site, const char *domain)
{
    size_t len = strlen(domain);
    struct lane *lane = hashmap_get(&site->lanes, domain, len);
    if (lane != NULL)
        return lane;
    lane = calloc(1, sizeof *lane + len + 1);
    if (lane == NULL)
        return NULL;
    memcpy(lane->name, domain, len);
    lane->name_len = len;
    lane->site = site;
    init_limits(lane, site->dispatch);
    if (lane->conn_max > 0)
        lane->uses = calloc(lane->conn_max, sizeof *lane->uses);
    bool whole = lane->conn_max == 0 || lane->uses != NULL;
    if (!whole || heap_insert(&site->waiting, &lane->wait, INT64_MAX) < 0) {
        free(lane->uses);
        free(lane);
        return NULL;
    }
    if (hashmap_put(&site->lanes, lane->name, len, lane) != 0) {
        heap_remove(&site->waiting, &lane->wait);
        free(lane->uses);
        free(lane);
        return NULL;
    }
    list_init(&lane->send);
    list_init(&lane->feed);
    list_init(&lane->queue);
    list_init(&lane->ready);
    list_append(&site->lanes_all, &lane->node);
    return lane;
}

void lane_free(struct lane *lane)
{
    assure(lane_jobs(lane) == 0);
    struct site *site = lane->site;
    (void)hashmap_remove(&site->lanes, lane->name, lane->name_len);
    heap_remove(&site->waiting, &lane->wait);
    list_remove(&lane->node);
    list_remove(&lane->send);
    list_remove(&lane->feed);
    limit_finish(&lane->limit);
    free(lane->uses);
    free(lane);
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
    int64_t now_us = site->dispatch->now_us;
    int64_t until = is_limited(lane) ? limit_wait_until_us(&lane->limit, now_us) : 0;
    bool soon = until == 0 || until - now_us < COMPOSE_AHEAD_US;
    uint32_t enough = is_limited(lane) ? (uint32_t)(rate_per_second(lane->rate) / 2) + 1 : UINT32_MAX;
    set_member(&site->senders, &lane->send, lane->ready_count > 0 && until == 0);
    set_member(&site->feeders, &lane->feed,
               lane->queued > 0 && soon && lane->ready_count + lane->composing_count < enough);
    uint32_t held_back = until != 0 ? lane->ready_count : 0;
    site->held_back += held_back - lane->held_back;
    lane->held_back = held_back;
    int64_t look = INT64_MAX;
    if (until != 0 && lane->ready_count > 0)
        look = until;
    else if (until != 0 && lane->queued > 0)
        look = soon ? until : until - COMPOSE_AHEAD_US + 1;
    else if (lane_jobs(lane) == 0)
        look = MAX_OF(lane->limit.next_us, now_us + (is_limited(lane) ? LOOK_AGAIN_US : 0));
    heap_update(&site->waiting, &lane->wait, look);
}

bool lane_rest(struct lane *lane)
{
    if (lane_jobs(lane) > 0 || !limit_is_idle(&lane->limit, lane->site->dispatch->now_us))
        return false;
    lane_free(lane);
    return true;
}

bool lane_may_use(const struct lane *lane, const struct conn *conn)
{
    if (lane->conn_max == 0 || lane->use_count < lane->conn_max)
        return true;
    for (uint32_t i = 0; i < lane->use_count; i++) {
        if (lane->uses[i].conn == conn)
            return true;
    }
    return false;
}

void lane_use(struct lane *lane, const struct conn *conn)
{
    if (lane->conn_max == 0)
        return;
    for (uint32_t i = 0; i < lane->use_count; i++) {
        if (lane->uses[i].conn == conn) {
            lane->uses[i].held++;
            return;
        }
    }
    assure(lane->use_count < lane->conn_max);
    lane->uses[lane->use_count++] = (struct lane_use){.conn = conn, .held = 1};
}

void lane_unuse(struct lane *lane, const struct conn *conn)
{
    for (uint32_t i = 0; i < lane->use_count; i++) {
        if (lane->uses[i].conn != conn)
            continue;
        if (--lane->uses[i].held == 0)
            lane->uses[i] = lane->uses[--lane->use_count];
        return;
    }
}
