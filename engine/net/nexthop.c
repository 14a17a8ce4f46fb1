/*
 * nexthop.c - next hops from routes.
 *
 * A literal is answered through a zero timer, a name through uv_getaddrinfo(); either way later, so that a site need
 * not know which it was.
 */
#include "engine/net/nexthop.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define ROUTE_LIFETIME_MS ((int64_t)60 * 60 * 1000) /* a literal cannot change */
#define NAME_LIFETIME_MS ((int64_t)60 * 1000)
#define FAILURE_LIFETIME_MS ((int64_t)30 * 1000)

struct nexthop_query {
    uv_timer_t later;
    uv_getaddrinfo_t lookup;
    struct nexthop_answer answer;
    char host[256]; /* of the route, which a reload may take away meanwhile */
    uint16_t port;
    nexthop_cb *callback; /* NULL = cancelled */
    void *context;
};

static void fail(struct nexthop_query *query, enum outcome_class class_, const char *text)
{
    query->answer.found = false;
    query->answer.lifetime_ms = FAILURE_LIFETIME_MS;
    outcome_set(&query->answer.failure, class_, STAGE_DNS, "%s", text);
}

static void on_later_closed(uv_handle_t *handle)
{
    free(container_of((uv_timer_t *)handle, struct nexthop_query, later));
}

static void finish(struct nexthop_query *query)
{
    if (query->callback != NULL)
        query->callback(query->context, &query->answer);
    query->callback = NULL;
    uv_close((uv_handle_t *)&query->later, on_later_closed);
}

static void on_later(uv_timer_t *later)
{
    finish(container_of(later, struct nexthop_query, later));
}

static void add_host(struct nexthop_answer *answer, const struct stream_address *address, const char *name)
{
    if (answer->host_count == NEXTHOP_HOSTS_MAX)
        return;
    struct nexthop_host *host = &answer->hosts[answer->host_count++];
    host->address = *address;
    (void)str_copy(host->name, sizeof host->name, name);
    answer->found = true;
}

static void on_lookup(uv_getaddrinfo_t *lookup, int status, struct addrinfo *found)
{
    struct nexthop_query *query = container_of(lookup, struct nexthop_query, lookup);
    for (struct addrinfo *at = found; status == 0 && at != NULL; at = at->ai_next) {
        struct stream_address address = {.len = at->ai_addrlen};
        if (at->ai_addrlen > sizeof address.storage)
            continue;
        memcpy(&address.storage, at->ai_addr, at->ai_addrlen);
        add_host(&query->answer, &address, query->host);
    }
    uv_freeaddrinfo(found);
    if (!query->answer.found) {
        char text[400];
        (void)snprintf(text, sizeof text, "route host %.255s has no address: %s", query->host,
                       status < 0 ? uv_strerror(status) : "empty answer");
        fail(query, OUTCOME_TRANSPORT, text);
    }
    query->answer.lifetime_ms = query->answer.found ? NAME_LIFETIME_MS : FAILURE_LIFETIME_MS;
    finish(query);
}

/* Starts the look-up of the route's host name; false when it could not even start. */
static bool look_up(struct nexthop_query *query, struct loop *loop)
{
    char port[8];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    (void)snprintf(port, sizeof port, "%u", query->port);
    int r = uv_getaddrinfo(&loop->uv, &query->lookup, on_lookup, query->host, port, &hints);
    if (r < 0)
        fail(query, OUTCOME_TRANSPORT, "the look-up of the route's host could not be started");
    return r == 0;
}

struct nexthop_query *nexthop_ask(struct loop *loop, const struct config *config, const char *domain,
                                  nexthop_cb *answer, void *context)
{
    struct nexthop_query *query = calloc(1, sizeof *query);
    if (query == NULL)
        return NULL;
    query->callback = answer;
    query->context = context;
    (void)uv_timer_init(&loop->uv, &query->later);
    const struct config_route *route = config_route_for(config, domain);
    if (route != NULL) {
        (void)str_copy(query->host, sizeof query->host, route->host);
        query->port = route->port;
    }
    if (route == NULL) {
        char text[400];
        (void)snprintf(text, sizeof text, "no route for %.255s: MX look-up is not configured", domain);
        fail(query, OUTCOME_TRANSPORT, text);
    } else {
        struct stream_address address;
        (void)snprintf(query->answer.text, sizeof query->answer.text, "%.255s:%u", query->host,
                       query->port);
        if (stream_address_parse(query->host, query->port, &address) == 0) {
            add_host(&query->answer, &address, query->host);
            query->answer.lifetime_ms = ROUTE_LIFETIME_MS;
        } else if (look_up(query, loop)) {
            return query;
        }
    }
    (void)uv_timer_start(&query->later, on_later, 0, 0);
    return query;
}

void nexthop_cancel(struct nexthop_query *query)
{
    query->callback = NULL; /* it ends by itself */
}
