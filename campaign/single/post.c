/*
 * post.c - takes a single message in.
 *
 * What it says is settled when it is posted: a template's content, and the snippets that it shows, are copied, so that
 * an edit between the answer and the last attempt changes nothing. The same text is stored once, however many messages
 * use it; what differs between them are recipient, attributes and metadata.
 *
 * Everything that can be wrong with the content is found here, by the compiler that sends, and refused with its place.
 * Only the attributes are not tried: what they make of the content shows when the message is composed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/clock.h"
#include "base/str.h"

#include "campaign/signing.h"
#include "campaign/json_text.h"

#define ATTRIBUTES_MAX_BYTES 65536
#define EXPIRES_MAX_MS (INT64_C(30) * 86400000)
#define METADATA_MAX 32
#define METADATA_MAX_BYTES 500

/* Of what a template or the message itself says. */
static const char *const content_fields[] = {"from", "reply_to",    "subject", "html",
                                             "text", "attachments", "headers", "tags"};
static const char *const own_fields[] = {"to", "template", "attributes", "metadata", "transactional", "expires_after"};

struct posting {
    struct mailer *mailer;
    struct storage_reader *reader;
    const json_t *body;
    struct problem *problem;
    struct error *err;
    json_t *stored; /* {"spec", "partials", "transactional"} */
    struct address to, from;
    char *attributes, *labels, *content, *stream_spec;
    bool transactional;
    int64_t expires_after_ms;
};

static bool is_known(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static const json_t *member(const struct posting *posting, const char *name)
{
    const json_t *value = json_object_get(posting->body, name);
    return json_is_null(value) ? NULL : value;
}

static void read_to(struct posting *posting)
{
    const json_t *to = member(posting, "to");
    struct error why = {""};
    if (to == NULL)
        problem_add(posting->problem, "to", "is missing");
    else if (!json_is_string(to))
        problem_add(posting->problem, "to", "must be an address");
    else if (address_parse(json_string_value(to), json_string_length(to), &posting->to, &why) != 0)
        problem_add(posting->problem, "to", "%s", why.text);
}

static void read_terms(struct posting *posting)
{
    const json_t *transactional = member(posting, "transactional"), *expires = member(posting, "expires_after");
    posting->transactional = transactional == NULL || json_is_true(transactional);
    if (transactional != NULL && !json_is_boolean(transactional))
        problem_add(posting->problem, "transactional", "must be true or false");
    posting->expires_after_ms = posting->mailer->config->expires_after_ms;
    if (expires != NULL && (!json_is_string(expires) ||
                            str_parse_duration_ms(json_string_value(expires), &posting->expires_after_ms) != 0 ||
                            posting->expires_after_ms < 1000 || posting->expires_after_ms > EXPIRES_MAX_MS))
        problem_add(posting->problem, "expires_after", "must be a duration of a second to 30 days, like \"1h\"");
}

static int read_attributes(struct posting *posting)
{
    const json_t *attributes = member(posting, "attributes");
    if (attributes != NULL && !json_is_object(attributes)) {
        problem_add(posting->problem, "attributes", "must be an object");
        return 0;
    }
    posting->attributes = attributes != NULL ? json_text_write(attributes, JSON_COMPACT) : str_dup("{}");
    if (posting->attributes == NULL)
        return error_memory(posting->err);
    if (strlen(posting->attributes) > ATTRIBUTES_MAX_BYTES)
        problem_add(posting->problem, "attributes", "are longer than %d bytes", ATTRIBUTES_MAX_BYTES);
    return 0;
}

static void check_metadata(struct posting *posting)
{
    const json_t *metadata = member(posting, "metadata");
    const char *key;
    json_t *value;
    if (metadata == NULL)
        return;
    if (!json_is_object(metadata) || json_object_size(metadata) > METADATA_MAX) {
        problem_add(posting->problem, "metadata", "must be an object of at most %d texts", METADATA_MAX);
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
    {
        if (!json_is_string(value) || strlen(key) + json_string_length(value) > METADATA_MAX_BYTES) {
            problem_add(posting->problem, "metadata", "must hold texts of at most %d bytes with their names",
                        METADATA_MAX_BYTES);
            return;
        }
    }
}

struct template_spec {
    bool found;
    json_t *spec; /* NULL although it was found: no memory */
};

static int keep_spec(void *context, const struct storage_campaign *campaign)
{
    struct template_spec *out = context;
    out->found = !campaign->messages;
    if (out->found)
        out->spec = json_text_reads(campaign->spec, 0, NULL);
    return 0;
}

/* The fields of the template, and over them those of the message. */
static int make_spec(struct posting *posting, json_t *spec)
{
    const json_t *template = member(posting, "template");
    struct template_spec of = {false, NULL};
    int failed = 0;
    if (template != NULL && !json_is_integer(template)) {
        problem_add(posting->problem, "template", "must be the id of a campaign");
    } else if (template != NULL) {
        int result = storage_campaign_get(posting->reader, json_integer_value(template), keep_spec, &of, posting->err);
        if (result < 0 || (of.found && of.spec == NULL))
            return result < 0 ? result : error_memory(posting->err);
        if (!of.found)
            problem_add(posting->problem, "template", "there is no campaign with this id");
    }
    for (size_t i = 0; i < countof(content_fields); i++) {
        json_t *value = json_object_get(of.spec, content_fields[i]);
        const json_t *own = member(posting, content_fields[i]);
        if (own != NULL)
            value = (json_t *)(uintptr_t)own;
        if (value != NULL && !json_is_null(value))
            failed |= json_object_set(spec, content_fields[i], value);
    }
    json_decref(of.spec);
    return failed ? error_memory(posting->err) : 0;
}

/* Compiles it as it will be when it is sent, but for the signature, whose key only has to be there. */
static int check_content(struct posting *posting, const json_t *spec)
{
    struct mailer *mailer = posting->mailer;
    json_t *partials = NULL;
    struct content *content = NULL;
    struct signing signing = {0};
    int result = snippets_load(posting->reader, &partials, posting->err);
    if (result == 0) {
        const struct content_options options = {
            .spec = spec,
            .partials = partials,
            .campaign_name = "",
            .public_url = mailer->config->public_url,
            .bounce_domain = mailer->config->bounce_domain,
            .mac = token_ring_key(mailer->ring, 0), /* a stream has no end, so its tokens stay with the first key */
            .transactional = posting->transactional};
        result = content_compile(&options, &content, posting->problem, posting->err);
    }
    if (result == 0 && content_shows_view(content))
        problem_add(posting->problem, "html", "{{view_url}} is for campaigns: a single message has no page of its own");
    if (result == 0) {
        result = signing_find(mailer, posting->reader, spec, &signing, posting->problem, posting->err);
        signing_finish(&signing);
    }
    if (result == 0) {
        const char *from = json_string_value(json_object_get(json_object_get(spec, "from"), "email"));
        result = address_parse(from, strlen(from), &posting->from, posting->err);
    }
    if (result == 0) /* keeps references */
        posting->stored = json_pack("{s:O, s:O, s:b}", "spec", spec, "partials", content_partials(content),
                                    "transactional", posting->transactional);
    if (result == 0 && posting->stored == NULL)
        result = error_memory(posting->err);
    content_unref(content);
    json_decref(partials);
    return result;
}

/* What people see of it beside its content. */
static int make_labels(struct posting *posting, const json_t *spec)
{
    json_t *labels = json_object();
    json_t *tags = json_object_get(spec, "tags");
    const json_t *metadata = member(posting, "metadata");
    int failed = labels == NULL;
    if (tags != NULL)
        failed |= json_object_set(labels, "tags", tags);
    if (metadata != NULL)
        failed |= json_object_set(labels, "metadata", (json_t *)(uintptr_t)metadata);
    posting->labels = failed ? NULL : json_text_write(labels, JSON_COMPACT);
    json_decref(labels);
    return posting->labels != NULL ? 0 : error_memory(posting->err);
}

static int read_body(struct posting *posting)
{
    const char *key;
    json_t *value;
    if (!json_is_object(posting->body)) {
        problem_add(posting->problem, "", "a message is a JSON object");
        return error_set(posting->err, -EINVAL, "a message is a JSON object");
    }
    json_object_foreach((json_t *)(uintptr_t)posting->body, key, value)
    {
        if (!is_known(key, content_fields, countof(content_fields)) && !is_known(key, own_fields, countof(own_fields)))
            problem_add(posting->problem, key, "is not a field of a message in this version");
    }
    read_to(posting);
    read_terms(posting);
    check_metadata(posting);
    json_t *spec = json_object();
    int result = spec != NULL ? read_attributes(posting) : error_memory(posting->err);
    if (result == 0)
        result = make_spec(posting, spec);
    if (result == 0 && (member(posting, "template") == NULL || json_object_size(spec) > 0))
        result = check_content(posting, spec);
    if (result == 0)
        result = make_labels(posting, spec);
    json_decref(spec);
    if (result == 0 && posting->problem->count > 0)
        result = error_set(posting->err, -EINVAL, "the message cannot be accepted");
    return result;
}

/* What stands in the stream's row: nothing of it is ever sent. */
static int make_stream_spec(struct posting *posting)
{
    json_t *spec = json_pack("{s:{s:s}, s:s, s:s}", "from", "email", posting->from.text, "subject", "single messages",
                             "text", "Each message of this stream has a content of its own.");
    posting->stream_spec = spec != NULL ? json_text_write(spec, JSON_COMPACT) : NULL;
    json_decref(spec);
    return posting->stream_spec != NULL ? 0 : error_memory(posting->err);
}

static int store(struct posting *posting, int64_t *id)
{
    struct mailer *mailer = posting->mailer;
    int64_t now_ms = clock_wall_ms();
    struct storage_message_new message = {.email = posting->to.text,
                                          .sender = address_domain(&posting->from),
                                          .attributes = posting->attributes,
                                          .labels = posting->labels,
                                          .transactional = posting->transactional,
                                          .now_ms = now_ms,
                                          .expires_ms = now_ms + posting->expires_after_ms};
    struct storage_message_made made;
    posting->content = json_text_write(posting->stored, JSON_COMPACT | JSON_SORT_KEYS);
    if (posting->content == NULL)
        return error_memory(posting->err);
    message.content = posting->content;
    int result = make_stream_spec(posting);
    message.stream_spec = posting->stream_spec;
    if (result == 0 && digest_sha256(posting->content, strlen(posting->content), message.digest) != 0)
        result = error_set(posting->err, -EIO, "the content's digest could not be made");
    if (result == 0)
        result = storage_message_post(mailer->storage, &message, &made, posting->err);
    if (result != 0)
        return result;
    *id = made.id;
    feeder_posted(mailer->feeder, made.campaign_id, made.lane);
    return 0;
}

int message_post(struct mailer *mailer, struct storage_reader *reader, const json_t *body, int64_t *id,
                 struct problem *problem, struct error *err)
{
    struct posting posting = {.mailer = mailer, .reader = reader, .body = body, .problem = problem, .err = err};
    int result = read_body(&posting);
    if (result == 0)
        result = store(&posting, id);
    json_decref(posting.stored);
    free(posting.attributes);
    free(posting.labels);
    free(posting.content);
    free(posting.stream_spec);
    return result;
}
