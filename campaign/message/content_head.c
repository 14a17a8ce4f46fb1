/*
 * content_head.c - the header fields that are the same for all recipients.
 */
#include "campaign/message/content_head.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#include "campaign/message/header.h"

#define SLUG_BYTES 64

/* Letters and digits of a name joined by single hyphens; a name without any gets a number made of its bytes. */
static void make_slug(const char *name, char out[SLUG_BYTES])
{
    size_t len = 0;
    for (const char *p = name; *p != '\0' && len < SLUG_BYTES - 1; p++) {
        char c = ascii_lower(*p);
        if ((c >= 'a' && c <= 'z') || ascii_is_digit(c))
            out[len++] = c;
        else if (len > 0 && out[len - 1] != '-')
            out[len++] = '-';
    }
    while (len > 0 && out[len - 1] == '-')
        len--;
    out[len] = '\0';
    uint8_t digest[32];
    if (len == 0 && digest_sha256(name, strlen(name), digest) == 0)
        (void)snprintf(out, SLUG_BYTES, "list-%02x%02x%02x%02x", digest[0], digest[1], digest[2], digest[3]);
}

/* List-Id (RFC 2919), one-click unsubscribe (RFC 8058), Feedback-ID (campaign:tag:stream:sender, as Gmail reads it). */
static void write_list_fields(struct content *content, const struct content_options *options, const char *tag)
{
    char slug[SLUG_BYTES] = "campaign";
    char text[DOMAIN_MAX_BYTES + 2 * SLUG_BYTES + 64];
    if (options->list_count > 0) {
        const char *list = options->list_names[0];
        make_slug(list, slug);
        (void)snprintf(text, sizeof(text), "%s.%s", slug, address_domain(&content->from));
        header_phrase_id(&content->head, "List-Id", list, text);
    }
    if (tag != NULL)
        make_slug(tag, slug);
    (void)snprintf(text, sizeof(text), "%lld:%s:%s:%s", (long long)content->campaign_id, slug,
                   content->transactional ? "transactional" : "bulk", address_domain(&content->from));
    header_text(&content->head, "Feedback-ID", text, strlen(text));
    if (!content->transactional)
        header_raw(&content->head, "List-Unsubscribe-Post", "List-Unsubscribe=One-Click");
}

/* A header text without tags, written once. */
static void write_constant(struct content *content, const char *name, const struct template *template)
{
    static const struct template_values none = {0};
    struct buffer text = BUFFER_INIT(0);
    int rc = template_render(template, &none, TEMPLATE_PLAIN, &text, &(unsigned){0});
    header_text(&content->head, name, buffer_text(&text), text.len);
    content->head.failed = content->head.failed || rc < 0;
    buffer_finish(&text);
}

/* A field without tags is written now; one with tags stays. */
static void write_fixed_fields(struct content *content)
{
    size_t kept = 0;
    for (size_t i = 0; i < content->field_count; i++) {
        struct content_field field = content->fields[i];
        if (field.template->uses_values) {
            content->fields[kept++] = field;
            continue;
        }
        write_constant(content, field.name, field.template);
        template_free(field.template);
        free(field.name);
    }
    content->field_count = kept;
}

int content_write_head(struct content *content, const struct content_options *options, const char *tag,
                       const struct address *reply_to, struct error *err)
{
    header_mailbox(&content->head, "From", content->from_name, content->from.text);
    content->utf8 = content->from.utf8 || reply_to->utf8;
    if (reply_to->at > 0)
        header_mailbox(&content->head, "Reply-To", "", reply_to->text);
    if (!content->subject->uses_values)
        write_constant(content, "Subject", content->subject);
    write_list_fields(content, options, tag);
    write_fixed_fields(content);
    header_raw(&content->head, "MIME-Version", "1.0");
    char text[128];
    if (content->html != NULL || content->attachments.attached.len > 0) {
        bool mixed = content->attachments.attached.len > 0;
        (void)snprintf(text, sizeof(text), "multipart/%s; boundary=\"%s\"", mixed ? "mixed" : "alternative",
                       mixed ? content->mixed_boundary : content->boundary);
        header_raw(&content->head, "Content-Type", text);
    } else {
        header_raw(&content->head, "Content-Type", "text/plain; charset=utf-8");
        header_raw(&content->head, "Content-Transfer-Encoding", part_encoding(content->text));
    }
    return content->head.failed ? error_memory(err) : 0;
}
