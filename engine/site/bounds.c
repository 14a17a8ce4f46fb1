/*
 * bounds.c - the limits of one scope, asked together.
 *
 * A rate whose burst lasts for more than a minute cannot be kept over a restart by waiting a little: it has a quota,
 * which is written down (quota.h). Any other begins, at a start, as if it had just been used up (limit_follow()).
 */
#include "engine/site/bounds.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/site/shaping.h"

#define QUOTA_FROM_US ((int64_t)60 * 1000000)
#define CONNECTIONS_AGAIN_US ((int64_t)50000) /* when a shared count is full: looked at again */
#define CONNECT_SLACK_US ((int64_t)20000)

static const char *const scope_names[SCOPE_COUNT] = {
    [SCOPE_NONE] = "",
    [SCOPE_MACHINE] = "machine",
    [SCOPE_SOURCE] = "source",
    [SCOPE_SENDER] = "sending domain",
    [SCOPE_CAMPAIGN] = "campaign",
    [SCOPE_PROVIDER] = "provider",
    [SCOPE_SITE] = "site",
    [SCOPE_SITE_SOURCE] = "source at site",
    [SCOPE_DOMAIN] = "domain",
};

static const char *const what_names[WHAT_COUNT] = {
    [WHAT_NONE] = "",
    [WHAT_RATE] = "rate",
    [WHAT_QUOTA] = "quota",
    [WHAT_BYTE_RATE] = "byte rate",
    [WHAT_CONNECTIONS] = "connections",
    [WHAT_CONNECTION_RATE] = "connection rate",
    [WHAT_PER_CONNECTION] = "messages per connection",
    [WHAT_ADAPTIVE] = "adaptive rate",
    [WHAT_WARMUP] = "warm-up",
    [WHAT_SUSPENDED] = "suspended",
};

const char *limit_scope_name(enum limit_scope scope)
{
    return scope_names[scope];
}

const char *limit_what_name(enum limit_what what)
{
    return what_names[what];
}

bool bounds_spec_is_empty(const struct bounds_spec *spec)
{
    return rate_is_unlimited(spec->rate) && rate_is_unlimited(spec->byte_rate) &&
           rate_is_unlimited(spec->connection_rate) && spec->connections == 0;
}

static bool rate_equal(struct rate a, struct rate b)
{
    return (rate_is_unlimited(a) && rate_is_unlimited(b)) || (a.count == b.count && a.period_us == b.period_us);
}

bool bounds_spec_equal(const struct bounds_spec *a, const struct bounds_spec *b)
{
    return rate_equal(a->rate, b->rate) && rate_equal(a->byte_rate, b->byte_rate) &&
           rate_equal(a->connection_rate, b->connection_rate) && a->connections == b->connections &&
           a->burst == b->burst;
}

/* A limit that is paid for by amounts. */
static void init_bytes(struct limit *limit, struct rate rate)
{
    limit_init_burst(limit, rate, 0);
    limit->windowed = false;
    limit->tolerance_us = 0;
}

static uint32_t connect_burst(const struct bounds_spec *spec)
{
    return spec->burst > 0 ? 1 : 0;
}

/* When connections are accepted is not seen: none may follow sooner, and what holds up their way has room. */
static void connects_unseen(struct limit *limit)
{
    limit->catch_up_us = 0;
    limit->slack_us = CONNECT_SLACK_US;
}

static bool wants_quota(const struct bounds_spec *spec)
{
    struct limit limit;
    limit_init_burst(&limit, spec->rate, spec->burst);
    return !rate_is_unlimited(spec->rate) && (int64_t)MAX_OF(spec->burst, 1u) * limit.interval_us > QUOTA_FROM_US;
}

/* What the spec needs and the bounds have not: new limits begin after now_us. */
struct parts {
    struct quota_entry *quota;
    struct limit *bytes, *connects;
};

static int make_parts(const struct bounds *bounds, const struct bounds_spec *spec, struct shaping *shaping,
                      const char *key, int64_t now_us, struct parts *parts)
{
    bool failed = false;
    *parts = (struct parts){0};
    if (shaping != NULL && wants_quota(spec)) {
        parts->quota = shaping_quota(shaping, key, spec->rate.count, spec->rate.period_us);
        failed = parts->quota == NULL;
    }
    if (!rate_is_unlimited(spec->byte_rate) && bounds->bytes == NULL) {
        parts->bytes = calloc(1, sizeof *parts->bytes);
        failed = failed || parts->bytes == NULL;
        if (parts->bytes != NULL) {
            init_bytes(parts->bytes, spec->byte_rate);
            limit_follow(parts->bytes, now_us);
        }
    }
    if (!rate_is_unlimited(spec->connection_rate) && bounds->connects == NULL) {
        parts->connects = calloc(1, sizeof *parts->connects);
        failed = failed || parts->connects == NULL;
        if (parts->connects != NULL) {
            limit_init_burst(parts->connects, spec->connection_rate, connect_burst(spec));
            connects_unseen(parts->connects);
            limit_follow(parts->connects, now_us);
        }
    }
    if (!failed)
        return 0;
    free(parts->bytes);
    free(parts->connects);
    return -ENOMEM;
}

int bounds_init(struct bounds *bounds, const struct bounds_spec *spec, struct shaping *shaping, const char *key,
                int64_t begun_us)
{
    struct parts parts;
    *bounds = (struct bounds){.spec = *spec, .conn_max = spec->connections};
    limit_init_burst(&bounds->messages, spec->rate, spec->burst);
    int r = make_parts(bounds, spec, shaping, key, begun_us, &parts);
    if (r < 0)
        return r;
    bounds->quota = parts.quota;
    bounds->bytes = parts.bytes;
    bounds->connects = parts.connects;
    if (bounds->quota != NULL)
        bounds->messages.next_us = shaping_quota_next_us(shaping, bounds->quota, bounds->messages.interval_us);
    else
        limit_follow(&bounds->messages, begun_us);
    return 0;
}

static void free_limit(struct limit *limit)
{
    if (limit != NULL)
        limit_finish(limit);
    free(limit);
}

static void change_bytes(struct bounds *bounds, struct rate rate, int64_t now_us)
{
    if (rate_equal(rate, bounds->bytes->rate))
        return;
    int64_t owed_until_us = bounds->bytes->next_us; /* of what was sent at the old rate */
    init_bytes(bounds->bytes, rate);
    limit_follow(bounds->bytes, now_us);
    bounds->bytes->next_us = MAX_OF(bounds->bytes->next_us, owed_until_us);
}

int bounds_change(struct bounds *bounds, const struct bounds_spec *spec, struct shaping *shaping, const char *key,
                  int64_t now_us)
{
    struct parts parts;
    if (bounds_spec_equal(&bounds->spec, spec))
        return 0;
    int r = make_parts(bounds, spec, shaping, key, now_us, &parts);
    if (r < 0)
        return r;
    if (!rate_equal(bounds->spec.rate, spec->rate) || bounds->spec.burst != spec->burst)
        limit_change(&bounds->messages, spec->rate, spec->burst, now_us);
    if (parts.quota != NULL && parts.quota != bounds->quota)
        bounds->messages.next_us =
            MAX_OF(bounds->messages.next_us, shaping_quota_next_us(shaping, parts.quota, bounds->messages.interval_us));
    bounds->quota = parts.quota;
    if (bounds->bytes == NULL) {
        bounds->bytes = parts.bytes;
    } else if (rate_is_unlimited(spec->byte_rate)) {
        free_limit(bounds->bytes);
        bounds->bytes = NULL;
    } else {
        change_bytes(bounds, spec->byte_rate, now_us);
    }
    if (bounds->connects == NULL) {
        bounds->connects = parts.connects;
    } else if (rate_is_unlimited(spec->connection_rate)) {
        free_limit(bounds->connects);
        bounds->connects = NULL;
    } else if (!rate_equal(bounds->connects->rate, spec->connection_rate)) {
        limit_change(bounds->connects, spec->connection_rate, connect_burst(spec), now_us);
        connects_unseen(bounds->connects);
    }
    bounds->conn_max = spec->connections;
    bounds->spec = *spec;
    return 0;
}

void bounds_finish(struct bounds *bounds)
{
    limit_finish(&bounds->messages);
    free_limit(bounds->bytes);
    free_limit(bounds->connects);
    bounds->bytes = bounds->connects = NULL;
}

static void consider(int64_t until, enum limit_what kind, int64_t *latest, enum limit_what *what)
{
    if (until > *latest) {
        *latest = until;
        *what = kind;
    }
}

int64_t bounds_wait_until_us(struct bounds *bounds, int64_t now_us, enum limit_what *what)
{
    int64_t latest = 0;
    consider(limit_wait_until_us(&bounds->messages, now_us), WHAT_RATE, &latest, what);
    if (bounds->bytes != NULL)
        consider(limit_wait_until_us(bounds->bytes, now_us), WHAT_BYTE_RATE, &latest, what);
    if (bounds->quota != NULL)
        consider(shaping_quota_wait_us(bounds->quota, now_us), WHAT_QUOTA, &latest, what);
    return latest;
}

int bounds_take(struct bounds *bounds, int64_t now_us, size_t bytes, uint64_t *ticket)
{
    int r = limit_take(&bounds->messages, now_us, ticket);
    if (r < 0)
        return r;
    if (bounds->bytes != NULL)
        limit_spend(bounds->bytes, now_us, bytes);
    return 0;
}

void bounds_done(struct bounds *bounds, uint64_t ticket, int64_t now_us)
{
    limit_done(&bounds->messages, ticket, now_us);
}

int64_t bounds_connect_wait_us(struct bounds *bounds, int64_t now_us, enum limit_what *what)
{
    int64_t latest = 0;
    if (bounds->conn_max > 0 && bounds->conn_count >= bounds->conn_max)
        consider(now_us + CONNECTIONS_AGAIN_US, WHAT_CONNECTIONS, &latest, what);
    if (bounds->connects != NULL)
        consider(limit_wait_until_us(bounds->connects, now_us), WHAT_CONNECTION_RATE, &latest, what);
    return latest;
}

void bounds_connected(struct bounds *bounds, int64_t now_us)
{
    uint64_t ticket;
    bounds->conn_count++;
    if (bounds->connects == NULL || limit_take(bounds->connects, now_us, &ticket) < 0)
        return;
    limit_done(bounds->connects, ticket, now_us);
}

void bounds_disconnected(struct bounds *bounds)
{
    assure(bounds->conn_count > 0);
    bounds->conn_count--;
}

bool bounds_is_idle(struct bounds *bounds, int64_t now_us)
{
    return bounds->conn_count == 0 && limit_is_idle(&bounds->messages, now_us) &&
           (bounds->bytes == NULL || limit_is_idle(bounds->bytes, now_us)) &&
           (bounds->connects == NULL || limit_is_idle(bounds->connects, now_us));
}
