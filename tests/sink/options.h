/* The command line. */
#ifndef TESTS_SINK_OPTIONS_H
#define TESTS_SINK_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { OPTIONS_LISTEN_LIMIT = 64 };

/* Strings point into argv. */
struct options {
    struct sockaddr_storage listen[OPTIONS_LISTEN_LIMIT];
    size_t listen_count;
    const char *ledger;
    const char *script;
    const char *counts;
    const char *store;
    const char *name;
    uint64_t delay_ms;
    uint64_t size_bytes;
    unsigned extensions; /* offered ones, bits of enum extension */
    bool strict;
};

/* 0: go on. 1: help was asked for and given; exit 0. -1: refused with a message; exit 2. */
int options_read(struct options *options, int count, char **words);

#endif
