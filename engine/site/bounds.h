/*
 * bounds.h - all the limits of one scope together: messages, bytes, connections, connections begun. The tightest wins.
 *
 * Scopes are the machine, a source, a sending domain, a campaign, a provider (one source at all sites of a profile), a
 * site, a source at a site, a recipient domain. The same struct serves all of them; whether it is one loop's own or
 * shared under a lock is its owner's matter (shaping.h).
 *
 * Pure: `now` is passed in, in microseconds of the monotonic clock.
 */
#ifndef POSTHASTE_ENGINE_SITE_BOUNDS_H
#define POSTHASTE_ENGINE_SITE_BOUNDS_H

#include <stddef.h>

#include "engine/limit.h"
#include "engine/site/limits.h"

struct shaping;
struct quota_entry;

struct bounds_spec {
    struct rate rate, byte_rate, connection_rate; /* count 0 = unlimited */
    uint32_t connections, burst;                  /* 0 = no limit, default */
};
bool bounds_spec_is_empty(const struct bounds_spec *spec);
bool bounds_spec_equal(const struct bounds_spec *a, const struct bounds_spec *b);

struct bounds {
    struct bounds_spec spec;
    struct limit messages;
    struct limit *bytes, *connects; /* NULL = unlimited */
    struct quota_entry *quota;      /* shaping's; NULL = the rate needs none */
    uint32_t conn_max;              /* 0 = no limit */
    uint32_t conn_count;
};

/* `shaping` may be NULL in tests; `key` names them for good ("site example.com"). -ENOMEM. */
int bounds_init(struct bounds *bounds, const struct bounds_spec *spec, struct shaping *shaping, const char *key,
                int64_t begun_us) ATTR_MUSTCHECK;
/* Other limits from now on: what was counted stays counted (limit_change()), connections that are open stay open.
 * -ENOMEM: nothing was changed. Changes nothing where nothing differs. */
int bounds_change(struct bounds *bounds, const struct bounds_spec *spec, struct shaping *shaping, const char *key,
                  int64_t now_us) ATTR_MUSTCHECK;
void bounds_finish(struct bounds *bounds);

/* 0 = a message may start; else when to ask again, and *what holds it. */
int64_t bounds_wait_until_us(struct bounds *bounds, int64_t now_us, enum limit_what *what);
/* Only after 0, and after shaping_take(), which pays the quota. -ENOMEM: it must not start; what others were
 * paid for it before is not given back. The ticket goes to bounds_done(). */
int bounds_take(struct bounds *bounds, int64_t now_us, size_t bytes, uint64_t *ticket) ATTR_MUSTCHECK;
void bounds_done(struct bounds *bounds, uint64_t ticket, int64_t now_us);

/* The same for a connection that is to be opened; its end is told by bounds_disconnected(). */
int64_t bounds_connect_wait_us(struct bounds *bounds, int64_t now_us, enum limit_what *what);
void bounds_connected(struct bounds *bounds, int64_t now_us);
void bounds_disconnected(struct bounds *bounds);

bool bounds_is_idle(struct bounds *bounds, int64_t now_us); /* forgetting it would change nothing */

#endif
