/*
 * members.c - the recipients of a list, and one recipient by its address.
 *
 * An upsert is all or nothing: every row is checked before the first is stored. It never re-subscribes anybody
 * (storage/contacts.h).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/profile.h"
#include "api/routes/routes.h"
#include "base/address.h"

#define ROWS_MAX 1000
#define ATTRIBUTES_MAX_BYTES ((size_t)64 << 10)

static int take_member(void *context, const struct storage_member *member)
{
    return page_take_id(context, view_member(member), member->recipient_id) ? 0 : 1;
}

static int ignore_list(void *context, const struct storage_list *list)
{
    (void)context;
    (void)list;
    return 0;
}

/* True when the list exists; else the response says that it does not. */
static bool list_exists(struct request *request, struct response *response)
{
    struct error err = {""};
    int rc = storage_list_get(request->reader, request->id[0], ignore_list, NULL, &err);
    if (rc != 0)
        response_condition(response, rc, "list", &err);
    return rc == 0;
}

void members_page(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    struct page page;
    int64_t after;
    int64_t total = 0;
    int limit;
    if (!page_read(request, &limit, &after, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    if (!list_exists(request, response))
        return;
    if (!page_init(&page, limit)) {
        response_json(response, 200, NULL);
        return;
    }
    int rc = storage_member_page(request->reader, request->id[0], after, limit + 1, take_member, &page, &total, &err);
    if (rc < 0) {
        page_drop(&page);
        response_condition(response, rc, "list", &err);
        return;
    }
    response_json(response, 200, page_json(&page, total));
}

/* ---- upsert ---- */

struct row {
    struct address address;
    char *attributes; /* from json_text_write() */
};

static void read_row(const json_t *value, const char *prefix, struct row *row, struct problem *problem)
{
    const char *email = NULL;
    json_t *attributes = NULL;
    const struct field fields[] = {
        {"email", FIELD_TEXT, true, 1024, &email},
        {"attributes", FIELD_OBJECT, false, 0, &attributes},
    };
    char name[64];
    struct error err = {""};
    if (!fields_read(value, prefix, fields, countof(fields), problem))
        return;
    if (address_parse(email, strlen(email), &row->address, &err) != 0) {
        (void)snprintf(name, sizeof(name), "%semail", prefix);
        problem_add(problem, name, "%s", err.text);
    }
    row->attributes = attributes != NULL ? json_text_write(attributes, JSON_COMPACT) : strdup("{}");
    if (row->attributes == NULL || strlen(row->attributes) > ATTRIBUTES_MAX_BYTES) {
        (void)snprintf(name, sizeof(name), "%sattributes", prefix);
        problem_add(problem, name, "are longer than %zu bytes", ATTRIBUTES_MAX_BYTES);
    }
}

static void read_rows(const json_t *body, struct row *rows, size_t count, struct problem *problem)
{
    char prefix[32] = "";
    for (size_t i = 0; i < count; i++) {
        if (json_is_array(body))
            (void)snprintf(prefix, sizeof(prefix), "[%zu].", i);
        read_row(json_is_array(body) ? json_array_get(body, i) : body, prefix, &rows[i], problem);
    }
}

static int store_rows(struct request *request, enum upsert_mode mode, const struct row *rows, size_t count,
                      struct upsert_counts *counts, struct error *err)
{
    struct storage_import *import = NULL;
    int rc = storage_import_begin(request->app->storage, request->id[0], mode, &import, err);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = storage_import_add(import, rows[i].address.text, strlen(rows[i].address.text), rows[i].attributes,
                                strlen(rows[i].attributes), err);
    int finished = storage_import_finish(import, rc != 0, counts, rc == 0 ? err : NULL);
    return rc != 0 ? rc : finished;
}

static bool read_mode(const struct request *request, enum upsert_mode *mode, struct problem *problem)
{
    const char *text = request_query(request, "mode");
    *mode = text != NULL && strcmp(text, "skip") == 0 ? UPSERT_SKIP : UPSERT_UPDATE;
    if (text == NULL || *mode == UPSERT_SKIP || strcmp(text, "update") == 0)
        return true;
    problem_add(problem, "mode", "must be update or skip");
    return false;
}

static void upsert_rows(struct request *request, struct response *response, struct row *rows, size_t count)
{
    struct problem problem = {.count = 0};
    struct upsert_counts counts = {0};
    struct error err = {""};
    enum upsert_mode mode;
    (void)read_mode(request, &mode, &problem);
    read_rows(request->json, rows, count, &problem);
    if (problem.count > 0) {
        response_invalid(response, &problem);
        return;
    }
    int rc = store_rows(request, mode, rows, count, &counts, &err);
    if (rc != 0)
        response_condition(response, rc, "list", &err);
    else
        response_json(response, 200,
                      json_pack("{s:I, s:I, s:I}", "new", (json_int_t)counts.created, "updated",
                                (json_int_t)counts.updated, "unchanged", (json_int_t)counts.unchanged));
}

void members_upsert(struct request *request, struct response *response)
{
    size_t count = json_is_array(request->json) ? json_array_size(request->json) : 1;
    if (!list_exists(request, response))
        return;
    if (count == 0 || count > ROWS_MAX) {
        response_problem(
            response, 422,
            "send one recipient, or an array of 1 to %d of them; for more there is POST /v1/lists/%lld/imports",
            ROWS_MAX, (long long)request->id[0]);
        return;
    }
    struct row *rows = calloc(count, sizeof(*rows));
    if (rows == NULL) {
        response_json(response, 200, NULL);
        return;
    }
    upsert_rows(request, response, rows, count);
    for (size_t i = 0; i < count; i++)
        free(rows[i].attributes);
    free(rows);
}

void members_remove(struct request *request, struct response *response)
{
    struct address address;
    struct error err = {""};
    int rc = STORAGE_NOT_FOUND;
    if (address_parse_stored(request->text[1], strlen(request->text[1]), &address, NULL) == 0)
        rc = storage_member_set(request->app->storage, request->id[0], address.text, MEMBER_REMOVED, &err);
    if (rc != 0)
        response_condition(response, rc, "recipient on this list", &err);
    else
        response_empty(response, 204);
}

void recipients_get(struct request *request, struct response *response)
{
    struct error err = {""};
    json_t *profile = NULL;
    int rc = profile_get(request->reader, request->text[0], &profile, &err);
    if (rc != 0)
        response_condition(response, rc, "recipient", &err);
    else
        response_json(response, 200, profile);
}
