/* What the parts of the connection share: conn.c (socket, queue, end) and conn_tls.c (what TLS puts between them and
 * the session). */
#ifndef TESTS_SINK_CONN_PRIVATE_H
#define TESTS_SINK_CONN_PRIVATE_H

#include "tests/sink/conn.h"
#include "tests/sink/outflow.h"
#include "tests/sink/record.h"
#include "tests/sink/tls.h"

enum { NAME_BYTES = 64 }; /* "[v6 address]:port" */

struct conn {
    struct server *server;
    struct conn *next;
    struct conn *previous;
    uv_tcp_t tcp;
    uv_timer_t timer; /* the next due reply, or the end of the linger time */
    uv_shutdown_t shutdown;
    unsigned open_handles; /* of the two above, not yet closed */
    uint64_t number;
    uint64_t messages; /* contents accepted */
    struct session *session;
    struct tls *tls;             /* NULL: clear text */
    bool implicit;               /* TLS from the first byte on: the session starts behind the handshake */
    bool introduced;             /* the "connect" line is written */
    bool flight_asked;           /* the script has been asked about the handshake */
    bool shaken;                 /* the handshake is over, and noted */
    bool peer_left;              /* the client has said close_notify: the end is its doing */
    const struct action *flight; /* its word, if it lets the handshake go on */
    struct text sealed;          /* encrypted bytes on their way to the outflow */
    struct outflow out;
    struct records records;
    uint64_t written_bytes; /* that the socket has taken */
    uint64_t arrival_us;    /* of the bytes being worked on */
    struct text repeat;     /* for "endless": the bytes, several times over */
    size_t repeat_at;
    uv_write_t repeat_write;
    bool write_pending; /* a uv_write() is out */
    bool paused;        /* not reading */
    bool held;          /* the script stalls it: nothing more is said */
    bool ended;         /* its "close" line is written */
    bool closing;       /* handles are being closed */
    char local[NAME_BYTES];
    char peer[NAME_BYTES];
};

/* --- conn.c --- */

/* Puts bytes, as they shall be on the wire, behind what is queued; `late_us` on top of the usual delay. */
void conn_queue(struct conn *conn, const char *bytes, size_t length, const struct manner *manner, uint64_t late_us);

/* Writes the "connect" line, if that has not been done. */
void conn_introduce(struct conn *conn);

/* --- conn_tls.c --- */

/* From here on the client speaks TLS. */
void conn_begin_tls(struct conn *conn);

/* The session's bytes, to be encrypted on their way to the queue. */
void conn_send_sealed(struct conn *conn, const char *bytes, size_t length, const struct manner *manner);

/* Takes what the client sent; feeds the session what that means. */
void conn_read_sealed(struct conn *conn, const char *bytes, size_t length);

/* The connection ends: a handshake that was not finished gets its line. */
void conn_end_tls(struct conn *conn);

#endif
