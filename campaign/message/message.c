/*
 * message.c - one message for one recipient: render, encode, sign, and hand over as one block.
 *
 * Header and body are written into the composer's scratch buffers, which keep their memory from message to message; the
 * signature is made over them and put in front. So a message costs one allocation that outlives the call, plus the JSON
 * of the attributes when the content names any.
 *
 * Success means a complete message whose every byte went through header.c or an encoder of mime.c or base64.c. Whether
 * the address takes mail, or the key is published, is not known here.
 */
#include "campaign/message/message.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#include "campaign/json_text.h"
#include "campaign/message/content.h"
#include "campaign/message/header.h"
#include "campaign/message/token.h"

#define SIGNERS_MAX 16 /* prepared keys a composer keeps; the least recently used one gives way */
#define DATE_BYTES 11 /* "2026-11-23" */
#define URL_MAX_BYTES 640
#define VALUE_MAX_BYTES ((size_t)64 << 10) /* of a rendered header template before header.c cuts it */

struct prepared {
    struct dkim_signer *signer;
    struct dkim_key *key; /* referenced: no other key can take its address meanwhile */
    char *domain, *selector;
    uint64_t used; /* composer->clock of the last use */
};

struct composer {
    struct buffer head, body, value, signature;
    struct prepared prepared[SIGNERS_MAX];
    uint64_t clock; /* messages composed */
};

/* What belongs to one recipient while its message is made. */
struct rendering {
    const struct content *content;
    const struct message_recipient *recipient;
    const char *to;         /* whom it goes to */
    int64_t owner, tracked; /* whose its tokens are, and those that count; 0 = nobody's */
    struct template_values values;
    json_t *attributes;
    char unsubscribe_url[URL_MAX_BYTES], preferences_url[URL_MAX_BYTES], view_url[URL_MAX_BYTES];
    char open_url[URL_MAX_BYTES], link_url[URL_MAX_BYTES];
    char recipient_id[24];
    char today[DATE_BYTES];
    char return_path[TOKEN_MAX_BYTES + 1];
    char message_id[TOKEN_MAX_BYTES + 1];
    bool utf8, failed; /* failed: a link's token could not be made */
    unsigned missing;
};

int composer_create(struct composer **out, struct error *err)
{
    *out = calloc(1, sizeof(**out));
    return *out != NULL ? 0 : error_memory(err);
}

static void prepared_finish(struct prepared *prepared)
{
    dkim_signer_free(prepared->signer);
    dkim_key_unref(prepared->key);
    free(prepared->domain);
    free(prepared->selector);
    *prepared = (struct prepared){0};
}

void composer_free(struct composer *composer)
{
    if (composer == NULL)
        return;
    for (size_t i = 0; i < SIGNERS_MAX; i++)
        prepared_finish(&composer->prepared[i]);
    buffer_finish(&composer->head);
    buffer_finish(&composer->body);
    buffer_finish(&composer->value);
    buffer_finish(&composer->signature);
    free(composer);
}

static int prepare_signer(struct prepared *prepared, const struct content_key *key, struct error *err)
{
    prepared_finish(prepared);
    prepared->key = dkim_key_ref(key->key);
    prepared->domain = str_dup(key->domain);
    prepared->selector = str_dup(key->selector);
    int rc = prepared->domain != NULL && prepared->selector != NULL
                 ? dkim_signer_create(prepared->key, prepared->domain, prepared->selector, &prepared->signer, err)
                 : error_memory(err);
    if (rc < 0)
        prepared_finish(prepared);
    return rc;
}

/* The composer's own signer for a key of the content; made at first use. */
static int find_signer(struct composer *composer, const struct content_key *key, struct dkim_signer **out,
                       struct error *err)
{
    struct prepared *oldest = &composer->prepared[0];
    for (size_t i = 0; i < SIGNERS_MAX; i++) {
        struct prepared *prepared = &composer->prepared[i];
        if (prepared->key == key->key && strcmp(prepared->domain, key->domain) == 0 &&
            strcmp(prepared->selector, key->selector) == 0) {
            prepared->used = composer->clock;
            *out = prepared->signer;
            return 0;
        }
        if (prepared->used < oldest->used)
            oldest = prepared;
    }
    int rc = prepare_signer(oldest, key, err);
    if (rc < 0)
        return rc;
    oldest->used = composer->clock;
    *out = oldest->signer;
    return 0;
}

static int parse_attributes(struct rendering *rendering, struct error *err)
{
    const char *text = rendering->recipient->attributes_json;
    if (!rendering->content->uses_attributes || text == NULL || text[0] == '\0')
        return 0;
    json_error_t why;
    rendering->attributes = json_text_reads(text, JSON_ALLOW_NUL, &why);
    enum json_error_code code = rendering->attributes == NULL ? json_error_code(&why) : json_error_unknown;
    if (rendering->attributes == NULL && (code == json_error_out_of_memory || code == json_error_unknown))
        return error_memory(err);
    if (!json_is_object(rendering->attributes))
        return error_set(err, -EINVAL, "the recipient's attributes are not a JSON object%s%s",
                         rendering->attributes == NULL ? ": " : "", rendering->attributes == NULL ? why.text : "");
    return 0;
}

/* PREFIX kind/TOKEN. */
static void make_url(const struct content *content, char kind, const char *token, char out[URL_MAX_BYTES])
{
    size_t prefix = strlen(content->url_prefix);
    size_t token_bytes = strlen(token) + 1;
    assure(prefix + 2 + token_bytes <= URL_MAX_BYTES);
    memcpy(out, content->url_prefix, prefix);
    out[prefix] = kind;
    out[prefix + 1] = '/';
    memcpy(out + prefix + 2, token, token_bytes);
}

/* Those that only some contents use cost a MAC each. */
static int make_urls(struct rendering *rendering)
{
    static const struct {
        enum template_builtin builtin;
        enum token_purpose purpose;
        char kind;
    } pages[] = {
        {BUILTIN_UNSUBSCRIBE_URL, TOKEN_UNSUBSCRIBE, 'u'},
        {BUILTIN_PREFERENCES_URL, TOKEN_PREFERENCES, 'p'},
        {BUILTIN_VIEW_URL, TOKEN_VIEW, 'v'},
        {BUILTIN_OPEN_URL, TOKEN_OPEN, 'o'},
    };
    const struct content *content = rendering->content;
    char *const texts[] = {rendering->unsubscribe_url, rendering->preferences_url, rendering->view_url,
                           rendering->open_url};
    char token[TOKEN_MAX_BYTES + 1];
    for (size_t i = 0; i < countof(pages); i++) {
        if (i > 0 && (content->uses >> pages[i].builtin & 1u) == 0)
            continue;
        int64_t owner = pages[i].builtin == BUILTIN_OPEN_URL ? rendering->tracked : rendering->owner;
        int rc = token_make(content->mac, pages[i].purpose, content->campaign_id, owner, token);
        if (rc < 0)
            return rc;
        make_url(content, pages[i].kind, token, texts[i]);
        rendering->values.builtins[pages[i].builtin] = texts[i];
    }
    return 0;
}

/* A template that shows a link asks here. */
static const char *link_url(void *context, uint32_t number)
{
    struct rendering *rendering = context;
    char token[TOKEN_LINK_MAX_BYTES + 1];
    const struct content *content = rendering->content;
    if (token_make_link(content->mac, content->campaign_id, rendering->tracked, (uint16_t)number, token) < 0) {
        rendering->failed = true;
        return NULL;
    }
    make_url(content, 'c', token, rendering->link_url);
    return rendering->link_url;
}

static void fill_builtins(struct rendering *rendering, int64_t now_ms)
{
    const struct content *content = rendering->content;
    const struct message_recipient *recipient = rendering->recipient;
    char date[RFC3339_BYTES];
    memcpy(rendering->today, time_format_rfc3339(now_ms, date), DATE_BYTES - 1);
    (void)snprintf(rendering->recipient_id, sizeof(rendering->recipient_id), "%lld", (long long)recipient->id);
    const char *at = strrchr(recipient->email, '@');
    struct template_values *values = &rendering->values;
    values->builtins[BUILTIN_CAMPAIGN_NAME] = content->campaign_name;
    values->builtins[BUILTIN_CAMPAIGN_ID] = content->campaign_id_text;
    values->builtins[BUILTIN_RECIPIENT_EMAIL] = recipient->email;
    values->builtins[BUILTIN_RECIPIENT_ID] = rendering->recipient_id;
    values->builtins[BUILTIN_RECIPIENT_DOMAIN] = at != NULL ? at + 1 : "";
    values->builtins[BUILTIN_TODAY] = rendering->today;
    values->link = link_url;
    values->link_context = rendering;
}

/* Checks the recipient and makes everything that does not depend on a template. */
static int rendering_begin(struct rendering *rendering, const struct content *content,
                           const struct message_recipient *recipient, int64_t now_ms, struct error *err)
{
    int64_t campaign = content->campaign_id;
    const struct message_trial *trial = recipient->trial;
    assure(content->mac != NULL);
    *rendering = (struct rendering){.content = content,
                                    .recipient = recipient,
                                    .to = trial != NULL ? trial->to : recipient->email,
                                    .owner = trial != NULL ? 0 : recipient->id,
                                    .tracked = trial != NULL || recipient->untracked ? 0 : recipient->id};
    if (!header_address_valid(rendering->to, &rendering->utf8) || recipient->id < 0)
        return error_set(err, -EINVAL, "the recipient's address is not in normal form");
    rendering->utf8 = rendering->utf8 || content->utf8;
    int rc = token_make(content->mac, TOKEN_RETURN_PATH, campaign, rendering->owner, rendering->return_path);
    if (rc == 0)
        rc = token_make(content->mac, TOKEN_MESSAGE_ID, campaign, trial != NULL ? trial->number : recipient->id,
                        rendering->message_id);
    if (rc == 0)
        rc = make_urls(rendering);
    if (rc < 0)
        return error_set(err, rc, "cannot make the recipient's tokens");
    fill_builtins(rendering, now_ms);
    rc = parse_attributes(rendering, err);
    rendering->values.attributes = rendering->attributes;
    return rc;
}

static void rendering_end(struct rendering *rendering)
{
    json_decref(rendering->attributes);
}

/* A header template, rendered into the composer's `value`; what is longer than any header is cut there already. */
static int render_value(struct composer *composer, struct rendering *rendering, const struct template *template,
                        struct error *err)
{
    struct buffer *value = &composer->value;
    buffer_clear(value);
    value->limit_bytes = VALUE_MAX_BYTES;
    /* All that it may ever need at once, so that a failure behind it can only mean too large a value. */
    if (buffer_reserve(value, VALUE_MAX_BYTES) < 0)
        return error_memory(err);
    int rc = template_render(template, &rendering->values, TEMPLATE_PLAIN, value, &rendering->missing);
    if (rc == -E2BIG)
        return error_set(err, rc, "a value for a header field is larger than %zu bytes", VALUE_MAX_BYTES);
    return rc < 0 ? template_failure(rc, err) : 0;
}

static int write_head(struct composer *composer, struct rendering *rendering, int64_t now_ms, struct error *err)
{
    const struct content *content = rendering->content;
    struct buffer *head = &composer->head;
    char text[URL_MAX_BYTES + 8];
    char date[RFC5322_DATE_BYTES];
    buffer_clear(head);
    header_raw(head, "Date", time_format_rfc5322(now_ms, date));
    header_mailbox(head, "To", "", rendering->to);
    if (content->subject->uses_values) {
        int rc = render_value(composer, rendering, content->subject, err);
        if (rc < 0)
            return rc;
        header_text(head, "Subject", buffer_text(&composer->value), composer->value.len);
    }
    buffer_append_str(head, "Message-ID: <");
    buffer_append_str(head, rendering->message_id);
    buffer_append_char(head, '@');
    buffer_append_str(head, address_domain(&content->from));
    buffer_append_str(head, ">\r\n");
    if (!content->transactional) {
        size_t url_len = strlen(rendering->unsubscribe_url);
        text[0] = '<';
        memcpy(text + 1, rendering->unsubscribe_url, url_len);
        memcpy(text + 1 + url_len, ">", 2);
        header_raw(head, "List-Unsubscribe", text);
    }
    for (size_t i = 0; i < content->field_count; i++) {
        int rc = render_value(composer, rendering, content->fields[i].template, err);
        if (rc < 0)
            return rc;
        header_text(head, content->fields[i].name, buffer_text(&composer->value), composer->value.len);
    }
    buffer_append(head, content->head.data, content->head.len);
    return head->failed ? error_memory(err) : 0;
}

static int write_part(struct rendering *rendering, const struct part *part, const char *what, struct buffer *body,
                      struct error *err)
{
    int rc = part_render(part, &rendering->values, CONTENT_PART_MAX_BYTES, body, &rendering->missing);
    if (rc == -E2BIG)
        return error_set(err, rc, "the rendered %s part is larger than %zu bytes", what, CONTENT_PART_MAX_BYTES);
    return rc < 0 ? template_failure(rc, err) : 0;
}

static void begin_part(struct buffer *body, const char *boundary, const char *type, const char *encoding)
{
    buffer_append_str(body, "--");
    buffer_append_str(body, boundary);
    buffer_append_str(body, "\r\nContent-Type: ");
    buffer_append_str(body, type);
    buffer_append_str(body, "; charset=utf-8\r\nContent-Transfer-Encoding: ");
    buffer_append_str(body, encoding);
    buffer_append_str(body, "\r\n\r\n");
}

static void begin_multipart(struct buffer *body, const char *around, const char *type, const char *boundary)
{
    buffer_append_str(body, "--");
    buffer_append_str(body, around);
    buffer_append_str(body, "\r\nContent-Type: multipart/");
    buffer_append_str(body, type);
    buffer_append_str(body, "; boundary=\"");
    buffer_append_str(body, boundary);
    buffer_append_str(body, "\"\r\n\r\n");
}

/* The HTML, with the files that it shows when there are any. */
static int write_html(struct rendering *rendering, struct buffer *body, struct error *err)
{
    const struct content *content = rendering->content;
    const struct buffer *inlined = &content->attachments.inlined;
    const char *boundary = content->boundary;
    if (inlined->len > 0) {
        /* RFC 2387 section 3.1 wants the type of the root. */
        begin_multipart(body, boundary, "related; type=\"text/html\"", content->related_boundary);
        boundary = content->related_boundary;
    }
    begin_part(body, boundary, "text/html", part_encoding(content->html));
    int rc = write_part(rendering, content->html, "html", body, err);
    if (rc == 0)
        buffer_append(body, buffer_text(inlined), inlined->len);
    return rc;
}

/* RFC 2046 section 5.1.4: the plainest form first. */
static int write_alternatives(struct rendering *rendering, struct buffer *body, struct error *err)
{
    const struct content *content = rendering->content;
    begin_part(body, content->boundary, "text/plain", part_encoding(content->text));
    int rc = write_part(rendering, content->text, "text", body, err);
    if (rc < 0)
        return rc;
    buffer_append(body, "\r\n", 2);
    rc = write_html(rendering, body, err);
    if (rc < 0)
        return rc;
    buffer_append_str(body, "\r\n--");
    buffer_append_str(body, content->boundary);
    buffer_append_str(body, "--\r\n");
    return 0;
}

/* mixed(alternative(text, related(html, images)), files), less what is not there. */
static int write_body(struct composer *composer, struct rendering *rendering, struct error *err)
{
    const struct content *content = rendering->content;
    const struct buffer *attached = &content->attachments.attached;
    struct buffer *body = &composer->body;
    buffer_clear(body);
    if (attached->len > 0 && content->html != NULL)
        begin_multipart(body, content->mixed_boundary, "alternative", content->boundary);
    else if (attached->len > 0)
        begin_part(body, content->mixed_boundary, "text/plain", part_encoding(content->text));
    int rc = content->html != NULL ? write_alternatives(rendering, body, err)
                                   : write_part(rendering, content->text, "text", body, err);
    if (rc < 0)
        return rc;
    buffer_append(body, buffer_text(attached), attached->len);
    return body->failed ? error_memory(err) : 0;
}

/* Every signature is over the same header, none over another; the body is hashed once for all. */
static int sign(struct composer *composer, const struct content *content, int64_t now_ms, struct error *err)
{
    uint8_t body_sha256[32];
    buffer_clear(&composer->signature);
    composer->clock++;
    int64_t now_s = now_ms / 1000; /* made anew for each attempt, so x= is for the time in the receivers' queues */
    int64_t expires_s = content->signature_life_s > 0 ? now_s + content->signature_life_s : 0;
    int rc = 0;
    for (size_t i = 0; i < content->signer_count && rc == 0; i++) {
        struct dkim_signer *signer = NULL;
        rc = find_signer(composer, &content->signers[i], &signer, err);
        if (rc == 0 && i == 0 &&
            dkim_signer_body_hash(signer, buffer_text(&composer->body), composer->body.len, body_sha256) < 0)
            rc = error_set(err, -EIO, "cannot hash the body");
        if (rc == 0)
            rc = dkim_signer_sign_hashed(signer, composer->head.data, composer->head.len, body_sha256, now_s,
                                         expires_s, &composer->signature, err);
    }
    return rc;
}

static char *put(char *to, const void *bytes, size_t len)
{
    memcpy(to, bytes, len);
    return to + len;
}

static int build_block(const struct composer *composer, const struct rendering *rendering, struct composed *out,
                       struct error *err)
{
    static const char prefix[] = "bounce+";
    const char *domain = rendering->content->return_domain;
    size_t token_len = strlen(rendering->return_path);
    size_t path_bytes = sizeof(prefix) - 1 + token_len + 1 + strlen(domain) + 1;
    size_t size = composer->signature.len + composer->head.len + 2 + composer->body.len;
    char *block = malloc(path_bytes + size + 1);
    if (block == NULL)
        return error_memory(err);
    char *to = put(block, prefix, sizeof(prefix) - 1);
    to = put(to, rendering->return_path, token_len);
    *to++ = '@';
    char *data = put(to, domain, strlen(domain) + 1);
    to = data;
    to = put(to, buffer_text(&composer->signature), composer->signature.len);
    to = put(to, composer->head.data, composer->head.len);
    to = put(to, "\r\n", 2);
    to = put(to, buffer_text(&composer->body), composer->body.len);
    *to = '\0';
    *out = (struct composed){.block = block,
                             .mail_from = block,
                             .data = data,
                             .size_bytes = size,
                             .eight_bit = rendering->utf8,
                             .smtputf8 = rendering->utf8,
                             .missing = rendering->missing > 0};
    return 0;
}

static int compose(struct composer *composer, struct rendering *rendering, int64_t now_ms, struct composed *out,
                   struct error *err)
{
    int rc = write_head(composer, rendering, now_ms, err);
    if (rc == 0)
        rc = write_body(composer, rendering, err);
    if (rc == 0 && rendering->failed)
        rc = error_set(err, -EIO, "cannot make the recipient's tokens");
    if (rc == 0)
        rc = sign(composer, rendering->content, now_ms, err);
    return rc == 0 ? build_block(composer, rendering, out, err) : rc;
}

int message_compose(struct composer *composer, const struct content *content, const struct message_recipient *recipient,
                    int64_t now_ms, struct composed *out, struct error *err)
{
    struct rendering rendering;
    *out = (struct composed){0};
    int rc = rendering_begin(&rendering, content, recipient, now_ms, err);
    if (rc == 0)
        rc = compose(composer, &rendering, now_ms, out, err);
    rendering_end(&rendering);
    return rc;
}

/* After the message itself was composed: the sizes are known to be within their limits. */
static int render_text(struct rendering *rendering, const struct template *template, enum template_escape escape,
                       char **out, struct error *err)
{
    struct buffer text = BUFFER_INIT(0);
    int rc = template != NULL ? template_render(template, &rendering->values, escape, &text, &rendering->missing) : 0;
    if (rc < 0) {
        buffer_finish(&text);
        return template_failure(rc, err);
    }
    /* A NUL would end the text for whoever shows it; the message leaves it out too. */
    size_t kept = 0;
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] != '\0')
            text.data[kept++] = text.data[i];
    text.len = kept;
    if (text.data != NULL)
        text.data[kept] = '\0';
    *out = buffer_steal(&text, NULL);
    return *out != NULL ? 0 : error_memory(err);
}

int message_preview(struct composer *composer, const struct content *content, const struct message_recipient *recipient,
                    int64_t now_ms, struct message_preview *out, struct error *err)
{
    struct rendering rendering;
    *out = (struct message_preview){0};
    int rc = rendering_begin(&rendering, content, recipient, now_ms, err);
    if (rc == 0)
        rc = compose(composer, &rendering, now_ms, &out->message, err);
    if (rc == 0)
        rc = render_text(&rendering, content->subject, TEMPLATE_PLAIN, &out->subject, err);
    if (rc == 0)
        str_make_line(out->subject);
    if (rc == 0)
        rc = render_text(&rendering, content->html != NULL ? part_template(content->html) : NULL, TEMPLATE_HTML,
                         &out->html, err);
    if (rc == 0)
        rc = render_text(&rendering, part_template(content->text), TEMPLATE_PLAIN, &out->text, err);
    rendering_end(&rendering);
    if (rc < 0)
        message_preview_finish(out);
    return rc;
}

void message_preview_finish(struct message_preview *preview)
{
    free(preview->subject);
    free(preview->html);
    free(preview->text);
    free(preview->message.block);
    *preview = (struct message_preview){0};
}
