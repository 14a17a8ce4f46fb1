/*
 * webhooks.c - reads what somebody wants of a webhook, and shows what there is.
 */
#include "api/webhooks.h"

#include <errno.h>
#include <string.h>

#include "api/events/signature.h"
#include "api/events/target.h"
#include "api/http/json.h"
#include "api/nearest.h"
#include "base/clock.h"
#include "base/str.h"

json_t *webhook_events(uint32_t kinds)
{
    json_t *names = json_array();
    if (kinds == EVENT_ALL) {
        (void)json_array_append_new(names, json_string("*"));
        return names;
    }
    for (unsigned i = 0; i < EVENT_KIND_COUNT; i++) {
        if ((kinds >> i & 1) != 0)
            (void)json_array_append_new(names, json_string(event_kind_name((enum event_kind)i)));
    }
    return names;
}

json_t *webhook_view(const struct storage_webhook *webhook, int64_t newest)
{
    json_t *object =
        json_pack("{s:I, s:o, s:o, s:o, s:i, s:b, s:o, s:o}", "id", (json_int_t)webhook->id, "url",
                  json_line(webhook->url), "description", json_line(webhook->description), "events",
                  webhook_events(webhook->kinds), "batch", webhook->batch, "enabled", webhook->disabled ? 0 : 1,
                  "reason", json_line(webhook->reason), "created_at", json_time(webhook->created_ms));
    json_t *rest = json_pack("{s:I, s:I, s:i, s:o, s:o, s:o, s:o, s:o}", "taken", (json_int_t)webhook->taken, "behind",
                             (json_int_t)(webhook->disabled ? 0 : MAX_OF(newest - webhook->position, 0)), "attempts",
                             webhook->attempts, "failing_since", json_time(webhook->failing_since_ms),
                             "next_attempt_at", json_time(webhook->disabled ? 0 : webhook->next_attempt_ms),
                             "last_success_at", json_time(webhook->last_success_ms), "last_status",
                             webhook->last_code > 0 ? json_integer(webhook->last_code) : json_null(), "last_error",
                             json_line(webhook->last_error));
    (void)json_object_update(object, rest);
    json_decref(rest);
    return object;
}

/* ---- what is wanted ---- */

struct wish {
    const char *url, *description;
    json_t *events;
    int64_t batch;
    bool enabled;
};

static uint32_t one_name(const json_t *value, size_t i, struct problem *problem)
{
    char field[32];
    const char *name = json_string_value(value);
    uint32_t kinds = name != NULL ? event_kinds_parse(name) : 0;
    if (kinds != 0)
        return kinds;
    (void)snprintf(field, sizeof(field), "events[%zu]", i);
    struct nearest nearest = nearest_begin(name != NULL ? name : "");
    for (unsigned k = 0; k < EVENT_KIND_COUNT; k++)
        nearest_offer(&nearest, event_kind_name((enum event_kind)k));
    if (name != NULL && nearest.best != NULL)
        problem_add(problem, field, "there is no event \"%.40s\"; did you mean \"%s\"?", name, nearest.best);
    else
        problem_add(problem, field, "must be the name of an event, a group like \"campaign.*\", or \"*\"");
    return 0;
}

static uint32_t read_kinds(const json_t *events, struct problem *problem)
{
    uint32_t kinds = 0;
    size_t i;
    json_t *value;
    if (json_array_size(events) == 0)
        problem_add(problem, "events", "must name at least one event");
    json_array_foreach((json_t *)(uintptr_t)events, i, value) kinds |= one_name(value, i, problem);
    return kinds;
}

/* Reads the fields over what `webhook` holds; texts stay those of `fields`. False: problems. */
static bool read_wish(const json_t *fields, bool is_new, const struct config *config, struct storage_webhook *webhook,
                      struct problem *problem)
{
    struct wish wish = {.url = webhook->url, .batch = webhook->batch, .enabled = !webhook->disabled};
    wish.description = webhook->description;
    const struct field table[] = {
        {"url", FIELD_TEXT, is_new, TARGET_URL_MAX_BYTES, &wish.url},
        {"events", FIELD_ARRAY, false, EVENT_KIND_COUNT, &wish.events},
        {"description", FIELD_TEXT, false, 500, &wish.description},
        {"batch", FIELD_INTEGER, false, 0, &wish.batch},
        {"enabled", FIELD_BOOL, false, 0, &wish.enabled},
    };
    struct error err = {""};
    if (!fields_read(fields, "", table, countof(table), problem))
        return false;
    if (wish.url != NULL && target_check(wish.url, config->webhooks.allow_private, &err) != 0)
        problem_add(problem, "url", "%s", err.text);
    if (wish.batch < 1 || wish.batch > WEBHOOK_BATCH_MAX)
        problem_add(problem, "batch", "must be a number from 1 to %d", WEBHOOK_BATCH_MAX);
    if (wish.events != NULL)
        webhook->kinds = read_kinds(wish.events, problem);
    if (problem->count > 0)
        return false;
    webhook->url = wish.url;
    webhook->description = wish.description;
    webhook->batch = (int)wish.batch;
    if (webhook->disabled == wish.enabled)
        webhook->reason = wish.enabled ? "" : "disabled by hand";
    webhook->disabled = !wish.enabled;
    return true;
}

/* ---- made, changed, shown ---- */

struct shown {
    json_t *object;
    int64_t newest;
};

static int show(void *context, const struct storage_webhook *webhook)
{
    struct shown *shown = context;
    json_decref(shown->object);
    shown->object = webhook_view(webhook, shown->newest);
    return 0;
}

int webhook_get(struct storage_reader *reader, int64_t id, json_t **out, struct error *err)
{
    struct shown shown = {0};
    int64_t oldest;
    int rc = storage_event_range(reader, &oldest, &shown.newest, err);
    if (rc == 0)
        rc = storage_webhook_get(reader, id, show, &shown, err);
    *out = shown.object;
    return rc == 0 && *out == NULL ? error_memory(err) : rc;
}

int webhook_create(struct storage *storage, const struct config *config, const json_t *fields, json_t **out,
                   struct problem *problem, struct error *err)
{
    char secret[SIGNATURE_SECRET_BYTES];
    struct storage_webhook webhook = {
        .description = "", .reason = "", .kinds = EVENT_ALL, .batch = WEBHOOK_BATCH_DEFAULT, .secret = secret};
    webhook.old_secret = webhook.last_error = "";
    *out = NULL;
    if (!read_wish(fields, true, config, &webhook, problem))
        return error_set(err, -EINVAL, "the webhook cannot be made as it is");
    if (webhook.disabled) {
        problem_add(problem, "enabled", "must be true for a new webhook; disable it afterwards");
        return error_set(err, -EINVAL, "the webhook cannot be made as it is");
    }
    webhook.created_ms = clock_wall_ms();
    int rc = signature_secret(secret, err);
    if (rc == 0)
        rc = storage_webhook_create(storage, &webhook, webhook.created_ms, &webhook.id, err);
    if (rc != 0)
        return rc;
    json_t *object = webhook_view(&webhook, 0);
    if (object == NULL || json_object_set_new(object, "secret", json_string(secret)) != 0) {
        json_decref(object);
        return error_memory(err);
    }
    *out = object;
    return 0;
}

struct change {
    struct storage *storage;
    const struct config *config;
    const json_t *fields;
    struct problem *problem;
    struct error *err;
    int result;
};

/* While the row's texts are there. */
static int change_one(void *context, const struct storage_webhook *row)
{
    struct change *change = context;
    struct storage_webhook webhook = *row;
    if (!read_wish(change->fields, false, change->config, &webhook, change->problem))
        change->result = error_set(change->err, -EINVAL, "the webhook cannot be changed so");
    else
        change->result = storage_webhook_update(change->storage, &webhook, change->err);
    return 0;
}

int webhook_change(struct storage *storage, struct storage_reader *reader, const struct config *config, int64_t id,
                   const json_t *fields, struct problem *problem, struct error *err)
{
    struct change change = {.storage = storage, .config = config, .fields = fields, .problem = problem, .err = err};
    int rc = storage_webhook_get(reader, id, change_one, &change, err);
    return rc != 0 ? rc : change.result;
}

int webhook_rotate(struct storage *storage, int64_t id, json_t **out, struct error *err)
{
    char secret[SIGNATURE_SECRET_BYTES];
    int64_t old_until_ms = clock_wall_ms() + WEBHOOK_SECRET_KEEP_MS;
    int rc = signature_secret(secret, err);
    if (rc == 0)
        rc = storage_webhook_rotate(storage, id, secret, old_until_ms, err);
    if (rc != 0)
        return rc;
    *out = json_pack("{s:I, s:s, s:o}", "id", (json_int_t)id, "secret", secret, "old_until", json_time(old_until_ms));
    return *out != NULL ? 0 : error_memory(err);
}
