/*
 * pool_end.c - what the end of a session says of the site.
 */
#include "engine/site/pool_private.h"

#include <stdio.h>

#include "base/str.h"
#include "engine/site/hosts.h"
#include "engine/site/transport.h"

#define NO_TLS_FIRST_MS ((int64_t)3600 * 1000) /* a day, when it fails again within a day after that */
#define DOUBT_MS ((int64_t)3600 * 1000)
#define CONTENT_LOSSES_MAX 2 /* in a row */
#define STREAM_LOSSES_MAX 5  /* in a row */
#define FRESH_MS ((int64_t)1000)
#define PLACES_MAX_MS ((int64_t)60000)

void conn_note_reply(struct site *site, const struct outcome *outcome)
{
    (void)snprintf(site->last_reply, sizeof site->last_reply, "%u %s%s%.220s", outcome->code, outcome->enhanced,
                   outcome->enhanced[0] != '\0' ? " " : "", outcome->text);
}

static void remember(const struct conn *conn, const char *name, enum memory_fact fact)
{
    memory_note(&conn->dispatch->memory, name, fact, conn_now_ms(conn) + MEMORY_DAY_MS);
}

/* One connection lost is nobody's fault. But where two in a row die in their first content, BDAT may not pass (a
 * middlebox, say), and where several in a row die with a stream on them, the stream may not. */
static void learn_from_loss(const struct conn *conn, bool useless, const struct outcome *why)
{
    struct site *site = conn->site;
    if (conn_now_ms(conn) - site->loss_ms > DOUBT_MS)
        site->content_losses = site->stream_losses = 0;
    site->loss_ms = conn_now_ms(conn);
    if (useless && conn->given > 0 && why->stage == STAGE_CONTENT && ++site->content_losses >= CONTENT_LOSSES_MAX)
        memory_note(&conn->dispatch->memory, site->name, MEMORY_NO_CHUNKING, conn_now_ms(conn) + DOUBT_MS);
    if (conn->given - conn->answered > 1 && ++site->stream_losses >= STREAM_LOSSES_MAX)
        remember(conn, site->name, MEMORY_SLOW);
}

/* The next connection is in clear text. One handshake may have failed by chance, and several at once: only one that
 * fails after TLS was given another chance says more. */
static void remember_no_tls(struct conn *conn)
{
    struct memory *memory = &conn->dispatch->memory;
    int64_t now_ms = conn_now_ms(conn);
    bool again = memory_knew(memory, conn->where, MEMORY_NO_TLS, now_ms, MEMORY_DAY_MS);
    memory_note(memory, conn->where, MEMORY_NO_TLS, now_ms + (again ? MEMORY_DAY_MS : NO_TLS_FIRST_MS));
    if (conn->insists)
        transport_unproved(conn);
}

/* The server closes a connection that was given nothing. When it has been idle for a while that is its good right.
 * Right after EHLO it is a refusal: the next connection would end the same way, and nothing else would slow us down. */
static bool closed_while_fresh(const struct conn *conn)
{
    return conn->given == 0 && conn_now_ms(conn) - conn->since_ms < FRESH_MS;
}

/* Turned away before it could take a message, with or without a word. */
static bool turned_away(const struct conn *conn, enum session_end end, const struct outcome *why)
{
    if (conn->answered > 0 || conn->said_421)
        return false;
    return end == SESSION_END_REFUSED || end == SESSION_END_CLOSING ||
           (end == SESSION_END_LOST && why->stage <= STAGE_MAIL);
}

/* Others that work prove that the site takes some. What another address refuses, or to another source, says nothing of
 * how many; but who lets us in only to close is not to be tried again and again, whatever else works. */
static bool others_work(const struct conn *conn, enum session_end end)
{
    list_for_each(node, &conn->site->conns)
    {
        const struct conn *other = list_entry(node, struct conn, node);
        bool alike = end == SESSION_END_CLOSING ||
                     (other->source == conn->source && strcmp(other->where, conn->where) == 0);
        if (other != conn && other->ready && alike)
            return true;
    }
    return false;
}

/* It has no place for more. Those that work are not to suffer for it, and what they have answered must not let the next
 * one be tried at once, so this is no back-off. False: nothing works beside it. */
static bool note_full(const struct conn *conn, enum session_end end)
{
    struct site *site = conn->site;
    if (!others_work(conn, end))
        return false;
    uint32_t others = site->conn_ready - (conn->ready ? 1u : 0u);
    if (conn_now_ms(conn) < site->places_until_ms) {
        site->places = MIN_OF(site->places, others);
        return true;
    }
    site->places = others;
    site->places_ms =
        site->places_ms == 0 ? site->dispatch->tuning.backoff_first_ms : MIN_OF(2 * site->places_ms, PLACES_MAX_MS);
    site->places_until_ms = conn_now_ms(conn) + site->places_ms;
    return true;
}

void conn_note_place(const struct conn *conn)
{
    struct site *site = conn->site;
    if (site->conn_ready <= site->places)
        return;
    site->places = 0;
    site->places_ms = site->places_until_ms = 0;
}

void conn_judge_end(struct conn *conn, enum session_end end, const struct outcome *why)
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
        if (conn->tls == TLS_OPPORTUNISTIC && !conn->implicit_tls && !conn->own_fault)
            remember_no_tls(conn);
        else
            trouble = true;
        break;
    case SESSION_END_LOST:
        learn_from_loss(conn, useless, why);
        trouble = useless;
        break;
    case SESSION_END_REFUSED:
        trouble = useless;
        break;
    case SESSION_END_CLOSING:
        trouble = useless || closed_while_fresh(conn);
        break;
    }
    struct outcome trouble_why = *why;
    transport_stamp_failure(conn, end, &trouble_why);
    if (end == SESSION_END_CLOSING && why->code == 421) /* its text is the whole reply */
        (void)str_copy(site->last_reply, sizeof site->last_reply, session_last_refusal(conn->session));
    else if (why->code >= 400)
        conn_note_reply(site, why);
    if ((end == SESSION_END_REFUSED || end == SESSION_END_CLOSING) && !conn->said_421 && why->code >= 400)
        via_refused(site, conn->source, NULL, why);
    /* Who takes mail and says "slower" is not unreachable: the adaptive rate is the answer, not a back-off. */
    bool slower = conn->said_421 && meter_per_second(&site->meter, conn_now_ms(conn)) > 0;
    bool full = trouble && turned_away(conn, end, why) && note_full(conn, end);
    if (full && end == SESSION_END_CLOSING)
        hosts_pass_over(site, conn->where);
    else if (trouble && !slower)
        hosts_failed(site, conn->where, &trouble_why);
}
