/*
 * webhooks.h - making and changing webhooks, for the HTTP API and the CLI alike. How they are delivered:
 * api/events/webhooks.h.
 */
#ifndef POSTHASTE_API_WEBHOOKS_H
#define POSTHASTE_API_WEBHOOKS_H

#include <jansson.h>

#include "campaign/campaign.h"
#include "storage/storage.h"

#define WEBHOOK_BATCH_DEFAULT 100
#define WEBHOOK_SECRET_KEEP_MS (INT64_C(24) * 3600 * 1000) /* an old secret signs for so long beside the new one */

/*
 * A webhook from {"url","events":[names or groups],"description","batch"}: only `url` is required. *out gets
 * webhook_view() with its "secret", the only time that it is shown. 0; -EINVAL with a problem; STORAGE_WRONG_STATE.
 */
int webhook_create(struct storage *storage, const struct config *config, const json_t *fields, json_t **out,
                   struct problem *problem, struct error *err) ATTR_MUSTCHECK;
/* Changes what is given, "enabled" too. STORAGE_NOT_FOUND. */
int webhook_change(struct storage *storage, struct storage_reader *reader, const struct config *config, int64_t id,
                   const json_t *fields, struct problem *problem, struct error *err) ATTR_MUSTCHECK;
/* webhook_view(), or STORAGE_NOT_FOUND. */
int webhook_get(struct storage_reader *reader, int64_t id, json_t **out, struct error *err) ATTR_MUSTCHECK;
/* {"id","secret","old_until"} */
int webhook_rotate(struct storage *storage, int64_t id, json_t **out, struct error *err) ATTR_MUSTCHECK;

/* The names of the kinds; all of them are ["*"]. */
json_t *webhook_events(uint32_t kinds);
/* `newest` is the newest event's id. */
json_t *webhook_view(const struct storage_webhook *webhook, int64_t newest);

#endif
