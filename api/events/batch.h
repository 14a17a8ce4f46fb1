/*
 * batch.h - one request to the receiver of a webhook: its body and its signed headers.
 *
 * A webhook with `batch` 1 gets each event for itself, {"type","timestamp","data"} as Standard Webhooks has it; with
 * more,
 * {"type":"events","timestamp","data":{"events":[…]}}. The id of a single event is the event's, that of a batch names
 * its first and last; both stay the same however often they are sent.
 */
#ifndef POSTHASTE_API_EVENTS_BATCH_H
#define POSTHASTE_API_EVENTS_BATCH_H

#include <curl/curl.h>

#include "api/events/event_view.h"
#include "base/buffer.h"

#define BATCH_MAX_BYTES ((size_t)1 << 20) /* a body with more than one event in it */
/* One with a single event: always enough, for its tags and metadata came in one request of HTTP_BODY_MAX_BYTES. */
#define EVENT_BODY_MAX_BYTES ((size_t)16 << 20)

struct batch_order {
    int64_t webhook_id;
    int64_t after, until; /* until 0 = as many as there are, up to `most` */
    uint32_t kinds;
    int most;
    const char *secret, *old_secret; /* old_secret "" = none */
};

struct batch {
    int64_t to;     /* everything up to this id was looked at */
    int64_t events; /* in the body; 0 = there is no body */
    struct buffer body;
    struct curl_slist *headers;
};

/* 0, also when there is nothing to send. On failure nothing is kept. */
int batch_make(struct batch *batch, struct event_view *view, const struct batch_order *order,
               struct error *err) ATTR_MUSTCHECK;
void batch_finish(struct batch *batch); /* harmless on an empty one */

#endif
