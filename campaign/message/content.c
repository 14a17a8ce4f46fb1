/*
 * content.c - a campaign's JSON into a struct content: every fault of it found and named, everything that is the same
 * for all recipients done once.
 *
 * The checks go on after the first fault, so that a person sees all of them. What is constant (From, Reply-To, List-Id,
 * a subject without tags, …) is written as header fields (content_head.c) and only copied later.
 *
 * Success means that a message can be composed for any recipient, save for sizes that values bring along. Lists,
 * schedule and the like are not looked at.
 */
#include "campaign/message/content_head.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#include "campaign/message/header.h"

#define NAME_MAX_BYTES 256
#define SUBJECT_MAX_BYTES HEADER_VALUE_MAX_BYTES
#define PUBLIC_URL_MAX_BYTES 512
#define TAGS_MAX 20

struct compile {
    const struct content_options *options;
    struct content *content;
    struct problem *problem;
    struct error *err;
    bool faulty;             /* something went into `problem` */
    const char *tag;         /* the first of tags[], or NULL */
    struct address reply_to; /* .at = 0: none */
};

#define FAULT(compile, field, ...) ((compile)->faulty = true, problem_add((compile)->problem, (field), __VA_ARGS__))

/* A header text as posted is one line: what a recipient's attribute brings is neutralised, what the author writes is
 * refused. */
static bool is_line(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((uint8_t)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return true;
}

static bool is_absent(const json_t *value)
{
    return value == NULL || json_is_null(value);
}

/* The string member `key` of `object`: NULL when absent (or null) or faulty. */
static const char *take_string(struct compile *compile, const json_t *object, const char *key, const char *field,
                               size_t max_bytes, size_t *len)
{
    const json_t *value = json_object_get(object, key);
    *len = 0;
    if (is_absent(value))
        return NULL;
    if (!json_is_string(value)) {
        FAULT(compile, field, "must be a string");
        return NULL;
    }
    *len = json_string_length(value);
    if (*len > max_bytes) {
        FAULT(compile, field, "is too long: %zu bytes, at most %zu are allowed", *len, max_bytes);
        return NULL;
    }
    return json_string_value(value);
}

static const char *take_line(struct compile *compile, const json_t *object, const char *key, const char *field,
                             size_t max_bytes, size_t *len)
{
    const char *text = take_string(compile, object, key, field, max_bytes, len);
    if (text == NULL || is_line(text, *len))
        return text;
    FAULT(compile, field, "must be one line, without control characters");
    return NULL;
}

static void take_address(struct compile *compile, const char *text, size_t len, const char *field, struct address *out)
{
    struct error why = {{0}};
    if (address_parse(text, len, out, &why) < 0)
        FAULT(compile, field, "is not an e-mail address: %s", why.text);
}

static int compile_from(struct compile *compile)
{
    const json_t *from = json_object_get(compile->options->spec, "from");
    if (!json_is_object(from)) {
        FAULT(compile, "from", is_absent(from) ? "is missing" : "must be an object with email and name");
        return 0;
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)from, key, value)
    {
        char field[64];
        (void)snprintf(field, sizeof(field), "from.%s", key);
        if (strcmp(key, "email") != 0 && strcmp(key, "name") != 0)
            FAULT(compile, field, "is not a known field");
    }
    size_t len = 0;
    const char *name = take_line(compile, from, "name", "from.name", NAME_MAX_BYTES, &len);
    if (name != NULL && strstr(name, "{{") != NULL)
        FAULT(compile, "from.name", "cannot hold tags: it is the same for all recipients");
    compile->content->from_name = str_dup(name != NULL ? name : "");
    if (compile->content->from_name == NULL)
        return error_memory(compile->err);
    const char *email = take_string(compile, from, "email", "from.email", ADDRESS_MAX_BYTES, &len);
    if (email != NULL)
        take_address(compile, email, len, "from.email", &compile->content->from);
    else if (is_absent(json_object_get(from, "email")))
        FAULT(compile, "from.email", "is missing");
    return 0;
}

static void check_reply_to(struct compile *compile)
{
    size_t len = 0;
    const char *text = take_string(compile, compile->options->spec, "reply_to", "reply_to", ADDRESS_MAX_BYTES, &len);
    if (text != NULL && len > 0)
        take_address(compile, text, len, "reply_to", &compile->reply_to);
}

/* Which built-ins and which partials the template shows. */
static int note_uses(struct compile *compile, const struct template *template)
{
    struct content *content = compile->content;
    for (size_t i = 0; i < template->count; i++) {
        const struct template_node *node = &template->nodes[i];
        content->uses |= 1u << node->builtin | 1u << node->fallback;
        json_t *text = node->kind == NODE_PARTIAL ? json_object_get(compile->options->partials, node->text) : NULL;
        if (text != NULL && json_object_set(content->partials, node->text, text) != 0)
            return error_memory(compile->err);
    }
    return 0;
}

/* A template from a member that is there; its fault goes to `field`. */
static int compile_template(struct compile *compile, const char *text, size_t len, const char *field,
                            struct template **out)
{
    const struct template_partials partials = {.texts = compile->options->partials, .strict = true};
    struct error why = {{0}};
    int rc = template_compile(text, len, &partials, out, &why);
    if (rc == -EINVAL) {
        FAULT(compile, field, "%s", why.text);
        return 0;
    }
    if (rc < 0)
        return error_memory(compile->err);
    compile->content->uses_attributes = compile->content->uses_attributes || (*out)->uses_attributes;
    return note_uses(compile, *out);
}

static int compile_subject(struct compile *compile)
{
    size_t len = 0;
    const json_t *spec = compile->options->spec;
    const char *subject = take_line(compile, spec, "subject", "subject", SUBJECT_MAX_BYTES, &len);
    if (subject == NULL || len == 0) {
        const json_t *given = json_object_get(spec, "subject");
        if (is_absent(given) || (json_is_string(given) && json_string_length(given) == 0))
            FAULT(compile, "subject", "is missing");
        return 0;
    }
    return compile_template(compile, subject, len, "subject", &compile->content->subject);
}

static int make_part(struct compile *compile, struct template *template, enum template_escape escape, struct part **out)
{
    return part_create(template, escape, out) < 0 ? error_memory(compile->err) : 0;
}

static int make_text(struct compile *compile, const struct template *html, struct template **out)
{
    struct error why = {{0}};
    int rc = template_text_from_html(html, out, &why);
    if (rc == 0 || (rc != -E2BIG && rc != -EINVAL))
        return rc < 0 ? error_memory(compile->err) : 0;
    FAULT(compile, "text", "is needed: %s", why.text);
    return 0;
}

static bool wants(const struct compile *compile, const char *what)
{
    return json_is_true(json_object_get(json_object_get(compile->options->spec, "track"), what));
}

/* Whatever the author's text does not show is not in the text that was made from the HTML either, so the HTML is first.
 */
static int track(struct compile *compile, struct template *html, struct template *text)
{
    struct content *content = compile->content;
    int rc = 0;
    if (wants(compile, "clicks")) {
        if (compile->options->links != NULL)
            rc = links_load(&content->links, compile->options->links);
        if (rc == 0 && html != NULL)
            rc = links_track_html(&content->links, html);
        if (rc == 0 && text != NULL)
            rc = links_track_text(&content->links, text);
        if (content->links.overfull)
            FAULT(compile, "html", "has more than %d links to track", LINKS_MAX);
        content->uses |= 1u << BUILTIN_LINK;
    }
    if (rc == 0 && html != NULL && wants(compile, "opens")) {
        rc = links_add_pixel(html);
        content->uses |= 1u << BUILTIN_OPEN_URL;
    }
    return rc < 0 ? error_memory(compile->err) : 0;
}

static void check_track(struct compile *compile)
{
    const json_t *track = json_object_get(compile->options->spec, "track");
    const char *key;
    json_t *value;
    if (is_absent(track))
        return;
    if (!json_is_object(track)) {
        FAULT(compile, "track", "must be an object {\"opens\", \"clicks\"} of true or false");
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)track, key, value)
    {
        char field[64];
        (void)snprintf(field, sizeof(field), "track.%.50s", key);
        if (strcmp(key, "opens") != 0 && strcmp(key, "clicks") != 0)
            FAULT(compile, field, "is not a known field");
        else if (!json_is_boolean(value))
            FAULT(compile, field, "must be true or false");
    }
}

static int compile_parts(struct compile *compile)
{
    struct content *content = compile->content;
    const json_t *spec = compile->options->spec;
    size_t html_len = 0;
    size_t text_len = 0;
    const char *html = take_string(compile, spec, "html", "html", CONTENT_PART_MAX_BYTES, &html_len);
    const char *text = take_string(compile, spec, "text", "text", CONTENT_PART_MAX_BYTES, &text_len);
    struct template *html_template = NULL;
    struct template *text_template = NULL;
    if (html_len == 0 && text_len == 0) {
        /* What is there but not a usable string has been told already. */
        bool given = json_object_get(spec, "html") != NULL || json_object_get(spec, "text") != NULL;
        if (!given || html != NULL || text != NULL)
            FAULT(compile, "html", "is missing: give html, text or both");
        return 0;
    }
    int rc = 0;
    if (html != NULL && html_len > 0)
        rc = compile_template(compile, html, html_len, "html", &html_template);
    if (rc == 0 && text != NULL && text_len > 0)
        rc = compile_template(compile, text, text_len, "text", &text_template);
    if (rc == 0 && html_template != NULL && text_len == 0)
        rc = make_text(compile, html_template, &text_template);
    if (rc == 0)
        rc = track(compile, html_template, text_template);
    if (rc < 0) {
        template_free(html_template);
        template_free(text_template);
        return rc;
    }
    if (text_template != NULL)
        rc = make_part(compile, text_template, TEMPLATE_PLAIN, &content->text);
    if (html_template != NULL && rc == 0)
        rc = make_part(compile, html_template, TEMPLATE_HTML, &content->html);
    else
        template_free(html_template);
    return rc;
}

static int compile_attachments(struct compile *compile)
{
    struct content *content = compile->content;
    const json_t *spec = compile->options->spec;
    bool has_html = json_string_length(json_object_get(spec, "html")) > 0;
    /* "=_" never occurs in quoted-printable text (RFC 2045 section 6.7), nor "_" in base64, so no part can hold these
     * lines; and none of them begins like another. */
    long long id = (long long)compile->options->campaign_id;
    (void)snprintf(content->boundary, sizeof(content->boundary), "=_posthaste_%lld", id);
    (void)snprintf(content->related_boundary, sizeof(content->related_boundary), "=_posthaste_r%lld", id);
    (void)snprintf(content->mixed_boundary, sizeof(content->mixed_boundary), "=_posthaste_m%lld", id);
    content->attachments.inline_boundary = content->related_boundary;
    content->attachments.boundary = content->mixed_boundary;
    return attachments_compile(json_object_get(spec, "attachments"), has_html, &content->attachments, &compile->faulty,
                               compile->problem, compile->err);
}

static int compile_header(struct compile *compile, const char *name, const json_t *value)
{
    struct content *content = compile->content;
    char field[64];
    (void)snprintf(field, sizeof(field), "headers.%s", name);
    if (!header_name_valid(name)) {
        FAULT(compile, field, "is not a header field name");
    } else if (header_name_protected(name)) {
        FAULT(compile, field, "is written by posthaste itself and cannot be set");
    } else if (!json_is_string(value)) {
        FAULT(compile, field, "must be a string");
    } else if (json_string_length(value) > HEADER_VALUE_MAX_BYTES) {
        FAULT(compile, field, "is too long: at most %d bytes are allowed", HEADER_VALUE_MAX_BYTES);
    } else if (!is_line(json_string_value(value), json_string_length(value))) {
        FAULT(compile, field, "must be one line, without control characters");
    } else if (content->field_count == CONTENT_HEADERS_MAX) {
        FAULT(compile, "headers", "has more than %d fields", CONTENT_HEADERS_MAX);
    } else {
        for (size_t i = 0; i < content->field_count; i++)
            if (str_eq_nocase(content->fields[i].name, name)) {
                FAULT(compile, field, "is given twice");
                return 0;
            }
        struct content_field *made = &content->fields[content->field_count];
        int rc = compile_template(compile, json_string_value(value), json_string_length(value), field, &made->template);
        if (rc < 0 || made->template == NULL)
            return rc;
        made->name = str_dup(name);
        content->field_count++;
        return made->name != NULL ? 0 : error_memory(compile->err);
    }
    return 0;
}

static int compile_headers(struct compile *compile)
{
    json_t *headers = json_object_get(compile->options->spec, "headers");
    if (is_absent(headers))
        return 0;
    if (!json_is_object(headers)) {
        FAULT(compile, "headers", "must be an object of field names and values");
        return 0;
    }
    const char *name;
    json_t *value;
    json_object_foreach(headers, name, value)
    {
        int rc = compile_header(compile, name, value);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void check_tags(struct compile *compile)
{
    const json_t *tags = json_object_get(compile->options->spec, "tags");
    if (is_absent(tags))
        return;
    if (!json_is_array(tags) || json_array_size(tags) > TAGS_MAX) {
        FAULT(compile, "tags", "must be an array of at most %d strings", TAGS_MAX);
        return;
    }
    for (size_t i = 0; i < json_array_size(tags); i++)
        if (!json_is_string(json_array_get(tags, i))) {
            FAULT(compile, "tags", "must be an array of at most %d strings", TAGS_MAX);
            return;
        }
    compile->tag = json_string_value(json_array_get(tags, 0));
}

/* What comes from the configuration: a fault there is not the author's. */
static int copy_options(struct compile *compile)
{
    const struct content_options *options = compile->options;
    struct content *content = compile->content;
    char domain[DOMAIN_MAX_BYTES + 1];
    const char *from_domain = address_domain(&content->from);
    size_t url_len = strlen(options->public_url);
    while (url_len > 0 && options->public_url[url_len - 1] == '/')
        url_len--;
    for (size_t i = 0; i < url_len; i++)
        if (options->public_url[i] <= ' ' || options->public_url[i] > '~' ||
            strchr("<>\"", options->public_url[i]) != NULL)
            return error_set(compile->err, -EINVAL, "public_url is not a URL: \"%s\"", options->public_url);
    if (url_len == 0 || url_len > PUBLIC_URL_MAX_BYTES)
        return error_set(compile->err, -EINVAL, "public_url is empty or longer than %d bytes", PUBLIC_URL_MAX_BYTES);
    bool own_domain = options->bounce_domain != NULL && options->bounce_domain[0] != '\0';
    if (own_domain) {
        int rc = domain_normalise(options->bounce_domain, strlen(options->bounce_domain), domain, compile->err);
        if (rc < 0)
            return error_prefix(compile->err, rc, "bounce_domain");
    }
    content->campaign_id = options->campaign_id;
    (void)snprintf(content->campaign_id_text, sizeof(content->campaign_id_text), "%lld",
                   (long long)options->campaign_id);
    content->transactional = options->transactional;
    content->mac = options->mac;
    content->signature_life_s = options->signature_life_s;
    content->campaign_name = str_dup(options->campaign_name != NULL ? options->campaign_name : "");
    content->return_domain = str_dup(own_domain ? domain : from_domain);
    content->url_prefix = str_printf("%.*s/", (int)url_len, options->public_url);
    bool copied = content->campaign_name != NULL && content->return_domain != NULL && content->url_prefix != NULL;
    for (size_t i = 0; i < CONTENT_SIGNERS_MAX && options->signers[i].key != NULL; i++) {
        const struct content_signer *signer = &options->signers[i];
        struct content_key *made = &content->signers[content->signer_count++];
        made->key = dkim_key_ref(signer->key);
        made->selector = str_dup(signer->selector);
        made->domain = str_dup(signer->domain != NULL ? signer->domain : from_domain);
        copied = copied && made->selector != NULL && made->domain != NULL;
    }
    return copied ? 0 : error_memory(compile->err);
}

int content_compile(const struct content_options *options, struct content **out, struct problem *problem,
                    struct error *err)
{
    *out = NULL;
    struct content *content = calloc(1, sizeof(*content));
    if (content == NULL)
        return error_memory(err);
    atomic_init(&content->references, 1);
    content->partials = json_object();
    if (content->partials == NULL) {
        content_unref(content);
        return error_memory(err);
    }
    struct compile compile = {.options = options, .content = content, .problem = problem, .err = err};
    int rc = compile_from(&compile);
    if (rc == 0)
        rc = compile_subject(&compile);
    if (rc == 0)
        rc = compile_parts(&compile);
    if (rc == 0)
        rc = compile_headers(&compile);
    if (rc == 0)
        rc = compile_attachments(&compile);
    check_reply_to(&compile);
    check_tags(&compile);
    check_track(&compile);
    if (rc == 0 && compile.faulty)
        rc = error_set(err, -EINVAL, "the campaign's content is not usable");
    if (rc == 0)
        rc = copy_options(&compile);
    if (rc == 0)
        rc = content_write_head(content, options, compile.tag, &compile.reply_to, err);
    if (rc < 0)
        content_unref(content);
    else
        *out = content;
    return rc;
}

void content_supersede(struct content *content, struct content *newer)
{
    struct content *none = NULL;
    struct content *reference = content_ref(newer);
    if (content == newer || !atomic_compare_exchange_strong(&content->newer, &none, reference))
        content_unref(reference);
}

bool content_signs_as(const struct content *content, const struct content *other)
{
    bool same = content->signer_count == other->signer_count;
    for (size_t i = 0; same && i < content->signer_count; i++)
        same = strcmp(content->signers[i].selector, other->signers[i].selector) == 0 &&
               strcmp(content->signers[i].domain, other->signers[i].domain) == 0;
    return same;
}

const struct content *content_newest(const struct content *content)
{
    const struct content *newer;
    while ((newer = atomic_load_explicit(&content->newer, memory_order_acquire)) != NULL)
        content = newer;
    return content;
}

struct content *content_ref(struct content *content)
{
    atomic_fetch_add_explicit(&content->references, 1, memory_order_relaxed);
    return content;
}

void content_unref(struct content *content)
{
    if (content == NULL || atomic_fetch_sub_explicit(&content->references, 1, memory_order_acq_rel) != 1)
        return;
    content_unref(content->newer);
    for (size_t i = 0; i < content->field_count; i++) {
        free(content->fields[i].name);
        template_free(content->fields[i].template);
    }
    template_free(content->subject);
    part_free(content->html);
    part_free(content->text);
    buffer_finish(&content->head);
    buffer_finish(&content->attachments.inlined);
    buffer_finish(&content->attachments.attached);
    for (size_t i = 0; i < content->signer_count; i++) {
        dkim_key_unref(content->signers[i].key);
        free(content->signers[i].domain);
        free(content->signers[i].selector);
    }
    free(content->campaign_name);
    free(content->from_name);
    free(content->return_domain);
    free(content->url_prefix);
    links_finish(&content->links);
    json_decref(content->partials);
    free(content);
}

const char *content_from_domain(const struct content *content)
{
    return address_domain(&content->from);
}

size_t content_links(const struct content *content, const char *const **urls)
{
    *urls = (const char *const *)content->links.urls;
    return content->links.count;
}

bool content_shows_view(const struct content *content)
{
    return (content->uses >> BUILTIN_VIEW_URL & 1u) != 0;
}

const json_t *content_partials(const struct content *content)
{
    return content->partials;
}
