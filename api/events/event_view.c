/*
 * event_view.c - what an event says. What a campaign was posted with (tags, metadata) is repeated in each of its
 * events, so that a receiver can tell whose they are without asking back; it does not change once a campaign runs, so
 * it is read once.
 */
#include "api/events/event_view.h"

#include <stdio.h>

#include "api/http/json.h"
#include "base/log.h"

void event_view_init(struct event_view *view, struct storage_reader *reader)
{
    *view = (struct event_view){.reader = reader};
}

void event_view_finish(struct event_view *view)
{
    for (size_t i = 0; i < EVENT_CAMPAIGNS_KEPT; i++) {
        json_decref(view->campaigns[i].tags);
        json_decref(view->campaigns[i].metadata);
    }
    *view = (struct event_view){0};
}

const char *event_id_text(int64_t id, char out[EVENT_ID_BYTES])
{
    (void)snprintf(out, EVENT_ID_BYTES, "evt_%lld", (long long)id);
    return out;
}

static int read_spec(void *context, const struct storage_campaign *campaign)
{
    json_t **spec = context;
    *spec = json_text_reads(campaign->spec, 0, NULL);
    return 0;
}

/* Gives the slot of the campaign; one that is there no more has neither tags nor metadata. Negative: it cannot be read
 * now, which is not remembered. */
static int campaign_slot(struct event_view *view, int64_t id, size_t *out)
{
    for (size_t i = 0; i < EVENT_CAMPAIGNS_KEPT; i++) {
        if (view->campaigns[i].id == id) {
            *out = i;
            return 0;
        }
    }
    size_t slot = view->next++ % EVENT_CAMPAIGNS_KEPT;
    struct error err = {""};
    json_t *spec = NULL;
    json_decref(view->campaigns[slot].tags);
    json_decref(view->campaigns[slot].metadata);
    int rc = storage_campaign_get(view->reader, id, read_spec, &spec, &err);
    if (rc == 0 && spec == NULL)
        rc = error_memory(&err);
    if (rc < 0)
        log_error("events", "campaign=%lld not_read error=%s", (long long)id, LOG_QUOTE(err.text));
    view->campaigns[slot].id = rc < 0 ? 0 : id;
    view->campaigns[slot].tags = json_incref(json_object_get(spec, "tags"));
    view->campaigns[slot].metadata = json_incref(json_object_get(spec, "metadata"));
    json_decref(spec);
    *out = slot;
    return MIN_OF(rc, 0);
}

static int add_campaign(struct event_view *view, json_t *data, const struct storage_event *event)
{
    (void)json_object_set_new(data, "campaign_id", json_integer(event->campaign_id));
    (void)json_object_set_new(data, "campaign", json_line(event->campaign_name));
    if (event->message_id != 0)
        return 0;
    size_t slot;
    int rc = campaign_slot(view, event->campaign_id, &slot);
    if (rc != 0)
        return rc;
    if (view->campaigns[slot].tags != NULL)
        (void)json_object_set(data, "tags", view->campaigns[slot].tags);
    if (view->campaigns[slot].metadata != NULL)
        (void)json_object_set(data, "metadata", view->campaigns[slot].metadata);
    return 0;
}

static const char *detail_name(enum event_kind kind)
{
    switch (kind) {
    case EVENT_DELIVERED:
    case EVENT_DEFERRED:
    case EVENT_BOUNCED:
        return "reply";
    case EVENT_CLICKED:
    case EVENT_OPENED:
        return "url";
    case EVENT_DROPPED:
    case EVENT_FAILED:
    case EVENT_COMPLAINED:
    case EVENT_UNSUBSCRIBED:
    case EVENT_CAMPAIGN_STARTED:
    case EVENT_CAMPAIGN_PAUSED:
    case EVENT_CAMPAIGN_RESUMED:
    case EVENT_CAMPAIGN_FINISHED:
    case EVENT_CAMPAIGN_CANCELLED:
    case EVENT_GUARD_PAUSED:
    case EVENT_KIND_COUNT:
        break;
    }
    return "reason";
}

static void add_attempt(json_t *data, const struct storage_event *event)
{
    (void)json_object_set_new(data, "attempt", json_integer(event->attempt));
    (void)json_object_set_new(data, "uncertain", json_boolean(event->uncertain));
    (void)json_object_set_new(data, "code", event->code > 0 ? json_integer(event->code) : json_null());
    (void)json_object_set_new(data, "enhanced", json_line(event->enhanced));
    (void)json_object_set_new(data, "mx_host", json_line(event->mx_host));
}

json_t *event_view_json(struct event_view *view, const struct storage_event *event)
{
    char id[EVENT_ID_BYTES];
    json_t *data = json_object();
    if (event->campaign_id != 0 && add_campaign(view, data, event) != 0) {
        json_decref(data);
        return NULL;
    }
    if (event->message_id != 0) { /* with its own tags and metadata */
        json_t *labels = json_attributes(event->labels);
        (void)json_object_set_new(data, "message_id", json_integer(event->message_id));
        (void)json_object_update(data, labels);
        json_decref(labels);
    }
    if (event->recipient_id != 0) {
        (void)json_object_set_new(data, "recipient_id", json_integer(event->recipient_id));
        (void)json_object_set_new(data, "email", json_line(event->email));
    }
    if (event->kind <= EVENT_BOUNCED || event->kind == EVENT_FAILED)
        add_attempt(data, event);
    if (event->detail[0] != '\0')
        (void)json_object_set_new(data, detail_name(event->kind), json_line(event->detail));
    return json_pack("{s:s, s:s, s:o, s:o}", "id", event_id_text(event->id, id), "type", event_kind_name(event->kind),
                     "timestamp", json_time(event->at_ms), "data", data);
}
