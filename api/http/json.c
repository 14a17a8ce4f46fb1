/*
 * json.c - reads JSON that strangers wrote and shapes the JSON that we answer with.
 *
 * Success of json_parse() says only that the text is well-formed and shallow; what the fields mean is for fields_read()
 * and the room that takes them. Depth is checked before jansson sees the text, because its own bound (2,048 levels) is
 * for its stack, not for ours.
 */
#include "api/http/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/nearest.h"
#include "base/str.h"

static int check_depth(const char *bytes, size_t len, struct error *err)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = bytes[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_DEPTH_MAX)
                return error_set(err, -EINVAL, "JSON is nested more than %d levels deep, at byte %zu", JSON_DEPTH_MAX,
                                 i + 1);
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return 0;
}

int json_parse(const char *bytes, size_t len, json_t **out, struct error *err)
{
    *out = NULL;
    int rc = check_depth(bytes, len, err);
    if (rc < 0)
        return rc;
    json_error_t where;
    json_t *value = json_text_read(bytes, len, JSON_REJECT_DUPLICATES, &where);
    if (value == NULL && json_error_code(&where) == json_error_out_of_memory)
        return error_memory(err);
    if (value == NULL)
        return error_set(err, -EINVAL, "malformed JSON at line %d, column %d: %s", where.line, where.column,
                         where.text);
    *out = value;
    return 0;
}

const char *json_kind(const json_t *value)
{
    if (value == NULL)
        return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a text";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
    default:
        return "null";
    }
}

static bool is_blank(const char *text)
{
    while (ascii_is_space(*text))
        text++;
    return *text == '\0';
}

/* NULL when the value fits and was stored, else what it must be. */
static const char *store_field(const struct field *field, json_t *value)
{
    switch (field->type) {
    case FIELD_TEXT:
        if (!json_is_string(value))
            return "must be a text";
        *(const char **)field->out = json_string_value(value);
        return NULL;
    case FIELD_BOOL:
        if (!json_is_boolean(value))
            return "must be true or false";
        *(bool *)field->out = json_is_true(value);
        return NULL;
    case FIELD_INTEGER:
        if (!json_is_integer(value))
            return "must be an integer";
        *(int64_t *)field->out = (int64_t)json_integer_value(value);
        return NULL;
    case FIELD_OBJECT:
        if (!json_is_object(value))
            return "must be an object";
        *(json_t **)field->out = value;
        return NULL;
    case FIELD_ARRAY:
    default:
        if (!json_is_array(value))
            return "must be an array";
        *(json_t **)field->out = value;
        return NULL;
    }
}

static void read_field(const struct field *field, const char *full_name, json_t *value, struct problem *problem)
{
    const char *wrong = store_field(field, value);
    if (wrong != NULL) {
        problem_add(problem, full_name, "%s, this is %s", wrong, json_kind(value));
        return;
    }
    if (field->type == FIELD_TEXT) {
        size_t max = field->max != 0 ? field->max : 65536;
        if (json_string_length(value) > max)
            problem_add(problem, full_name, "is longer than %zu bytes", max);
        else if (field->required && is_blank(json_string_value(value)))
            problem_add(problem, full_name, "must not be empty");
    } else if (field->type == FIELD_ARRAY) {
        size_t max = field->max != 0 ? field->max : 1000;
        if (json_array_size(value) > max)
            problem_add(problem, full_name, "has more than %zu elements", max);
    }
}

static const struct field *find_field(const char *name, const struct field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    }
    return NULL;
}

static void unknown_field(const char *full_name, const char *name, const struct field *fields, size_t count,
                          struct problem *problem)
{
    struct nearest nearest = nearest_begin(name);
    for (size_t i = 0; i < count; i++)
        nearest_offer(&nearest, fields[i].name);
    if (nearest.best != NULL)
        problem_add(problem, full_name, "unknown field; did you mean \"%s\"?", nearest.best);
    else
        problem_add(problem, full_name, "unknown field");
}

bool fields_read(const json_t *object, const char *prefix, const struct field *fields, size_t count,
                 struct problem *problem)
{
    size_t before = problem->count;
    if (!json_is_object(object)) {
        problem_add(problem, prefix[0] != '\0' ? prefix : "(body)", "must be an object, this is %s", json_kind(object));
        return false;
    }
    const char *name;
    json_t *value;
    char full_name[256];
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        (void)snprintf(full_name, sizeof(full_name), "%s%s", prefix, name);
        const struct field *field = find_field(name, fields, count);
        if (field == NULL)
            unknown_field(full_name, name, fields, count, problem);
        else
            read_field(field, full_name, value, problem);
    }
    for (size_t i = 0; i < count; i++) {
        if (!fields[i].required || json_object_get(object, fields[i].name) != NULL)
            continue;
        (void)snprintf(full_name, sizeof(full_name), "%s%s", prefix, fields[i].name);
        problem_add(problem, full_name, "is required");
    }
    return problem->count == before;
}

json_t *json_time(int64_t wall_ms)
{
    char text[RFC3339_BYTES];
    return wall_ms == 0 ? json_null() : json_string(time_format_rfc3339(wall_ms, text));
}

json_t *json_line(const char *text)
{
    if (text == NULL)
        return json_string("");
    char *copy = str_dup(text);
    if (copy == NULL)
        return NULL;
    str_make_line(copy);
    json_t *value = json_string(copy);
    free(copy);
    return value;
}

json_t *json_attributes(const char *text)
{
    json_t *value = text != NULL ? json_text_reads(text, 0, NULL) : NULL;
    if (json_is_object(value))
        return value;
    json_decref(value);
    return json_object();
}

bool page_read(const struct request *request, int *limit, int64_t *after, struct problem *problem)
{
    size_t before = problem->count;
    uint64_t value;
    const char *text = request_query(request, "limit");
    *limit = PAGE_LIMIT_DEFAULT;
    if (text != NULL && (str_parse_u64(text, PAGE_LIMIT_MAX, &value) != 0 || value == 0))
        problem_add(problem, "limit", "must be a number from 1 to %d", PAGE_LIMIT_MAX);
    else if (text != NULL)
        *limit = (int)value;
    text = after != NULL ? request_query(request, "cursor") : NULL;
    if (after != NULL)
        *after = 0;
    if (text != NULL && str_parse_u64(text, INT64_MAX, &value) != 0)
        problem_add(problem, "cursor", "is not a cursor that this call gave");
    else if (text != NULL)
        *after = (int64_t)value;
    return problem->count == before;
}

bool page_init(struct page *page, int limit)
{
    *page = (struct page){.data = json_array(), .limit = limit};
    return page->data != NULL;
}

bool page_take(struct page *page, json_t *row, const char *cursor)
{
    if (json_array_size(page->data) >= (size_t)page->limit) {
        page->more = true;
        json_decref(row);
        return false;
    }
    page->failed |= json_array_append_new(page->data, row) != 0; /* also when there is no row */
    (void)str_copy(page->next, sizeof(page->next), cursor);
    return true;
}

bool page_take_id(struct page *page, json_t *row, int64_t cursor)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%lld", (long long)cursor);
    return page_take(page, row, text);
}

void page_drop(struct page *page)
{
    json_decref(page->data);
    page->data = NULL;
}

void page_continue(struct page *page, int64_t cursor)
{
    (void)snprintf(page->next, sizeof(page->next), "%lld", (long long)cursor);
    page->more = true;
}

json_t *page_json(struct page *page, int64_t total)
{
    if (page->failed) {
        page_drop(page);
        return NULL;
    }
    json_t *next = page->more ? json_string(page->next) : json_null();
    json_t *count = total >= 0 ? json_integer(total) : json_null();
    json_t *value = json_pack("{s:o, s:o, s:o}", "data", page->data, "next", next, "total", count);
    page->data = NULL;
    return value;
}
