/*
 * suppressions.c - /v1/suppressions: addresses that are never mailed. An entry holds from the next claim on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes/routes.h"
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

static int keep_suppression(void *context, const struct storage_suppression *suppression)
{
    json_t **out = context;
    json_decref(*out);
    *out = view_suppression(suppression);
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
    struct address address;
    struct storage_suppression suppression;
};

static bool reason_known(const char *reason)
{
    static const char *const reasons[] = {"manual", "unsubscribe", "complaint", "hard-bounce", "soft-bounce", "invalid"};
    for (size_t i = 0; i < countof(reasons); i++) {
        if (strcmp(reasons[i], reason) == 0)
            return true;
    }
    return false;
}

static void read_entry(const json_t *value, const char *prefix, struct entry *entry, struct problem *problem)
{
    const char *email = NULL;
    const char *reason = "manual";
    const char *origin = "api";
    const struct field fields[] = {
        {"email", FIELD_TEXT, true, 1024, &email},
        {"reason", FIELD_TEXT, false, 40, &reason},
        {"origin", FIELD_TEXT, false, ORIGIN_MAX_BYTES, &origin},
    };
    char name[64];
    struct error err = {""};
    if (!fields_read(value, prefix, fields, countof(fields), problem))
        return;
    if (address_parse(email, strlen(email), &entry->address, &err) != 0) {
        (void)snprintf(name, sizeof(name), "%semail", prefix);
        problem_add(problem, name, "%s", err.text);
    }
    if (!reason_known(reason)) {
        (void)snprintf(name, sizeof(name), "%sreason", prefix);
        problem_add(problem, name, "must be manual, unsubscribe, complaint, hard-bounce, soft-bounce or invalid");
    }
    entry->suppression = (struct storage_suppression){
        .email = entry->address.text, .reason = reason, .origin = origin, .created_ms = clock_wall_ms()};
}

static void add_one(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    struct entry entry;
    json_t *stored = NULL;
    read_entry(request->json, "", &entry, &problem);
    if (problem.count > 0) {
        response_invalid(response, &problem);
        return;
    }
    int rc = storage_suppression_add(request->app->storage, &entry.suppression, &err);
    bool known = rc == STORAGE_EXISTS;
    if (rc == 0 || known)
        rc = storage_suppression_get(request->reader, entry.suppression.email, keep_suppression, &stored, &err);
    if (rc != 0)
        response_condition(response, rc, "suppression", &err);
    else
        response_json(response, known ? 200 : 201, stored);
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
        read_entry(json_array_get(request->json, i), prefix, &entries[i], &problem);
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

void suppressions_get(struct request *request, struct response *response)
{
    struct address address;
    struct error err = {""};
    json_t *stored = NULL;
    int rc = STORAGE_NOT_FOUND;
    if (address_parse(request->text[0], strlen(request->text[0]), &address, NULL) == 0)
        rc = storage_suppression_get(request->reader, address.text, keep_suppression, &stored, &err);
    if (rc != 0)
        response_condition(response, rc, "suppression", &err);
    else
        response_json(response, 200, stored);
}

void suppressions_remove(struct request *request, struct response *response)
{
    struct address address;
    struct error err = {""};
    int rc = STORAGE_NOT_FOUND;
    if (address_parse(request->text[0], strlen(request->text[0]), &address, NULL) == 0)
        rc = storage_suppression_remove(request->app->storage, address.text, 0, &err);
    if (rc != 0)
        response_condition(response, rc, "suppression", &err);
    else
        response_empty(response, 204);
}
