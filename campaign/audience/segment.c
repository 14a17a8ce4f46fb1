/*
 * segment.c - from the JSON of a segment to its program.
 *
 * Everything is checked here, so that a segment that was accepted cannot fail when it is asked: unknown keys, wrong
 * types, names that cannot be looked up, dates, lists and campaigns that do not exist, depth and size. All faults are
 * gathered, each with the place where it is.
 */
#include "campaign/audience/segment.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define PLACE_BYTES 64 /* of struct problem's field */

struct parse {
    struct storage_reader *storage;
    struct buffer *out;
    struct problem *problem;
    struct error *err;
    unsigned depth, tests, values;
    int failure;
};

/* A place, and what it lies in; written out only when something is wrong there. */
struct place {
    const struct place *in;
    const char *key;
    int index; /* -1 = none */
};

static size_t write_place(char *out, size_t size, const struct place *place)
{
    size_t len = place->in != NULL ? write_place(out, size, place->in) : 0;
    if (len >= size)
        return len;
    int more = place->index >= 0 ? snprintf(out + len, size - len, "[%d]", place->index)
                                 : snprintf(out + len, size - len, "%s%s", len > 0 ? "." : "", place->key);
    return more < 0 ? len : len + (size_t)more;
}

static void fault(struct parse *parse, const struct place *place, const char *message)
{
    char where[PLACE_BYTES] = "";
    (void)write_place(where, sizeof(where), place);
    problem_add(parse->problem, where, "%s", message);
}

/* ---- values ---- */

static const struct op {
    const char *name;
    enum segment_op op;
} ops[] = {
    {"eq", SEGMENT_EQ},
    {"ne", SEGMENT_NE},
    {"lt", SEGMENT_LT},
    {"lte", SEGMENT_LTE},
    {"gt", SEGMENT_GT},
    {"gte", SEGMENT_GTE},
    {"in", SEGMENT_IN},
    {"contains", SEGMENT_CONTAINS},
    {"starts_with", SEGMENT_STARTS},
    {"exists", SEGMENT_EXISTS},
    {"before", SEGMENT_BEFORE},
    {"after", SEGMENT_AFTER},
    {"within", SEGMENT_WITHIN},
};

static const struct op *find_op(const char *name)
{
    for (size_t i = 0; i < countof(ops); i++) {
        if (strcmp(ops[i].name, name) == 0)
            return &ops[i];
    }
    return NULL;
}

/* A value of JSON; NULL = done, else what is wrong with it. */
static const char *scalar(const json_t *json, struct segment_value *out)
{
    *out = (struct segment_value){.text = ""};
    if (json_is_string(json)) {
        out->type = SEGMENT_TEXT;
        out->text = json_string_value(json);
        return strlen(out->text) == json_string_length(json) ? NULL : "holds a NUL character";
    }
    if (json_is_boolean(json)) {
        out->type = SEGMENT_BOOL;
        out->number = json_is_true(json);
        return NULL;
    }
    out->type = SEGMENT_NUMBER;
    out->number = json_number_value(json);
    if (!json_is_number(json))
        return "must be text, a number, true or false";
    return isfinite(out->number) ? NULL : "is no number";
}

static const char *date(const json_t *json, struct segment_value *out)
{
    int64_t ms = 0;
    char text[48];
    const char *given = json_string_value(json);
    if (given == NULL)
        return "must be a date, like \"2026-11-23\" or \"2026-11-23T09:00:00Z\"";
    (void)snprintf(text, sizeof(text), strlen(given) == 10 ? "%sT00:00:00Z" : "%s", given);
    if (strlen(given) > 40 || time_parse_rfc3339(text, &ms) != 0)
        return "must be a date, like \"2026-11-23\" or \"2026-11-23T09:00:00Z\"";
    *out = (struct segment_value){.type = SEGMENT_NUMBER, .text = "", .number = (double)ms};
    return NULL;
}

static const char *duration(const json_t *json, struct segment_value *out)
{
    int64_t ms = 0;
    if (!json_is_string(json) || str_parse_duration_ms(json_string_value(json), &ms) != 0 || ms <= 0)
        return "must be a duration, like \"30d\"";
    *out = (struct segment_value){.type = SEGMENT_NUMBER, .text = "", .number = (double)ms};
    return NULL;
}

static const char *value_for(enum segment_op op, const json_t *json, struct segment_value *out)
{
    if (op == SEGMENT_BEFORE || op == SEGMENT_AFTER)
        return date(json, out);
    if (op == SEGMENT_WITHIN)
        return duration(json, out);
    const char *wrong = scalar(json, out);
    if (wrong != NULL)
        return wrong;
    if (op == SEGMENT_EXISTS)
        return out->type == SEGMENT_BOOL ? NULL : "must be true or false";
    if (op == SEGMENT_STARTS)
        return out->type == SEGMENT_TEXT ? NULL : "must be text";
    if (op >= SEGMENT_LT && op <= SEGMENT_GTE)
        return out->type != SEGMENT_BOOL ? NULL : "must be text or a number";
    return NULL;
}

/* Counts towards the bounds; false (with a fault) when they are passed. */
static bool spend(struct parse *parse, const struct place *place, unsigned tests, unsigned values)
{
    parse->tests += tests;
    parse->values += values;
    bool over = parse->tests > SEGMENT_TESTS_MAX || parse->values > SEGMENT_VALUES_MAX;
    if (over && parse->problem->count == 0)
        fault(parse, place, "is too large: a segment has at most 100 tests and 1000 values");
    return !over;
}

/* ---- tests ---- */

static void put_in(struct parse *parse, const struct place *place, enum segment_kind kind, const char *name,
                   const json_t *list)
{
    size_t count = json_array_size(list), i;
    const json_t *entry;
    struct segment_value value;
    if (!json_is_array(list) || count == 0) {
        fault(parse, place, "must be a list of values");
        return;
    }
    if (count > SEGMENT_VALUES_MAX || !spend(parse, place, 1, (unsigned)count)) {
        fault(parse, place, "has more than 1000 values");
        return;
    }
    segment_put_test(parse->out, kind, SEGMENT_IN, name, 0, (unsigned)count);
    json_array_foreach(list, i, entry)
    {
        const struct place at = {.in = place, .index = (int)i};
        const char *wrong = scalar(entry, &value);
        if (wrong != NULL)
            fault(parse, &at, wrong);
        else
            segment_put_value(parse->out, &value);
    }
}

static void put_operator(struct parse *parse, const struct place *place, enum segment_kind kind, const char *name,
                         enum segment_op op, const json_t *json)
{
    struct segment_value value;
    if (kind == SEGMENT_CREATED && op != SEGMENT_BEFORE && op != SEGMENT_AFTER && op != SEGMENT_WITHIN) {
        fault(parse, place, "does not go with a time: before, after or within do");
        return;
    }
    if (op == SEGMENT_IN) {
        put_in(parse, place, kind, name, json);
        return;
    }
    const char *wrong = value_for(op, json, &value);
    if (wrong != NULL) {
        fault(parse, place, wrong);
    } else if (spend(parse, place, 1, 1)) {
        segment_put_test(parse->out, kind, op, name, 0, 1);
        segment_put_value(parse->out, &value);
    }
}

/* All operators beside the key of the subject; several are an AND. */
static void put_operators(struct parse *parse, const struct place *place, const json_t *json, const char *subject,
                          enum segment_kind kind, const char *name)
{
    const char *key;
    json_t *value;
    size_t count = json_object_size(json) - 1;
    if (count == 0)
        fault(parse, place,
              "has no operator: eq, ne, lt, lte, gt, gte, in, contains, starts_with, exists, before, after or within");
    if (count > 1)
        segment_put_group(parse->out, SEGMENT_AND, (unsigned)MIN_OF(count, countof(ops)));
    json_object_foreach((json_t *)(uintptr_t)json, key, value)
    {
        const struct place at = {.in = place, .key = key, .index = -1};
        const struct op *op = find_op(key);
        if (strcmp(key, subject) == 0)
            continue;
        if (op == NULL)
            fault(parse, &at, "is not an operator");
        else
            put_operator(parse, &at, kind, name, op->op, value);
    }
}

/* "address.city" becomes $."address"."city". */
static void put_attribute(struct parse *parse, const struct place *place, const json_t *json)
{
    char path[600] = "$.\"";
    const char *name = json_string_value(json_object_get(json, "attribute"));
    const struct place at = {.in = place, .key = "attribute", .index = -1};
    size_t len = strlen(path);
    if (name == NULL || name[0] == '\0' || strlen(name) > 128 ||
        strlen(name) != json_string_length(json_object_get(json, "attribute"))) {
        fault(parse, &at, "must be the name of an attribute, of at most 128 bytes");
        return;
    }
    for (const char *from = name; *from != '\0'; from++) {
        if (*from == '"' || *from == '\\' || (unsigned char)*from < ' ') {
            fault(parse, &at, "cannot hold a quote, a backslash or a control character");
            return;
        }
        if (*from == '.')
            len += (size_t)snprintf(path + len, sizeof(path) - len, "\".\"");
        else
            path[len++] = *from;
    }
    path[len++] = '"';
    path[len] = '\0';
    put_operators(parse, place, json, "attribute", SEGMENT_ATTRIBUTE, path);
}

static void put_field(struct parse *parse, const struct place *place, const json_t *json)
{
    const char *name = json_string_value(json_object_get(json, "field"));
    const struct place at = {.in = place, .key = "field", .index = -1};
    static const struct {
        const char *name;
        enum segment_kind kind;
    } known[] = {{"email", SEGMENT_EMAIL}, {"domain", SEGMENT_DOMAIN}, {"created", SEGMENT_CREATED}};
    for (size_t i = 0; i < countof(known) && name != NULL; i++) {
        if (strcmp(name, known[i].name) == 0) {
            put_operators(parse, place, json, "field", known[i].kind, "");
            return;
        }
    }
    fault(parse, &at, "must be \"email\", \"domain\" or \"created\"");
}

/* The index of the word under `key`, or -1 with a fault; the only other key is `other`. */
static int word(struct parse *parse, const struct place *place, const json_t *json, const char *key, const char *other,
                const char *const *words, size_t count, const char *missing)
{
    const char *name, *given = json_string_value(json_object_get(json, key));
    json_t *value;
    int found = -1;
    json_object_foreach((json_t *)(uintptr_t)json, name, value)
    {
        const struct place at = {.in = place, .key = name, .index = -1};
        if (strcmp(name, key) != 0 && strcmp(name, other) != 0)
            fault(parse, &at, "is not a known key here");
    }
    if (given == NULL)
        given = json_object_get(json, key) == NULL ? missing : "";
    for (size_t i = 0; i < count; i++) {
        if (strcmp(given, words[i]) == 0)
            found = (int)i;
    }
    const struct place at = {.in = place, .key = key, .index = -1};
    if (found < 0)
        fault(parse, &at, "is not one of the words it may be");
    return found;
}

static void put_is(struct parse *parse, const struct place *place, enum segment_kind kind, int64_t id, int what)
{
    const struct segment_value value = {.type = SEGMENT_NUMBER, .text = "", .number = what};
    if (!spend(parse, place, 1, 1))
        return;
    segment_put_test(parse->out, kind, SEGMENT_IS, "", id, 1);
    segment_put_value(parse->out, &value);
}

static int list_is_there(void *context, const struct storage_list *list)
{
    (void)context;
    (void)list;
    return 0;
}

static void put_list(struct parse *parse, const struct place *place, const json_t *json)
{
    static const char *const words[] = {"active", "unsubscribed", "removed", "none"}; /* as enum member_status */
    const json_t *list = json_object_get(json, "list");
    const struct place at = {.in = place, .key = "list", .index = -1};
    int what = word(parse, place, json, "status", "list", words, countof(words), "active");
    int64_t id = json_integer_value(list);
    int result = STORAGE_NOT_FOUND;
    if (json_is_string(list))
        result = storage_list_find(parse->storage, json_string_value(list), &id, parse->err);
    else if (json_is_integer(list))
        result = storage_list_get(parse->storage, id, list_is_there, NULL, parse->err);
    if (result < 0)
        parse->failure = result;
    else if (result > 0)
        fault(parse, &at, "must be the name or the id of a list that is there");
    else if (what >= 0)
        put_is(parse, place, SEGMENT_LIST, id, what == (int)countof(words) - 1 ? -1 : what);
}

static int campaign_is_there(void *context, const struct storage_campaign *campaign)
{
    (void)context;
    (void)campaign;
    return 0;
}

static void put_campaign(struct parse *parse, const struct place *place, const json_t *json)
{
    static const char *const words[] = {/* as enum segment_event */
                                        "sent",    "delivered",  "bounced",     "opened",
                                        "clicked", "not_opened", "not_clicked", "unsubscribed"};
    const json_t *campaign = json_object_get(json, "campaign");
    const struct place at = {.in = place, .key = "campaign", .index = -1};
    int what = word(parse, place, json, "was", "campaign", words, countof(words), "");
    int result = !json_is_integer(campaign) ? STORAGE_NOT_FOUND
                                            : storage_campaign_get(parse->storage, json_integer_value(campaign),
                                                                   campaign_is_there, NULL, parse->err);
    if (result < 0)
        parse->failure = result;
    else if (result > 0)
        fault(parse, &at, "must be the id of a campaign that is there");
    else if (what >= 0)
        put_is(parse, place, SEGMENT_CAMPAIGN, json_integer_value(campaign), what);
}

/* ---- the tree ---- */

static void put(struct parse *parse, const struct place *place, const json_t *json);

static void put_group(struct parse *parse, const struct place *place, enum segment_kind kind, const json_t *json)
{
    size_t i;
    const json_t *entry;
    if (!json_is_array(json) || json_array_size(json) == 0 || json_array_size(json) > SEGMENT_TESTS_MAX) {
        fault(parse, place, "must be a list of 1 to 100 conditions");
        return;
    }
    segment_put_group(parse->out, kind, (unsigned)json_array_size(json));
    json_array_foreach(json, i, entry)
    {
        const struct place at = {.in = place, .index = (int)i};
        put(parse, &at, entry);
        if (parse->failure != 0 || parse->problem->count >= PROBLEM_FIELDS_MAX)
            return;
    }
}

static void put(struct parse *parse, const struct place *place, const json_t *json)
{
    static const struct {
        const char *key;
        enum segment_kind kind;
        void (*test)(struct parse *parse, const struct place *place, const json_t *json);
    } forms[] = {{"and", SEGMENT_AND, NULL},
                 {"or", SEGMENT_OR, NULL},
                 {"not", SEGMENT_NOT, NULL},
                 {"attribute", SEGMENT_ATTRIBUTE, put_attribute},
                 {"field", SEGMENT_EMAIL, put_field},
                 {"list", SEGMENT_LIST, put_list},
                 {"campaign", SEGMENT_CAMPAIGN, put_campaign}};
    if (++parse->depth > SEGMENT_DEPTH_MAX) {
        fault(parse, place, "is nested more than 8 deep");
        parse->depth--;
        return;
    }
    for (size_t i = 0; i < countof(forms); i++) {
        const struct place at = {.in = place, .key = forms[i].key, .index = -1};
        const json_t *value = json_object_get(json, forms[i].key);
        if (value == NULL)
            continue;
        if (forms[i].test != NULL) {
            forms[i].test(parse, place, json);
        } else if (json_object_size(json) != 1) {
            fault(parse, place, "has more than one key beside and, or, not");
        } else if (forms[i].kind == SEGMENT_NOT) {
            segment_put_group(parse->out, SEGMENT_NOT, 1);
            put(parse, &at, value);
        } else {
            put_group(parse, &at, forms[i].kind, value);
        }
        parse->depth--;
        return;
    }
    fault(parse, place, "must be an object with and, or, not, attribute, field, list or campaign");
    parse->depth--;
}

int segment_parse(const json_t *json, struct storage_reader *reader, struct buffer *out, struct problem *problem,
                  struct error *err)
{
    struct parse parse = {.storage = reader, .out = out, .problem = problem, .err = err};
    const struct place root = {.key = "segment", .index = -1};
    put(&parse, &root, json);
    if (parse.failure == 0 && out->failed)
        problem_add(problem, "segment", "is larger than %zu bytes", SEGMENT_BYTES_MAX);
    return parse.failure;
}
