/*
 * TLS between the socket's queue and the session.
 *
 * Bytes are encrypted when the session says them, not when they leave: the queue holds what will be on the wire, so the
 * records of TLS keep their order whatever delays and drips the script wants, and the server's part of the handshake
 * waits for the round trip delay like any reply. Only an endless reply is encrypted block by block as it leaves.
 *
 * The script's command "TLS" is asked when the client's first bytes of a handshake come. Its bytes go out in place of
 * ours, or `cut` lets only the beginning of ours go out.
 */
#include "tests/sink/conn_private.h"

static const struct manner ordinary_manner = {0};

void conn_begin_tls(struct conn *conn)
{
    conn->tls = tls_create(conn->server->tls);
}

/* Queues what TLS itself has to say: handshake, alert, close_notify. */
static void queue_own(struct conn *conn, const struct manner *manner)
{
    if (text_length(&conn->sealed) > 0)
        conn_queue(conn, text_bytes(&conn->sealed), text_length(&conn->sealed), manner, 0);
    text_clear(&conn->sealed);
}

static void send_drip(struct conn *conn, const char *bytes, size_t length, const struct manner *manner)
{
    struct manner each = {.delay_ms = manner->delay_ms};
    struct manner end = {.delay_ms = manner->delay_ms, .after = manner->after};

    /* Each byte in a record of its own, so that the client can read it when it comes. */
    for (size_t i = 0; i < length; i++) {
        text_clear(&conn->sealed);
        tls_seal(conn->tls, bytes + i, 1, &conn->sealed);
        conn_queue(conn, text_bytes(&conn->sealed), text_length(&conn->sealed), &each,
                   (uint64_t)manner->drip_ms * 1000 * i);
    }
    text_clear(&conn->sealed);
    if (manner->after == AFTER_CLOSE)
        tls_close(conn->tls, &conn->sealed);
    if (manner->after != AFTER_GO_ON)
        conn_queue(conn, text_bytes(&conn->sealed), text_length(&conn->sealed), &end, 0);
}

void conn_send_sealed(struct conn *conn, const char *bytes, size_t length, const struct manner *manner)
{
    if (manner->endless) {
        conn_queue(conn, bytes, length, manner, 0);
        return;
    }
    if (manner->drip_ms > 0) {
        send_drip(conn, bytes, length, manner);
        return;
    }
    text_clear(&conn->sealed);
    if (manner->close_notify) {
        /* What follows is in clear text, which the client must not believe. */
        tls_close(conn->tls, &conn->sealed);
        text_add(&conn->sealed, bytes, length);
    } else {
        tls_seal(conn->tls, bytes, length, &conn->sealed);
        if (manner->after == AFTER_CLOSE)
            tls_close(conn->tls, &conn->sealed);
    }
    if (text_length(&conn->sealed) > 0 || manner->after != AFTER_GO_ON)
        conn_queue(conn, text_bytes(&conn->sealed), text_length(&conn->sealed), manner, 0);
    text_clear(&conn->sealed);
}

static void note_handshake(struct conn *conn, const char *error)
{
    struct server *server = conn->server;

    if (conn->shaken)
        return;
    conn->shaken = true;
    if (error == NULL) {
        struct tls_facts facts = tls_facts(conn->tls);

        records_set_channel(&conn->records, &facts);
        server->counts.handshakes++;
        server->counts.resumptions += facts.resumed ? 1 : 0;
    } else {
        server->counts.handshakes_failed++;
    }
    conn_introduce(conn);
    record_handshake(&server->ledger, &conn->records, conn->number, error);
}

void conn_end_tls(struct conn *conn)
{
    if (conn->tls != NULL)
        note_handshake(conn, "not finished");
}

/* The script has bytes, or nothing, in place of our part of the handshake. */
static void play_flight(struct conn *conn, const struct action *action)
{
    struct manner manner = action->manner;

    if (manner.after == AFTER_GO_ON && !manner.endless)
        manner.after = AFTER_HOLD;
    if (manner.endless) {
        /* An endless reply of an established TLS is encrypted; this one is not. */
        tls_free(conn->tls);
        conn->tls = NULL;
        note_handshake(conn, "endless answer by script");
    }
    conn_queue(conn, action->bytes == NULL ? "" : action->bytes, action->length, &manner, 0);
    session_stop(conn->session, "TLS");
}

/* Goes on with the handshake and sends our part of it, as the script wants. */
static void shake(struct conn *conn, const char *bytes, size_t length)
{
    struct manner manner = conn->flight == NULL ? ordinary_manner : conn->flight->manner;
    size_t most = manner.cut_bytes;

    tls_feed(conn->tls, bytes, length, &conn->sealed);
    if (most > 0 && text_length(&conn->sealed) > 0) {
        if (most > text_length(&conn->sealed))
            most = text_length(&conn->sealed);
        conn_queue(conn, text_bytes(&conn->sealed), most, &manner, 0);
        text_clear(&conn->sealed);
        session_stop(conn->session, "TLS");
        return;
    }
    manner.after = AFTER_GO_ON;
    queue_own(conn, &manner);
    if (tls_state(conn->tls) != TLS_OPEN)
        return;
    note_handshake(conn, NULL);
    session_secured(conn->session);
    if (conn->implicit)
        session_start(conn->session);
}

/* The client has ended TLS, or broken it: nothing can be said to it any more but good-bye. */
static void wind_up(struct conn *conn)
{
    static const struct manner leave = {.after = AFTER_CLOSE};
    const char *error = tls_error(conn->tls);

    if (!conn->shaken)
        note_handshake(conn, *error == '\0' ? "ended by the client" : error);
    else if (*error != '\0' && !session_is_over(conn->session))
        session_blame(conn->session, "TLS", error);
    conn->peer_left = true;
    session_stop(conn->session, NULL);
    tls_close(conn->tls, &conn->sealed);
    conn_queue(conn, text_bytes(&conn->sealed), text_length(&conn->sealed), &leave, 0);
    text_clear(&conn->sealed);
}

static void read_plain(struct conn *conn)
{
    char *plain = conn->server->plain_buffer;
    size_t filled;

    do {
        size_t got;

        filled = 0;
        do {
            got = tls_read(conn->tls, plain + filled, READ_BUFFER_BYTES - filled, &conn->sealed);
            filled += got;
        } while (got > 0 && filled < READ_BUFFER_BYTES);
        queue_own(conn, &ordinary_manner);
        session_feed(conn->session, plain, filled);
    } while (filled == READ_BUFFER_BYTES);
}

void conn_read_sealed(struct conn *conn, const char *bytes, size_t length)
{
    text_clear(&conn->sealed);
    if (!conn->flight_asked) {
        conn->flight_asked = true;
        conn->flight = session_ask_tls(conn->session);
        if (conn->flight != NULL && conn->flight->kind != ACTION_ORDINARY) {
            play_flight(conn, conn->flight);
            return;
        }
    }
    if (conn->shaken)
        tls_feed(conn->tls, bytes, length, &conn->sealed);
    else
        shake(conn, bytes, length);
    if (conn->shaken)
        read_plain(conn);
    if (tls_state(conn->tls) == TLS_ENDED && !session_is_over(conn->session))
        wind_up(conn);
}
