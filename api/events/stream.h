/*
 * stream.h - /v1/events: events as they happen, as server-sent events (WHATWG HTML, section 9.2).
 *
 *   id: 42
 *   event: bounced
 *   data: {"id":"evt_42","type":"bounced",…}
 *
 * A listener reads the outbox at its own pace: it has a small buffer, and while that is full nothing is read for it.
 * One that takes nothing for STREAM_STALL_MS is cut off. A listener that comes back with Last-Event-ID goes on behind
 * it, as far as the events are still there; else it gets `event: gap` first. With `stats` it gets the server's
 * statistics every second, without an id.
 *
 * While somebody listens to a kind, events of it are written; for STREAM_LINGER_MS longer, so that who reconnects has
 * missed nothing.
 */
#ifndef POSTHASTE_API_EVENTS_STREAM_H
#define POSTHASTE_API_EVENTS_STREAM_H

#include <microhttpd.h>

#include "api/app.h"
#include "api/events/event_view.h"
#include "api/http/watch.h"

#define STREAM_LISTENERS_MAX 64
#define STREAM_BUFFER_BYTES ((size_t)256 << 10)
#define STREAM_STALL_MS 60000
#define STREAM_BEAT_MS 10000 /* a comment, when nothing else was sent for so long */
#define STREAM_STATS_MS 1000
#define STREAM_LINGER_MS 60000

struct streams;
struct stream;

struct streams *streams_create(struct app *app); /* NULL without memory */
void streams_free(struct streams *streams);      /* no listener is left; NULL is allowed */

struct stream_wish {
    uint32_t kinds;
    bool stats;
    int64_t after; /* from Last-Event-ID; -1 = from now on */
};
/*
 * A new listener. When it returns, events of its kinds are being written. STORAGE_WRONG_STATE: there are
 * STREAM_LISTENERS_MAX, or the server ends. HTTP threads.
 */
int stream_open(struct streams *streams, const struct stream_wish *wish, struct stream **out,
                struct error *err) ATTR_MUSTCHECK;
/* What libmicrohttpd reads it with; `connection` and `watch` live as long as the answer made of it. Frees the listener
 * when the answer ends, or at once when it cannot be made (NULL). */
struct MHD_Response *stream_answer(struct stream *stream, struct MHD_Connection *connection, struct watch *watch,
                                   struct watch_entry *entry);
void stream_drop(struct stream *stream); /* never answered; NULL is allowed */

/* ---- the hub's thread ---- */

/* Gives every listener what there is for it. Milliseconds until it has to be called again, at most `most_ms`. */
int64_t streams_feed(struct streams *streams, struct event_view *view, int64_t most_ms);
/* Asks for the kinds that are wanted now, `always` among them. */
void streams_watch(struct streams *streams, uint32_t always);
/* Ends every listener, now and for good: to be called before the HTTP server is stopped. Any thread. */
void streams_end(struct streams *streams);
uint32_t streams_count(struct streams *streams); /* any thread */

#endif
