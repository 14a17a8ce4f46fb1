/*
 * hosts.c - next hops and their failures.
 */
#include "engine/site/hosts.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "engine/site/transport.h"

#define DOWN_MS ((int64_t)60000)

static int64_t now_ms(const struct site *site)
{
    return site->dispatch->loop.now_ms;
}

void hosts_forget(struct site *site)
{
    free(site->hosts);
    free(site->next_hop);
    site->hosts = NULL;
    site->next_hop = NULL;
    site->host_count = 0;
}

bool hosts_set(struct site *site, const struct nexthop_answer *answer)
{
    hosts_forget(site);
    site->hosts = calloc(answer->host_count, sizeof *site->hosts);
    site->next_hop = str_dup(answer->text);
    if (site->hosts == NULL || site->next_hop == NULL) {
        hosts_forget(site);
        site->backoff_until_ms = now_ms(site) + site->dispatch->tuning.backoff_first_ms;
        return false;
    }
    memcpy(site->hosts, answer->hosts, answer->host_count * sizeof *site->hosts);
    site->host_count = answer->host_count;
    site->hosts_until_ms = now_ms(site) + answer->lifetime_ms;
    return true;
}

static void on_next_hop(void *context, const struct nexthop_answer *answer)
{
    struct site *site = context;
    site->query = NULL;
    site_mark_dirty(site);
    if (answer->found) {
        (void)hosts_set(site, answer);
        return;
    }
    hosts_forget(site);
    hosts_failed(site, NULL, &answer->failure); /* the site's trouble, not its recipients' */
}

bool hosts_known(struct site *site)
{
    if (site->hosts != NULL && (site->route == NULL || now_ms(site) < site->hosts_until_ms))
        return true;
    if (site->route != NULL && site->query == NULL && now_ms(site) >= site->backoff_until_ms) {
        site->query = nexthop_ask(&site->dispatch->loop, site->dispatch->config, site->name, on_next_hop, site);
        if (site->query == NULL) /* no memory: a little later */
            site->backoff_until_ms = now_ms(site) + site->dispatch->tuning.backoff_first_ms;
    }
    return site->hosts != NULL;
}

static bool is_down(const struct site *site, const struct nexthop_host *host)
{
    char where[STREAM_ADDRESS_TEXT_BYTES];
    const struct memory *memory = &site->dispatch->memory;
    return memory_knows(memory, stream_address_text(&host->address, where), MEMORY_DOWN, now_ms(site));
}

static bool may_do(const struct site *site, const struct nexthop_host *host, const struct lane *lane)
{
    char where[STREAM_ADDRESS_TEXT_BYTES];
    return !is_down(site, host) &&
           (lane == NULL || transport_may_do(lane, host->name, stream_address_text(&host->address, where)));
}

/* Of each host its first address that is up, and of these, among those of the best preference, any. NULL = all are
 * down, or of no use to the lane. */
static const struct nexthop_host *pick_up(struct site *site, const struct lane *lane)
{
    const struct nexthop_host *picked = NULL;
    const char *last = "";
    uint32_t candidates = 0;
    for (size_t i = 0; i < site->host_count; i++) {
        const struct nexthop_host *host = &site->hosts[i];
        if (picked != NULL && host->preference != picked->preference)
            break;
        if (strcmp(host->name, last) == 0 || !may_do(site, host, lane))
            continue;
        last = host->name;
        if (dispatch_random(site->dispatch, ++candidates) == 0)
            picked = host;
    }
    return picked;
}

const struct nexthop_host *hosts_pick(struct site *site, const struct lane *lane)
{
    const struct nexthop_host *host = site->host_count > 1 ? pick_up(site, lane) : NULL;
    if (host == NULL && lane != NULL)
        return hosts_pick(site, NULL);
    return host != NULL ? host : &site->hosts[dispatch_random(site->dispatch, (uint32_t)site->host_count)];
}

bool hosts_have_one_for(const struct lane *lane)
{
    const struct site *site = lane->site;
    for (size_t i = 0; i < site->host_count; i++) {
        if (may_do(site, &site->hosts[i], lane))
            return true;
    }
    return false;
}

bool hosts_have_other(const struct site *site, const char *where)
{
    char other[STREAM_ADDRESS_TEXT_BYTES];
    for (size_t i = 0; i < site->host_count; i++) {
        if (strcmp(stream_address_text(&site->hosts[i].address, other), where) != 0 && !is_down(site, &site->hosts[i]))
            return true;
    }
    return false;
}

void hosts_failed(struct site *site, const char *where, const struct outcome *why)
{
    const struct engine_tuning *tuning = &site->dispatch->tuning;
    log_debug("engine", "%s connection failed stage=%s reason=%s", site->name, outcome_stage_name(why->stage),
              LOG_QUOTE(why->text));
    if (site->trouble == NULL)
        site->trouble = calloc(1, sizeof *site->trouble);
    if (site->trouble != NULL)
        *site->trouble = *why;
    if (site->failing_since_ms == 0)
        site->failing_since_ms = now_ms(site);
    site_mark_dirty(site);
    if (where != NULL && site->host_count > 1 && why->stage <= STAGE_GREETING) {
        memory_note(&site->dispatch->memory, where, MEMORY_DOWN, now_ms(site) + DOWN_MS);
        if (pick_up(site, NULL) != NULL)
            return; /* another address may do */
    }
    int64_t next = site->backoff_ms == 0 ? tuning->backoff_first_ms : site->backoff_ms * 2;
    site->backoff_ms = MIN_OF(next, tuning->backoff_max_ms);
    int64_t jitter = (int64_t)dispatch_random(site->dispatch, (uint32_t)(site->backoff_ms / 5) + 1);
    site->backoff_until_ms = now_ms(site) + site->backoff_ms - jitter;
}

void hosts_pass_over(struct site *site, const char *where)
{
    if (site->host_count > 1)
        memory_note(&site->dispatch->memory, where, MEMORY_DOWN, now_ms(site) + DOWN_MS);
}

void hosts_answered(struct site *site)
{
    if (site->backoff_ms == 0 && site->failing_since_ms == 0)
        return;
    site->backoff_ms = site->backoff_until_ms = site->failing_since_ms = 0;
    free(site->trouble);
    site->trouble = NULL;
}
