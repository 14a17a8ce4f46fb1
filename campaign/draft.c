/*
 * draft.c - reads a posted campaign.
 *
 * All faults are gathered, so that a person mends them in one go. A field that this version does not know is a fault too: a campaign that is sent
 * without its segment because somebody misspelt the key would be worse than a refusal. What the templates hold is checked by the message compiler
 * (mailer_check_content), not here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/address.h"
#include "base/str.h"

#include "campaign/audience/segment.h"
#include "campaign/draft.h"
#include "campaign/schedule/plan.h"
#include "campaign/schedule/split.h"
#include "campaign/json_text.h"

#define NAME_MAX_BYTES 200
#define SUBJECT_MAX_BYTES 2000
#define PART_MAX_BYTES ((size_t)1 << 20)
#define TAGS_MAX 16
#define METADATA_MAX 32
#define HEADERS_MAX 32

struct draft_reader {
    struct storage_reader *storage;
    const struct config *config;
    struct draft *draft;
    struct problem *problem;
    struct error *err;
    int failure; /* a negative that is nobody's fault: the database */
};

static bool is_text(const json_t *value, const char *field, size_t max_bytes, struct problem *problem)
{
    if (!json_is_string(value)) {
        problem_add(problem, field, "must be text");
        return false;
    }
    if (json_string_length(value) > max_bytes) {
        problem_add(problem, field, "is longer than %zu bytes", max_bytes);
        return false;
    }
    if (strlen(json_string_value(value)) != json_string_length(value)) {
        problem_add(problem, field, "holds a NUL character");
        return false;
    }
    return true;
}

static void read_name(struct draft_reader *reader, const json_t *value)
{
    if (!is_text(value, "name", NAME_MAX_BYTES, reader->problem))
        return;
    if (json_string_length(value) == 0) {
        problem_add(reader->problem, "name", "must not be empty");
        return;
    }
    reader->draft->campaign.name = str_dup(json_string_value(value));
    if (reader->draft->campaign.name == NULL)
        reader->failure = error_memory(reader->err);
}

static int list_is_there(void *context, const struct storage_list *list)
{
    (void)context;
    (void)list;
    return 0;
}

/* One list by name or id; 0 when there is none (a problem was noted). */
static int64_t read_list(struct draft_reader *reader, const char *field, const json_t *value)
{
    int64_t id = 0;
    int result = STORAGE_NOT_FOUND;
    if (json_is_string(value)) {
        result = storage_list_find(reader->storage, json_string_value(value), &id, reader->err);
        if (result == STORAGE_NOT_FOUND)
            problem_add(reader->problem, field, "there is no list named \"%.100s\"", json_string_value(value));
    } else if (json_is_integer(value)) {
        id = json_integer_value(value);
        result = storage_list_get(reader->storage, id, list_is_there, NULL, reader->err);
        if (result == STORAGE_NOT_FOUND)
            problem_add(reader->problem, field, "there is no list with id %lld", (long long)id);
    } else {
        problem_add(reader->problem, field, "must be the name or the id of a list");
    }
    if (result < 0)
        reader->failure = result;
    return result == 0 ? id : 0;
}

static int read_lists(struct draft_reader *reader, const char *field, const json_t *value, int64_t ids[CAMPAIGN_LISTS_MAX])
{
    int count = 0;
    size_t index;
    const json_t *entry;
    if (!json_is_array(value)) {
        problem_add(reader->problem, field, "must be an array of list names or ids");
        return 0;
    }
    if (json_array_size(value) > CAMPAIGN_LISTS_MAX) {
        problem_add(reader->problem, field, "has more than %d lists", CAMPAIGN_LISTS_MAX);
        return 0;
    }
    json_array_foreach (value, index, entry) {
        char entry_field[64];
        (void)snprintf(entry_field, sizeof(entry_field), "%s[%zu]", field, index);
        int64_t id = read_list(reader, entry_field, entry);
        bool known = id == 0;
        for (int i = 0; i < count && !known; i++)
            known = ids[i] == id;
        if (!known)
            ids[count++] = id;
    }
    return count;
}

static void read_included(struct draft_reader *reader, const json_t *value)
{
    struct storage_campaign *campaign = &reader->draft->campaign;
    campaign->list_count = read_lists(reader, "lists", value, campaign->lists);
    if (json_is_array(value) && json_array_size(value) == 0)
        problem_add(reader->problem, "lists", "must name at least one list");
}

static void read_excluded(struct draft_reader *reader, const json_t *value)
{
    struct storage_campaign *campaign = &reader->draft->campaign;
    campaign->excluded_count = read_lists(reader, "exclude_lists", value, campaign->excluded);
}

static void read_segment(struct draft_reader *reader, const json_t *value)
{
    struct storage_campaign *campaign = &reader->draft->campaign;
    struct buffer program = BUFFER_INIT(SEGMENT_BYTES_MAX);
    int result = segment_parse(value, reader->storage, &program, reader->problem, reader->err);
    campaign->segment_bytes = program.len;
    campaign->segment = buffer_steal(&program, NULL);
    reader->failure = result;
}

static void check_address(struct draft_reader *reader, const char *field, const json_t *value)
{
    struct address address;
    struct error why = {""};
    if (!is_text(value, field, ADDRESS_MAX_BYTES, reader->problem))
        return;
    if (address_parse(json_string_value(value), json_string_length(value), &address, &why) != 0)
        problem_add(reader->problem, field, "%s", why.text);
}

static void read_from(struct draft_reader *reader, const json_t *value)
{
    const char *key;
    json_t *entry;
    if (!json_is_object(value)) {
        problem_add(reader->problem, "from", "must be an object {\"email\", \"name\"}");
        return;
    }
    json_object_foreach ((json_t *)(uintptr_t)value, key, entry) {
        char field[64];
        (void)snprintf(field, sizeof(field), "from.%.50s", key);
        if (strcmp(key, "email") == 0)
            check_address(reader, field, entry);
        else if (strcmp(key, "name") == 0)
            (void)is_text(entry, field, NAME_MAX_BYTES, reader->problem);
        else
            problem_add(reader->problem, field, "is not a known field");
    }
    if (json_object_get(value, "email") == NULL)
        problem_add(reader->problem, "from.email", "is missing");
}

static void read_reply_to(struct draft_reader *reader, const json_t *value)
{
    check_address(reader, "reply_to", value);
}

static void read_subject(struct draft_reader *reader, const json_t *value)
{
    if (is_text(value, "subject", SUBJECT_MAX_BYTES, reader->problem) && json_string_length(value) == 0)
        problem_add(reader->problem, "subject", "must not be empty");
}

static void read_html(struct draft_reader *reader, const json_t *value)
{
    (void)is_text(value, "html", PART_MAX_BYTES, reader->problem);
}

static void read_text(struct draft_reader *reader, const json_t *value)
{
    (void)is_text(value, "text", PART_MAX_BYTES, reader->problem);
}

/* An object of short texts: headers and metadata. */
static void check_texts(struct draft_reader *reader, const char *field, const json_t *value, size_t max_count)
{
    const char *key;
    json_t *entry;
    if (!json_is_object(value)) {
        problem_add(reader->problem, field, "must be an object of texts");
        return;
    }
    if (json_object_size(value) > max_count)
        problem_add(reader->problem, field, "has more than %zu entries", max_count);
    json_object_foreach ((json_t *)(uintptr_t)value, key, entry) {
        char entry_field[64];
        (void)snprintf(entry_field, sizeof(entry_field), "%s.%.40s", field, key);
        if (strlen(key) > NAME_MAX_BYTES)
            problem_add(reader->problem, field, "has a name longer than %d bytes", NAME_MAX_BYTES);
        (void)is_text(entry, entry_field, SUBJECT_MAX_BYTES, reader->problem);
    }
}

static void read_headers(struct draft_reader *reader, const json_t *value)
{
    check_texts(reader, "headers", value, HEADERS_MAX);
}

static void read_metadata(struct draft_reader *reader, const json_t *value)
{
    check_texts(reader, "metadata", value, METADATA_MAX);
}

static void read_tags(struct draft_reader *reader, const json_t *value)
{
    size_t index;
    const json_t *entry;
    if (!json_is_array(value) || json_array_size(value) > TAGS_MAX) {
        problem_add(reader->problem, "tags", "must be an array of at most %d texts", TAGS_MAX);
        return;
    }
    json_array_foreach (value, index, entry) {
        char field[64];
        (void)snprintf(field, sizeof(field), "tags[%zu]", index);
        (void)is_text(entry, field, NAME_MAX_BYTES, reader->problem);
    }
}

/* The files themselves are looked at by the message compiler. */
static void read_attachments(struct draft_reader *reader, const json_t *value)
{
    if (!json_is_array(value))
        problem_add(reader->problem, "attachments", "must be an array of files");
}

/* Its members are looked at by the message compiler. */
static void read_track(struct draft_reader *reader, const json_t *value)
{
    if (!json_is_object(value))
        problem_add(reader->problem, "track", "must be an object {\"opens\", \"clicks\"} of true or false");
}

static void read_schedule_at(struct draft_reader *reader, const json_t *value)
{
    if (!json_is_string(value) || time_parse_rfc3339(json_string_value(value), &reader->draft->campaign.scheduled_ms) != 0)
        problem_add(reader->problem, "schedule_at", "must be a time as in RFC 3339, like \"2026-11-23T09:00:00Z\"");
}

static void read_expires_after(struct draft_reader *reader, const json_t *value)
{
    int64_t *expires_ms = &reader->draft->campaign.expires_after_ms;
    if (!json_is_string(value) || str_parse_duration_ms(json_string_value(value), expires_ms) != 0 || *expires_ms < 1000)
        problem_add(reader->problem, "expires_after", "must be a duration of at least a second, like \"3d\"");
}

/* Read together at the end: see plan.h. */
static void read_plan(struct draft_reader *reader, const json_t *value)
{
    (void)reader;
    (void)value;
}

static void read_launch(struct draft_reader *reader, const json_t *value)
{
    if (!json_is_boolean(value))
        problem_add(reader->problem, "launch", "must be true or false");
    else
        reader->draft->launch = json_is_true(value);
}

static void read_force(struct draft_reader *reader, const json_t *value)
{
    if (!json_is_boolean(value))
        problem_add(reader->problem, "force", "must be true or false");
    else
        reader->draft->force = json_is_true(value);
}

static const struct field {
    const char *name;
    void (*read)(struct draft_reader *reader, const json_t *value);
    bool required;
} fields[] = {
    {"name", read_name, true},
    {"lists", read_included, true},
    {"exclude_lists", read_excluded, false},
    {"segment", read_segment, false},
    {"from", read_from, true},
    {"reply_to", read_reply_to, false},
    {"subject", read_subject, true},
    {"html", read_html, false},
    {"text", read_text, false},
    {"headers", read_headers, false},
    {"attachments", read_attachments, false},
    {"track", read_track, false},
    {"tags", read_tags, false},
    {"metadata", read_metadata, false},
    {"schedule_at", read_schedule_at, false},
    {"expires_after", read_expires_after, false},
    {"ab", read_plan, false},
    {"window", read_plan, false},
    {"missed", read_plan, false},
    {"rate", read_plan, false},
    {"priority", read_plan, false},
    {"launch", read_launch, false},
    {"force", read_force, false},
};

static const struct field *find_field(const char *name)
{
    for (size_t i = 0; i < countof(fields); i++) {
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    }
    return NULL;
}

/* The campaign's own copy of what was posted; the wish to launch is not part of the campaign. */
static int keep_spec(struct draft *draft, const json_t *spec, struct error *err)
{
    json_t *copy = json_copy((json_t *)(uintptr_t)spec);
    if (copy == NULL)
        return error_memory(err);
    (void)json_object_del(copy, "launch");
    (void)json_object_del(copy, "force");
    draft->campaign.spec = json_text_write(copy, JSON_COMPACT);
    json_decref(copy);
    return draft->campaign.spec != NULL ? 0 : error_memory(err);
}

int draft_parse(const json_t *spec, struct storage_reader *storage, const struct config *config, struct draft *out,
                struct problem *problem, struct error *err)
{
    struct draft_reader reader = {.storage = storage, .config = config, .draft = out, .problem = problem, .err = err};
    const char *key;
    json_t *value;

    *out = (struct draft){.campaign = {.expires_after_ms = config->expires_after_ms}};
    if (!json_is_object(spec)) {
        problem_add(problem, "", "a campaign is a JSON object");
        return error_set(err, -EINVAL, "a campaign is a JSON object");
    }
    json_object_foreach ((json_t *)(uintptr_t)spec, key, value) {
        const struct field *field = find_field(key);
        if (field == NULL)
            problem_add(problem, key, "is not a field of a campaign in this version");
        else if (!json_is_null(value))
            field->read(&reader, value);
        if (reader.failure != 0)
            return reader.failure;
    }
    for (size_t i = 0; i < countof(fields); i++) {
        value = json_object_get(spec, fields[i].name);
        if (fields[i].required && (value == NULL || json_is_null(value)))
            problem_add(problem, fields[i].name, "is missing");
    }
    struct plan plan;
    plan_parse(spec, &plan, problem);
    struct split split;
    split_parse(spec, &split, problem);
    out->campaign.split_share = split.share;
    out->campaign.split_variants = split.variants;
    const json_t *html = json_object_get(spec, "html"), *text = json_object_get(spec, "text");
    if ((html == NULL || json_is_null(html)) && (text == NULL || json_is_null(text)))
        problem_add(problem, "html", "is missing, and so is text: a message needs one of them");
    if (problem->count > 0)
        return error_set(err, -EINVAL, "the campaign cannot be accepted");
    return keep_spec(out, spec, err);
}

int draft_check_content(struct mailer *mailer, struct storage_reader *reader, const json_t *spec,
                        const struct draft *draft, enum signature signature, struct problem *problem, struct error *err)
{
    int result = mailer_check_content(mailer, reader, spec, draft->campaign.name, signature, problem, err);
    for (int i = 0; result == 0 && i < draft->campaign.split_variants; i++) {
        size_t before = problem->count;
        json_t *variant = split_variant(spec, i);
        result = variant == NULL ? error_memory(err)
                                 : mailer_check_content(mailer, reader, variant, draft->campaign.name, SIGNATURE_NONE,
                                                        problem, err);
        json_decref(variant);
        split_place_faults(problem, before, i);
    }
    return result;
}

void draft_free(struct draft *draft)
{
    free((char *)(uintptr_t)draft->campaign.name);
    free((char *)(uintptr_t)draft->campaign.spec);
    free((void *)(uintptr_t)draft->campaign.segment);
    *draft = (struct draft){0};
}
