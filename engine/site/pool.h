/*
 * pool.h - the connections of a site: a stream, a session on it, its deadlines, and the orderly end.
 *
 * A connection counts against the site's limit until its socket is closed; after QUIT that is when the peer has closed
 * its side too (or quit_ms passed), so that the receiver never sees more connections than allowed either.
 */
#ifndef POSTHASTE_ENGINE_SITE_POOL_H
#define POSTHASTE_ENGINE_SITE_POOL_H

#include "engine/site/site.h"
#include "engine/smtp/session.h"

enum conn_phase { CONN_CONNECTING, CONN_OPEN, CONN_LINGERING, CONN_CLOSED };

struct conn {
    struct list node;  /* of site->conns */
    struct list dirty; /* of dispatch->dirty_conns */
    struct list idle;  /* of dispatch->idle */
    struct site *site;
    struct dispatch *dispatch;
    struct source *source;
    struct shared_set counted;    /* the shared limits that count it */
    struct dispatch_login *login; /* the session's; NULL = none */
    struct wire wire;
    struct session *session; /* from connected to closed */
    struct loop_timer timer;
    enum conn_phase phase;
    bool starting;              /* counted in site->conn_starting: not ready yet */
    bool said_421;              /* and was judged for it */
    bool quitting;              /* after what is under way */
    bool ready;                 /* counted in site->conn_ready */
    enum tls_policy tls;        /* what is wanted of this connection */
    bool dane_wanted;           /* the host has TLSA records: nothing goes without TLS */
    struct tls_dane *dane;      /* those that count, held; NULL: any certificate */
    bool dane_proved, verified; /* once secured: by a TLSA record; by name and a trusted root */
    uint64_t *told;             /* domains for which the session was reported (tls_tell.c) */
    uint32_t told_count;
    char unverified_why[100];
    enum tls_result unverified; /* the same as RFC 8460 calls it */
    bool implicit_tls;          /* TLS from the first byte on */
    bool insists;               /* opened for mail that needs TLS: tries it whatever is remembered of the server */
    bool tls_skipped;           /* in clear text for what is remembered, without having tried */
    bool own_fault;             /* its TLS failed for a reason on our side */
    uint32_t given;             /* messages given to it */
    uint32_t answered;          /* messages that a reply decided */
    int64_t since_ms;           /* of the phase, or since it is idle */
    size_t discarded_bytes;     /* while lingering */
    char host[256];             /* name, for outcomes */
    uint16_t port;
    char where[STREAM_ADDRESS_TEXT_BYTES]; /* address and port */
};

/* 0; conn_error_is_ours(): no descriptor or memory; -EBUSY: all sources have as many connections as they may;
 * -EADDRNOTAVAIL: all are suspended; -EAFNOSUPPORT: none is of the host's family; other -errno. Not opened, nothing
 * follows, unless 0. `insists`: see struct conn. */
int conn_open(struct site *site, const struct nexthop_host *host, bool insists) ATTR_MUSTCHECK;

bool conn_error_is_ours(int code);

/* Messages it may be given now. */
uint32_t conn_room(const struct conn *conn);
bool conn_is_empty(const struct conn *conn); /* holds no message */
void conn_give(struct conn *conn, struct engine_job *job);

void conn_mark_dirty(struct conn *conn);
void conn_flush(struct conn *conn);             /* writes what is to be written, sets the timer */
void conn_quit(struct conn *conn);              /* orderly, after what is outstanding */
void conn_quit_idle(struct dispatch *dispatch); /* one that is idle without a reason, if any: its place is wanted */
void conn_abort(struct conn *conn);             /* at once; its messages end or go back */
void conn_recount(struct conn *conn);           /* the limits that it counts against are others now */
void conn_withdraw(struct conn *conn); /* messages of which nothing is queued for the wire go back to the site */

#endif
