/*
 * lists.c - /v1/lists: making, naming, reading and deleting lists. What is on them is in members.c.
 */
#include <string.h>

#include "api/http/etag.h"
#include "api/list_name.h"
#include "api/routes/routes.h"
#include "base/str.h"

#define DESCRIPTION_MAX_BYTES 2000

static int take_list(void *context, const struct storage_list *list)
{
    return page_take_id(context, view_list(list), list->id) ? 0 : 1;
}

struct kept_list {
    json_t *object;
    char tag[ETAG_BYTES];
};

static int keep_list(void *context, const struct storage_list *list)
{
    struct kept_list *kept = context;
    json_decref(kept->object);
    kept->object = view_list(list);
    etag_make(kept->tag, (const char *const[]){list->name, list->description}, 2);
    return 0;
}

static void answer_list(struct request *request, struct response *response, int64_t id, int status)
{
    struct kept_list kept = {NULL, ""};
    struct error err = {""};
    int rc = storage_list_get(request->reader, id, keep_list, &kept, &err);
    if (rc != 0) {
        response_condition(response, rc, "list", &err);
        return;
    }
    response_json(response, status, kept.object);
    response_header(response, "ETag", "%s", kept.tag);
}

/* Call it with `edits` held. False: the response is there. */
static bool check_version(struct request *request, struct response *response)
{
    struct kept_list kept = {NULL, ""};
    struct error err = {""};
    if (request->if_match == NULL)
        return true;
    int rc = storage_list_get(request->reader, request->id[0], keep_list, &kept, &err);
    if (rc != 0)
        response_condition(response, rc, "list", &err);
    json_decref(kept.object);
    return rc == 0 && etag_check(request, kept.tag, response);
}

/* ?name= asks for one list by its exact name, as a page of none or one. */
static void page_by_name(struct request *request, struct response *response, const char *name)
{
    struct page page;
    struct error err = {""};
    int64_t id = 0;
    if (!page_init(&page, 1)) {
        response_json(response, 200, NULL);
        return;
    }
    int rc = storage_list_find(request->reader, name, &id, &err);
    if (rc == 0)
        rc = storage_list_get(request->reader, id, take_list, &page, &err);
    if (rc != 0 && rc != STORAGE_NOT_FOUND) {
        page_drop(&page);
        response_condition(response, rc, "list", &err);
        return;
    }
    int64_t total = (int64_t)json_array_size(page.data);
    response_json(response, 200, page_json(&page, total));
}

void lists_page(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    struct page page;
    int64_t after;
    int64_t total = 0;
    int limit;
    const char *name = request_query(request, "name");
    if (name != NULL) {
        page_by_name(request, response, name);
        return;
    }
    if (!page_read(request, &limit, &after, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    if (!page_init(&page, limit)) {
        response_json(response, 200, NULL);
        return;
    }
    int rc = storage_list_page(request->reader, after, limit + 1, take_list, &page, &total, &err);
    if (rc < 0) {
        page_drop(&page);
        response_condition(response, rc, "list", &err);
        return;
    }
    response_json(response, 200, page_json(&page, total));
}

static bool check_name(const char *name, struct problem *problem)
{
    const char *why = list_name_problem(name);
    if (why != NULL)
        problem_add(problem, "name", "%s", why);
    return why == NULL;
}

void lists_create(struct request *request, struct response *response)
{
    const char *name = NULL;
    const char *description = "";
    const struct field fields[] = {
        {"name", FIELD_TEXT, true, LIST_NAME_MAX_BYTES, &name},
        {"description", FIELD_TEXT, false, DESCRIPTION_MAX_BYTES, &description},
    };
    struct problem problem = {.count = 0};
    struct error err = {""};
    int64_t id = 0;
    bool fit = fields_read(request->json, "", fields, countof(fields), &problem);
    if (!fit || !check_name(name, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    int rc = storage_list_create(request->app->storage, name, description, &id, &err);
    if (rc == STORAGE_EXISTS) {
        response_problem(response, 409, "there is a list \"%.100s\" already, number %lld", name, (long long)id);
        return;
    }
    if (rc != 0) {
        response_condition(response, rc, "list", &err);
        return;
    }
    response_made(response, 201, id);
    answer_list(request, response, id, 201);
    response_header(response, "Location", "/v1/lists/%lld", (long long)id);
}

void lists_get(struct request *request, struct response *response)
{
    answer_list(request, response, request->id[0], 200);
}

void lists_update(struct request *request, struct response *response)
{
    const char *name = NULL;
    const char *description = NULL;
    const struct field fields[] = {
        {"name", FIELD_TEXT, false, LIST_NAME_MAX_BYTES, &name},
        {"description", FIELD_TEXT, false, DESCRIPTION_MAX_BYTES, &description},
    };
    struct problem problem = {.count = 0};
    struct error err = {""};
    bool fit = fields_read(request->json, "", fields, countof(fields), &problem);
    int64_t named = 0;
    /* Who sends back all that was read is not refused a name that the list has since before it was refused. */
    bool same = fit && name != NULL && storage_list_find(request->reader, name, &named, &err) == 0 &&
                named == request->id[0];
    if (!fit || (name != NULL && !same && !check_name(name, &problem))) {
        response_invalid(response, &problem);
        return;
    }
    (void)pthread_mutex_lock(&request->app->edits);
    bool current = check_version(request, response);
    int rc = current ? storage_list_update(request->app->storage, request->id[0], name, description, &err) : 0;
    (void)pthread_mutex_unlock(&request->app->edits);
    if (!current)
        return;
    if (rc == STORAGE_EXISTS)
        response_problem(response, 409, "another list has the name \"%.100s\"", name != NULL ? name : "");
    else if (rc != 0)
        response_condition(response, rc, "list", &err);
    else
        answer_list(request, response, request->id[0], 200);
}

void lists_delete(struct request *request, struct response *response)
{
    struct error err = {""};
    (void)pthread_mutex_lock(&request->app->edits);
    bool current = check_version(request, response);
    (void)pthread_mutex_unlock(&request->app->edits);
    if (!current)
        return;
    /* Not under the lock: the members of a large list take their time. */
    int rc = storage_list_delete(request->app->storage, request->id[0], &err);
    if (rc == STORAGE_WRONG_STATE)
        response_problem(response, 409, "a scheduled, running or paused campaign uses this list");
    else if (rc != 0)
        response_condition(response, rc, "list", &err);
    else
        response_empty(response, 204);
}
