/*
 * pool.c - one connection's life: connecting, open (a session talks), lingering (all is said, the peer has yet to
 * close), closed.
 *
 * Session events are taken at once, writes wait for the end of the turn, so that whatever the replies of one read make
 * possible leaves in one system call. Messages that come back are gathered and returned in their order.
 */
#include "engine/site/pool_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crash_point.h"
#include "base/str.h"
#include "engine/site/hosts.h"
#include "engine/site/transport.h"

#define WRITE_PIECES_MAX 64
#define IDLE_TRIED_MAX 32
#define CONNECT_EAGER_MS ((int64_t)4000) /* two repetitions of a SYN */
#define CONNS_EASY 256                   /* of a loop: up to so many may be idle for as long as their profile says */
#define IDLE_SHORT_MS ((int64_t)250)
#define LINGER_BYTES_MAX ((size_t)64 << 10) /* a peer that still talks more than this is not waited for */

static struct conn *conn_of(struct wire *wire)
{
    return container_of(wire, struct conn, wire);
}

void conn_mark_dirty(struct conn *conn)
{
    if (conn->phase != CONN_CLOSED && list_empty(&conn->dirty))
        list_append(&conn->dispatch->dirty_conns, &conn->dirty);
}

void conn_set_standing(struct conn *conn, bool starting, bool ready)
{
    struct site *site = conn->site;
    site->conn_starting += (starting ? 1u : 0u) - (conn->starting ? 1u : 0u);
    site->conn_ready += (ready ? 1u : 0u) - (conn->ready ? 1u : 0u);
    conn->starting = starting;
    conn->ready = ready;
}

/* The socket is closed here; the memory lives until the loop has let go of it. */
static void conn_close(struct conn *conn)
{
    struct site *site = conn->site;
    assure(conn->phase != CONN_CLOSED);
    conn_set_standing(conn, false, false);
    conn->phase = CONN_CLOSED;
    conn->site = NULL;
    wire_close(&conn->wire);
    loop_timer_set(&conn->dispatch->loop, &conn->timer, LOOP_TIMER_OFF);
    list_remove(&conn->node);
    list_remove(&conn->dirty);
    list_remove(&conn->idle);
    site->conn_count--;
    conn_uncount(site, conn);
    site_mark_dirty(site);
    dispatch_conn_gone(conn->dispatch);
}

/* All is said: the peer closes. Until it has, the connection counts. */
static void conn_linger(struct conn *conn)
{
    conn_set_standing(conn, false, false);
    if (conn->wire.ended || conn->wire.broken || conn->dispatch->forced) {
        conn_close(conn);
        return;
    }
    conn->phase = CONN_LINGERING;
    conn->since_ms = conn_now_ms(conn);
    wire_shutdown(&conn->wire);
    conn_set_timer(conn);
}

static void on_session_ended(struct conn *conn, enum session_end end, const struct outcome *why)
{
    conn_judge_end(conn, end, why);
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
    conn->own_fault = context == NULL || wire_secure(&conn->wire, context, &peer, &err) < 0;
    if (conn->own_fault)
        session_not_secured(conn->session, err.text, conn_now_ms(conn));
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
                if (conn->answered++ == 0)
                    conn_note_place(conn);
                hosts_answered(site);
            }
            if (event.outcome->code >= 400) {
                conn_note_reply(site, event.outcome);
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
        conn_set_standing(conn, false, true);
        site_conn_ready(site, session_depth(conn->session));
        any = true;
    }
    if (any) {
        if (session_held(conn->session) == 0)
            conn->since_ms = conn_now_ms(conn);
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

static void on_connected(struct wire *wire, int status)
{
    struct conn *conn = conn_of(wire);
    if (status == 0) {
        conn->session = conn_make_session(conn);
        if (conn->session == NULL)
            status = -ENOMEM;
    }
    if (status != 0) {
        connect_failed(conn, strerror(-status));
        return;
    }
    conn->phase = CONN_OPEN;
    conn->since_ms = conn_now_ms(conn);
    if (conn_wanted_tls(conn) == SESSION_TLS_IMPLICIT)
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
    session_secured(conn->session, conn_now_ms(conn));
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
        size_t used = session_feed(conn->session, bytes, len, conn_now_ms(conn));
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
    session_lost(conn->session, why, conn_now_ms(conn));
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

const struct wire_events conn_wire_events = {
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

void conn_set_timer(struct conn *conn)
{
    int64_t deadline = deadline_ms(conn);
    if (deadline < loop_timer_at(&conn->timer))
        loop_timer_set(&conn->dispatch->loop, &conn->timer, deadline);
}

void conn_on_timer(struct loop_timer *timer)
{
    struct conn *conn = container_of(timer, struct conn, timer);
    if (conn->phase == CONN_CLOSED)
        return;
    if (conn_now_ms(conn) < deadline_ms(conn)) {
        conn_set_timer(conn);
        return;
    }
    if (conn->phase == CONN_CONNECTING) {
        connect_failed(conn, "timed out");
    } else if (conn->phase == CONN_LINGERING) {
        conn_close(conn);
    } else if (is_idle(conn)) {
        conn_quit(conn);
    } else {
        session_expire(conn->session, conn_now_ms(conn));
        take_events(conn);
    }
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
    session_give(conn->session, &message, conn_now_ms(conn));
    if (conn->given >= messages_max(conn)) {
        conn->quitting = true;
        session_quit(conn->session, conn_now_ms(conn));
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
            session_wrote(conn->session, (size_t)wrote, conn_now_ms(conn));
    }
    if (is_idle(conn) && list_empty(&conn->idle))
        list_append(&conn->dispatch->idle, &conn->idle);
    if (!list_empty(&conn->dispatch->starved) && is_spare(conn)) /* its place is wanted more elsewhere */
        conn_quit(conn);
    conn_set_timer(conn);
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
        session_quit(conn->session, conn_now_ms(conn));
        take_events(conn);
        conn_mark_dirty(conn);
    }
}

void conn_abort(struct conn *conn)
{
    if (conn->phase == CONN_OPEN) {
        session_lost(conn->session, "given up", conn_now_ms(conn));
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
