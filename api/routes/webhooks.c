/*
 * webhooks.c - /v1/webhooks, for administrators: who is told of events.
 */
#include <errno.h>

#include "api/events/hub.h"
#include "api/routes/routes.h"
#include "api/webhooks.h"
#include "base/str.h"

struct hooks_page {
    struct page page;
    int64_t after, total, newest;
};

static int take_webhook(void *context, const struct storage_webhook *webhook)
{
    struct hooks_page *hooks = context;
    hooks->total++;
    if (webhook->id > hooks->after)
        (void)page_take_id(&hooks->page, webhook_view(webhook, hooks->newest), webhook->id);
    return 0;
}

void webhooks_page(struct request *request, struct response *response)
{
    struct hooks_page hooks = {.total = 0};
    struct problem problem = {.count = 0};
    struct error err = {""};
    int64_t oldest;
    int limit;
    if (!page_read(request, &limit, &hooks.after, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    int rc = page_init(&hooks.page, limit) ? storage_event_range(request->reader, &oldest, &hooks.newest, &err)
                                           : error_memory(&err);
    if (rc == 0)
        rc = storage_webhook_list(request->reader, take_webhook, &hooks, &err);
    if (rc < 0) {
        page_drop(&hooks.page);
        response_condition(response, rc, "webhooks", &err);
        return;
    }
    response_json(response, 200, page_json(&hooks.page, hooks.total));
}

static void answer(struct response *response, int status, int rc, json_t *object, const struct problem *problem,
                   const struct error *err)
{
    if (rc == -EINVAL && problem != NULL && problem->count > 0)
        response_invalid(response, problem);
    else if (rc != 0)
        response_condition(response, rc, "webhook", err);
    else
        response_json(response, status, object);
}

void webhooks_create_one(struct request *request, struct response *response)
{
    struct app *app = request->app;
    struct problem problem = {.count = 0};
    struct error err = {""};
    json_t *object = NULL;
    const struct config *config = config_live_hold(app->live);
    int rc = webhook_create(app->storage, config, request->json, &object, &problem, &err);
    config_drop(config);
    int64_t id = json_integer_value(json_object_get(object, "id"));
    answer(response, 201, rc, object, &problem, &err);
    if (rc == 0)
        response_header(response, "Location", "/v1/webhooks/%lld", (long long)id);
    response->secret = true;
    hub_look(app->hub);
}

void webhooks_get(struct request *request, struct response *response)
{
    struct error err = {""};
    json_t *object = NULL;
    int rc = webhook_get(request->reader, request->id[0], &object, &err);
    answer(response, 200, rc, object, NULL, &err);
}

void webhooks_update(struct request *request, struct response *response)
{
    struct app *app = request->app;
    struct problem problem = {.count = 0};
    struct error err = {""};
    json_t *object = NULL;
    const struct config *config = config_live_hold(app->live);
    (void)pthread_mutex_lock(&app->edits);
    int rc = webhook_change(app->storage, request->reader, config, request->id[0], request->json, &problem, &err);
    (void)pthread_mutex_unlock(&app->edits);
    config_drop(config);
    if (rc == 0)
        rc = webhook_get(request->reader, request->id[0], &object, &err);
    answer(response, 200, rc, object, &problem, &err);
    hub_look(app->hub);
}

void webhooks_delete(struct request *request, struct response *response)
{
    struct error err = {""};
    int rc = storage_webhook_delete(request->app->storage, request->id[0], &err);
    if (rc != 0)
        response_condition(response, rc, "webhook", &err);
    else
        response_empty(response, 204);
    hub_look(request->app->hub);
}

void webhooks_rotate(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    json_t *object = NULL;
    if (request->json != NULL && !fields_read(request->json, "", NULL, 0, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    int rc = webhook_rotate(request->app->storage, request->id[0], &object, &err);
    answer(response, 200, rc, object, NULL, &err);
    response->secret = true;
    hub_look(request->app->hub);
}

void webhooks_replay(struct request *request, struct response *response)
{
    const char *from = NULL;
    const struct field fields[] = {{"from", FIELD_TEXT, true, 64, &from}};
    struct problem problem = {.count = 0};
    struct error err = {""};
    int64_t from_ms = 0;
    int64_t events = 0;
    if (fields_read(request->json, "", fields, countof(fields), &problem) && time_parse_rfc3339(from, &from_ms) != 0)
        problem_add(&problem, "from", "must be a time like 2026-11-26T08:00:00Z");
    if (problem.count > 0) {
        response_invalid(response, &problem);
        return;
    }
    int rc = storage_webhook_replay(request->app->storage, request->id[0], from_ms, &events, &err);
    answer(response, 202, rc,
           rc == 0 ? json_pack("{s:I, s:I}", "id", (json_int_t)request->id[0], "events", (json_int_t)events) : NULL,
           NULL, &err);
    hub_look(request->app->hub);
}
