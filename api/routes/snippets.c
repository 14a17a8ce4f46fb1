/*
 * snippets.c - /v1/snippets: stored partials of templates. What a snippet may hold is campaign/'s to judge.
 */
#include <errno.h>
#include <string.h>

#include "api/routes/routes.h"

static int take_snippet(void *context, const struct storage_snippet *snippet)
{
    return page_take(context, view_snippet(snippet, false), snippet->name) ? 0 : 1;
}

void snippets_page(struct request *request, struct response *response)
{
    const char *cursor = request_query(request, "cursor");
    struct problem problem = {.count = 0};
    struct error err = {""};
    struct page page;
    int64_t total = 0;
    int limit;
    if (!page_read(request, &limit, NULL, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    if (!page_init(&page, limit)) {
        response_json(response, 200, NULL);
        return;
    }
    int rc = storage_snippet_page(request->reader, cursor != NULL ? cursor : "", limit + 1, take_snippet, &page, &total,
                                  &err);
    if (rc < 0) {
        page_drop(&page);
        response_condition(response, rc, "snippets", &err);
        return;
    }
    response_json(response, 200, page_json(&page, total));
}

static int keep(void *context, const struct storage_snippet *snippet)
{
    json_t **out = context;
    *out = view_snippet(snippet, true);
    return 0;
}

static void answer_snippet(struct request *request, struct response *response, const char *name, int status)
{
    struct error err = {""};
    json_t *snippet = NULL;
    int rc = storage_snippet_get(request->reader, name, keep, &snippet, &err);
    if (rc != 0)
        response_condition(response, rc, "snippet", &err);
    else
        response_json(response, status, snippet);
}

void snippets_get(struct request *request, struct response *response)
{
    answer_snippet(request, response, request->text[0], 200);
}

/* `must_exist`: a change, of nothing when `text` is NULL; else a new one. */
static void set(struct request *request, struct response *response, const char *name, const char *text, bool must_exist)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    json_t *present = NULL;
    bool created = false;
    (void)pthread_mutex_lock(&request->app->edits);
    int rc = storage_snippet_get(request->reader, name, keep, &present, &err);
    json_decref(present);
    if (rc >= 0 && (rc == 0) != must_exist)
        rc = must_exist ? STORAGE_NOT_FOUND : STORAGE_EXISTS;
    else if (rc >= 0 && text != NULL)
        rc = snippet_set(request->app->storage, request->reader, name, text, &created, &problem, &err);
    (void)pthread_mutex_unlock(&request->app->edits);
    if (rc == -EINVAL && problem.count > 0) {
        response_invalid(response, &problem);
    } else if (rc != 0) {
        response_condition(response, rc, "snippet", &err);
    } else {
        answer_snippet(request, response, name, must_exist ? 200 : 201);
        if (!must_exist)
            response_header(response, "Location", "/v1/snippets/%s", name);
    }
}

void snippets_create(struct request *request, struct response *response)
{
    const char *name = NULL;
    const char *text = NULL;
    const struct field fields[] = {
        {"name", FIELD_TEXT, true, 64, &name},
        {"text", FIELD_TEXT, true, (size_t)256 << 10, &text},
    };
    struct problem problem = {.count = 0};
    if (!fields_read(request->json, "", fields, countof(fields), &problem))
        response_invalid(response, &problem);
    else
        set(request, response, name, text, false);
}

void snippets_put(struct request *request, struct response *response)
{
    const char *text = NULL;
    const struct field fields[] = {{"text", FIELD_TEXT, false, (size_t)256 << 10, &text}};
    struct problem problem = {.count = 0};
    if (!fields_read(request->json, "", fields, countof(fields), &problem))
        response_invalid(response, &problem);
    else
        set(request, response, request->text[0], text, true);
}

void snippets_remove(struct request *request, struct response *response)
{
    struct error err = {""};
    int rc = storage_snippet_delete(request->app->storage, request->text[0], &err);
    if (rc != 0)
        response_condition(response, rc, "snippet", &err);
    else
        response_empty(response, 204);
}
