/*
 * Numbers the messages, and keeps their bytes as files if there is a folder for them: DIR/1, DIR/2, ... exactly as
 * received, dots unstuffed.
 */
#ifndef TESTS_SINK_STORE_H
#define TESTS_SINK_STORE_H

#include <stddef.h>
#include <stdint.h>

enum { STORE_NAME_BYTES = 24 };

struct store {
    const char *folder; /* NULL: nothing is kept */
    uint64_t number;    /* of the last message */
};

/* Writes the bytes to the file named by `number` and gives that name. 0, or -1 with a line on stderr. An existing file
 * is replaced. */
int store_write(const struct store *store, uint64_t number, const char *bytes, size_t length,
                char name[STORE_NAME_BYTES]);

#endif
