/*
 * One TCP connection: carries bytes between the socket and a session, in clear text or through TLS, holds replies back
 * until they are due, and completes the ledger's lines when they are out.
 *
 * Everything runs on the loop's one thread.
 */
#ifndef TESTS_SINK_CONN_H
#define TESTS_SINK_CONN_H

#include <uv.h>

#include "tests/sink/counts.h"
#include "tests/sink/ledger.h"
#include "tests/sink/session.h"

struct conn;
struct tls_context;

/* What all connections share. Owned by main. */
struct server {
    uv_loop_t *loop;
    struct session_settings settings;
    uint64_t delay_us; /* round trip delay of each reply */
    struct ledger ledger;
    struct counts counts;
    struct conn *connections; /* all that are not freed yet */
    struct tls_context *tls;  /* NULL: there is no certificate */
    char *read_buffer;        /* one for all: what is read is used up inside the read callback */
    char *plain_buffer;       /* the same for what was decrypted; NULL without `tls` */
};

enum { READ_BUFFER_BYTES = 256 * 1024 };

/* Accepts one waiting connection of the listener and greets it, with TLS around everything if `implicit_tls`. A failure
 * concerns that connection alone and goes to stderr. */
void conn_accept(struct server *server, uv_stream_t *listener, bool implicit_tls);

/* Ends all connections, with their lines in the ledger. The loop has to run once more to free them. */
void conn_end_all(struct server *server);

#endif
