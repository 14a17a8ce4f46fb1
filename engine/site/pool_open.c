/*
 * pool_open.c - how a connection comes to be: the source it starts from, the limits that count it, the session that
 * will talk on it.
 */
#include "engine/site/pool_private.h"

#include <errno.h>
#include <stdlib.h>

#include "base/str.h"
#include "engine/site/transport.h"

#define PORT_SUBMISSIONS 465 /* RFC 8314 section 3.3 */

/* ---- the session ---- */

enum session_tls conn_wanted_tls(const struct conn *conn)
{
    if (conn->tls == TLS_NONE)
        return SESSION_TLS_OFF;
    if (conn->implicit_tls)
        return SESSION_TLS_IMPLICIT;
    if (conn->tls != TLS_OPPORTUNISTIC)
        return SESSION_TLS_NEEDED;
    bool failed = memory_knows(&conn->dispatch->memory, conn->where, MEMORY_NO_TLS, conn_now_ms(conn));
    return failed && !conn->insists ? SESSION_TLS_OFF : SESSION_TLS_WISHED;
}

struct session *conn_make_session(struct conn *conn)
{
    const struct dispatch *dispatch = conn->dispatch;
    const struct memory *memory = &dispatch->memory;
    bool slow = memory_knows(memory, conn->site->name, MEMORY_SLOW, conn_now_ms(conn));
    const struct config_route *route = conn->site->route;
    struct dispatch_login *login = route != NULL ? dispatch->logins[route - dispatch->config->routes] : NULL;
    if (login != NULL && login->credentials.user[0] == '\0')
        login = NULL;
    struct session_options options = {
        .ehlo_name = conn->source->ehlo_name,
        .mx_host = conn->host,
        .address = conn->where,
        .source = conn->source->name,
        .connecting_ms = conn->since_ms,
        .timeouts = &dispatch->timeouts,
        .depth = slow ? 1 : conn->site->profile->pipeline_depth,
        .no_chunking = memory_knows(memory, conn->site->name, MEMORY_NO_CHUNKING, conn_now_ms(conn)),
        .tls = conn_wanted_tls(conn),
        .login = login != NULL ? &login->credentials : NULL,
        .login_clear = login != NULL && route->auth_clear,
        .keys = login != NULL ? &login->keys : NULL,
    };
    conn->tls_skipped = conn->tls == TLS_OPPORTUNISTIC && options.tls == SESSION_TLS_OFF;
    struct session *session = session_create(&options, conn_now_ms(conn));
    if (session != NULL && login != NULL) {
        login->users++;
        conn->login = login;
    }
    return session;
}

/* ---- its source and its limits ---- */

/* Limits of the source, here and elsewhere, allow one more connection; the gate says which does not. */
static bool source_may_connect(void *context, struct source *source)
{
    struct site *site = context;
    struct via *via = via_get(site, source);
    return via != NULL && via_connect_wait_us(site, source, via, &site->gate) == 0;
}

/* Counts a connection; false = a limit that is shared says no. */
static bool count_source(struct conn *conn, struct source *source)
{
    struct site *site = conn->site;
    struct shared *by;
    enum limit_what what = WHAT_NONE;
    struct via *via = via_get(site, source);
    if (via == NULL)
        return false;
    struct shared_set set = site_shared(site, source, via, NULL);
    int64_t now_us = site->dispatch->now_us;
    int64_t until = shaping_connect(site->dispatch->shaping, &set, now_us, &by, &what);
    if (until > 0) {
        gate_note(&site->gate, by->scope, what, until);
        return false;
    }
    conn->counted = set;
    source->conn_count++;
    via->conn_count++;
    if (via->bounds != NULL)
        bounds_connected(via->bounds, now_us);
    bounds_connected(&site->bounds, now_us);
    return true;
}

void conn_uncount(struct site *site, const struct conn *conn)
{
    struct via *via = via_known(site, conn->source);
    conn->source->conn_count--;
    via->conn_count--;
    if (via->bounds != NULL)
        bounds_disconnected(via->bounds);
    bounds_disconnected(&site->bounds);
    shaping_disconnect(conn->dispatch->shaping, &conn->counted);
}

void conn_recount(struct conn *conn)
{
    struct shared_set now = site_shared(conn->site, conn->source, via_known(conn->site, conn->source), NULL);
    shaping_recount(conn->dispatch->shaping, &conn->counted, &now);
}

/* A source that cannot be bound is put aside and the next one tried. */
static int connect_from_a_source(struct conn *conn, const struct stream_address *peer)
{
    struct dispatch *dispatch = conn->dispatch;
    for (;;) {
        struct source *source;
        uint32_t random = dispatch_random(dispatch, INT32_MAX);
        switch (source_pick(&dispatch->sources, peer->storage.ss_family, conn_now_ms(conn), random, source_may_connect,
                            conn->site, &source)) {
        case SOURCE_BUSY:
            return -EBUSY;
        case SOURCE_SUSPENDED:
            return -EADDRNOTAVAIL;
        case SOURCE_NONE:
            return -EAFNOSUPPORT;
        case SOURCE_FOUND:
            break;
        }
        if (!count_source(conn, source))
            return -EBUSY;
        conn->source = source;
        int r = wire_connect(&conn->wire, &dispatch->loop, peer, &source->address, &conn_wire_events);
        if (r != 0)
            conn_uncount(conn->site, conn);
        if (r == 0 || source->address.len == 0 || conn_error_is_ours(r) || r == -EAFNOSUPPORT)
            return r;
        source_suspend(source, conn_now_ms(conn), r);
    }
}

/* ---- opening ---- */

bool conn_error_is_ours(int code)
{
    return code == -EMFILE || code == -ENFILE || code == -ENOBUFS || code == -ENOMEM;
}

int conn_open(struct site *site, const struct nexthop_host *host, bool insists)
{
    struct dispatch *dispatch = site->dispatch;
    struct conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL)
        return -ENOMEM;
    conn->site = site;
    conn->dispatch = dispatch;
    conn->phase = CONN_CONNECTING;
    conn->insists = insists;
    conn->since_ms = dispatch->loop.now_ms;
    list_init(&conn->dirty);
    list_init(&conn->idle);
    (void)str_copy(conn->host, sizeof conn->host, host->name);
    (void)stream_address_text(&host->address, conn->where);
    conn->tls = site->route != NULL ? site->route->tls : site->profile->tls;
    conn->port = site->route != NULL ? site->route->port : dispatch->config->mx_port;
    conn->implicit_tls = site->route != NULL && (site->route->implicit_tls || site->route->port == PORT_SUBMISSIONS);
    int r = transport_prepare(conn, host) ? loop_timer_add(&dispatch->loop, &conn->timer, conn_on_timer) : -EAGAIN;
    if (r == 0) {
        r = connect_from_a_source(conn, &host->address);
        if (r < 0)
            loop_timer_remove(&dispatch->loop, &conn->timer);
    }
    if (r < 0) {
        transport_forget(conn);
        free(conn);
        return r;
    }
    list_append(&site->conns, &conn->node);
    site->conn_count++;
    conn_set_standing(conn, true, false);
    dispatch->conn_count++;
    conn_set_timer(conn);
    return 0;
}
