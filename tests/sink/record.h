/*
 * The lines of the ledger, and those that wait for a reply to get out.
 *
 * A line says what the client was told. That is true only once the reply's bytes have been given to the socket; with a
 * round trip delay, a drip or a full send buffer that is later than the decision, or never. So a line is made at the
 * moment of the decision, with its time, waits here with its place in the stream, and is completed with the reply, or
 * with "reply": null if the connection is lost before.
 */
#ifndef TESTS_SINK_RECORD_H
#define TESTS_SINK_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "tests/sink/counts.h"
#include "tests/sink/ledger.h"
#include "tests/sink/session.h"
#include "tests/sink/text.h"

struct record {
    uint64_t stream_end; /* complete when so many bytes have been written */
    size_t line_length;  /* of the line so far */
    size_t reply_length; /* of the reply as JSON; 0: the line has none */
    bool awaited;        /* the reply is one to accepted content: if it is lost, that is counted */
};

struct tls_facts;

struct records {
    struct text channel; /* what lines say of the connection's TLS, as JSON */
    struct text text;    /* line and reply of each record, one behind the other */
    struct record *queue;
    size_t first;
    size_t last;
    size_t capacity;
};

void records_free(struct records *records);

/* Makes the line of a note; it becomes final at `stream_end`. */
void records_add(struct records *records, uint64_t connection, const struct note *note, uint64_t stream_end);

/* Gives to the ledger what became final with `written` bytes. */
void records_settle(struct records *records, uint64_t written, struct ledger *ledger);

/* The connection is gone: gives to the ledger everything else, replies as null. */
void records_lose(struct records *records, struct ledger *ledger, struct counts *counts);

/* What lines will say of the connection's TLS from now on. Before it is called they say that there is none. */
void records_set_channel(struct records *records, const struct tls_facts *facts);

void record_connect(struct ledger *ledger, const struct records *records, uint64_t connection, const char *peer,
                    const char *local);

/* The end of a handshake. `error` NULL: it is done, as the channel says. */
void record_handshake(struct ledger *ledger, const struct records *records, uint64_t connection, const char *error);

/* `by` is "client" or "server"; `messages` counts the accepted contents of the connection. */
void record_close(struct ledger *ledger, uint64_t connection, uint64_t messages, const struct session *session,
                  const char *by);

#endif
