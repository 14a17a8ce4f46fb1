/*
 * pool.c - one connection's life: connecting, open (a session talks), lingering (all is said, the peer has yet to
 * close), closed.
 *
 * Session events are taken at once, writes wait for the end of the turn, so that whatever the replies of one read make
 * possible leaves in one system call. Messages that come back are gathered and returned in their order.
 */
#include "engine/site/pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crash_point.h"
#include "base/str.h"
#include "engine/site/hosts.h"
#include "engine/site/transport.h"

#define WRITE_PIECES_MAX 64
#define IDLE_TRIED_MAX 32
#define CONNECT_EAGER_MS ((int64_t)4000) /* two repetitions of a SYN */
#define PORT_SUBMISSIONS 465             /* RFC 8314 section 3.3 */
#define DOUBT_MS ((int64_t)3600 * 1000)
#define CONTENT_LOSSES_MAX 2 /* in a row */
#define STREAM_LOSSES_MAX 5  /* in a row */
#define CONNS_EASY 256       /* of a loop: up to so many may be idle for as long as their profile says */
#define IDLE_SHORT_MS ((int64_t)250)
#define LINGER_BYTES_MAX ((size_t)64 << 10) /* a peer that still talks more than this is not waited for */

static const struct wire_events conn_wire_events;

static struct conn *conn_of(struct wire *wire)
{
    return container_of(wire, struct conn, wire);
}

static int64_t now_ms(const struct conn *conn)
{
    return conn->dispatch->loop.now_ms;
}

void conn_mark_dirty(struct conn *conn)
{
    if (conn->phase != CONN_CLOSED && list_empty(&conn->dirty))
        list_append(&conn->dispatch->dirty_conns, &conn->dirty);
}

/* Starting -> ready -> neither; the site's counts follow. */
static void set_standing(struct conn *conn, bool starting, bool ready)
{
    struct site *site = conn->site;
    site->conn_starting += (starting ? 1u : 0u) - (conn->starting ? 1u : 0u);
    site->conn_ready += (ready ? 1u : 0u) - (conn->ready ? 1u : 0u);
    conn->starting = starting;
    conn->ready = ready;
}

static void forget_source(struct site *site, const struct conn *conn)
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

/* The socket is closed here; the memory lives until the loop has let go of it. */
static void conn_close(struct conn *conn)
{
    struct site *site = conn->site;
    assure(conn->phase != CONN_CLOSED);
    set_standing(conn, false, false);
    conn->phase = CONN_CLOSED;
    conn->site = NULL;
    wire_close(&conn->wire);
    loop_timer_set(&conn->dispatch->loop, &conn->timer, LOOP_TIMER_OFF);
    list_remove(&conn->node);
    list_remove(&conn->dirty);
    list_remove(&conn->idle);
    site->conn_count--;
    forget_source(site, conn);
    site_mark_dirty(site);
    dispatch_conn_gone(conn->dispatch);
}

static void set_timer(struct conn *conn);

/* All is said: the peer closes. Until it has, the connection counts. */
static void conn_linger(struct conn *conn)
{
    set_standing(conn, false, false);
    if (conn->wire.ended || conn->wire.broken || conn->dispatch->forced) {
        conn_close(conn);
        return;
    }
    conn->phase = CONN_LINGERING;
    conn->since_ms = now_ms(conn);
    wire_shutdown(&conn->wire);
    set_timer(conn);
}

/* The reply that decided, not the last one that came: behind a refused RCPT a pipelined DATA is refused too. */
static void note_reply(struct site *site, const struct outcome *outcome)
{
    (void)snprintf(site->last_reply, sizeof site->last_reply, "%u %s%s%.220s", outcome->code, outcome->enhanced,
                   outcome->enhanced[0] != '\0' ? " " : "", outcome->text);
}

static void remember(const struct conn *conn, const char *name, enum memory_fact fact)
{
    memory_note(&conn->dispatch->memory, name, fact, now_ms(conn) + MEMORY_DAY_MS);
}

/* One connection lost is nobody's fault. But where two in a row die in their first content, BDAT may not pass (a
 * middlebox, say), and where several in a row die with a stream on them, the stream may not. */
static void learn_from_loss(const struct conn *conn, bool useless, const struct outcome *why)
{
    struct site *site = conn->site;
    if (now_ms(conn) - site->loss_ms > DOUBT_MS)
        site->content_losses = site->stream_losses = 0;
    site->loss_ms = now_ms(conn);
    if (useless && conn->given > 0 && why->stage == STAGE_CONTENT && ++site->content_losses >= CONTENT_LOSSES_MAX)
        memory_note(&conn->dispatch->memory, site->name, MEMORY_NO_CHUNKING, now_ms(conn) + DOUBT_MS);
    if (conn->given - conn->answered > 1 && ++site->stream_losses >= STREAM_LOSSES_MAX)
        remember(conn, site->name, MEMORY_SLOW);
}

static void on_session_ended(struct conn *conn, enum session_end end, const struct outcome *why)
{
    struct site *site = conn->site;
    bool useless = conn->answered == 0 && (conn->given > 0 || !conn->ready);
    bool trouble = false;
    switch (end) {
    case SESSION_END_QUIT:
        site->content_losses = site->stream_losses = 0;
        break;
    case SESSION_END_NONE:
        break;
    case SESSION_END_CHUNKING:
        remember(conn, site->name, MEMORY_NO_CHUNKING);
        break;
    case SESSION_END_PROTOCOL:
        if (conn->given > 0)
            remember(conn, site->name, MEMORY_SLOW);
        trouble = useless;
        break;
    case SESSION_END_TLS:
        if (conn->tls == TLS_OPPORTUNISTIC && !conn->implicit_tls)
            remember(conn, conn->where, MEMORY_NO_TLS); /* and the next connection is in clear text */
        else
            trouble = true;
        break;
    case SESSION_END_LOST:
        learn_from_loss(conn, useless, why);
        trouble = useless;
        break;
    case SESSION_END_REFUSED:
    case SESSION_END_CLOSING:
        trouble = useless;
        break;
    }
    struct outcome trouble_why = *why;
    transport_stamp_failure(conn, end, &trouble_why);
    if (end == SESSION_END_CLOSING && why->code == 421) /* its text is the whole reply */
        (void)str_copy(site->last_reply, sizeof site->last_reply, session_last_refusal(conn->session));
    else if (why->code >= 400)
        note_reply(site, why);
    if ((end == SESSION_END_REFUSED || end == SESSION_END_CLOSING) && !conn->said_421 && why->code >= 400)
        via_refused(site, conn->source, NULL, why);
    /* Who takes mail and says "slower" is not unreachable: the adaptive rate is the answer, not a back-off. */
    bool slower = (conn->said_421 || end == SESSION_END_CLOSING) && meter_per_second(&site->meter, now_ms(conn)) > 0;
    if (trouble && !slower)
        hosts_failed(site, conn->where, &trouble_why);
    bool orderly = end == SESSION_END_QUIT || end == SESSION_END_REFUSED || end == SESSION_END_CLOSING;
    if (orderly)
        conn_linger(conn);
    else
        conn_close(conn);
}

static void secure(struct conn *conn)
{
    struct error err = {""};
    struct tls_peer peer = {.host = conn->host, .port = conn->port, .policy = conn->tls, .dane = conn->dane};
    struct tls_context *context = dispatch_tls(conn->dispatch, &err);
    if (context == NULL || wire_secure(&conn->wire, context, &peer, &err) < 0)
        session_not_secured(conn->session, err.text, now_ms(conn));
}

/* Takes all events of the session. The connection may be closed after it. */
static void take_events(struct conn *conn)
{
    struct site *site = conn->site;
    struct session_event event;
    struct list back = LIST_INIT(back);
    bool ended = false, any = false;
    while (!ended && session_next(conn->session, &event)) {
        struct engine_job *job = event.tag;
        any = true;
        switch (event.kind) {
        case SESSION_OUTCOME:
            if (event.outcome->code != 0 && event.outcome->code != 421) {
                conn->answered++;
                hosts_answered(site);
            }
            if (event.outcome->code >= 400) {
                note_reply(site, event.outcome);
                conn->said_421 = conn->said_421 || event.outcome->code == 421;
                via_refused(site, conn->source, job, event.outcome);
            } else if (event.outcome->class_ == OUTCOME_DELIVERED) {
                via_delivered(site, conn->source);
            }
            site_job_ended(site, conn, job, event.outcome);
            break;
        case SESSION_BACK: {
            struct site_return how = {.charged = event.charged, .begun = event.begun, .why = event.outcome};
            if (site_job_back(site, conn, job, &how))
                list_append(&back, &job->node);
            break;
        }
        case SESSION_STARTTLS:
            secure(conn);
            break;
        case SESSION_ENDED:
            ended = true;
            break;
        }
    }
    site_take_back(site, &back);
    if (ended) {
        on_session_ended(conn, event.end, event.outcome);
        site_mark_dirty(site);
        return;
    }
    if (session_ready(conn->session) && !conn->ready) {
        set_standing(conn, false, true);
        site_conn_ready(site, session_depth(conn->session));
        any = true;
    }
    if (any) {
        if (session_held(conn->session) == 0)
            conn->since_ms = now_ms(conn);
        site_mark_dirty(site);
    }
}

static void connect_failed(struct conn *conn, const char *reason)
{
    struct outcome why;
    outcome_set(&why, OUTCOME_TRANSPORT, STAGE_CONNECT, "cannot connect to %s: %s", conn->where, reason);
    (void)str_copy(why.mx_host, sizeof why.mx_host, conn->host);
    (void)str_copy(why.source, sizeof why.source, conn->source->name);
    (void)str_copy(why.address, sizeof why.address, conn->where);
    if (strcmp(reason, strerror(ECONNREFUSED)) == 0 && conn->site->counts.delivered > 0)
        via_refused(conn->site, conn->source, NULL, &why);
    hosts_failed(conn->site, conn->where, &why);
    conn_close(conn);
}

/* What the session is to do about TLS here. */
static enum session_tls wanted_tls(const struct conn *conn)
{
    if (conn->tls == TLS_NONE)
        return SESSION_TLS_OFF;
    if (conn->implicit_tls)
        return SESSION_TLS_IMPLICIT;
    if (conn->tls != TLS_OPPORTUNISTIC)
        return SESSION_TLS_NEEDED;
    bool failed = memory_knows(&conn->dispatch->memory, conn->where, MEMORY_NO_TLS, now_ms(conn));
    return failed ? SESSION_TLS_OFF : SESSION_TLS_WISHED;
}

static struct session *make_session(struct conn *conn)
{
    const struct dispatch *dispatch = conn->dispatch;
    const struct memory *memory = &dispatch->memory;
    bool slow = memory_knows(memory, conn->site->name, MEMORY_SLOW, now_ms(conn));
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
        .no_chunking = memory_knows(memory, conn->site->name, MEMORY_NO_CHUNKING, now_ms(conn)),
        .tls = wanted_tls(conn),
        .login = login != NULL ? &login->credentials : NULL,
        .login_clear = login != NULL && route->auth_clear,
        .keys = login != NULL ? &login->keys : NULL,
    };
    struct session *session = session_create(&options, now_ms(conn));
    if (session != NULL && login != NULL) {
        login->users++;
        conn->login = login;
    }
    return session;
}

static void on_connected(struct wire *wire, int status)
{
    struct conn *conn = conn_of(wire);
    if (status == 0) {
        conn->session = make_session(conn);
        if (conn->session == NULL)
            status = -ENOMEM;
    }
    if (status != 0) {
        connect_failed(conn, strerror(-status));
        return;
    }
    conn->phase = CONN_OPEN;
    conn->since_ms = now_ms(conn);
    if (wanted_tls(conn) == SESSION_TLS_IMPLICIT)
        secure(conn);
    conn_mark_dirty(conn);
}

static void on_secured(struct wire *wire)
{
    struct conn *conn = conn_of(wire);
    if (conn->phase != CONN_OPEN)
        return;
    struct tls_info info;
    tls_info(wire->tls, &info);
    session_note_tls(conn->session, info.version, info.cipher);
    transport_secured(conn, &info);
    session_secured(conn->session, now_ms(conn));
    conn_mark_dirty(conn);
}

static void on_data(struct wire *wire, const char *bytes, size_t len)
{
    struct conn *conn = conn_of(wire);
    if (conn->phase == CONN_LINGERING) {
        conn->discarded_bytes += len;
        if (conn->discarded_bytes > LINGER_BYTES_MAX)
            conn_close(conn);
        return;
    }
    while (len > 0 && conn->phase == CONN_OPEN) {
        size_t used = session_feed(conn->session, bytes, len, now_ms(conn));
        bytes += used;
        len -= used;
        take_events(conn);
        if (used == 0)
            break;
    }
    conn_mark_dirty(conn); /* replies may have brought commands, and moved the deadline */
}

static void on_writable(struct wire *wire)
{
    conn_mark_dirty(conn_of(wire));
}

static void on_ended(struct wire *wire, const char *why)
{
    struct conn *conn = conn_of(wire);
    if (conn->phase == CONN_LINGERING) {
        conn_close(conn);
        return;
    }
    session_lost(conn->session, why, now_ms(conn));
    take_events(conn);
}

static void on_closed(struct wire *wire)
{
    struct conn *conn = conn_of(wire);
    loop_timer_remove(&conn->dispatch->loop, &conn->timer);
    session_free(conn->session);
    login_leave(conn->login);
    transport_forget(conn);
    free(conn);
}

static const struct wire_events conn_wire_events = {
    .connected = on_connected,
    .secured = on_secured,
    .data = on_data,
    .writable = on_writable,
    .ended = on_ended,
    .closed = on_closed,
};

/* Idle: nothing inside and nothing left to write. */
static bool is_idle(const struct conn *conn)
{
    return session_ready(conn->session) && session_held(conn->session) == 0;
}

/* Waiting idle saves the next message a handshake. Where hundreds of sites have one message each, it is memory that
 * waits, and nobody comes. */
static int64_t idle_ms(const struct conn *conn)
{
    const struct site *site = conn->site;
    bool jobs = site->queued + site->composing_count + site->ready_count + site->sending_count > 0;
    int64_t idle_ms = site->profile->idle_timeout_ms;
    return jobs || conn->dispatch->conn_count <= CONNS_EASY ? idle_ms : MIN_OF(idle_ms, IDLE_SHORT_MS);
}

/* In the spirit of RFC 8305, one address after the other: one that swallows packets (IPv6 where only IPv4 gets through)
 * must not cost the whole time-out while another may answer; the last one that is left has it. */
static int64_t connect_ms(const struct conn *conn)
{
    int64_t connect_ms = conn->dispatch->timeouts.connect_ms;
    return hosts_have_other(conn->site, conn->where) ? MIN_OF(connect_ms, CONNECT_EAGER_MS) : connect_ms;
}

static int64_t deadline_ms(const struct conn *conn)
{
    const struct config_timeouts *timeouts = &conn->dispatch->timeouts;
    switch (conn->phase) {
    case CONN_CONNECTING:
        return conn->since_ms + connect_ms(conn);
    case CONN_LINGERING:
        return conn->since_ms + timeouts->quit_ms;
    case CONN_OPEN:
        if (is_idle(conn))
            return conn->since_ms + idle_ms(conn);
        return session_deadline_ms(conn->session);
    case CONN_CLOSED:
        break;
    }
    return LOOP_TIMER_OFF;
}

/* A timer that rings too early only looks again, so a deadline that moves later costs nothing. */
static void set_timer(struct conn *conn)
{
    int64_t deadline = deadline_ms(conn);
    if (deadline < loop_timer_at(&conn->timer))
        loop_timer_set(&conn->dispatch->loop, &conn->timer, deadline);
}

static void on_timer(struct loop_timer *timer)
{
    struct conn *conn = container_of(timer, struct conn, timer);
    if (conn->phase == CONN_CLOSED)
        return;
    if (now_ms(conn) < deadline_ms(conn)) {
        set_timer(conn);
        return;
    }
    if (conn->phase == CONN_CONNECTING) {
        connect_failed(conn, "timed out");
    } else if (conn->phase == CONN_LINGERING) {
        conn_close(conn);
    } else if (is_idle(conn)) {
        conn_quit(conn);
    } else {
        session_expire(conn->session, now_ms(conn));
        take_events(conn);
    }
}

bool conn_error_is_ours(int code)
{
    return code == -EMFILE || code == -ENFILE || code == -ENOBUFS || code == -ENOMEM;
}

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

/* A source that cannot be bound is put aside and the next one tried. */
static int connect_from_a_source(struct conn *conn, const struct stream_address *peer)
{
    struct dispatch *dispatch = conn->dispatch;
    for (;;) {
        struct source *source;
        uint32_t random = dispatch_random(dispatch, INT32_MAX);
        switch (source_pick(&dispatch->sources, peer->storage.ss_family, now_ms(conn), random, source_may_connect,
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
            forget_source(conn->site, conn);
        if (r == 0 || source->address.len == 0 || conn_error_is_ours(r) || r == -EAFNOSUPPORT)
            return r;
        source_suspend(source, now_ms(conn), r);
    }
}

int conn_open(struct site *site, const struct nexthop_host *host)
{
    struct dispatch *dispatch = site->dispatch;
    struct conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL)
        return -ENOMEM;
    conn->site = site;
    conn->dispatch = dispatch;
    conn->phase = CONN_CONNECTING;
    conn->since_ms = dispatch->loop.now_ms;
    list_init(&conn->dirty);
    list_init(&conn->idle);
    (void)str_copy(conn->host, sizeof conn->host, host->name);
    (void)stream_address_text(&host->address, conn->where);
    conn->tls = site->route != NULL ? site->route->tls : site->profile->tls;
    conn->port = site->route != NULL ? site->route->port : dispatch->config->mx_port;
    conn->implicit_tls = site->route != NULL && (site->route->implicit_tls || site->route->port == PORT_SUBMISSIONS);
    int r = transport_prepare(conn, host) ? loop_timer_add(&dispatch->loop, &conn->timer, on_timer) : -EAGAIN;
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
    set_standing(conn, true, false);
    dispatch->conn_count++;
    set_timer(conn);
    return 0;
}

static uint32_t messages_max(const struct conn *conn)
{
    const struct site *site = conn->site;
    const struct via *via = via_known(site, conn->source);
    uint32_t most = site->profile->messages_per_connection;
    if (site->ruled.ruling.per_connection > 0)
        most = MIN_OF(most, site->ruled.ruling.per_connection);
    if (via->ruled.ruling.per_connection > 0)
        most = MIN_OF(most, via->ruled.ruling.per_connection);
    return most;
}

uint32_t conn_room(const struct conn *conn)
{
    if (conn->phase != CONN_OPEN || conn->wire.broken)
        return 0;
    uint32_t left = messages_max(conn);
    left = left > conn->given ? left - conn->given : 0;
    return MIN_OF(session_room(conn->session), left);
}

bool conn_is_empty(const struct conn *conn)
{
    return conn->phase == CONN_OPEN && session_held(conn->session) == 0;
}

void conn_give(struct conn *conn, struct engine_job *job)
{
    struct session_message message = {
        .mail_from = job->message->mail_from,
        .rcpt_to = job->rcpt_to,
        .data = job->message->data,
        .size_bytes = job->message->size_bytes,
        .eight_bit = job->message->eight_bit,
        .smtputf8 = job->message->smtputf8 || job->smtputf8,
        .tag = job,
    };
    conn->given++;
    list_remove(&conn->idle);
    session_give(conn->session, &message, now_ms(conn));
    if (conn->given >= messages_max(conn)) {
        conn->quitting = true;
        session_quit(conn->session, now_ms(conn));
    }
    conn_mark_dirty(conn);
}

/* Who writes the last byte of a content says so before, for a crash may come between the two. */
static void tell_content_out(struct conn *conn, const struct iovec *pieces, size_t count)
{
    size_t bytes = 0;
    void *tag;
    for (size_t i = 0; i < count; i++)
        bytes += pieces[i].iov_len;
    while (session_next_content_out(conn->session, bytes, &tag))
        dispatch_content_out(conn->dispatch, tag);
}

/* Kept only for what may come: nothing of its site waits, not even for a limit. */
static bool is_spare(const struct conn *conn)
{
    const struct site *site = conn->site;
    return is_idle(conn) && site->queued + site->composing_count + site->ready_count == 0;
}

void conn_flush(struct conn *conn)
{
    if (conn->phase != CONN_OPEN)
        return;
    take_events(conn); /* a message that this server cannot be told of has ended without a byte */
    if (conn->phase != CONN_OPEN)
        return;
    list_remove(&conn->dirty);
    while (wire_may_write(&conn->wire)) {
        struct iovec pieces[WRITE_PIECES_MAX];
        size_t count = session_output(conn->session, pieces, WRITE_PIECES_MAX);
        if (count == 0)
            break;
        tell_content_out(conn, pieces, count);
        CRASH_POINT("content-told");
        ssize_t wrote = wire_write(&conn->wire, pieces, count);
        CRASH_POINT("content-written");
        if (wrote > 0)
            session_wrote(conn->session, (size_t)wrote, now_ms(conn));
    }
    if (is_idle(conn) && list_empty(&conn->idle))
        list_append(&conn->dispatch->idle, &conn->idle);
    if (!list_empty(&conn->dispatch->starved) && is_spare(conn)) /* its place is wanted more elsewhere */
        conn_quit(conn);
    set_timer(conn);
}

void conn_quit_idle(struct dispatch *dispatch)
{
    struct list *node;
    for (int tried = 0; tried < IDLE_TRIED_MAX && (node = list_take_first(&dispatch->idle)) != NULL; tried++) {
        struct conn *conn = list_entry(node, struct conn, idle);
        if (conn->phase != CONN_OPEN)
            continue;
        if (is_spare(conn)) {
            conn_quit(conn);
            return;
        }
        list_append(&dispatch->idle, node);
    }
}

void conn_quit(struct conn *conn)
{
    if (conn->phase == CONN_CONNECTING) {
        conn_close(conn);
    } else if (conn->phase == CONN_OPEN) {
        conn->quitting = true;
        session_quit(conn->session, now_ms(conn));
        take_events(conn);
        conn_mark_dirty(conn);
    }
}

void conn_abort(struct conn *conn)
{
    if (conn->phase == CONN_OPEN) {
        session_lost(conn->session, "given up", now_ms(conn));
        take_events(conn);
    }
    if (conn->phase != CONN_CLOSED)
        conn_close(conn);
}

void conn_withdraw(struct conn *conn)
{
    struct list back = LIST_INIT(back);
    void *tag;
    while (conn->phase == CONN_OPEN && session_withdraw(conn->session, &tag)) {
        struct engine_job *job = tag;
        conn->given--;
        struct site_return how = {.charged = false};
        if (site_job_back(conn->site, conn, job, &how))
            list_prepend(&back, &job->node);
    }
    site_take_back(conn->site, &back);
}
