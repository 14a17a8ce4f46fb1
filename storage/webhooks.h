/*
 * webhooks.h - who is told of events, and how far each has come; public, included through storage/storage.h.
 *
 * A webhook has a place in the outbox (storage/events.h): everything up to `position` was taken by its receiver. It
 * moves only when the receiver has said so, in one durable step, so a crash repeats at the most the batch that was out.
 * A webhook that is disabled keeps its place, but what happens meanwhile is not kept for it.
 */
#ifndef POSTHASTE_STORAGE_WEBHOOKS_H
#define POSTHASTE_STORAGE_WEBHOOKS_H

#include "storage/storage.h"

#define WEBHOOKS_MAX 100
#define WEBHOOK_BATCH_MAX 1000

struct storage_webhook {
    int64_t id;
    const char *url, *description;
    uint32_t kinds;     /* 1 << enum event_kind */
    int batch;          /* events in one request, 1..WEBHOOK_BATCH_MAX */
    const char *secret; /* "whsec_…" */
    const char *old_secret;
    int64_t old_until_ms; /* until then old_secret signs beside the new one */
    int64_t created_ms;
    bool disabled;
    const char *reason; /* why it is disabled */
    int64_t position;
    int64_t batch_end; /* of the batch that is tried again; 0 = none is */
    int attempts;      /* of that batch */
    int64_t failing_since_ms, next_attempt_ms, last_success_ms;
    int last_code; /* HTTP status of the last attempt, 0 = none came */
    const char *last_error;
    int64_t taken; /* events that the receiver took, ever */
};
typedef int storage_webhook_cb(void *context, const struct storage_webhook *webhook);

/* Takes url, description, kinds, batch, secret. It begins with what happens from now on. STORAGE_WRONG_STATE: there are
 * WEBHOOKS_MAX. */
int storage_webhook_create(struct storage *storage, const struct storage_webhook *webhook, int64_t now_ms, int64_t *id,
                           struct error *err) ATTR_MUSTCHECK;
int storage_webhook_get(struct storage_reader *reader, int64_t id, storage_webhook_cb *each, void *context,
                        struct error *err) ATTR_MUSTCHECK;
int storage_webhook_list(struct storage_reader *reader, storage_webhook_cb *each, void *context,
                         struct error *err) ATTR_MUSTCHECK; /* by id */
/* Puts url, description, kinds, batch, disabled and reason in place. Who is enabled (again) is tried at once. */
int storage_webhook_update(struct storage *storage, const struct storage_webhook *webhook,
                           struct error *err) ATTR_MUSTCHECK;
int storage_webhook_delete(struct storage *storage, int64_t id, struct error *err) ATTR_MUSTCHECK;
/* A new secret; the one before signs beside it until `old_until_ms`. */
int storage_webhook_rotate(struct storage *storage, int64_t id, const char *secret, int64_t old_until_ms,
                           struct error *err) ATTR_MUSTCHECK;
/* Goes back to the events from `from_ms` on, as far as they are still there, and is tried at once. *events gets how
 * many ids lie before it now. */
int storage_webhook_replay(struct storage *storage, int64_t id, int64_t from_ms, int64_t *events,
                           struct error *err) ATTR_MUSTCHECK;

/* ---- for the one who delivers ---- */

/* The receiver took what lay between `from` and `to`. STORAGE_WRONG_STATE: it was deleted, or moved by a replay
 * meanwhile; nothing was changed. */
int storage_webhook_taken(struct storage *storage, int64_t id, int64_t from, int64_t to, int64_t events, int code,
                          int64_t now_ms, struct error *err) ATTR_MUSTCHECK;
struct storage_webhook_failure {
    int64_t id, from; /* as the batch began, */
    const char *url;  /* where it went, */
    int attempts;     /* and how often before */
    int64_t batch_end;
    int64_t next_attempt_ms;
    int code;
    const char *error;
    bool disable; /* not to be tried again; `error` is why */
};
/* As _taken(), also when it was changed meanwhile: what its new address does is not known yet. */
int storage_webhook_failed(struct storage *storage, const struct storage_webhook_failure *failure, int64_t now_ms,
                           struct error *err) ATTR_MUSTCHECK;

#endif
