/*
 * events.h - the outbox: what happened, in order, for webhooks, the live stream and the event log; public, included
 * through storage/storage.h.
 *
 * An event is written in the very transaction of what it tells of, so neither can be without the other, whatever ends
 * the process. It is written only while somebody wants its kind (a webhook that is not disabled, or the server's own
 * streams), so who has no webhooks pays nothing for them. Ids rise in the order of commits; a reader that remembers the
 * last id it has seen misses nothing and sees nothing twice.
 */
#ifndef POSTHASTE_STORAGE_EVENTS_H
#define POSTHASTE_STORAGE_EVENTS_H

#include "storage/storage.h"

/* The numbers are in the database: append only. */
#define EVENT_KINDS(X)                                                                                                 \
    X(EVENT_DELIVERED, "delivered")                                                                                    \
    X(EVENT_DEFERRED, "deferred")                                                                                      \
    X(EVENT_BOUNCED, "bounced")                                                                                        \
    X(EVENT_DROPPED, "dropped") /* suppressed, or not on the list any more */                                          \
    X(EVENT_FAILED, "failed")   /* expired, or could not be composed */                                                \
    X(EVENT_COMPLAINED, "complained")                                                                                  \
    X(EVENT_UNSUBSCRIBED, "unsubscribed")                                                                              \
    X(EVENT_OPENED, "opened")                                                                                          \
    X(EVENT_CLICKED, "clicked")                                                                                        \
    X(EVENT_CAMPAIGN_STARTED, "campaign.started")                                                                      \
    X(EVENT_CAMPAIGN_PAUSED, "campaign.paused")                                                                        \
    X(EVENT_CAMPAIGN_RESUMED, "campaign.resumed")                                                                      \
    X(EVENT_CAMPAIGN_FINISHED, "campaign.finished")                                                                    \
    X(EVENT_CAMPAIGN_CANCELLED, "campaign.cancelled")                                                                  \
    X(EVENT_GUARD_PAUSED, "guard.paused")
#define EVENT_ENUM(symbol, name) symbol,
enum event_kind { EVENT_KINDS(EVENT_ENUM) EVENT_KIND_COUNT };
#undef EVENT_ENUM

#define EVENT_ALL ((UINT32_C(1) << EVENT_KIND_COUNT) - 1)
const char *event_kind_name(enum event_kind kind);
/* "delivered", "campaign.*" or "*": its bits, or 0 for a name that is none. */
uint32_t event_kinds_parse(const char *name);

struct storage_event {
    int64_t id;
    enum event_kind kind;
    int64_t campaign_id, recipient_id; /* 0 = none */
    int64_t message_id;                /* read only: of a single message (messages.h), else 0 */
    const char *labels;                /* read only: of that message, "" when there is none */
    int64_t at_ms;
    int attempt; /* the how-manieth; 0 = none was made */
    bool uncertain;
    int code; /* of the reply, 0 = there was none */
    const char *enhanced, *mx_host;
    const char *detail;                /* the reply, the link that was clicked, the reason; "" = none */
    const char *email, *campaign_name; /* "" when gone (or of no recipient); what an id's text was when it is read */
};
typedef int storage_event_cb(void *context, const struct storage_event *event);

/*
 * Events with id > after (and <= until, 0 = no end) of these kinds, oldest first: at most `limit`, and at most
 * EVENT_SCAN_MAX rows are looked at. `*reached` gets the id up to which everything was seen: go on from there; it is
 * `after` when there is nothing newer.
 */
#define EVENT_SCAN_MAX 5000
int storage_event_page(struct storage_reader *reader, int64_t after, int64_t until, uint32_t kinds, int limit,
                       storage_event_cb *each, void *context, int64_t *reached, struct error *err) ATTR_MUSTCHECK;
/* The ids that are there, 0 and 0 for none. */
int storage_event_range(struct storage_reader *reader, int64_t *oldest, int64_t *newest,
                        struct error *err) ATTR_MUSTCHECK;
/* The id before the first event of the minute that holds `from_ms`, or of what is left after it. */
int storage_event_before(struct storage_reader *reader, int64_t from_ms, int64_t *position,
                         struct error *err) ATTR_MUSTCHECK;

/* What the server's own readers (streams, log) want from now on; kept until it is set again, so the server sets it
 * when it starts. */
int storage_event_watch(struct storage *storage, uint32_t kinds, struct error *err) ATTR_MUSTCHECK;
/* Called on the writer thread after each commit that wrote events; must not block. NULL ends it. Events of other
 * processes are not told: look now and then. */
typedef void storage_event_notify_cb(void *context);
void storage_event_notify(struct storage *storage, storage_event_notify_cb *notify, void *context);

/* Removes at most `limit` events that are older than `before_ms` and that no enabled webhook, nor the log (if
 * `logging`), has still to take. */
int storage_event_trim(struct storage *storage, int64_t before_ms, bool logging, int limit, int64_t *removed,
                       struct error *err) ATTR_MUSTCHECK;
/* How far the event log has written; 0: it never began. */
#define STORAGE_EVENT_LOG_BEGUN (-1) /* with what comes first */
int storage_event_logged(struct storage_reader *reader, int64_t *position, struct error *err) ATTR_MUSTCHECK;
int storage_event_set_logged(struct storage *storage, int64_t position, struct error *err) ATTR_MUSTCHECK;

#endif
