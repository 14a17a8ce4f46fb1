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

/* Small: ten thousand sites may ask in one turn of the loop. An answer, which is not, is made when it is due. */
struct nexthop_query {
    uv_timer_t later;
    uv_getaddrinfo_t lookup;
    bool has_route;
    bool looking;   /* `lookup` was started */
    char host[256]; /* of the route, which a reload may take away meanwhile */
    uint16_t port;
    nexthop_cb *callback; /* NULL = cancelled */
    void *context;
    char domain[];
};

static void fail(struct nexthop_answer *answer, const char *text)
{
    answer->found = false;
    answer->lifetime_ms = FAILURE_LIFETIME_MS;
    outcome_set(&answer->failure, OUTCOME_TRANSPORT, STAGE_DNS, "%s", text);
}

static void on_later_closed(uv_handle_t *handle)
{
    free(container_of((uv_timer_t *)handle, struct nexthop_query, later));
}

static void finish(struct nexthop_query *query, struct nexthop_answer *answer)
{
    if (query->has_route)
        (void)snprintf(answer->text, sizeof answer->text, "%.255s:%u", query->host, query->port);
    if (query->callback != NULL)
        query->callback(query->context, answer);
    query->callback = NULL;
    uv_close((uv_handle_t *)&query->later, on_later_closed);
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

/* A literal, or why there is no look-up. */
static void on_later(uv_timer_t *later)
{
    struct nexthop_query *query = container_of(later, struct nexthop_query, later);
    struct nexthop_answer answer = {.found = false};
    struct stream_address address;
    if (!query->has_route) {
        char text[400];
        (void)snprintf(text, sizeof text, "no route for %.255s: MX look-up is not configured", query->domain);
        fail(&answer, text);
    } else if (stream_address_parse(query->host, query->port, &address) == 0) {
        add_host(&answer, &address, query->host);
        answer.lifetime_ms = ROUTE_LIFETIME_MS;
    } else {
        fail(&answer, "the look-up of the route's host could not be started");
    }
    finish(query, &answer);
}

static void on_lookup(uv_getaddrinfo_t *lookup, int status, struct addrinfo *found)
{
    struct nexthop_query *query = container_of(lookup, struct nexthop_query, lookup);
    struct nexthop_answer answer = {.lifetime_ms = NAME_LIFETIME_MS};
    for (struct addrinfo *at = found; status == 0 && at != NULL; at = at->ai_next) {
        struct stream_address address = {.len = at->ai_addrlen};
        if (at->ai_addrlen > sizeof address.storage)
            continue;
        memcpy(&address.storage, at->ai_addr, at->ai_addrlen);
        add_host(&answer, &address, query->host);
    }
    uv_freeaddrinfo(found);
    if (!answer.found) {
        char text[400];
        (void)snprintf(text, sizeof text, "route host %.255s has no address: %s", query->host,
                       status < 0 ? uv_strerror(status) : "empty answer");
        fail(&answer, text);
    }
    finish(query, &answer);
}

/* Starts the look-up of the route's host; false for a literal, and when it could not even start. */
static bool look_up(struct nexthop_query *query, struct loop *loop)
{
    char port[8];
    struct stream_address literal;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    if (stream_address_parse(query->host, query->port, &literal) == 0)
        return false;
    (void)snprintf(port, sizeof port, "%u", query->port);
    query->looking = uv_getaddrinfo(&loop->uv, &query->lookup, on_lookup, query->host, port, &hints) == 0;
    return query->looking;
}

struct nexthop_query *nexthop_ask(struct loop *loop, const struct config *config, const char *domain,
                                  nexthop_cb *answer, void *context)
{
    size_t len = strlen(domain);
    struct nexthop_query *query = calloc(1, sizeof *query + len + 1);
    if (query == NULL)
        return NULL;
    query->callback = answer;
    query->context = context;
    memcpy(query->domain, domain, len);
    (void)uv_timer_init(&loop->uv, &query->later);
    const struct config_route *route = config_route_for(config, domain);
    query->has_route = route != NULL && str_copy(query->host, sizeof query->host, route->host);
    query->port = query->has_route ? route->port : 0;
    if (!query->has_route || !look_up(query, loop))
        (void)uv_timer_start(&query->later, on_later, 0, 0);
    return query;
}

void nexthop_cancel(struct nexthop_query *query)
{
    query->callback = NULL; /* it ends by itself: at once when it still waits for a thread, else when it is answered */
    if (query->looking)
        (void)uv_cancel((uv_req_t *)&query->lookup);
}
