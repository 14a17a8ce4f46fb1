/*
 * hub.c - the thread of events: wakes, looks what there is to tell, tells it.
 *
 * It waits in curl_multi_poll(), so that answers of receivers and the wake-up after a commit end the same wait. Events
 * that another process wrote (a command that takes in bounces) wake nobody: it looks once a second by itself, and only
 * when the newest id has changed does it look closer.
 */
#include "api/events/hub.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "api/events/event_log.h"
#include "api/events/event_view.h"
#include "api/events/stream.h"
#include "api/events/webhooks.h"
#include "base/clock.h"
#include "base/log.h"

#define LOOK_MS 1000
#define TRIM_MS 30000
#define TRIM_EVENTS 5000 /* in one transaction */

struct hub {
    struct app *app;
    struct storage_reader *reader;
    struct event_view view;
    CURLM *multi;
    struct webhooks *webhooks;
    struct streams *streams;
    struct event_log *log;
    pthread_t thread;
    atomic_bool stop, look;
    pthread_mutex_t lock; /* guards `counts` */
    struct webhooks_counts counts;
    int64_t look_ms, trim_ms; /* monotonic: when the next of each is due */
};

/* On the writer thread, or any other. */
static void wake(void *context)
{
    struct hub *hub = context;
    (void)curl_multi_wakeup(hub->multi); /* fails only when it is being taken down, or its pipe is full: awake then */
}

void hub_look(struct hub *hub)
{
    if (hub == NULL)
        return;
    atomic_store(&hub->look, true);
    wake(hub);
}

struct streams *hub_streams(struct hub *hub)
{
    return hub->streams;
}

void hub_end_streams(struct hub *hub)
{
    if (hub != NULL)
        streams_end(hub->streams);
}

void hub_look_at(struct hub *hub, struct hub_view *out)
{
    *out = (struct hub_view){0};
    if (hub == NULL)
        return;
    (void)pthread_mutex_lock(&hub->lock);
    out->hooks = hub->counts;
    (void)pthread_mutex_unlock(&hub->lock);
    out->listeners = streams_count(hub->streams);
}

/* ---- the thread ---- */

static void reap(struct hub *hub)
{
    const CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(hub->multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE)
            webhooks_ended(hub->webhooks, message->easy_handle, message->data.result);
    }
}

/* What nobody needs any more; the next slice follows at once while there is much of it. */
static void trim(struct hub *hub, int64_t now_ms)
{
    struct error err = {""};
    int64_t removed = 0;
    if (now_ms < hub->trim_ms)
        return;
    const struct config *config = config_live_hold(hub->app->live);
    int rc = storage_event_trim(hub->app->storage, clock_wall_ms() - config->events.keep_ms,
                                config->events.log[0] != '\0', TRIM_EVENTS, &removed, &err);
    config_drop(config);
    if (rc < 0)
        log_error("events", "not_trimmed error=%s", LOG_QUOTE(err.text));
    hub->trim_ms = now_ms + (removed == TRIM_EVENTS ? LOOK_MS / 10 : TRIM_MS);
}

static void look(struct hub *hub, int64_t now_ms)
{
    if (!atomic_exchange(&hub->look, false) && now_ms < hub->look_ms)
        return;
    hub->look_ms = now_ms + LOOK_MS;
    webhooks_reload(hub->webhooks);
    webhooks_drop_far(hub->webhooks);
    streams_watch(hub->streams, hub->log != NULL ? EVENT_ALL : 0);
    struct webhooks_counts counts;
    webhooks_count(hub->webhooks, &counts);
    (void)pthread_mutex_lock(&hub->lock);
    hub->counts = counts;
    (void)pthread_mutex_unlock(&hub->lock);
}

static void *hub_main(void *context)
{
    struct hub *hub = context;
    (void)pthread_setname_np(pthread_self(), "events");
    while (!atomic_load(&hub->stop)) {
        int running;
        int64_t now_ms = clock_monotonic_ms();
        look(hub, now_ms);
        trim(hub, now_ms);
        int64_t wait_ms = webhooks_run(hub->webhooks, LOOK_MS);
        wait_ms = streams_feed(hub->streams, &hub->view, wait_ms);
        if (event_log_run(hub->log, now_ms))
            wait_ms = 0;
        (void)curl_multi_perform(hub->multi, &running);
        reap(hub);
        struct curl_waitfd full = {.fd = event_log_full(hub->log), .events = CURL_WAIT_POLLOUT};
        (void)curl_multi_poll(hub->multi, &full, full.fd >= 0, (int)wait_ms, NULL);
        (void)curl_multi_perform(hub->multi, &running);
        reap(hub);
    }
    return NULL;
}

static int open_parts(struct hub *hub, struct error *err)
{
    int rc = storage_reader_open(hub->app->storage, &hub->reader, err);
    if (rc != 0)
        return rc;
    event_view_init(&hub->view, hub->reader);
    hub->multi = curl_multi_init();
    hub->webhooks = hub->multi != NULL ? webhooks_create(hub->app, hub->multi, &hub->view) : NULL;
    hub->streams = streams_create(hub->app);
    if (hub->webhooks == NULL || hub->streams == NULL)
        return error_memory(err);
    rc = event_log_open(hub->app, &hub->view, &hub->log, err);
    return rc != 0 ? rc : storage_event_watch(hub->app->storage, hub->log != NULL ? EVENT_ALL : 0, err);
}

int hub_start(struct app *app, struct hub **out, struct error *err)
{
    struct hub *hub = calloc(1, sizeof(*hub));
    *out = NULL;
    if (hub == NULL)
        return error_memory(err);
    hub->app = app;
    atomic_init(&hub->look, true);
    assure(pthread_mutex_init(&hub->lock, NULL) == 0);
    int rc = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? open_parts(hub, err) : error_memory(err);
    if (rc == 0) {
        *out = hub; /* the thread's callbacks find it through the app */
        storage_event_notify(app->storage, wake, hub);
        rc = -pthread_create(&hub->thread, NULL, hub_main, hub);
        if (rc == 0)
            return 0;
        *out = NULL;
        storage_event_notify(app->storage, NULL, NULL);
        (void)error_errno(err, rc, "cannot start the thread of events");
    }
    atomic_store(&hub->stop, true);
    hub->thread = 0;
    hub_stop(hub);
    return rc;
}

void hub_stop(struct hub *hub)
{
    if (hub == NULL)
        return;
    bool running = !atomic_exchange(&hub->stop, true);
    storage_event_notify(hub->app->storage, NULL, NULL);
    if (running) {
        wake(hub);
        (void)pthread_join(hub->thread, NULL);
    }
    /* The writer may be on its way into wake() still; when it has carried out this call, it is not. */
    struct error err = {""};
    if (storage_event_watch(hub->app->storage, 0, &err) != 0)
        log_debug("events", "watch_not_ended error=%s", LOG_QUOTE(err.text));
    webhooks_free(hub->webhooks);
    streams_free(hub->streams);
    event_log_close(hub->log);
    if (hub->multi != NULL)
        (void)curl_multi_cleanup(hub->multi);
    event_view_finish(&hub->view);
    storage_reader_close(hub->reader);
    (void)pthread_mutex_destroy(&hub->lock);
    free(hub);
}
