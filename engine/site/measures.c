/*
 * measures.c - measures in force: suspensions by hand and what automation rules did.
 *
 * Few are in force at a time, so they are a list. What they say about a site, a flow or a source is looked up again
 * only when the generation has changed or one of them has ended.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "engine/site/shaping.h"

static void lock(struct shaping *shaping)
{
    (void)pthread_mutex_lock(&shaping->lock);
}

static void unlock(struct shaping *shaping)
{
    (void)pthread_mutex_unlock(&shaping->lock);
}

static struct engine_measure *measure_at(struct list *node)
{
    return list_entry(node, struct engine_measure, node);
}

static void changed(struct shaping *shaping)
{
    atomic_fetch_add(&shaping->generation, 1);
}

static void drop(struct shaping *shaping, struct engine_measure *measure)
{
    char key[64];
    (void)snprintf(key, sizeof key, "measure %" PRIu64, measure->id);
    list_remove(&measure->node);
    shaping->measure_count--;
    free(measure);
    changed(shaping);
    shaping_save(shaping, key, "");
}

static void drop_ended(struct shaping *shaping, int64_t now_us)
{
    list_for_each_safe(node, &shaping->measures)
    {
        if (measure_at(node)->until_us <= now_us)
            drop(shaping, measure_at(node));
    }
}

/* Fields between tabs; what people wrote has none (see clean()). */
static char *format(const struct engine_measure *measure)
{
    return str_printf("%d\t%d\t%" PRIu32 "\t%" PRId64 "\t%" PRIu32 "\t%" PRId64 "\t%" PRId64 "\t%s\t%s\t%s\t%s",
                      (int)measure->scope, (int)measure->what, measure->rate.count, measure->rate.period_us,
                      measure->number, measure->since_wall_ms, measure->until_wall_ms, measure->target, measure->source,
                      measure->reason, measure->origin);
}

static void clean(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ')
            *text = ' ';
    }
}

static const char *take_field(const char *at, char *out, size_t out_bytes)
{
    size_t len = strcspn(at, "\t");
    size_t kept = MIN_OF(len, out_bytes - 1);
    memcpy(out, at, kept);
    out[kept] = '\0';
    return at + len + (at[len] == '\t' ? 1 : 0);
}

static bool parse(const char *text, struct engine_measure *out)
{
    int scope, what, used = 0;
    if (sscanf(text, "%d\t%d\t%" SCNu32 "\t%" SCNd64 "\t%" SCNu32 "\t%" SCNd64 "\t%" SCNd64 "%n", &scope, &what,
               &out->rate.count, &out->rate.period_us, &out->number, &out->since_wall_ms, &out->until_wall_ms,
               &used) != 7 ||
        scope <= SCOPE_NONE || scope >= SCOPE_COUNT || what <= WHAT_NONE || what >= WHAT_COUNT || text[used] != '\t')
        return false;
    out->scope = (enum limit_scope)scope;
    out->what = (enum limit_what)what;
    const char *at = text + used + 1;
    at = take_field(at, out->target, sizeof out->target);
    at = take_field(at, out->source, sizeof out->source);
    at = take_field(at, out->reason, sizeof out->reason);
    (void)take_field(at, out->origin, sizeof out->origin);
    return true;
}

static bool same(const struct engine_measure *a, const struct engine_measure *b)
{
    return a->scope == b->scope && a->what == b->what && strcmp(a->target, b->target) == 0 &&
           strcmp(a->source, b->source) == 0 && strcmp(a->origin, b->origin) == 0;
}

static void set_until(struct engine_measure *measure, int64_t now_us, int64_t now_wall_ms)
{
    int64_t left_ms = measure->until_wall_ms - now_wall_ms;
    measure->until_us =
        measure->until_wall_ms == 0 ? INT64_MAX : now_us + MIN_OF(left_ms, INT64_C(3153600000000)) * 1000;
}

int shaping_measure_set(struct shaping *shaping, struct engine_measure *measure)
{
    char key[64];
    struct engine_measure *copy = calloc(1, sizeof *copy);
    if (copy == NULL)
        return -ENOMEM;
    clean(measure->target);
    clean(measure->source);
    clean(measure->reason);
    clean(measure->origin);
    set_until(measure, clock_monotonic_us(), clock_wall_ms());
    lock(shaping);
    drop_ended(shaping, clock_monotonic_us());
    measure->id = 0;
    list_for_each_safe(node, &shaping->measures)
    {
        if (same(measure_at(node), measure)) {
            measure->id = measure_at(node)->id;
            list_remove(node);
            free(measure_at(node));
            shaping->measure_count--;
        }
    }
    if (measure->id == 0 && shaping->measure_count >= MEASURES_MAX) {
        unlock(shaping);
        free(copy);
        return -E2BIG;
    }
    if (measure->id == 0)
        measure->id = shaping->next_measure_id++;
    *copy = *measure;
    list_init(&copy->node);
    list_append(&shaping->measures, &copy->node);
    shaping->measure_count++;
    changed(shaping);
    (void)snprintf(key, sizeof key, "measure %" PRIu64, copy->id);
    char *text = format(copy);
    unlock(shaping);
    if (text != NULL)
        shaping_save(shaping, key, text);
    free(text);
    log_info("engine", "limit-set id=%" PRIu64 " scope=%s target=%s source=%s what=%s reason=%s", measure->id,
             LOG_QUOTE(limit_scope_name(measure->scope)), LOG_QUOTE(measure->target), LOG_QUOTE(measure->source),
             LOG_QUOTE(limit_what_name(measure->what)), LOG_QUOTE(measure->reason));
    return 0;
}

int shaping_measure_cancel(struct shaping *shaping, uint64_t id)
{
    int r = -ENOENT;
    lock(shaping);
    drop_ended(shaping, clock_monotonic_us());
    list_for_each_safe(node, &shaping->measures)
    {
        if (measure_at(node)->id == id) {
            drop(shaping, measure_at(node));
            r = 0;
        }
    }
    unlock(shaping);
    return r;
}

void measures_restore(struct shaping *shaping)
{
    int64_t now_us = clock_monotonic_us(), now_wall_ms = clock_wall_ms();
    for (size_t i = 0; i < shaping->callbacks->restored_count; i++) {
        const char *key = shaping->callbacks->restored[i].key;
        uint64_t id;
        if (strncmp(key, "measure ", 8) != 0 || str_parse_u64(key + 8, UINT64_MAX - 1, &id) < 0 || id == 0)
            continue;
        int64_t elapsed_us = 0;
        char *text = shaping_restored(shaping, key, &elapsed_us);
        struct engine_measure *measure = calloc(1, sizeof *measure);
        if (text == NULL || measure == NULL || !parse(text, measure)) {
            free(text);
            free(measure);
            continue;
        }
        free(text);
        measure->id = id;
        shaping->next_measure_id = MAX_OF(shaping->next_measure_id, id + 1);
        /* By how long it has stood, whatever the wall clock did meanwhile. */
        if (measure->until_wall_ms != 0 && elapsed_us >= 0) {
            int64_t span_ms = measure->until_wall_ms - measure->since_wall_ms;
            measure->until_us = now_us + span_ms * 1000 - elapsed_us;
            measure->until_wall_ms = now_wall_ms + (measure->until_us - now_us) / 1000;
        } else {
            set_until(measure, now_us, now_wall_ms);
        }
        list_init(&measure->node);
        list_append(&shaping->measures, &measure->node);
        shaping->measure_count++;
    }
    drop_ended(shaping, now_us);
}

/* A site that is named after a domain may be the domain's before it was known where its mail goes: what was said of it
 * holds for the domain, too. */
static bool concerns(const struct engine_measure *measure, enum limit_scope scope, const char *target,
                     const char *source, int64_t now_us)
{
    bool in_scope = measure->scope == scope || (scope == SCOPE_DOMAIN && measure->scope == SCOPE_SITE);
    return in_scope && measure->until_us > now_us && strcmp(measure->target, target) == 0 &&
           (scope != SCOPE_SITE_SOURCE || strcmp(measure->source, source) == 0);
}

static void apply(struct ruling *ruling, const struct engine_measure *measure)
{
    ruling->until_us = MIN_OF(ruling->until_us, measure->until_us);
    switch (measure->what) {
    case WHAT_SUSPENDED:
        ruling->suspended_until_us = MAX_OF(ruling->suspended_until_us, measure->until_us);
        break;
    case WHAT_RATE:
        if (rate_is_unlimited(ruling->rate) || rate_per_second(measure->rate) < rate_per_second(ruling->rate))
            ruling->rate = measure->rate;
        break;
    case WHAT_CONNECTIONS:
        ruling->connections = ruling->connections == 0 ? measure->number : MIN_OF(ruling->connections, measure->number);
        break;
    case WHAT_PER_CONNECTION:
        ruling->per_connection =
            ruling->per_connection == 0 ? measure->number : MIN_OF(ruling->per_connection, measure->number);
        break;
    case WHAT_NONE:
    case WHAT_QUOTA:
    case WHAT_BYTE_RATE:
    case WHAT_CONNECTION_RATE:
    case WHAT_ADAPTIVE:
    case WHAT_WARMUP:
    case WHAT_COUNT:
        break;
    }
}

void shaping_rule(struct shaping *shaping, struct ruling *ruling, enum limit_scope scope, const char *target,
                  const char *source, int64_t now_us)
{
    uint64_t generation = atomic_load_explicit(&shaping->generation, memory_order_acquire);
    if (ruling->generation == generation && now_us < ruling->until_us)
        return;
    *ruling = (struct ruling){.generation = generation, .until_us = INT64_MAX};
    lock(shaping);
    list_for_each(node, &shaping->measures)
    {
        if (concerns(measure_at(node), scope, target, source, now_us))
            apply(ruling, measure_at(node));
    }
    unlock(shaping);
}

bool shaping_measure_find(struct shaping *shaping, enum limit_scope scope, const char *target, const char *source,
                          enum limit_what what, struct engine_measure *out)
{
    bool found = false;
    int64_t now_us = clock_monotonic_us();
    lock(shaping);
    list_for_each(node, &shaping->measures)
    {
        const struct engine_measure *measure = measure_at(node);
        if (measure->what == what && concerns(measure, scope, target, source, now_us) &&
            (!found || measure->until_us > out->until_us)) {
            *out = *measure;
            found = true;
        }
    }
    unlock(shaping);
    return found;
}

void shaping_measures(struct shaping *shaping, engine_measure_cb *each, void *context)
{
    lock(shaping);
    drop_ended(shaping, clock_monotonic_us());
    list_for_each(node, &shaping->measures) each(context, measure_at(node));
    unlock(shaping);
}
