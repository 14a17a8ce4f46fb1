/*
 * suppressions.c - /v1/suppressions: addresses that are never mailed. An entry holds from the next claim on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes/routes.h"
#include "api/suppression.h"
#include "base/address.h"
#include "base/clock.h"
#include "base/str.h"

#define ROWS_MAX 1000
#define ORIGIN_MAX_BYTES 500

static int take_suppression(void *context, const struct storage_suppression *suppression)
{
    char cursor[ADDRESS_MAX_BYTES + 32];
    (void)snprintf(cursor, sizeof(cursor), "%lld/%s", (long long)suppression->list_id, suppression->email);
    return page_take(context, view_suppression(suppression), cursor) ? 0 : 1;
}

/* The entry of one list (0 = of all), or of whichever comes first (-1). */
struct wanted {
    int64_t list_id;
    json_t *found;
};

static int keep_suppression(void *context, const struct storage_suppression *suppression)
{
    struct wanted *wanted = context;
    if (wanted->found == NULL && (wanted->list_id < 0 || wanted->list_id == suppression->list_id))
        wanted->found = view_suppression(suppression);
    return 0;
}

/* "LIST/EMAIL", as take_suppression() writes it; what is not one begins anew. */
static struct storage_suppression_place read_cursor(const char *cursor)
{
    struct storage_suppression_place place = {.email = ""};
    const char *slash = cursor != NULL ? strchr(cursor, '/') : NULL;
    char digits[24];
    uint64_t list_id;
    if (slash == NULL || (size_t)(slash - cursor) >= sizeof(digits))
        return place;
    (void)snprintf(digits, sizeof(digits), "%.*s", (int)(slash - cursor), cursor);
    if (str_parse_u64(digits, INT64_MAX, &list_id) != 0)
        return place;
    place.email = slash + 1;
    place.list_id = (int64_t)list_id;
    return place;
}

void suppressions_page(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    struct page page;
    int64_t total = 0;
    int limit;
    const char *cursor = request_query(request, "cursor");
    if (!page_read(request, &limit, NULL, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    if (!page_init(&page, limit)) {
        response_json(response, 200, NULL);
        return;
    }
    struct storage_suppression_place after = read_cursor(cursor);
    int rc = storage_suppression_page(request->reader, &after, limit + 1, take_suppression, &page, &total, &err);
    if (rc < 0) {
        page_drop(&page);
        response_condition(response, rc, "suppression", &err);
        return;
    }
    response_json(response, 200, page_json(&page, total));
}

struct entry {
    char email[ADDRESS_MAX_BYTES + 1];
    struct storage_suppression suppression;
};

static void read_entry(struct request *request, const json_t *value, const char *prefix, struct entry *entry,
                       struct problem *problem)
{
    const char *email = NULL;
    const char *reason = "manual";
    const char *origin = "api";
    const char *expires = NULL;
    const char *list = "";
    int64_t list_id = 0, expires_ms = 0, now_ms = clock_wall_ms();
    const struct field fields[] = {
        {"email", FIELD_TEXT, true, 1024, &email},
        {"reason", FIELD_TEXT, false, 40, &reason},
        {"origin", FIELD_TEXT, false, ORIGIN_MAX_BYTES, &origin},
        {"expires_at", FIELD_TEXT, false, 64, &expires},
        {"list", FIELD_TEXT, false, 256, &list},
    };
    char name[64];
    struct error err = {""};
    if (!fields_read(value, prefix, fields, countof(fields), problem))
        return;
    if (suppression_email(email, entry->email, &err) != 0) {
        (void)snprintf(name, sizeof(name), "%semail", prefix);
        problem_add(problem, name, "%s", err.text);
    }
    if (!suppression_reason_known(reason)) {
        (void)snprintf(name, sizeof(name), "%sreason", prefix);
        problem_add(problem, name, "must be " SUPPRESSION_REASONS);
    }
    if (expires != NULL && suppression_expiry(expires, now_ms, &expires_ms) != 0) {
        (void)snprintf(name, sizeof(name), "%sexpires_at", prefix);
        problem_add(problem, name, "must be a time ahead like 2026-12-01T08:00:00Z, or a duration like 30d");
    }
    if (suppression_list(request->reader, list, &list_id, &err) != 0) {
        (void)snprintf(name, sizeof(name), "%slist", prefix);
        problem_add(problem, name, "there is no list \"%.80s\"", list);
    }
    entry->suppression = (struct storage_suppression){.email = entry->email,
                                                      .reason = reason,
                                                      .origin = origin,
                                                      .created_ms = now_ms,
                                                      .expires_ms = expires_ms,
                                                      .list_id = list_id};
}

static void add_one(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    struct entry entry;
    read_entry(request, request->json, "", &entry, &problem);
    if (problem.count > 0) {
        response_invalid(response, &problem);
        return;
    }
    int rc = storage_suppression_add(request->app->storage, &entry.suppression, &err);
    bool known = rc == STORAGE_EXISTS;
    struct wanted wanted = {.list_id = entry.suppression.list_id};
    if (rc == 0 || known)
        rc = storage_suppression_get(request->reader, entry.suppression.email, keep_suppression, &wanted, &err);
    if (rc != 0)
        response_condition(response, rc, "suppression", &err);
    else
        response_json(response, known ? 200 : 201, wanted.found);
}

static void store_many(struct request *request, struct response *response, struct entry *entries,
                       struct storage_suppression *items, size_t count)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    int64_t added = 0;
    char prefix[32];
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(prefix, sizeof(prefix), "[%zu].", i);
        read_entry(request, json_array_get(request->json, i), prefix, &entries[i], &problem);
        items[i] = entries[i].suppression;
    }
    if (problem.count > 0) {
        response_invalid(response, &problem);
        return;
    }
    int rc = storage_suppression_add_many(request->app->storage, items, count, &added, &err);
    if (rc != 0)
        response_condition(response, rc, "suppression", &err);
    else
        response_json(response, 200,
                      json_pack("{s:I, s:I}", "added", (json_int_t)added, "known", (json_int_t)count - added));
}

void suppressions_add(struct request *request, struct response *response)
{
    if (!json_is_array(request->json)) {
        add_one(request, response);
        return;
    }
    size_t count = json_array_size(request->json);
    if (count == 0 || count > ROWS_MAX) {
        response_problem(response, 422, "send one entry, or an array of 1 to %d of them", ROWS_MAX);
        return;
    }
    struct entry *entries = calloc(count, sizeof(*entries));
    struct storage_suppression *items = calloc(count, sizeof(*items));
    if (entries != NULL && items != NULL)
        store_many(request, response, entries, items, count);
    else
        response_json(response, 200, NULL);
    free(items);
    free(entries);
}

/* `?list=` of an entry that holds for one list only. */
static int read_list(struct request *request, int64_t none, int64_t *list_id, struct error *err)
{
    const char *list = request_query(request, "list");
    *list_id = none;
    return list == NULL ? 0 : suppression_list(request->reader, list, list_id, err);
}

void suppressions_get(struct request *request, struct response *response)
{
    char email[ADDRESS_MAX_BYTES + 1];
    struct error err = {""};
    struct wanted wanted = {0};
    int rc = read_list(request, -1, &wanted.list_id, &err);
    if (rc == 0 && suppression_email(request->text[0], email, NULL) != 0)
        rc = STORAGE_NOT_FOUND;
    if (rc == 0)
        rc = storage_suppression_get(request->reader, email, keep_suppression, &wanted, &err);
    if (rc == 0 && wanted.found == NULL)
        rc = STORAGE_NOT_FOUND;
    if (rc != 0)
        response_condition(response, rc, "suppression", &err);
    else
        response_json(response, 200, wanted.found);
}

void suppressions_remove(struct request *request, struct response *response)
{
    char email[ADDRESS_MAX_BYTES + 1];
    struct error err = {""};
    int64_t list_id;
    int rc = read_list(request, 0, &list_id, &err);
    if (rc == 0 && suppression_email(request->text[0], email, NULL) != 0)
        rc = STORAGE_NOT_FOUND;
    if (rc == 0)
        rc = storage_suppression_remove(request->app->storage, email, list_id, &err);
    if (rc != 0)
        response_condition(response, rc, "suppression", &err);
    else
        response_empty(response, 204);
}
