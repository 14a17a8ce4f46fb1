/*
 * link_keys.c - /v1/link-keys: the keys that make and prove links, return paths and Message-IDs. Their values are shown
 * nowhere.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes/routes.h"
#include "base/clock.h"
#include "base/config_live.h"

static int take_key(void *context, const struct storage_link_key *key)
{
    (void)json_array_append_new(context, view_link_key(key));
    return 0;
}

static void answer(struct request *request, struct response *response, int status)
{
    struct error err = {""};
    json_t *rows = json_array();
    int rc = storage_link_keys(request->reader, true, take_key, rows, &err);
    size_t count = json_array_size(rows);
    if (rc != 0) {
        json_decref(rows);
        response_condition(response, rc, "link keys", &err);
        return;
    }
    response_json(response, status, json_pack("{s:o, s:n, s:I}", "data", rows, "next", "total", (json_int_t)count));
}

void link_keys_page(struct request *request, struct response *response)
{
    answer(request, response, 200);
}

void link_keys_rotate(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    int64_t id = 0;
    if (request->json != NULL && !fields_read(request->json, "", NULL, 0, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    int rc = storage_link_key_add(request->app->storage, clock_wall_ms(), &id, &err);
    if (rc == 0)
        response_made(response, 201, id);
    if (rc == 0)
        rc = mailer_refresh_keys(request->app->mailer, request->reader, &err);
    if (rc == -EINVAL)
        response_problem(response, 409, "%s", err.text);
    else if (rc != 0)
        response_condition(response, rc, "link key", &err);
    else
        answer(request, response, 201);
}

void link_keys_retire(struct request *request, struct response *response)
{
    struct error err = {""};
    const char *force = request_query(request, "force");
    struct problem problem = {.count = 0};
    if (force != NULL && strcmp(force, "true") != 0) {
        problem_add(&problem, "force", "must be true, or be left out");
        response_invalid(response, &problem);
        return;
    }
    if (force != NULL)
        request->audit_note = "force";
    /* Number 0 is the first: an {id} of the router is at least 1. */
    char *end;
    long long id = strtoll(request->text[0], &end, 10);
    const struct config *config = config_live_hold(request->app->live);
    int rc = *end != '\0' || id < 0
                 ? STORAGE_NOT_FOUND
                 : link_key_retire(request->app->storage, config, id, force != NULL, &err);
    config_drop(config);
    if (rc == 0)
        rc = mailer_refresh_keys(request->app->mailer, request->reader, &err);
    if (rc == STORAGE_WRONG_STATE)
        response_problem(response, 409, "%s", err.text);
    else if (rc != 0)
        response_condition(response, rc, "link key", &err);
    else
        response_empty(response, 204);
}
