/*
 * tracker.c - link tables in memory, and the thread that records hits.
 *
 * A launched campaign's table never changes, so it is read once and kept; a draft's (there after a test) is read each
 * time. When CACHE_MAX campaigns are kept all are forgotten: the next click of each reads its table again.
 *
 * Hits gather in an array while a transaction runs; the next takes them all. Memory is bounded: when the disk does not
 * keep up for so long that the array is full, hits are dropped and counted, and people are redirected all the same.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/hashmap.h"
#include "base/log.h"
#include "base/str.h"

#include "campaign/tracking/tracker.h"

#define CACHE_MAX 1000
#define GATHER_MS 50 /* from the first hit to the transaction: company for it */
#define RETRY_MS 1000

struct table {
    int64_t campaign_id; /* the key */
    size_t count;
    char *urls[TRACKING_LINKS_MAX];
};

struct tracker {
    struct storage *storage;
    pthread_rwlock_t tables_lock;
    struct hashmap tables;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t filled; /* on CLOCK_MONOTONIC */
    struct storage_hit *waiting;
    size_t count;
    bool stopping;
    struct tracking_counts counts;
};

/* ---- tables ---- */

static void table_free(struct table *table)
{
    if (table == NULL)
        return;
    for (size_t i = 0; i < table->count; i++)
        free(table->urls[i]);
    free(table);
}

static void forget_tables(struct tracker *tracker)
{
    size_t cursor = 0;
    struct table *table;
    while ((table = hashmap_next(&tracker->tables, &cursor)) != NULL)
        table_free(table);
    hashmap_finish(&tracker->tables);
    tracker->tables = HASHMAP_INIT;
}

struct reading {
    struct table *table;
    bool failed;
};

static int take_link(void *context, const struct storage_link *link)
{
    struct reading *reading = context;
    struct table *table = reading->table;
    char *copy = (size_t)link->number == table->count + 1 ? str_dup(link->url) : NULL;
    reading->failed |= copy == NULL;
    if (copy != NULL)
        table->urls[table->count++] = copy;
    return reading->failed ? 1 : 0;
}

static int take_status(void *context, const struct storage_campaign *campaign)
{
    *(enum campaign_status *)context = campaign->status;
    return 0;
}

/* 0, STORAGE_NOT_FOUND or negative. *lasting: the campaign was launched. */
static int read_table(struct storage_reader *reader, int64_t campaign_id, struct table **out, bool *lasting,
                      struct error *err)
{
    enum campaign_status status = CAMPAIGN_DRAFT;
    /* The status first: what is launched by then is frozen by then. */
    int rc = storage_campaign_get(reader, campaign_id, take_status, &status, err);
    if (rc != 0)
        return rc;
    *lasting = status != CAMPAIGN_DRAFT && status != CAMPAIGN_SCHEDULED;
    struct reading reading = {.table = calloc(1, sizeof(*reading.table))};
    if (reading.table == NULL)
        return error_memory(err);
    reading.table->campaign_id = campaign_id;
    rc = storage_link_page(reader, campaign_id, 0, TRACKING_LINKS_MAX, take_link, &reading, NULL, err);
    if (rc == 0 && reading.failed)
        rc = error_memory(err);
    if (rc < 0) {
        table_free(reading.table);
        return rc;
    }
    *out = reading.table;
    return 0;
}

static int append_url(const struct table *table, unsigned number, struct buffer *out, struct error *err)
{
    if (number == 0 || number > table->count)
        return STORAGE_NOT_FOUND;
    buffer_append_str(out, table->urls[number - 1]);
    return out->failed ? error_memory(err) : 0;
}

int tracker_url(struct tracker *tracker, struct storage_reader *reader, int64_t campaign_id, unsigned number,
                struct buffer *out, struct error *err)
{
    pthread_rwlock_rdlock(&tracker->tables_lock);
    struct table *table = hashmap_get(&tracker->tables, &campaign_id, sizeof(campaign_id));
    int rc = table != NULL ? append_url(table, number, out, err) : 0;
    pthread_rwlock_unlock(&tracker->tables_lock);
    if (table != NULL)
        return rc;
    bool lasting = false;
    rc = read_table(reader, campaign_id, &table, &lasting, err);
    if (rc != 0)
        return rc;
    assure(table != NULL);
    rc = append_url(table, number, out, err);
    if (lasting) {
        pthread_rwlock_wrlock(&tracker->tables_lock);
        if (tracker->tables.count >= CACHE_MAX)
            forget_tables(tracker);
        if (hashmap_put(&tracker->tables, &table->campaign_id, sizeof(table->campaign_id), table) == 0)
            table = NULL;
        pthread_rwlock_unlock(&tracker->tables_lock);
    }
    table_free(table);
    return rc;
}

/* ---- hits ---- */

void tracker_post(struct tracker *tracker, const struct storage_hit *hit)
{
    pthread_mutex_lock(&tracker->lock);
    if (tracker->count < TRACKER_WAITING_MAX)
        tracker->waiting[tracker->count++] = *hit;
    else
        tracker->counts.dropped++;
    if (tracker->count == 1)
        pthread_cond_signal(&tracker->filled);
    pthread_mutex_unlock(&tracker->lock);
}

void tracker_counts(struct tracker *tracker, struct tracking_counts *out)
{
    pthread_mutex_lock(&tracker->lock);
    *out = tracker->counts;
    pthread_mutex_unlock(&tracker->lock);
}

/* Under the lock; ends early only when the tracker stops. */
static void pause_ms(struct tracker *tracker, int64_t ms)
{
    int64_t end_us = clock_monotonic_us() + ms * 1000;
    const struct timespec end = {.tv_sec = end_us / 1000000, .tv_nsec = end_us % 1000000 * 1000};
    while (!tracker->stopping && clock_monotonic_us() < end_us)
        (void)pthread_cond_timedwait(&tracker->filled, &tracker->lock, &end);
}

/* The first of what waits; under the lock, which is given up while the database works. False: refused. */
static bool record_some(struct tracker *tracker, struct storage_hit *batch)
{
    struct error err = {""};
    size_t count = MIN_OF(tracker->count, (size_t)TRACKING_HITS_MAX);
    memcpy(batch, tracker->waiting, count * sizeof(*batch));
    pthread_mutex_unlock(&tracker->lock);
    int rc = storage_hits_record(tracker->storage, batch, count, &err);
    if (rc != 0)
        log_error("tracking", "hits are not recorded count=%zu reason=%s", count, LOG_QUOTE(err.text));
    pthread_mutex_lock(&tracker->lock);
    if (rc != 0)
        return false;
    tracker->count -= count;
    tracker->counts.recorded += count;
    memmove(tracker->waiting, tracker->waiting + count, tracker->count * sizeof(*batch));
    return true;
}

static void *tracker_main(void *context)
{
    struct tracker *tracker = context;
    static _Thread_local struct storage_hit batch[TRACKING_HITS_MAX];
    pthread_setname_np(pthread_self(), "tracker");
    pthread_mutex_lock(&tracker->lock);
    for (;;) {
        while (tracker->count == 0 && !tracker->stopping)
            pthread_cond_wait(&tracker->filled, &tracker->lock);
        if (tracker->count == 0)
            break;
        pause_ms(tracker, GATHER_MS);
        if (record_some(tracker, batch))
            continue;
        if (tracker->stopping)
            break;
        pause_ms(tracker, RETRY_MS);
    }
    pthread_mutex_unlock(&tracker->lock);
    return NULL;
}

int tracker_start(struct storage *storage, struct tracker **out, struct error *err)
{
    struct tracker *tracker = calloc(1, sizeof(*tracker));
    if (tracker != NULL)
        tracker->waiting = calloc(TRACKER_WAITING_MAX, sizeof(*tracker->waiting));
    if (tracker == NULL || tracker->waiting == NULL) {
        free(tracker);
        return error_memory(err);
    }
    tracker->storage = storage;
    tracker->tables = HASHMAP_INIT;
    pthread_condattr_t monotonic;
    assure(pthread_condattr_init(&monotonic) == 0);
    assure(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    assure(pthread_cond_init(&tracker->filled, &monotonic) == 0);
    (void)pthread_condattr_destroy(&monotonic);
    assure(pthread_mutex_init(&tracker->lock, NULL) == 0);
    assure(pthread_rwlock_init(&tracker->tables_lock, NULL) == 0);
    int rc = -pthread_create(&tracker->thread, NULL, tracker_main, tracker);
    if (rc == 0) {
        *out = tracker;
        return 0;
    }
    free(tracker->waiting);
    free(tracker);
    return error_errno(err, rc, "tracker thread");
}

void tracker_stop(struct tracker *tracker)
{
    if (tracker == NULL)
        return;
    pthread_mutex_lock(&tracker->lock);
    tracker->stopping = true;
    pthread_cond_signal(&tracker->filled);
    pthread_mutex_unlock(&tracker->lock);
    pthread_join(tracker->thread, NULL);
    if (tracker->count > 0)
        log_error("tracking", "hits are lost count=%zu", tracker->count);
    forget_tables(tracker);
    pthread_rwlock_destroy(&tracker->tables_lock);
    pthread_mutex_destroy(&tracker->lock);
    pthread_cond_destroy(&tracker->filled);
    free(tracker->waiting);
    free(tracker);
}
