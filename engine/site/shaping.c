/*
 * shaping.c - records, quotas and shared bounds. Measures are in measures.c.
 *
 * A record's value is "BOOT MONOTONIC_US WALL_MS REST". The first two tell how long ago it was written as long as the
 * machine runs on; after a start of the machine only the wall clock can, and a wall clock that went back counts as no
 * time at all.
 */
#include "engine/site/shaping.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

#define SAVE_AGAIN_US ((int64_t)10000) /* while a slice is being written down */
#define CONNECT_AGAIN_US ((int64_t)50000)
#define BACKLOG_RESET_US ((int64_t)1000000)

struct state {
    char *value;
    char key[];
};

void shaping_lock(struct shaping *shaping)
{
    (void)pthread_mutex_lock(&shaping->lock);
}

void shaping_unlock(struct shaping *shaping)
{
    (void)pthread_mutex_unlock(&shaping->lock);
}

static bool put(struct hashmap *map, const char *key, void *value)
{
    return hashmap_put(map, key, strlen(key), value) == 0;
}

/* Records. */

static void keep_state(struct shaping *shaping, const char *key, const char *value)
{
    size_t len = strlen(key);
    struct state *state = hashmap_get(&shaping->states, key, len);
    char *copy = str_dup(value);
    if (copy == NULL)
        return;
    if (state == NULL) {
        state = calloc(1, sizeof *state + len + 1);
        if (state == NULL) {
            free(copy);
            return;
        }
        memcpy(state->key, key, len);
        if (!put(&shaping->states, state->key, state)) {
            free(state);
            free(copy);
            return;
        }
    }
    free(state->value);
    state->value = copy;
}

static char *stamped(const struct shaping *shaping, const char *value)
{
    return str_printf("%s %" PRId64 " %" PRId64 " %s", shaping->boot, clock_monotonic_us(), clock_wall_ms(), value);
}

static int64_t elapsed_us(const struct shaping *shaping, const char *stamp, const char **rest)
{
    char boot[40];
    int64_t mono_us, wall_ms;
    int used = 0;
    *rest = "";
    if (sscanf(stamp, "%39s %" SCNd64 " %" SCNd64 "%n", boot, &mono_us, &wall_ms, &used) != 3)
        return -1;
    *rest = stamp + used + (stamp[used] == ' ' ? 1 : 0);
    if (shaping->boot[0] != '-' && strcmp(boot, shaping->boot) == 0)
        return MAX_OF(clock_monotonic_us() - mono_us, 0);
    int64_t passed_ms = clock_wall_ms() - wall_ms;
    return passed_ms <= 0 ? 0 : MIN_OF(passed_ms, (int64_t)366 * 86400000) * 1000;
}

struct plain_record {
    struct engine_record record;
    char *value;
    char key[];
};

void shaping_save(struct shaping *shaping, const char *key, const char *value)
{
    size_t len = strlen(key);
    struct plain_record *plain = calloc(1, sizeof *plain + len + 1);
    char *text = value[0] != '\0' ? stamped(shaping, value) : str_dup("");
    if (plain == NULL || text == NULL) {
        free(plain);
        free(text);
        return; /* it is told again at the next change */
    }
    memcpy(plain->key, key, len);
    plain->value = text;
    plain->record = (struct engine_record){.key = plain->key, .value = text};
    list_init(&plain->record.node);
    shaping_lock(shaping);
    keep_state(shaping, key, text);
    shaping_unlock(shaping);
    if (shaping->callbacks->save == NULL)
        shaping_saved(shaping, &plain->record);
    else
        shaping->callbacks->save(shaping->callbacks->context, &plain->record);
}

char *shaping_restored(struct shaping *shaping, const char *key, int64_t *elapsed)
{
    const char *rest;
    char *copy = NULL;
    shaping_lock(shaping);
    const struct state *state = hashmap_get(&shaping->states, key, strlen(key));
    if (state != NULL && state->value[0] != '\0') {
        *elapsed = elapsed_us(shaping, state->value, &rest);
        copy = str_dup(rest);
    }
    shaping_unlock(shaping);
    return copy;
}

void shaping_saved(struct shaping *shaping, struct engine_record *record)
{
    if (record->owner == NULL) {
        struct plain_record *plain = container_of(record, struct plain_record, record);
        free(plain->value);
        free(plain);
        return;
    }
    struct quota_entry *entry = record->owner;
    shaping_lock(shaping);
    keep_state(shaping, entry->key, entry->text);
    quota_saved(&entry->quota);
    free(entry->text);
    entry->text = NULL;
    shaping_unlock(shaping);
}

/* Quotas. */

static void write_quota(struct quota_entry *entry, int64_t now_us, bool final)
{
    struct shaping *shaping = entry->shaping;
    char text[QUOTA_TEXT_BYTES];
    quota_write(&entry->quota, now_us, final, text);
    char *value = stamped(shaping, text);
    if (value == NULL) {
        entry->quota.asked = 0;
        return;
    }
    free(entry->text);
    entry->text = value;
    entry->record = (struct engine_record){.owner = entry, .key = entry->key, .value = value};
    list_init(&entry->record.node);
    if (shaping->callbacks->save != NULL)
        shaping->callbacks->save(shaping->callbacks->context, &entry->record);
    else
        quota_saved(&entry->quota);
}

static void restore_quota(struct quota_entry *entry, int64_t now_us)
{
    const char *rest;
    const struct state *state = hashmap_get(&entry->shaping->states, entry->key, strlen(entry->key));
    if (state == NULL || state->value[0] == '\0')
        return;
    int64_t elapsed = elapsed_us(entry->shaping, state->value, &rest);
    if (quota_read(&entry->quota, rest, elapsed, now_us) < 0)
        log_error("engine", "state-not-understood key=%s", LOG_QUOTE(entry->key));
}

struct quota_entry *shaping_quota(struct shaping *shaping, const char *key, uint32_t count, int64_t period_us)
{
    char name[512];
    (void)snprintf(name, sizeof name, "quota %.400s %" PRId64, key, period_us / 1000000);
    size_t len = strlen(name);
    int64_t now_us = clock_monotonic_us();
    shaping_lock(shaping);
    struct quota_entry *entry = hashmap_get(&shaping->quotas, name, len);
    if (entry == NULL) {
        entry = calloc(1, sizeof *entry + len + 1);
        if (entry != NULL) {
            memcpy(entry->key, name, len);
            entry->shaping = shaping;
            quota_init(&entry->quota, count, period_us, now_us);
            if (put(&shaping->quotas, entry->key, entry)) {
                restore_quota(entry, now_us);
            } else {
                free(entry);
                entry = NULL;
            }
        }
    } else if (entry->quota.count != count) {
        quota_change(&entry->quota, count);
    }
    shaping_unlock(shaping);
    return entry;
}

int64_t shaping_quota_next_us(struct shaping *shaping, struct quota_entry *entry, int64_t interval_us)
{
    shaping_lock(shaping);
    struct quota *quota = &entry->quota;
    int64_t next_us = 0, now_us = clock_monotonic_us();
    for (int64_t back = QUOTA_STEPS; back >= 0 && quota->period_us > 0; back--) {
        uint32_t used = quota->used[(uint64_t)(quota->step - back) % (QUOTA_STEPS + 1)];
        int64_t end_us = MIN_OF((now_us / quota->step_us + 1 - back) * quota->step_us, now_us);
        if (used > 0)
            next_us = MAX_OF(next_us, end_us) + (int64_t)used * interval_us;
    }
    shaping_unlock(shaping);
    return MAX_OF(next_us, 0);
}

/* With the lock held. */
static int64_t quota_wait_us(struct quota_entry *entry, int64_t now_us)
{
    int64_t until_us;
    enum quota_answer answer = quota_ask(&entry->quota, now_us, &until_us);
    if (answer != QUOTA_FULL && quota_wants_slice(&entry->quota, now_us))
        write_quota(entry, now_us, false);
    if (answer == QUOTA_UNSAVED && entry->quota.reserved > 0)
        return 0;
    return answer == QUOTA_OPEN ? 0 : answer == QUOTA_FULL ? until_us : now_us + SAVE_AGAIN_US;
}

int64_t shaping_quota_wait_us(struct quota_entry *entry, int64_t now_us)
{
    shaping_lock(entry->shaping);
    int64_t until_us = quota_wait_us(entry, now_us);
    shaping_unlock(entry->shaping);
    return until_us;
}

uint32_t shaping_quota_used(struct quota_entry *entry, int64_t now_us)
{
    shaping_lock(entry->shaping);
    uint32_t used = entry->quota.count - quota_left(&entry->quota, now_us);
    shaping_unlock(entry->shaping);
    return used;
}

void shaping_quotas(struct shaping *shaping, void (*each)(void *context, const char *key, uint32_t used), void *context)
{
    size_t cursor = 0;
    struct quota_entry *entry;
    int64_t now_us = clock_monotonic_us();
    shaping_lock(shaping);
    while ((entry = hashmap_next(&shaping->quotas, &cursor)) != NULL)
        each(context, entry->key, entry->quota.count - quota_left(&entry->quota, now_us));
    shaping_unlock(shaping);
}

uint32_t shaping_connections(struct shaping *shaping, const struct shared *shared)
{
    if (shared == NULL)
        return 0;
    shaping_lock(shaping);
    uint32_t count = shared->bounds.conn_count;
    shaping_unlock(shaping);
    return count;
}

/* Shared bounds. */

static struct shared *make_shared(struct shaping *shaping, enum limit_scope scope, const char *key, size_t len,
                                  const struct bounds_spec *spec)
{
    struct shared *shared = calloc(1, sizeof *shared + len + 1);
    if (shared == NULL)
        return NULL;
    memcpy(shared->key, key, len);
    shared->scope = scope;
    if (bounds_init(&shared->bounds, spec, shaping, key, MAX_OF(shaping->begun_us, shaping->changed_us)) < 0) {
        free(shared);
        return NULL;
    }
    if (!put(&shaping->shareds, shared->key, shared)) {
        bounds_finish(&shared->bounds);
        free(shared);
        return NULL;
    }
    return shared;
}

struct shared *shaping_shared(struct shaping *shaping, uint64_t version, enum limit_scope scope, const char *name,
                              const struct bounds_spec *spec, bool *lacked)
{
    char key[400];
    bool unlimited = bounds_spec_is_empty(spec), failed = false;
    (void)snprintf(key, sizeof key, "%s %.350s", limit_scope_name(scope), name);
    size_t len = strlen(key);
    shaping_lock(shaping);
    struct shared *shared = hashmap_get(&shaping->shareds, key, len);
    if (shared == NULL && !unlimited) {
        shared = make_shared(shaping, scope, key, len, spec);
        failed = shared == NULL;
        if (shared != NULL)
            shared->version = version;
    } else if (shared != NULL && version > shared->version) {
        failed = bounds_change(&shared->bounds, spec, shaping, key, clock_monotonic_us()) < 0;
        if (!failed) {
            shared->version = version;
            shared->next_slot_us = 0; /* those who wait ask anew */
        }
    }
    shaping_unlock(shaping);
    if (failed && lacked != NULL)
        *lacked = true;
    return unlimited ? NULL : shared;
}

/* A place of its own in the queue for a closed limit. */
static int64_t slot_us(struct shared *shared, int64_t until_us, int64_t now_us)
{
    int64_t interval_us = shared->bounds.messages.interval_us;
    int64_t idle_us = now_us - shared->bounds.messages.next_us;
    if (interval_us > BACKLOG_RESET_US)
        return until_us;
    if (idle_us > MAX_OF(interval_us * 4, (int64_t)50000) || shared->next_slot_us - now_us > (int64_t)60000000)
        shared->next_slot_us = until_us; /* those who were given a time did not come */
    int64_t slot = MAX_OF(shared->next_slot_us, until_us);
    shared->next_slot_us = slot + interval_us;
    return slot;
}

/* With the lock held. */
static int64_t ask_all(const struct shared_set *set, const struct quota_set *quotas, int64_t now_us,
                       struct holder *holder)
{
    int64_t latest = 0;
    for (size_t i = 0; i < SHARED_MAX; i++) {
        enum limit_what why = WHAT_NONE;
        int64_t until = set->each[i] != NULL ? bounds_wait_until_us(&set->each[i]->bounds, now_us, &why) : 0;
        if (until > latest) {
            latest = until;
            *holder = (struct holder){.shared = set->each[i], .what = why};
        }
    }
    for (size_t i = 0; i < QUOTAS_MAX; i++) {
        int64_t until = quotas->each[i] != NULL ? quota_wait_us(quotas->each[i], now_us) : 0;
        if (until > latest) {
            latest = until;
            *holder = (struct holder){.quota = i, .what = WHAT_QUOTA};
        }
    }
    return latest;
}

/* With the lock held, after ask_all() said 0. */
static int pay_all(const struct shared_set *set, const struct quota_set *quotas, int64_t now_us, size_t bytes,
                   uint64_t tickets[SHARED_MAX])
{
    for (size_t i = 0; i < SHARED_MAX; i++) {
        if (set->each[i] == NULL)
            continue;
        struct bounds *bounds = &set->each[i]->bounds;
        int r = bounds_take(bounds, now_us, bytes, &tickets[i]);
        if (r < 0)
            return r;
        if (bounds->quota != NULL)
            quota_take(&bounds->quota->quota, now_us);
    }
    for (size_t i = 0; i < QUOTAS_MAX; i++) {
        if (quotas->each[i] != NULL)
            quota_take(&quotas->each[i]->quota, now_us);
    }
    return 0;
}

int64_t shaping_take(struct shaping *shaping, const struct shared_set *set, const struct quota_set *quotas,
                     int64_t now_us, size_t bytes, uint64_t tickets[SHARED_MAX], struct holder *holder)
{
    *holder = (struct holder){0};
    shaping_lock(shaping);
    int64_t until = ask_all(set, quotas, now_us, holder);
    if (until > 0 && holder->shared != NULL && holder->what == WHAT_RATE)
        until = slot_us(holder->shared, until, now_us);
    else if (until == 0)
        until = pay_all(set, quotas, now_us, bytes, tickets);
    shaping_unlock(shaping);
    return until;
}

void shaping_done(struct shaping *shaping, const struct shared_set *set, const uint64_t tickets[SHARED_MAX],
                  int64_t now_us)
{
    shaping_lock(shaping);
    for (size_t i = 0; i < SHARED_MAX; i++) {
        if (set->each[i] != NULL)
            bounds_done(&set->each[i]->bounds, tickets[i], now_us);
    }
    shaping_unlock(shaping);
}

int64_t shaping_connect(struct shaping *shaping, const struct shared_set *set, int64_t now_us, struct shared **by,
                        enum limit_what *what)
{
    int64_t latest = 0;
    *by = NULL;
    shaping_lock(shaping);
    for (size_t i = 0; i < SHARED_MAX; i++) {
        enum limit_what why = WHAT_NONE;
        int64_t until = set->each[i] != NULL ? bounds_connect_wait_us(&set->each[i]->bounds, now_us, &why) : 0;
        if (until > latest) {
            latest = until;
            *by = set->each[i];
            *what = why;
        }
    }
    for (size_t i = 0; i < SHARED_MAX && latest == 0; i++) {
        if (set->each[i] != NULL)
            bounds_connected(&set->each[i]->bounds, now_us);
    }
    shaping_unlock(shaping);
    return latest;
}

void shaping_disconnect(struct shaping *shaping, const struct shared_set *set)
{
    shaping_lock(shaping);
    for (size_t i = 0; i < SHARED_MAX; i++) {
        if (set->each[i] != NULL)
            bounds_disconnected(&set->each[i]->bounds);
    }
    shaping_unlock(shaping);
}

void shaping_recount(struct shaping *shaping, struct shared_set *counted, const struct shared_set *now)
{
    shaping_lock(shaping);
    for (size_t i = 0; i < SHARED_MAX; i++) {
        if (counted->each[i] == now->each[i])
            continue;
        if (counted->each[i] != NULL)
            bounds_disconnected(&counted->each[i]->bounds);
        if (now->each[i] != NULL)
            now->each[i]->bounds.conn_count++;
    }
    shaping_unlock(shaping);
    *counted = *now;
}

/* Birth and end. */

static void read_boot_id(struct shaping *shaping)
{
    (void)str_copy(shaping->boot, sizeof shaping->boot, "-");
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    char text[40] = "";
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    size_t len = n > 0 ? strcspn(text, " \n") : 0;
    text[len] = '\0';
    if (len > 0)
        (void)str_copy(shaping->boot, sizeof shaping->boot, text);
}

int shaping_init(struct shaping *shaping, const struct engine_callbacks *callbacks, struct error *err)
{
    pthread_mutexattr_t recursive; /* shared bounds make their quota while they are made themselves */
    *shaping = (struct shaping){.callbacks = callbacks, .next_measure_id = 1};
    list_init(&shaping->measures);
    atomic_init(&shaping->generation, 1);
    if (pthread_mutexattr_init(&recursive) != 0)
        return error_memory(err);
    (void)pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    int r = pthread_mutex_init(&shaping->lock, &recursive);
    (void)pthread_mutexattr_destroy(&recursive);
    if (r != 0)
        return error_memory(err);
    shaping->begun_us = clock_monotonic_us();
    shaping->begun_wall_ms = clock_wall_ms();
    read_boot_id(shaping);
    for (size_t i = 0; i < callbacks->restored_count; i++)
        keep_state(shaping, callbacks->restored[i].key, callbacks->restored[i].value);
    measures_restore(shaping);
    return 0;
}

void shaping_close(struct shaping *shaping)
{
    size_t cursor = 0;
    struct quota_entry *entry;
    int64_t now_us = clock_monotonic_us();
    shaping_lock(shaping);
    while ((entry = hashmap_next(&shaping->quotas, &cursor)) != NULL) {
        char text[QUOTA_TEXT_BYTES];
        entry->quota.asked = 0; /* an answer that is still under way adds nothing */
        quota_write(&entry->quota, now_us, true, text);
        shaping_save(shaping, entry->key, text);
    }
    shaping_unlock(shaping);
}

void shaping_finish(struct shaping *shaping)
{
    size_t cursor = 0;
    struct state *state;
    struct quota_entry *entry;
    struct shared *shared;
    struct list *node;
    while ((state = hashmap_next(&shaping->states, &cursor)) != NULL) {
        free(state->value);
        free(state);
    }
    for (cursor = 0; (entry = hashmap_next(&shaping->quotas, &cursor)) != NULL;) {
        free(entry->text);
        free(entry);
    }
    for (cursor = 0; (shared = hashmap_next(&shaping->shareds, &cursor)) != NULL;) {
        bounds_finish(&shared->bounds);
        free(shared);
    }
    while ((node = list_take_first(&shaping->measures)) != NULL)
        free(list_entry(node, struct engine_measure, node));
    hashmap_finish(&shaping->states);
    hashmap_finish(&shaping->quotas);
    hashmap_finish(&shaping->shareds);
    (void)pthread_mutex_destroy(&shaping->lock);
}
