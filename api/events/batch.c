/*
 * batch.c - gathers events and makes the request of them.
 *
 * A batch ends early when its body would grow large; the event that would not fit opens the next one. What is counted
 * is the text of the events as it is sent: tags and metadata, which each of them repeats, may be most of it.
 */
#include "api/events/batch.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/events/signature.h"
#include "base/clock.h"
#include "base/str.h"
#include "campaign/campaign.h"

#define ENVELOPE_MAX_BYTES 256

struct gather {
    struct event_view *view;
    json_t *events;
    int64_t first, last, last_ms;
    size_t bytes;
    bool failed, full; /* full: there was one more, which did not fit */
};

static int gather_one(void *context, const struct storage_event *event)
{
    struct gather *gather = context;
    json_t *value = event_view_json(gather->view, event);
    size_t bytes = value != NULL ? json_dumpb(value, NULL, 0, JSON_COMPACT) + 1 : 0; /* with its comma */
    if (json_array_size(gather->events) > 0 && gather->bytes + bytes > BATCH_MAX_BYTES - ENVELOPE_MAX_BYTES) {
        json_decref(value);
        gather->full = true;
        return 1;
    }
    if (json_array_append_new(gather->events, value) != 0) {
        gather->failed = true;
        return 1;
    }
    if (gather->first == 0)
        gather->first = event->id;
    gather->last = event->id;
    gather->last_ms = event->at_ms;
    gather->bytes += bytes;
    return 0;
}

static int add_header(struct batch *batch, const char *format, ...) ATTR_PRINTF(2, 3);
static int add_header(struct batch *batch, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof(text))
        return -EINVAL;
    struct curl_slist *grown = curl_slist_append(batch->headers, text);
    if (grown == NULL)
        return -ENOMEM;
    batch->headers = grown;
    return 0;
}

static int add_headers(struct batch *batch, const struct batch_order *order, const char *id)
{
    int64_t now_s = clock_wall_ms() / 1000;
    struct buffer signature = BUFFER_INIT(1024);
    int rc = signature_append(&signature, order->secret, id, now_s, batch->body.data, batch->body.len);
    if (rc == 0 && order->old_secret[0] != '\0')
        rc = signature_append(&signature, order->old_secret, id, now_s, batch->body.data, batch->body.len);
    if (rc == 0)
        rc = add_header(batch, "Content-Type: application/json");
    if (rc == 0)
        rc = add_header(batch, "Expect:");
    if (rc == 0)
        rc = add_header(batch, "webhook-id: %s", id);
    if (rc == 0)
        rc = add_header(batch, "webhook-timestamp: %lld", (long long)now_s);
    if (rc == 0)
        rc = add_header(batch, "webhook-signature: %s", buffer_text(&signature));
    buffer_finish(&signature);
    return rc;
}

static json_t *envelope(const struct gather *gather, int most)
{
    char time[RFC3339_BYTES];
    if (most == 1)
        return json_incref(json_array_get(gather->events, 0));
    return json_pack("{s:s, s:s, s:{s:O}}", "type", "events", "timestamp", time_format_rfc3339(gather->last_ms, time),
                     "data", "events", gather->events);
}

static int write_body(struct batch *batch, const struct gather *gather, const struct batch_order *order)
{
    char id[2 * EVENT_ID_BYTES + 32];
    json_t *body = envelope(gather, order->most);
    char *text = body != NULL ? json_text_write(body, JSON_COMPACT) : NULL;
    json_decref(body);
    if (text == NULL)
        return -ENOMEM;
    batch->body = BUFFER_INIT(EVENT_BODY_MAX_BYTES);
    buffer_append_str(&batch->body, text);
    free(text);
    if (batch->body.failed)
        return -ENOMEM;
    if (order->most == 1)
        (void)event_id_text(gather->first, id);
    else
        (void)snprintf(id, sizeof(id), "batch_%lld_%lld_%lld", (long long)order->webhook_id, (long long)gather->first,
                       (long long)gather->last);
    return add_headers(batch, order, id);
}

int batch_make(struct batch *batch, struct event_view *view, const struct batch_order *order, struct error *err)
{
    *batch = (struct batch){.to = order->after};
    struct gather gather = {.view = view, .events = json_array()};
    int rc = gather.events != NULL ? storage_event_page(view->reader, order->after, order->until, order->kinds,
                                                        order->most, gather_one, &gather, &batch->to, err)
                                   : error_memory(err);
    if (rc == 0 && gather.failed)
        rc = error_memory(err);
    batch->events = (int64_t)json_array_size(gather.events);
    if (gather.full)
        batch->to = gather.last;
    if (rc == 0 && batch->events > 0 && (rc = write_body(batch, &gather, order)) != 0)
        (void)error_set(err, rc, "the request cannot be made: %s", strerror(-rc));
    json_decref(gather.events);
    if (rc != 0)
        batch_finish(batch);
    return rc;
}

void batch_finish(struct batch *batch)
{
    buffer_finish(&batch->body);
    curl_slist_free_all(batch->headers);
    *batch = (struct batch){0};
}
