/*
 * Totals of the whole sink, for --counts. README.md explains each.
 */
#ifndef TESTS_SINK_COUNTS_H
#define TESTS_SINK_COUNTS_H

#include <stdint.h>

#include "tests/sink/session.h"

#define COUNTS_MAP(X)                                                                                                  \
    X(connections)   /* accepted so far */                                                                             \
    X(open)          /* at this moment */                                                                              \
    X(most_open)     /* at the same time */                                                                            \
    X(messages)      /* contents accepted */                                                                           \
    X(recipients)    /* "message" lines: accepted content times recipient */                                           \
    X(content_bytes) /* of accepted contents */                                                                        \
    X(rejects)       /* "reject" lines */                                                                              \
    X(drops)         /* "drop" lines */                                                                                \
    X(violations)    /* "violation" lines */                                                                           \
    X(handshakes)    /* of TLS, done */                                                                                \
    X(resumptions)   /* of them those that resumed a session */                                                        \
    X(handshakes_failed)                                                                                               \
    X(auths)        /* clients that authenticated themselves */                                                        \
    X(replies_lost) /* replies to accepted content that did not get out, by script or by a lost connection */          \
    X(cpu_us)       /* processor time of this process, filled in when written */                                       \
    X(flushes)      /* how often SIGUSR1 has been served; the ledger is flushed before this is written */

struct counts {
#define X(name) uint64_t name;
    COUNTS_MAP(X)
#undef X
};

/* Adds what the note says. */
void counts_note(struct counts *counts, const struct note *note);

/* Writes the totals as one JSON object, in place of the file there was, at once. 0, or -1 with a line on stderr. */
int counts_write(struct counts *counts, const char *path);

#endif
