/* The command line. */
#ifndef TESTS_SINK_OPTIONS_H
#define TESTS_SINK_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "tests/sink/sasl.h"
#include "tests/sink/tls.h"

enum { OPTIONS_LISTEN_LIMIT = 64 };

/* Strings point into argv; --auth is cut in two there. */
struct options {
    struct sockaddr_storage listen[OPTIONS_LISTEN_LIMIT];
    size_t listen_count;
    bool implicit_tls[OPTIONS_LISTEN_LIMIT]; /* that listener speaks TLS from the first byte on */
    const char *ledger;
    const char *script;
    const char *counts;
    const char *store;
    const char *name;
    uint64_t delay_ms;
    uint64_t size_bytes;
    unsigned extensions;        /* offered ones, bits of enum extension */
    unsigned secure_extensions; /* the same inside TLS */
    bool strict;
    struct tls_options tls;
    struct sasl_account account; /* user NULL: nobody */
    unsigned mechanisms;         /* bits of enum sasl_mechanism */
    bool auth_in_clear;
};

/* 0: go on. 1: help was asked for and given; exit 0. -1: refused with a message; exit 2. */
int options_read(struct options *options, int count, char **words);

#endif
