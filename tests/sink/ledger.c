/* The ledger's file. Lines are whole in the file after each flush, so a reader that stops at the last line end never
 * sees half of one. */
#include "tests/sink/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LEDGER_BUFFER_BYTES = 256 * 1024 };

int ledger_open(struct ledger *ledger, const char *path)
{
    *ledger = (struct ledger){.file = -1, .path = path};
    if (path == NULL)
        return 0;
    ledger->file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    if (ledger->file < 0) {
        fprintf(stderr, "sink: ledger: %s: %s\n", path, strerror(errno));
        return -1;
    }
    return 0;
}

struct text *ledger_lines(struct ledger *ledger)
{
    return ledger->file < 0 ? NULL : &ledger->buffer;
}

void ledger_added(struct ledger *ledger)
{
    if (text_length(&ledger->buffer) >= LEDGER_BUFFER_BYTES)
        ledger_flush(ledger);
}

void ledger_flush(struct ledger *ledger)
{
    while (ledger->file >= 0 && text_length(&ledger->buffer) > 0) {
        ssize_t written = write(ledger->file, text_bytes(&ledger->buffer), text_length(&ledger->buffer));

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            fprintf(stderr, "sink: ledger: %s: %s\n", ledger->path, strerror(errno));
            exit(1);
        }
        text_take(&ledger->buffer, (size_t)written);
    }
}

void ledger_close(struct ledger *ledger)
{
    ledger_flush(ledger);
    if (ledger->file >= 0 && close(ledger->file) != 0) {
        fprintf(stderr, "sink: ledger: %s: %s\n", ledger->path, strerror(errno));
        exit(1);
    }
    ledger->file = -1;
    text_free(&ledger->buffer);
}
