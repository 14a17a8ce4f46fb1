/*
 * webhooks.h - takes batches of events to the receivers of webhooks and notes what they took. The hub's thread only.
 *
 * One batch at a time goes to each receiver, in order, and the next one goes when it has answered 2xx: so the order of
 * events holds for every delivery, and a receiver decides its own pace. A failure is tried again after a pause that
 * doubles, with the same batch under the same id, until the receiver takes it, says 410, or has taken nothing for a
 * day; then the webhook is disabled.
 */
#ifndef POSTHASTE_API_EVENTS_WEBHOOKS_H
#define POSTHASTE_API_EVENTS_WEBHOOKS_H

#include <curl/curl.h>

#include "api/app.h"
#include "api/events/event_view.h"

struct webhooks;

/* `view` outlives it and is used for nothing else meanwhile. NULL without memory. */
struct webhooks *webhooks_create(struct app *app, CURLM *multi, struct event_view *view);
void webhooks_free(struct webhooks *webhooks); /* ends transfers under way; NULL is allowed */
/* Brings what is in memory in line with the database; batches under way go on. */
void webhooks_reload(struct webhooks *webhooks);
/* Starts whatever is due. Milliseconds until something will be, at most `most_ms`. */
int64_t webhooks_run(struct webhooks *webhooks, int64_t most_ms);
/* A transfer of ours has ended. */
void webhooks_ended(struct webhooks *webhooks, CURL *easy, CURLcode code);

/* Disables those that are further behind than the configuration allows: what they have not taken is kept in the database. Behind
 * webhooks_reload(), which ends what is under way to them the next time. */
void webhooks_drop_far(struct webhooks *webhooks);

struct webhooks_counts {
    uint64_t requests, failures, events; /* since the start */
    uint32_t enabled, failing;
    uint32_t given_up; /* disabled by themselves, and nobody has looked after them since */
    int64_t behind; /* ids that the slowest enabled one has still to see */
};
void webhooks_count(const struct webhooks *webhooks, struct webhooks_counts *out);

#endif
