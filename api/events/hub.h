/*
 * hub.h - the thread that tells of events: to webhooks, to whoever listens at /v1/events, to the event log. It also
 * removes what is old.
 *
 * It reads the outbox (storage/events.h) from where each of them has come to. It sleeps while nothing happens; a commit
 * with events wakes it. Nobody waits for it: a receiver that is slow or down is behind, and nothing else.
 */
#ifndef POSTHASTE_API_EVENTS_HUB_H
#define POSTHASTE_API_EVENTS_HUB_H

#include "api/app.h"
#include "api/events/webhooks.h"

struct hub;
struct streams;

int hub_start(struct app *app, struct hub **out, struct error *err) ATTR_MUSTCHECK; /* after the mailer */
/* Ends what is under way, joins, frees. Before the mailer and the storage end. NULL is allowed. */
void hub_stop(struct hub *hub);
/* A webhook was made, changed or deleted: look at once. Any thread. */
void hub_look(struct hub *hub);

struct hub_view {
    struct webhooks_counts hooks;
    uint32_t listeners;
};
void hub_look_at(struct hub *hub, struct hub_view *out); /* any thread; zeros without a hub */

struct streams *hub_streams(struct hub *hub);
void hub_end_streams(struct hub *hub); /* before the HTTP server stops; NULL is allowed */

#endif
