/*
 * event_view.h - an event as JSON, the same for webhooks, the live stream and the event log:
 *
 *   {"id":"evt_42","type":"bounced","timestamp":"2026-11-26T10:00:00.000Z","data":{"campaign_id":7,"campaign":"Spring",
 *    "tags":["a"],"metadata":{"k":"v"},"recipient_id":9,"email":"ann@example.com","attempt":1,"uncertain":false,
 *    "code":550,"enhanced":"5.1.1","reply":"no such user","mx_host":"mx.example.com"}}
 *
 * An event that is about a campaign only has no recipient's fields; `url` (clicked) and `reason` (dropped, failed,
 * complained, guard.paused) stand where `reply` stands in the others.
 */
#ifndef POSTHASTE_API_EVENTS_EVENT_VIEW_H
#define POSTHASTE_API_EVENTS_EVENT_VIEW_H

#include <jansson.h>

#include "storage/storage.h"

/* Remembers the tags and metadata of a few campaigns. One thread. */
#define EVENT_CAMPAIGNS_KEPT 16
struct event_view {
    struct storage_reader *reader;
    struct {
        int64_t id;
        json_t *tags, *metadata; /* NULL = has none */
    } campaigns[EVENT_CAMPAIGNS_KEPT];
    size_t next;
};

void event_view_init(struct event_view *view, struct storage_reader *reader); /* the reader outlives it */
void event_view_finish(struct event_view *view);
/* A new reference; NULL: no memory, or its campaign cannot be read now. It is to be asked for again. */
json_t *event_view_json(struct event_view *view, const struct storage_event *event);

#define EVENT_ID_BYTES 32
const char *event_id_text(int64_t id, char out[EVENT_ID_BYTES]); /* "evt_42" */

#endif
