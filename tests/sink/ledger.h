/*
 * The ledger file: JSON lines, through one large buffer.
 */
#ifndef TESTS_SINK_LEDGER_H
#define TESTS_SINK_LEDGER_H

#include "tests/sink/text.h"

struct ledger {
    int file; /* -1: no ledger is kept */
    const char *path;
    struct text buffer;
};

/* Creates or empties the file; with a NULL path all lines are thrown away. 0, or -1 with a line on stderr. */
int ledger_open(struct ledger *ledger, const char *path);

/* Where to append a whole line. Call ledger_added() after it. NULL when no ledger is kept. */
struct text *ledger_lines(struct ledger *ledger);

/* Writes the buffer to the file if it has become large. */
void ledger_added(struct ledger *ledger);

/* Writes the buffer to the file. A ledger that cannot be written ends the process with status 1: evidence would be
 * missing. */
void ledger_flush(struct ledger *ledger);

void ledger_close(struct ledger *ledger);

#endif
