/*
 * via.c - sources at sites. What a refusal leads to is judged by rules.c; the curve of the rate is adapt.c's.
 */
#include "engine/site/via.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "engine/site/pool.h"
#include "engine/site/rules.h"
#include "engine/site/site.h"

#define SAVE_EVERY_MS ((int64_t)5000)
#define CLOSED_US ((int64_t)10000000) /* a connection is not kept for what comes later than that */
#define NO_MEMORY_US ((int64_t)1000000)
#define DAY_US INT64_C(86400000000)

static int64_t now_ms(const struct site *site)
{
    return site->dispatch->loop.now_ms;
}

/* Gates. */

void gate_note(struct gate *gate, enum limit_scope scope, enum limit_what what, int64_t until_us)
{
    if (gate->what != WHAT_NONE && gate->until_us <= until_us)
        return;
    *gate = (struct gate){.scope = scope, .what = what, .until_us = until_us};
}

const char *gate_name(const struct gate *gate)
{
    static const char *const names[SCOPE_COUNT][WHAT_COUNT] = {
#define ROW(scope, name)                                                                                               \
    [scope] = {[WHAT_RATE] = name "rate",                                                                              \
               [WHAT_QUOTA] = name "quota",                                                                            \
               [WHAT_BYTE_RATE] = name "byte rate",                                                                    \
               [WHAT_CONNECTIONS] = name "connections",                                                                \
               [WHAT_CONNECTION_RATE] = name "connection rate"}
        ROW(SCOPE_MACHINE, "machine "),
        ROW(SCOPE_SOURCE, "source "),
        ROW(SCOPE_SENDER, "sending domain "),
        ROW(SCOPE_CAMPAIGN, "campaign "),
        ROW(SCOPE_PROVIDER, "provider "),
        ROW(SCOPE_SITE, ""),
        ROW(SCOPE_SITE_SOURCE, "source at site "),
        ROW(SCOPE_DOMAIN, "domain "),
#undef ROW
    };
    if (gate->what == WHAT_ADAPTIVE || gate->what == WHAT_WARMUP || gate->what == WHAT_SUSPENDED)
        return limit_what_name(gate->what);
    const char *name = names[gate->scope][gate->what];
    return name != NULL ? name : "nothing";
}

/* Measures. */

void ruled_refresh(struct ruled *ruled, struct shaping *shaping, enum limit_scope scope, const char *target,
                   const char *source, int64_t now_us)
{
    struct rate before = ruled->ruling.rate;
    shaping_rule(shaping, &ruled->ruling, scope, target, source, now_us);
    struct rate rate = ruled->ruling.rate;
    if (rate.count == before.count && rate.period_us == before.period_us)
        return;
    if (ruled->limit != NULL)
        limit_finish(ruled->limit);
    free(ruled->limit);
    ruled->limit = !rate_is_unlimited(rate) ? calloc(1, sizeof *ruled->limit) : NULL;
    if (ruled->limit != NULL) {
        limit_init(ruled->limit, rate);
        limit_follow(ruled->limit, now_us);
    }
}

int64_t ruled_wait_until_us(struct ruled *ruled, int64_t now_us, enum limit_what *what)
{
    if (ruled->ruling.suspended_until_us > now_us) {
        *what = WHAT_SUSPENDED;
        return ruled->ruling.suspended_until_us;
    }
    *what = WHAT_RATE;
    return ruled->limit != NULL ? limit_wait_until_us(ruled->limit, now_us) : 0;
}

void ruled_take(struct ruled *ruled, int64_t now_us)
{
    uint64_t ticket;
    if (ruled->limit != NULL && limit_take(ruled->limit, now_us, &ticket) == 0)
        limit_done(ruled->limit, ticket, now_us);
}

void ruled_finish(struct ruled *ruled)
{
    if (ruled->limit != NULL)
        limit_finish(ruled->limit);
    free(ruled->limit);
    ruled->limit = NULL;
}

/* Birth and end. */

static double ceiling_of(const struct config_profile *profile)
{
    double site = rate_per_second(profile->rate), own = rate_per_second(profile->source_rate);
    return site > 0 && own > 0 ? MIN_OF(site, own) : MAX_OF(site, own);
}

static void adapt_key(const struct site *site, const struct source *source, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes, "adapt %.400s\t%.47s", site->name, source->name);
}

static struct adapt *make_adapt(struct site *site, struct via *via)
{
    via->adapt = calloc(1, sizeof *via->adapt);
    if (via->adapt != NULL)
        adapt_init(via->adapt, ceiling_of(site->profile));
    return via->adapt;
}

static void restore_adapt(struct site *site, struct source *source, struct via *via)
{
    char key[512];
    int64_t elapsed_us = 0;
    adapt_key(site, source, key, sizeof key);
    char *text = site->profile->adaptive ? shaping_restored(site->dispatch->shaping, key, &elapsed_us) : NULL;
    if (text != NULL && make_adapt(site, via) != NULL && adapt_read(via->adapt, text, now_ms(site)) == 0 &&
        via->adapt->rate > 0)
        limit_pace(&via->pace, via->adapt->rate);
    free(text);
}

/* Limits of the profile's for one source; what is open already counts. */
static int reshape_limits(struct site *site, struct source *source, struct via *via, int64_t since_us)
{
    const struct config_profile *profile = site->profile;
    struct dispatch *dispatch = site->dispatch;
    char key[512];
    bool lacked = false;
    const struct bounds_spec own = {
        .rate = profile->source_rate, .connections = profile->source_connections, .burst = profile->burst};
    const struct bounds_spec provider = {
        .rate = profile->provider_rate, .connections = profile->provider_connections, .burst = profile->burst};
    (void)snprintf(key, sizeof key, "%s via %s", profile->name, source->name[0] != '\0' ? source->name : "any address");
    struct shared *shared =
        shaping_shared(dispatch->shaping, dispatch->version, SCOPE_PROVIDER, key, &provider, &lacked);
    if (lacked)
        return -ENOMEM;
    via->provider = shared;
    (void)snprintf(key, sizeof key, "via %.47s %.400s", source->name, site->name);
    if (via->bounds != NULL)
        return bounds_change(via->bounds, &own, dispatch->shaping, key, since_us);
    if (bounds_spec_is_empty(&own))
        return 0;
    struct bounds *bounds = calloc(1, sizeof *bounds);
    if (bounds == NULL || bounds_init(bounds, &own, dispatch->shaping, key, since_us) < 0) {
        free(bounds);
        return -ENOMEM;
    }
    bounds->conn_count = via->conn_count;
    via->bounds = bounds;
    return 0;
}

int via_reshape(struct site *site, struct source *source, struct via *via)
{
    via->held_until_us = 0;
    via->warm = NULL;
    via->warm_day = UINT32_MAX; /* unknown: looked up before the next message */
    if (!site->profile->adaptive) {
        free(via->adapt);
        via->adapt = NULL;
    } else if (via->adapt != NULL) {
        via->adapt->ceiling = ceiling_of(site->profile);
    }
    return reshape_limits(site, source, via, site->dispatch->now_us);
}

struct via *via_known(const struct site *site, const struct source *source)
{
    return source->index < site->via_count ? site->vias[source->index] : NULL;
}

/* A place for each source that there is; more may have come since the last one was asked for. */
static bool make_room(struct site *site)
{
    size_t count = site->dispatch->sources.count;
    if (count <= site->via_count)
        return true;
    struct via **vias = reallocarray(site->vias, count, sizeof *vias);
    if (vias == NULL)
        return false;
    memset(vias + site->via_count, 0, (count - site->via_count) * sizeof *vias);
    site->vias = vias;
    site->via_count = count;
    return true;
}

struct via *via_get(struct site *site, struct source *source)
{
    struct via *via = via_known(site, source);
    if (via != NULL || !make_room(site))
        return via;
    via = calloc(1, sizeof *via);
    if (via == NULL)
        return NULL;
    if (reshape_limits(site, source, via, site->dispatch->begun_us) < 0) {
        free(via);
        return NULL;
    }
    restore_adapt(site, source, via);
    site->vias[source->index] = via;
    return via;
}

static void save(struct site *site, struct source *source, struct via *via)
{
    char key[512], text[ADAPT_TEXT_BYTES] = "";
    adapt_key(site, source, key, sizeof key);
    if (via->adapt->rate > 0)
        adapt_write(via->adapt, text);
    shaping_save(site->dispatch->shaping, key, text);
    via->saved_ms = now_ms(site);
    via->changed = false;
}

void via_keep_learnt(struct site *site, struct source *source)
{
    struct via *via = via_known(site, source);
    if (via != NULL && via->changed && via->adapt != NULL)
        save(site, source, via);
}

void via_finish_all(struct site *site)
{
    for (size_t i = 0; i < site->via_count; i++) {
        struct via *via = site->vias[i];
        if (via == NULL)
            continue;
        via_keep_learnt(site, site->dispatch->sources.sources[i]);
        if (via->bounds != NULL)
            bounds_finish(via->bounds);
        free(via->bounds);
        limit_finish(&via->pace);
        free(via->adapt);
        ruled_finish(&via->ruled);
        ruled_finish(&via->source_ruled);
        free(via);
    }
    free(site->vias);
    site->vias = NULL;
    site->via_count = 0;
}

/* Warm-up. */

/* Of this day to each provider; 0 = the source is warm. */
uint32_t source_warm_quota(const struct source *source, int64_t now_us, uint32_t *day)
{
    const struct config_warmup *warmup = source->warmup;
    *day = 0;
    if (warmup == NULL)
        return 0;
    int64_t index = (now_us - source->warm_begun_us) / DAY_US;
    if (index < 0 || index >= warmup->days)
        return 0;
    *day = (uint32_t)index + 1;
    double quota = warmup->start.count * pow(warmup->growth, (double)index);
    return quota >= UINT32_MAX ? UINT32_MAX : (uint32_t)quota;
}

int64_t source_warm_day_ends_us(const struct source *source, uint32_t day)
{
    return source->warm_begun_us + (int64_t)day * DAY_US;
}

static void refresh_warm(struct site *site, struct source *source, struct via *via)
{
    uint32_t day;
    char key[256];
    uint32_t quota = source_warm_quota(source, site->dispatch->now_us, &day);
    if (day == via->warm_day)
        return;
    via->warm_day = day;
    via->warm = NULL;
    if (day == 0)
        return;
    (void)snprintf(key, sizeof key, "warmup %s\t%.150s\t%u", source->name, site->profile->name, day);
    via->warm = shaping_quota(site->dispatch->shaping, key, quota, 0);
    if (via->warm == NULL)
        via->warm_day = UINT32_MAX;
}

/* Without memory for its quota a cold source does not send. */
static int64_t warm_wait_us(struct site *site, struct source *source, struct via *via)
{
    refresh_warm(site, source, via);
    if (via->warm_day == 0)
        return 0;
    if (via->warm == NULL)
        return site->dispatch->now_us + NO_MEMORY_US;
    int64_t until = shaping_quota_wait_us(via->warm, site->dispatch->now_us);
    return until == INT64_MAX ? source_warm_day_ends_us(source, via->warm_day) : until;
}

/* Asking and taking. */

static void refresh(struct site *site, struct source *source, struct via *via)
{
    struct shaping *shaping = site->dispatch->shaping;
    int64_t now_us = site->dispatch->now_us;
    ruled_refresh(&via->ruled, shaping, SCOPE_SITE_SOURCE, site->name, source->name, now_us);
    ruled_refresh(&via->source_ruled, shaping, SCOPE_SOURCE, source->name, "", now_us);
}

struct asked {
    int64_t until;
    struct gate gate;
};

static void consider(struct asked *asked, int64_t until, enum limit_scope scope, enum limit_what what)
{
    if (until <= asked->until)
        return;
    asked->until = until;
    asked->gate = (struct gate){.scope = scope, .what = what, .until_us = until};
}

static int64_t answer(const struct asked *asked, struct gate *gate)
{
    if (asked->until > 0)
        gate_note(gate, asked->gate.scope, asked->gate.what, asked->until);
    return asked->until;
}

int64_t via_wait_until_us(struct site *site, struct source *source, struct via *via, struct gate *gate)
{
    int64_t now_us = site->dispatch->now_us;
    struct asked asked = {0};
    enum limit_what what = WHAT_NONE;
    refresh(site, source, via);
    int64_t until = ruled_wait_until_us(&via->ruled, now_us, &what);
    consider(&asked, until, SCOPE_SITE_SOURCE, what);
    until = ruled_wait_until_us(&via->source_ruled, now_us, &what);
    consider(&asked, until, SCOPE_SOURCE, what);
    if (via->adapt != NULL && via->adapt->rate > 0)
        consider(&asked, limit_wait_until_us(&via->pace, now_us), SCOPE_SITE_SOURCE, WHAT_ADAPTIVE);
    if (via->bounds != NULL) {
        until = bounds_wait_until_us(via->bounds, now_us, &what);
        consider(&asked, until, SCOPE_SITE_SOURCE, what);
    }
    if (source->warmup != NULL)
        consider(&asked, warm_wait_us(site, source, via), SCOPE_SOURCE, WHAT_WARMUP);
    if (via->held_until_us > now_us)
        consider(&asked, via->held_until_us, via->held.scope, via->held.what);
    return answer(&asked, gate);
}

int via_take(struct site *site, struct via *via, size_t bytes, uint64_t *ticket)
{
    int64_t now_us = site->dispatch->now_us;
    uint64_t unused;
    int r = via->bounds != NULL ? bounds_take(via->bounds, now_us, bytes, ticket) : 0;
    if (r < 0)
        return r;
    ruled_take(&via->ruled, now_us);
    ruled_take(&via->source_ruled, now_us);
    if (via->adapt != NULL && via->adapt->rate > 0)
        r = limit_take(&via->pace, now_us, &unused);
    return r;
}

void via_done(struct via *via, uint64_t ticket, int64_t now_us)
{
    if (via->bounds != NULL)
        bounds_done(via->bounds, ticket, now_us);
}

int64_t via_connect_wait_us(struct site *site, struct source *source, struct via *via, struct gate *gate)
{
    int64_t now_us = site->dispatch->now_us;
    struct asked asked = {0};
    enum limit_what what = WHAT_NONE;
    refresh(site, source, via);
    if (ruled_wait_until_us(&via->ruled, now_us, &what) > 0 && what == WHAT_SUSPENDED)
        consider(&asked, via->ruled.ruling.suspended_until_us, SCOPE_SITE_SOURCE, WHAT_SUSPENDED);
    if (ruled_wait_until_us(&via->source_ruled, now_us, &what) > 0 && what == WHAT_SUSPENDED)
        consider(&asked, via->source_ruled.ruling.suspended_until_us, SCOPE_SOURCE, WHAT_SUSPENDED);
    if (via->ruled.ruling.connections > 0 && via->conn_count >= via->ruled.ruling.connections)
        consider(&asked, now_us + 50000, SCOPE_SITE_SOURCE, WHAT_CONNECTIONS);
    if (via->bounds != NULL) {
        int64_t until = bounds_connect_wait_us(via->bounds, now_us, &what);
        consider(&asked, until, SCOPE_SITE_SOURCE, what);
    }
    if (source->warmup != NULL) {
        int64_t until = warm_wait_us(site, source, via);
        if (until - now_us > CLOSED_US)
            consider(&asked, until, SCOPE_SOURCE, WHAT_WARMUP);
    }
    return answer(&asked, gate);
}

bool via_is_closed(struct site *site, struct source *source, struct via *via)
{
    struct gate gate = GATE_OPEN;
    int64_t until = via_wait_until_us(site, source, via, &gate);
    return (gate.what == WHAT_WARMUP || gate.what == WHAT_SUSPENDED) && until - site->dispatch->now_us > CLOSED_US;
}

/* What comes back. */

void via_delivered(struct site *site, struct source *source)
{
    struct via *via = via_known(site, source);
    if (via == NULL || via->adapt == NULL)
        return;
    double before = via->adapt->rate;
    if (!adapt_taken(via->adapt, now_ms(site)) || before <= 0)
        return;
    if (via->adapt->rate > 0)
        limit_pace(&via->pace, via->adapt->rate);
    via->changed = true;
    if (via->adapt->rate <= 0 || now_ms(site) - via->saved_ms >= SAVE_EVERY_MS)
        save(site, source, via);
}

static void slow_down(struct site *site, struct source *source, struct via *via, const char *why)
{
    if (!site->profile->adaptive || (via->adapt == NULL && make_adapt(site, via) == NULL))
        return;
    /* Before the first refusal nobody counted: the site's meter knows. */
    if (via->adapt->taken + via->adapt->taken_before < 1)
        via->adapt->taken_before = meter_per_second(&site->meter, now_ms(site));
    if (!adapt_refused(via->adapt, why, now_ms(site), clock_wall_ms()))
        return;
    limit_pace(&via->pace, via->adapt->rate);
    via->changed = true;
    if (now_ms(site) - via->saved_ms >= SAVE_EVERY_MS || via->saved_ms == 0)
        save(site, source, via);
    log_debug("engine", "%s slower source=%s rate=%.2f/s reason=%s", site->name, source->name, via->adapt->rate,
              LOG_QUOTE(why));
}

static const struct flow *flow_of(const struct engine_job *job)
{
    return job != NULL && job->owner != NULL ? ((const struct lane *)job->owner)->flow : NULL;
}

static bool fill_target(const struct site *site, const struct source *source, const struct engine_job *job,
                        struct engine_measure *measure)
{
    const struct flow *flow = flow_of(job);
    switch (measure->scope) {
    case SCOPE_SITE_SOURCE:
        (void)str_copy(measure->source, sizeof measure->source, source->name);
        (void)str_copy(measure->target, sizeof measure->target, site->name);
        return true;
    case SCOPE_SITE:
        (void)str_copy(measure->target, sizeof measure->target, site->name);
        return true;
    case SCOPE_CAMPAIGN:
        (void)snprintf(measure->target, sizeof measure->target, "%" PRIu64, job != NULL ? job->group : 0);
        return job != NULL;
    case SCOPE_SENDER:
        (void)str_copy(measure->target, sizeof measure->target,
                       flow != NULL && flow->sender != NULL ? flow->sender : "");
        return measure->target[0] != '\0';
    case SCOPE_NONE:
    case SCOPE_MACHINE:
    case SCOPE_SOURCE:
    case SCOPE_PROVIDER:
    case SCOPE_DOMAIN:
    case SCOPE_COUNT:
        break;
    }
    return false;
}

static void take_measure(struct site *site, struct source *source, const struct engine_job *job,
                         const struct rule *rule, const struct rule_do *what, const char *reply)
{
    static const enum limit_what whats[] = {[RULE_SUSPEND] = WHAT_SUSPENDED,
                                            [RULE_RATE] = WHAT_RATE,
                                            [RULE_CONNECTIONS] = WHAT_CONNECTIONS,
                                            [RULE_PER_CONNECTION] = WHAT_PER_CONNECTION};
    struct dispatch *dispatch = site->dispatch;
    struct engine_measure measure = {.scope = what->scope,
                                     .what = whats[what->action],
                                     .rate = what->rate,
                                     .number = what->number,
                                     .since_wall_ms = clock_wall_ms()};
    if (!fill_target(site, source, job, &measure))
        return;
    char key[512];
    (void)snprintf(key, sizeof key, "%d %d %p %.255s %.47s", rule_line(rule), (int)what->action, (const void *)what,
                   measure.target, measure.source);
    if (!tally_count(&dispatch->tally, key, what->times, what->within_ms, now_ms(site)))
        return;
    measure.until_wall_ms = measure.since_wall_ms + what->for_ms;
    (void)str_copy(measure.reason, sizeof measure.reason, reply);
    (void)snprintf(measure.origin, sizeof measure.origin, "%.80s:%d %.40s", rules_file(dispatch->rules),
                   rule_line(rule), rule_name(rule));
    if (shaping_measure_set(dispatch->shaping, &measure) == 0)
        site_mark_dirty(site);
}

void via_refused(struct site *site, struct source *source, const struct engine_job *job, const struct outcome *outcome)
{
    struct via *via = via_get(site, source);
    char reply[ADAPT_WHY_BYTES];
    size_t count;
    if (via == NULL)
        return;
    if (outcome->code == 0) { /* a connection that was refused */
        slow_down(site, source, via, outcome->text);
        return;
    }
    const struct rule *rule =
        rules_match(site->dispatch->rules, outcome->mx_host, outcome->code, outcome->enhanced, outcome->text);
    if (rule == NULL)
        return;
    bool whole = strncmp(outcome->text, "421 ", 4) == 0; /* of a connection that was closed: the whole reply */
    if (whole)
        (void)str_copy(reply, sizeof reply, outcome->text);
    else
        (void)snprintf(reply, sizeof reply, "%u %s%s%.170s", outcome->code, outcome->enhanced,
                       outcome->enhanced[0] != '\0' ? " " : "", outcome->text);
    const struct rule_do *dos = rule_dos(rule, &count);
    for (size_t i = 0; i < count; i++) {
        if (dos[i].action == RULE_SLOW)
            slow_down(site, source, via, reply);
        else
            take_measure(site, source, job, rule, &dos[i], reply);
    }
}
