/*
 * shaping.c - the keeper of the limits' state.
 */
#include "campaign/shaping.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

#define BATCH_MAX 500
#define RETRY_MS 1000
#define KEEP_MS (INT64_C(400) * 86400000) /* longer than any period of a limit */
#define FLUSH_S 5

struct shaping_keeper {
    struct storage *storage;
    struct engine *engine; /* guarded by lock, as all that follows */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct list posted, done; /* engine_record.node; done: saved before the engine was there */
    uint64_t posted_count, saved_count;
    bool stop, started;
    pthread_t thread;
    struct engine_restored *restored;
    size_t restored_count;
};

/* Reading. */

static int keep_shape(void *context, const struct storage_shape *shape)
{
    struct shaping_keeper *keeper = context;
    struct engine_restored *grown =
        reallocarray(keeper->restored, keeper->restored_count + 1, sizeof(*keeper->restored));
    if (grown == NULL)
        return -ENOMEM;
    keeper->restored = grown;
    struct engine_restored *last = &grown[keeper->restored_count];
    last->key = str_dup(shape->key);
    last->value = str_dup(shape->value);
    keeper->restored_count++;
    return last->key != NULL && last->value != NULL ? 0 : -ENOMEM;
}

static int load(struct shaping_keeper *keeper, struct error *err)
{
    struct storage_reader *reader = NULL;
    int64_t since_ms = clock_wall_ms() - KEEP_MS;
    int result = storage_shaping_expire(keeper->storage, since_ms, err);
    if (result == 0)
        result = storage_reader_open(keeper->storage, &reader, err);
    if (result == 0)
        result = storage_shaping_all(reader, since_ms, keep_shape, keeper, err);
    storage_reader_close(reader);
    return result == -ENOMEM ? error_memory(err) : result;
}

/* Writing. */

/* Hands back what is durable, without the lock: the engine has its own. */
static void hand_back(struct engine *engine, struct list *records)
{
    struct list *node;
    while ((node = list_take_first(records)) != NULL)
        engine_saved(engine, list_entry(node, struct engine_record, node));
}

/* False: not now. */
static bool write_batch(struct shaping_keeper *keeper, struct list *batch)
{
    struct storage_shape shapes[BATCH_MAX];
    struct error err = {""};
    size_t count = 0;
    list_for_each(node, batch)
    {
        const struct engine_record *record = list_entry(node, struct engine_record, node);
        shapes[count++] = (struct storage_shape){.key = record->key, .value = record->value};
    }
    int result = storage_shaping_put(keeper->storage, shapes, count, clock_wall_ms(), &err);
    if (result != 0)
        log_warn("shaping", "state-not-saved reason=%s", LOG_QUOTE(err.text));
    return result == 0;
}

static void wait_a_while(struct shaping_keeper *keeper)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += RETRY_MS / 1000;
    (void)pthread_cond_timedwait(&keeper->changed, &keeper->lock, &until);
}

static size_t take_batch(struct shaping_keeper *keeper, struct list *batch)
{
    size_t count = 0;
    struct list *node;
    while (count < BATCH_MAX && (node = list_take_first(&keeper->posted)) != NULL) {
        list_append(batch, node);
        count++;
    }
    return count;
}

static void *run(void *context)
{
    struct shaping_keeper *keeper = context;
    struct list batch = LIST_INIT(batch);
    size_t count = 0;
    pthread_setname_np(pthread_self(), "shaping");
    pthread_mutex_lock(&keeper->lock);
    for (;;) {
        if (count == 0)
            count = take_batch(keeper, &batch);
        if (count == 0 && keeper->stop)
            break;
        if (count == 0) {
            pthread_cond_wait(&keeper->changed, &keeper->lock);
            continue;
        }
        pthread_mutex_unlock(&keeper->lock);
        bool saved = write_batch(keeper, &batch);
        pthread_mutex_lock(&keeper->lock);
        if (!saved && !keeper->stop) {
            wait_a_while(keeper);
            continue;
        }
        keeper->saved_count += count; /* or given up, at the end */
        count = 0;
        list_splice(&keeper->done, &batch);
        if (keeper->engine != NULL) {
            struct list done = LIST_INIT(done);
            list_splice(&done, &keeper->done);
            pthread_mutex_unlock(&keeper->lock);
            hand_back(keeper->engine, &done);
            pthread_mutex_lock(&keeper->lock);
        }
        pthread_cond_broadcast(&keeper->changed);
    }
    pthread_mutex_unlock(&keeper->lock);
    return NULL;
}

static int start_thread(struct shaping_keeper *keeper, struct error *err)
{
    pthread_condattr_t monotonic;
    if (pthread_condattr_init(&monotonic) != 0)
        return error_memory(err);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    int code = pthread_mutex_init(&keeper->lock, NULL);
    if (code == 0)
        code = pthread_cond_init(&keeper->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    if (code == 0)
        code = pthread_create(&keeper->thread, NULL, run, keeper);
    keeper->started = code == 0;
    return code == 0 ? 0 : error_errno(err, -code, "cannot start the keeper of the limits");
}

int shaping_keeper_start(struct storage *storage, struct shaping_keeper **out, struct error *err)
{
    struct shaping_keeper *keeper = calloc(1, sizeof(*keeper));
    *out = NULL;
    if (keeper == NULL)
        return error_memory(err);
    keeper->storage = storage;
    list_init(&keeper->posted);
    list_init(&keeper->done);
    int result = load(keeper, err);
    if (result == 0)
        result = start_thread(keeper, err);
    if (result != 0) {
        shaping_keeper_stop(keeper);
        return result;
    }
    *out = keeper;
    return 0;
}

const struct engine_restored *shaping_keeper_restored(const struct shaping_keeper *keeper, size_t *count)
{
    *count = keeper->restored_count;
    return keeper->restored;
}

void shaping_keeper_attach(struct shaping_keeper *keeper, struct engine *engine)
{
    struct list done = LIST_INIT(done);
    pthread_mutex_lock(&keeper->lock);
    keeper->engine = engine;
    list_splice(&done, &keeper->done);
    pthread_mutex_unlock(&keeper->lock);
    hand_back(engine, &done);
}

void shaping_keeper_save(struct shaping_keeper *keeper, struct engine_record *record)
{
    pthread_mutex_lock(&keeper->lock);
    list_append(&keeper->posted, &record->node);
    keeper->posted_count++;
    pthread_cond_broadcast(&keeper->changed);
    pthread_mutex_unlock(&keeper->lock);
}

int shaping_keeper_flush(struct shaping_keeper *keeper)
{
    struct timespec until;
    int code = 0;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += FLUSH_S;
    pthread_mutex_lock(&keeper->lock);
    uint64_t wanted = keeper->posted_count;
    while (keeper->saved_count < wanted && code == 0)
        code = pthread_cond_timedwait(&keeper->changed, &keeper->lock, &until);
    code = keeper->saved_count < wanted ? -ETIMEDOUT : 0;
    pthread_mutex_unlock(&keeper->lock);
    return code;
}

void shaping_keeper_stop(struct shaping_keeper *keeper)
{
    if (keeper == NULL)
        return;
    if (keeper->started) {
        pthread_mutex_lock(&keeper->lock);
        keeper->stop = true;
        pthread_cond_broadcast(&keeper->changed);
        pthread_mutex_unlock(&keeper->lock);
        pthread_join(keeper->thread, NULL);
        pthread_cond_destroy(&keeper->changed);
        pthread_mutex_destroy(&keeper->lock);
    }
    for (size_t i = 0; i < keeper->restored_count; i++) {
        free((char *)(uintptr_t)keeper->restored[i].key);
        free((char *)(uintptr_t)keeper->restored[i].value);
    }
    free(keeper->restored);
    free(keeper);
}
