/*
 * pool_private.h - what the files of one connection's life share: pool.c (open to closed), pool_open.c (how it comes to
 * be), pool_end.c (what its end says of the site); private to them.
 */
#ifndef POSTHASTE_ENGINE_SITE_POOL_PRIVATE_H
#define POSTHASTE_ENGINE_SITE_POOL_PRIVATE_H

#include "engine/site/pool.h"

static inline int64_t conn_now_ms(const struct conn *conn)
{
    return conn->dispatch->loop.now_ms;
}

/* ---- pool.c ---- */

extern const struct wire_events conn_wire_events;
void conn_on_timer(struct loop_timer *timer);
/* A timer that rings too early only looks again, so a deadline that moves later costs nothing. */
void conn_set_timer(struct conn *conn);
/* Starting -> ready -> neither; the site's counts follow. */
void conn_set_standing(struct conn *conn, bool starting, bool ready);

/* ---- pool_open.c ---- */

enum session_tls conn_wanted_tls(const struct conn *conn);           /* what the session is to do about TLS */
struct session *conn_make_session(struct conn *conn) ATTR_MUSTCHECK; /* NULL: no memory */
void conn_uncount(struct site *site, const struct conn *conn);       /* it counts against no limit any more */

/* ---- pool_end.c ---- */

/* The reply that decided, not the last one that came: behind a refused RCPT a pipelined DATA is refused too. */
void conn_note_reply(struct site *site, const struct outcome *outcome);
/* A message was answered for the first time: is it one more than the site took before? */
void conn_note_place(const struct conn *conn);
/* What is remembered of the site, and whether it is in trouble, by how the session ended. */
void conn_judge_end(struct conn *conn, enum session_end end, const struct outcome *why);

#endif
