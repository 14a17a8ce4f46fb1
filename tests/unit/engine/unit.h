/*
 * unit.h - what every cmocka program of this folder includes: cmocka with the headers that it expects before it, a
 * small repeatable random source, and a configuration made by hand.
 */
#ifndef POSTHASTE_TESTS_UNIT_ENGINE_UNIT_H
#define POSTHASTE_TESTS_UNIT_ENGINE_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/config.h"

/* xorshift64*: the same numbers in each run, so that a failure can be repeated. */
ATTR_UNUSED static inline uint64_t random_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

ATTR_UNUSED static inline size_t random_below(uint64_t *state, size_t bound)
{
    return (size_t)(random_next(state) >> 11) % bound;
}

#define TEST_TIMEOUTS                                                                                                  \
    ((struct config_timeouts){.connect_ms = 5000,                                                                      \
                              .tls_ms = 5000,                                                                          \
                              .greeting_ms = 5000,                                                                     \
                              .ehlo_ms = 5000,                                                                         \
                              .mail_ms = 5000,                                                                         \
                              .rcpt_ms = 5000,                                                                         \
                              .data_ms = 5000,                                                                         \
                              .block_ms = 5000,                                                                        \
                              .final_ms = 5000,                                                                        \
                              .quit_ms = 1000})

/* One route for everything to a port of the loopback. Fields may be changed before use. */
struct test_config {
    struct config config;
    struct config_route route;
    struct config_profile profile;
    struct config_domain domain;
};

ATTR_UNUSED static inline void test_config_init(struct test_config *test, uint16_t port)
{
    static char star[] = "*", host[] = "127.0.0.1", name[] = "client.example", profile[] = "default", none[] = "";
    *test = (struct test_config){0};
    test->route = (struct config_route){.pattern = star, .host = host, .port = port};
    test->profile = (struct config_profile){.name = profile,
                                            .connections = 10,
                                            .messages_per_connection = 100,
                                            .pipeline_depth = 10,
                                            .idle_timeout_ms = 5000};
    test->config = (struct config){.file = none,
                                   .hostname = name,
                                   .loops = 1,
                                   .timeouts = TEST_TIMEOUTS,
                                   .routes = &test->route,
                                   .route_count = 1,
                                   .profiles = &test->profile,
                                   .profile_count = 1,
                                   .domains = &test->domain};
}

#endif
