/*
 * stream.c - listeners, between the hub's thread, which fills their buffers, and libmicrohttpd's, which empty them.
 *
 * A connection whose listener has nothing to send is suspended, so it costs no thread and no time; the hub resumes it
 * when it has put something into the buffer. The two meet under one lock, which is never held while the database is
 * read: the hub takes a reference, reads, and puts what it has read into a listener that may be gone by then.
 */
#include "api/events/stream.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/server_stats.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"

#define BLOCK_BYTES 16384
#define PAGE_EVENTS 200

struct streams {
    struct app *app;
    pthread_mutex_t lock;     /* listeners and everything in them */
    pthread_mutex_t watching; /* held while the kinds in force are changed; taken before `lock` */
    struct list listeners;
    uint32_t count;
    bool ended;
    uint32_t linger_kinds, in_force;
    bool in_force_known;
    int64_t linger_until_ms;
};

struct stream {
    struct list node;
    struct streams *streams;
    int references; /* the answer's, and the hub's while it reads for it */
    uint32_t kinds;
    bool stats, ended, suspended, gap_told;
    int64_t position, stats_ms, sent_ms;
    struct buffer out;
    struct MHD_Connection *connection;
    struct watch *watch;
    struct watch_entry *entry;
};

struct streams *streams_create(struct app *app)
{
    struct streams *streams = calloc(1, sizeof(*streams));
    if (streams == NULL)
        return NULL;
    streams->app = app;
    list_init(&streams->listeners);
    assure(pthread_mutex_init(&streams->lock, NULL) == 0);
    assure(pthread_mutex_init(&streams->watching, NULL) == 0);
    return streams;
}

void streams_free(struct streams *streams)
{
    if (streams == NULL)
        return;
    assure(list_empty(&streams->listeners));
    (void)pthread_mutex_destroy(&streams->lock);
    (void)pthread_mutex_destroy(&streams->watching);
    free(streams);
}

/* ---- who wants what ---- */

static uint32_t wanted(struct streams *streams)
{
    uint32_t kinds = clock_monotonic_ms() < streams->linger_until_ms ? streams->linger_kinds : 0;
    list_for_each(node, &streams->listeners) kinds |= list_entry(node, struct stream, node)->kinds;
    return kinds;
}

/* 0 when events of all these kinds are written from now on. */
static int put_in_force(struct streams *streams, uint32_t always, struct error *err)
{
    (void)pthread_mutex_lock(&streams->watching);
    (void)pthread_mutex_lock(&streams->lock);
    uint32_t kinds = wanted(streams) | always;
    bool same = streams->in_force_known && kinds == streams->in_force;
    (void)pthread_mutex_unlock(&streams->lock);
    int rc = same ? 0 : storage_event_watch(streams->app->storage, kinds, err);
    if (rc == 0) {
        streams->in_force = kinds;
        streams->in_force_known = true;
    }
    (void)pthread_mutex_unlock(&streams->watching);
    return rc;
}

void streams_watch(struct streams *streams, uint32_t always)
{
    struct error err = {""};
    if (put_in_force(streams, always, &err) != 0)
        log_debug("events", "watch_failed error=%s", LOG_QUOTE(err.text));
}

/* ---- the life of a listener ---- */

/* Under the lock; it is unlocked here. */
static void release(struct stream *stream)
{
    struct streams *streams = stream->streams;
    bool last = --stream->references == 0;
    if (last) {
        list_remove(&stream->node);
        streams->count--;
        streams->linger_kinds =
            (clock_monotonic_ms() < streams->linger_until_ms ? streams->linger_kinds : 0) | stream->kinds;
        streams->linger_until_ms = clock_monotonic_ms() + STREAM_LINGER_MS;
    }
    (void)pthread_mutex_unlock(&streams->lock);
    if (!last)
        return;
    buffer_finish(&stream->out);
    free(stream);
}

void stream_drop(struct stream *stream)
{
    if (stream == NULL)
        return;
    (void)pthread_mutex_lock(&stream->streams->lock);
    stream->ended = true;
    stream->suspended = false; /* its connection is gone; nobody may wake it */
    release(stream);
}

static int find_place(struct streams *streams, int64_t *position, struct error *err)
{
    struct storage_reader *reader = NULL;
    int64_t oldest;
    int rc = storage_reader_open(streams->app->storage, &reader, err);
    if (rc == 0)
        rc = storage_event_range(reader, &oldest, position, err);
    storage_reader_close(reader);
    return rc;
}

int stream_open(struct streams *streams, const struct stream_wish *wish, struct stream **out, struct error *err)
{
    struct stream *stream = calloc(1, sizeof(*stream));
    if (stream == NULL)
        return error_memory(err);
    stream->streams = streams;
    stream->references = 1;
    stream->kinds = wish->kinds;
    stream->stats = wish->stats;
    stream->position = -1; /* the hub leaves it alone until it has one */
    stream->sent_ms = clock_monotonic_ms();
    stream->out = BUFFER_INIT(2 * STREAM_BUFFER_BYTES);
    (void)pthread_mutex_lock(&streams->lock);
    bool full = streams->ended || streams->count >= STREAM_LISTENERS_MAX;
    if (!full) {
        streams->count++;
        list_append(&streams->listeners, &stream->node);
    }
    (void)pthread_mutex_unlock(&streams->lock);
    if (full) {
        free(stream);
        (void)error_set(err, -EAGAIN, "there are %d listeners already, or the server is stopping",
                        STREAM_LISTENERS_MAX);
        return STORAGE_WRONG_STATE;
    }
    int64_t position = wish->after;
    int rc = stream->kinds != 0 ? put_in_force(streams, streams->in_force, err) : 0;
    if (rc == 0 && position < 0)
        rc = find_place(streams, &position, err);
    if (rc != 0) {
        stream_drop(stream);
        return rc;
    }
    (void)pthread_mutex_lock(&streams->lock);
    stream->position = position;
    stream->gap_told = wish->after < 0;
    (void)pthread_mutex_unlock(&streams->lock);
    *out = stream;
    return 0;
}

/* ---- libmicrohttpd's side ---- */

static ssize_t read_out(void *context, uint64_t offset, char *bytes, size_t most)
{
    struct stream *stream = context;
    ssize_t given = 0;
    (void)offset;
    (void)pthread_mutex_lock(&stream->streams->lock);
    if (stream->out.len > 0) {
        size_t len = MIN_OF(stream->out.len, most);
        memcpy(bytes, stream->out.data, len);
        buffer_consume(&stream->out, len);
        given = (ssize_t)len;
        watch_set(stream->watch, stream->entry, STREAM_STALL_MS);
    } else if (stream->ended || stream->out.failed) {
        given = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        stream->suspended = true;
        MHD_suspend_connection(stream->connection);
        watch_set(stream->watch, stream->entry, STREAM_STALL_MS);
    }
    (void)pthread_mutex_unlock(&stream->streams->lock);
    return given;
}

static void answer_over(void *context)
{
    stream_drop(context);
}

struct MHD_Response *stream_answer(struct stream *stream, struct MHD_Connection *connection, struct watch *watch,
                                   struct watch_entry *entry)
{
    (void)pthread_mutex_lock(&stream->streams->lock);
    stream->connection = connection;
    stream->watch = watch;
    stream->entry = entry;
    (void)pthread_mutex_unlock(&stream->streams->lock);
    struct MHD_Response *answer =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_out, stream, answer_over);
    if (answer == NULL)
        stream_drop(stream);
    return answer;
}

/* Under the lock. */
static void resume(struct stream *stream)
{
    if (!stream->suspended)
        return;
    stream->suspended = false;
    MHD_resume_connection(stream->connection);
}

void streams_end(struct streams *streams)
{
    if (streams == NULL)
        return;
    (void)pthread_mutex_lock(&streams->lock);
    streams->ended = true;
    list_for_each(node, &streams->listeners)
    {
        struct stream *stream = list_entry(node, struct stream, node);
        stream->ended = true;
        resume(stream);
    }
    (void)pthread_mutex_unlock(&streams->lock);
}

uint32_t streams_count(struct streams *streams)
{
    (void)pthread_mutex_lock(&streams->lock);
    uint32_t count = streams->count;
    (void)pthread_mutex_unlock(&streams->lock);
    return count;
}

/* ---- the hub's side ---- */

struct fill {
    struct event_view *view;
    struct buffer out;
};

static void put_data(struct buffer *out, json_t *value)
{
    char *text = value != NULL ? json_text_write(value, JSON_COMPACT) : NULL; /* one line: JSON escapes line ends */
    json_decref(value);
    buffer_append_str(out, "data: ");
    buffer_append_str(out, text != NULL ? text : "null");
    buffer_append_str(out, "\n\n");
    free(text);
}

static int put_event(void *context, const struct storage_event *event)
{
    struct fill *fill = context;
    json_t *value = event_view_json(fill->view, event);
    if (value == NULL) { /* better an end than a hole */
        fill->out.failed = true;
        return 1;
    }
    buffer_printf(&fill->out, "id: %lld\nevent: %s\n", (long long)event->id, event_kind_name(event->kind));
    put_data(&fill->out, value);
    return fill->out.len >= STREAM_BUFFER_BYTES / 2;
}

static void put_gap(struct fill *fill, int64_t position)
{
    int64_t oldest = 0, newest = 0;
    struct error err = {""};
    if (storage_event_range(fill->view->reader, &oldest, &newest, &err) != 0 || position + 1 >= oldest)
        return;
    buffer_append_str(&fill->out, "event: gap\n");
    put_data(&fill->out, json_pack("{s:I, s:I}", "after", (json_int_t)position, "oldest", (json_int_t)oldest));
}

static void put_stats(struct fill *fill, struct app *app)
{
    struct error err = {""};
    json_t *stats = server_stats(app, fill->view->reader, &err);
    if (stats == NULL)
        return;
    buffer_append_str(&fill->out, "event: stats\n");
    put_data(&fill->out, stats);
}

/* Reads for one listener, without the lock. True when there may be more at once. */
static bool read_for(struct stream *stream, struct fill *fill, int64_t *position, int64_t now_ms)
{
    struct error err = {""};
    int64_t from = *position;
    if (!stream->gap_told)
        put_gap(fill, from);
    if (stream->kinds != 0 && storage_event_page(fill->view->reader, from, 0, stream->kinds, PAGE_EVENTS, put_event,
                                                 fill, position, &err) != 0)
        log_debug("events", "not_read error=%s", LOG_QUOTE(err.text));
    if (stream->stats && now_ms >= stream->stats_ms) {
        put_stats(fill, stream->streams->app);
        stream->stats_ms = now_ms + STREAM_STATS_MS;
    }
    if (fill->out.len == 0 && now_ms - stream->sent_ms >= STREAM_BEAT_MS)
        buffer_append_str(&fill->out, ":\n\n");
    return *position != from;
}

/* Under the lock, which is given up and taken again. */
static bool feed_one(struct stream *stream, struct event_view *view, int64_t now_ms)
{
    struct streams *streams = stream->streams;
    struct fill fill = {.view = view, .out = BUFFER_INIT(STREAM_BUFFER_BYTES)};
    int64_t position = stream->position;
    (void)pthread_mutex_unlock(&streams->lock);
    bool more = read_for(stream, &fill, &position, now_ms);
    (void)pthread_mutex_lock(&streams->lock);
    stream->position = position;
    stream->gap_told = true;
    if (fill.out.len > 0) {
        buffer_append(&stream->out, fill.out.data, fill.out.len);
        stream->sent_ms = now_ms;
    }
    if (fill.out.failed) /* an event that does not fit, or no memory: better an end than a hole */
        stream->ended = true;
    if (stream->out.len > 0 || stream->ended || stream->out.failed)
        resume(stream);
    buffer_finish(&fill.out);
    return more;
}

int64_t streams_feed(struct streams *streams, struct event_view *view, int64_t most_ms)
{
    struct stream *all[STREAM_LISTENERS_MAX];
    size_t count = 0;
    int64_t wait_ms = most_ms, now_ms = clock_monotonic_ms();
    (void)pthread_mutex_lock(&streams->lock);
    list_for_each(node, &streams->listeners)
    {
        struct stream *stream = list_entry(node, struct stream, node);
        stream->references++;
        all[count++] = stream;
    }
    for (size_t i = 0; i < count; i++) {
        struct stream *stream = all[i];
        bool ready = stream->position >= 0 && stream->connection != NULL && !stream->ended;
        if (ready && stream->out.len < STREAM_BUFFER_BYTES / 2) {
            if (feed_one(stream, view, now_ms))
                wait_ms = 0;
            if (stream->stats)
                wait_ms = MIN_OF(wait_ms, MAX_OF(stream->stats_ms - now_ms, 0));
        } else if (stream->out.len >= STREAM_BUFFER_BYTES / 2) {
            wait_ms = MIN_OF(wait_ms, 50); /* until it has taken some */
        }
    }
    for (size_t i = 0; i < count; i++) {
        release(all[i]); /* gives the lock up */
        (void)pthread_mutex_lock(&streams->lock);
    }
    (void)pthread_mutex_unlock(&streams->lock);
    return wait_ms;
}
