/*
 * rows_jsonl.c - one line of JSONL becomes one recipient.
 *
 * The line is one object. Its key `email` (any case) is the address; every other key is an attribute of any JSON type.
 * When `attributes` is an object, its keys are attributes too; a key in both places rejects the line, because nobody
 * can say which was meant. Duplicate keys, NUL characters, and nesting deeper than ATTRIBUTES_MAX_DEPTH are rejected.
 */
#include <errno.h>

#include <jansson.h>

#include "base/str.h"

#include "campaign/audience/attributes.h"
#include "campaign/audience/rows.h"
#include "campaign/json_text.h"

#define ATTRIBUTES_MAX_DEPTH 16

static bool within_depth(const json_t *value, int depth)
{
    if (!json_is_object(value) && !json_is_array(value))
        return true;
    if (depth == 0)
        return false;
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (!within_depth(json_array_get(value, i), depth - 1))
            return false;
    }
    for (void *at = json_object_iter((json_t *)(uintptr_t)value); at != NULL;
         at = json_object_iter_next((json_t *)(uintptr_t)value, at)) {
        if (!within_depth(json_object_iter_value(at), depth - 1))
            return false;
    }
    return true;
}

/* Takes the address out of the object. NULL, or why there is none. */
static const char *take_email(json_t *object, struct address *address, struct error *why)
{
    const char *found = NULL, *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (!str_eq_nocase(key, "email"))
            continue;
        if (found != NULL)
            return "it has two email keys";
        found = key;
    }
    if (found == NULL)
        return "it has no email";
    json_t *email = json_object_get(object, found);
    if (!json_is_string(email))
        return "its email is not a string";
    if (address_parse(json_string_value(email), json_string_length(email), address, why) != 0)
        return why->text;
    json_object_del(object, found);
    return NULL;
}

/* Moves the keys of an `attributes` object up. NULL, or why that cannot be; *rc is -ENOMEM without memory. */
static const char *merge_attributes(json_t *object, struct error *why, int *rc)
{
    json_t *inner = json_object_get(object, "attributes");
    if (!json_is_object(inner))
        return NULL;
    json_incref(inner);
    json_object_del(object, "attributes");
    const char *problem = NULL, *key;
    json_t *value;
    json_object_foreach(inner, key, value)
    {
        if (json_object_get(object, key) != NULL) {
            (void)error_set(why, -EINVAL, "it has the attribute \"%.64s\" twice", key);
            problem = why->text;
            break;
        }
        if (json_object_set(object, key, value) != 0) {
            *rc = -ENOMEM;
            break;
        }
    }
    json_decref(inner);
    return problem;
}

static const char *check_names(json_t *object, struct error *why)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        const char *problem = key[0] == '\0' ? "is empty" : attributes_check_name(key, strlen(key));
        if (problem != NULL) {
            (void)error_set(why, -EINVAL, "the name of attribute \"%.64s\" %s", key, problem);
            return why->text;
        }
    }
    return NULL;
}

static int append_json(const char *bytes, size_t len, void *context)
{
    struct buffer *out = context;
    buffer_append(out, bytes, len);
    return out->failed ? -1 : 0;
}

/* NULL when the line is ready to be taken; else why it is rejected. *rc < 0: a failure. */
static const char *read_object(struct import *import, json_t *object, struct address *address, struct error *why,
                               int *rc)
{
    if (!json_is_object(object))
        return "it is not a JSON object";
    if (!within_depth(object, ATTRIBUTES_MAX_DEPTH))
        return "its attributes are nested too deeply";
    const char *problem = take_email(object, address, why);
    if (problem == NULL)
        problem = merge_attributes(object, why, rc);
    if (problem == NULL)
        problem = check_names(object, why);
    if (problem != NULL || *rc != 0)
        return problem;
    buffer_clear(&import->json);
    if (json_text_write_to(object, append_json, &import->json, JSON_COMPACT | JSON_REAL_PRECISION(15)) != 0)
        *rc = error_memory(import->err);
    return import->json.len > ATTRIBUTES_MAX_BYTES ? "its attributes are longer than 65536 bytes" : NULL;
}

int rows_jsonl(void *context, const struct jsonl_line *line)
{
    struct import *import = context;
    size_t raw_len = MIN_OF(line->len, JSONL_RAW_MAX_BYTES);
    if (line->overlong)
        return rows_reject(import, line->line, line->text, raw_len, "the line is longer than %zu bytes",
                           JSONL_LINE_MAX_BYTES - 1);
    json_error_t parse;
    json_t *object = json_text_read(line->text, line->len, JSON_REJECT_DUPLICATES, &parse);
    if (object == NULL && json_error_code(&parse) == json_error_out_of_memory)
        return error_memory(import->err);
    if (object == NULL)
        return rows_reject(import, line->line, line->text, raw_len, "it is not JSON: %s (column %d)", parse.text,
                           parse.column);
    struct address address;
    struct error why = {{0}};
    int rc = 0;
    const char *problem = read_object(import, object, &address, &why, &rc);
    if (rc == 0 && problem != NULL)
        rc = rows_reject(import, line->line, line->text, raw_len, "%s", problem);
    else if (rc == 0)
        rc = rows_take(import, &address);
    json_decref(object);
    return rc;
}
