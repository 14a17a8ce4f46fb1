/*
 * explain_words.c - why a site sends as it does, in sentences for people.
 *
 * The first sentence answers the question "what limits it right now"; then its servers, what was learnt about them, the
 * sources and the domains that wait for their own limits.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "engine/site/domain.h"
#include "engine/site/explain.h"

#define LANES_SHOWN 5

static double seconds(int64_t ms)
{
    return (double)MAX_OF(ms, 0) / 1000;
}

static void say_trouble(const struct site *site, struct buffer *out)
{
    const struct outcome *why = site->trouble;
    if (why == NULL)
        return;
    buffer_printf(out, "The last connection failed at the stage \"%s\": %s.\n", outcome_stage_name(why->stage),
                  why->text);
    if (site->failing_since_ms != 0)
        buffer_printf(out, "No message was answered for %.0f s; its messages wait, and none of them counts as tried.\n",
                      seconds(site->dispatch->loop.now_ms - site->failing_since_ms));
}

static void say_connections(const struct site *site, struct buffer *out)
{
    const struct dispatch *dispatch = site->dispatch;
    if (site->hosts == NULL)
        buffer_append_str(out, "The address of its next hop is being looked up.\n");
    else if (site->conn_count >= site_conn_max(site) && dispatch->loop.now_ms < site->places_until_ms)
        buffer_printf(out,
                      "It turned away a connection beyond the %u that are busy; one more is tried again in %.1f s.\n",
                      site->places, seconds(site->places_until_ms - dispatch->loop.now_ms));
    else if (site->conn_count >= site_conn_max(site))
        buffer_printf(out, "All %u connections that it may have are busy, with up to %u messages on each.\n",
                      site_conn_max(site), MAX_OF(site->depth, 1u));
    else if (dispatch->conn_count >= dispatch->conn_max)
        buffer_printf(out, "This process has all %u connections open that its file descriptors allow.\n",
                      dispatch->conn_max);
    else if (site->conn_starting > 0)
        buffer_printf(out,
                      "%u of %u connections are open, %u more is being made; one that works lets the next follow.\n",
                      site->conn_ready, site->conn_max, site->conn_starting);
    else
        buffer_printf(out, "%u connections are enough for what waits.\n", site->conn_count);
}

static void say_limit(struct site *site, struct buffer *out)
{
    const char *by = site->limited_by;
    int64_t now_us = site->dispatch->now_us, now_ms = site->dispatch->loop.now_ms;
    char rate[RATE_TEXT_BYTES];
    if (strcmp(by, "rate") == 0) {
        buffer_printf(out, "Its rate of %s (profile \"%s\") is reached; the next message may start in %.3f s.\n",
                      rate_format(site->bounds.messages.rate, rate), site->profile->name,
                      (double)MAX_OF(limit_wait_until_us(&site->bounds.messages, now_us) - now_us, 0) / 1e6);
    } else if (strcmp(by, "domain rate") == 0) {
        buffer_append_str(out, "All recipient domains with messages have reached their own rates.\n");
    } else if (strcmp(by, "connections") == 0) {
        say_connections(site, out);
    } else if (strcmp(by, "back-off") == 0) {
        buffer_printf(out, "It is left alone after failed connections; the next try comes in %.1f s.\n",
                      seconds(site->backoff_until_ms - now_ms));
    } else if (strcmp(by, "sources") == 0) {
        buffer_append_str(out, "All sources have as many connections as they may.\n");
    } else if (strcmp(by, "storage") == 0) {
        buffer_append_str(out, "Nothing is sent while the database cannot record it.\n");
    } else if (strcmp(by, "compose") == 0) {
        buffer_append_str(out, "Its connections wait for messages to be composed and signed.\n");
    } else if (strcmp(by, "nothing") == 0) {
        buffer_append_str(out, "Nothing: all its messages are on their way.\n");
    } else if (strcmp(by, "idle") == 0) {
        buffer_append_str(out, "It has nothing to send.\n");
    } else if (site->gate.what == WHAT_SUSPENDED) {
        buffer_append_str(out, "It is suspended, or what waits for it is.\n");
    } else if (site->gate.what != WHAT_NONE) {
        buffer_printf(out, "It waits for the %s.\n", by);
    } else {
        buffer_append_str(out, "It has nothing to send.\n");
    }
}

static void say_hosts(const struct site *site, struct buffer *out)
{
    const struct memory *memory = &site->dispatch->memory;
    int64_t now_ms = site->dispatch->loop.now_ms;
    for (size_t i = 0; i < site->host_count; i++) {
        const struct nexthop_host *host = &site->hosts[i];
        char where[STREAM_ADDRESS_TEXT_BYTES];
        (void)stream_address_text(&host->address, where);
        buffer_printf(out, "Server %s at %s, preference %u", host->name, where, host->preference);
        if (memory_knows(memory, where, MEMORY_DOWN, now_ms))
            buffer_append_str(out, ", cannot be connected to at present");
        if (memory_knows(memory, where, MEMORY_NO_TLS, now_ms))
            buffer_append_str(out, ", in clear text because a TLS handshake failed within the last day");
        buffer_append_str(out, ".\n");
    }
    if (memory_knows(memory, site->name, MEMORY_SLOW, now_ms))
        buffer_append_str(out, "One message at a time, because it answered badly to pipelining within the last day.\n");
    if (memory_knows(memory, site->name, MEMORY_NO_CHUNKING, now_ms))
        buffer_append_str(out, "Without BDAT, because it offered CHUNKING but refused that within the last day.\n");
}

static void say_sources(const struct site *site, struct buffer *out)
{
    const struct source_pool *pool = &site->dispatch->sources;
    int64_t now_ms = site->dispatch->loop.now_ms;
    for (size_t i = 0; i < pool->count; i++) {
        const struct source *source = pool->sources[i];
        if (!source->retired && source->suspended_until_ms > now_ms)
            buffer_printf(out, "Source %s is suspended for %.0f s more: its address cannot be bound.\n", source->name,
                          seconds(source->suspended_until_ms - now_ms));
    }
}

static void say_lanes(const struct site *site, struct buffer *out)
{
    size_t shown = 0;
    list_for_each(node, &site->lanes_all)
    {
        const struct lane *lane = list_entry(node, struct lane, node);
        char rate[RATE_TEXT_BYTES];
        const struct zone *zone = lane->zone;
        if (lane_jobs(lane) == 0 || zone == NULL || shown++ >= LANES_SHOWN)
            continue;
        buffer_printf(out, "Domain %s: %u messages, rate %s", lane->name, lane_jobs(lane),
                      rate_format(zone->bounds.messages.rate, rate));
        if (zone->conn_max > 0)
            buffer_printf(out, ", on %u of %u connections", zone->use_count, zone->conn_max);
        buffer_append_str(out, ".\n");
    }
    if (shown > LANES_SHOWN)
        buffer_printf(out, "%zu more domains with limits of their own.\n", shown - LANES_SHOWN);
}

/* What holds the site up, from the list of its limits: the text of the buffer moves while it grows. */
static void say_binding(const struct explain *limits, size_t first, struct buffer *out)
{
    for (size_t i = first; i < limits->limit_count; i++) {
        const struct explain_limit *limit = &limits->limits[i];
        if (!limit->limit.binding)
            continue;
        char name[128], value[128], now[128], origin[400], next[64] = "";
        const char *text = limits->text.data;
        (void)str_copy(name, sizeof name, text + limit->name_at);
        (void)str_copy(value, sizeof value, text + limit->value_at);
        (void)str_copy(now, sizeof now, text + limit->now_at);
        (void)str_copy(origin, sizeof origin, text + limit->origin_at);
        if (limit->limit.next_ms > 0)
            (void)snprintf(next, sizeof next, "; the next message may start in %.3f s",
                           (double)limit->limit.next_ms / 1000);
        if (limit->limit.what == WHAT_SUSPENDED) {
            buffer_printf(out, "The %s \"%s\" is suspended %s (%s)%s.\n", limit_scope_name(limit->limit.scope), name,
                          now, origin, next);
            continue;
        }
        buffer_printf(out, "Held by the %s of the %s \"%s\": %s%s%s%s, set by %s%s.\n",
                      limit_what_name(limit->limit.what), limit_scope_name(limit->limit.scope), name, value,
                      now[0] != '\0' ? " (" : "", now, now[0] != '\0' ? ")" : "", origin, next);
    }
}

void explain_site_words(struct site *site, const struct explain *limits, size_t first_limit, struct buffer *out)
{
    say_limit(site, out);
    say_binding(limits, first_limit, out);
    say_trouble(site, out);
    say_hosts(site, out);
    say_sources(site, out);
    say_lanes(site, out);
}

void explain_domain_words(const struct domain *domain, struct buffer *out)
{
    int64_t now_ms = domain->dispatch->loop.now_ms;
    if (domain->failing_since_ms == 0) {
        buffer_append_str(out, "Its mail servers are being looked up in the DNS.\n");
        return;
    }
    buffer_printf(out, "The look-up of its mail servers fails since %.0f s: %s.\n",
                  seconds(now_ms - domain->failing_since_ms), domain->trouble.text);
    if (domain->query == NULL)
        buffer_printf(out, "The next try comes in %.1f s.\n", seconds(domain->ask_ms - now_ms));
}
