/*
 * preview.c - the whole message as one recipient would get it, with what a person should know before it is sent; and
 * its HTML as a page, behind {{view_url}}.
 *
 * Of an A/B campaign it is the variant that the recipient gets: in the test, always the same; beyond it, the winner,
 * and the first variant until one is chosen. A test's own page is of the campaign's own content.
 *
 * Warnings refuse nothing. They are about this recipient's message: what a section leaves out is not looked at. A link
 * counts as broken when no mail program could follow it: nothing in it, no scheme, no host.
 *
 * Shown without a signature: what a message looks like does not depend on it, and a draft may have no key yet.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/address.h"
#include "base/clock.h"
#include "base/str.h"

#include "campaign/json_text.h"
#include "campaign/mailer.h"
#include "campaign/message/token.h"
#include "campaign/schedule/split.h"
#include "campaign/stored.h"

#define CLIP_BYTES ((size_t)102 << 10) /* so much HTML Gmail shows */
#define WARNINGS_MAX 50

/* ---- warnings ---- */

static void warn(json_t *warnings, const char *code, const char *format, ...) ATTR_PRINTF(3, 4);
static void warn(json_t *warnings, const char *code, const char *format, ...)
{
    char text[640];
    va_list args;
    if (json_array_size(warnings) >= WARNINGS_MAX)
        return;
    va_start(args, format);
    if (vsnprintf(text, sizeof(text), format, args) < 0)
        text[0] = '\0';
    va_end(args);
    str_make_line(text);
    (void)json_array_append_new(warnings, json_pack("{s:s, s:s}", "code", code, "message", text));
}

static void check_link(json_t *warnings, const char *url)
{
    const char *host = str_starts_nocase(url, "https://")  ? url + 8
                       : str_starts_nocase(url, "http://") ? url + 7
                                                           : NULL;
    if (url[0] == '#' || str_starts_nocase(url, "mailto:") || str_starts_nocase(url, "tel:") ||
        str_starts_nocase(url, "sms:") || str_starts_nocase(url, "cid:"))
        return;
    if (url[0] == '\0') {
        warn(warnings, "broken_link", "a link leads nowhere: its href is empty");
        return;
    }
    if (host == NULL) {
        warn(warnings, "broken_link", "\"%.200s\" has no scheme that mail programs follow", url);
        return;
    }
    size_t len = strcspn(host, "/?#:");
    bool dotted = memchr(host, '.', len) != NULL && host[0] != '.' && host[len - 1] != '.';
    if (!dotted || strpbrk(host, " \"<>{}") != NULL)
        warn(warnings, "broken_link", "\"%.200s\" is not an address that a recipient can reach", url);
    else if (str_starts_nocase(url, "http://"))
        warn(warnings, "plain_http", "\"%.200s\" is not https", url);
}

/* Every href of a tag, as it stands in the rendered HTML; our own addresses are left aside. */
static void check_links(json_t *warnings, const char *html, const char *own)
{
    for (const char *at = html; (at = strcasestr(at, "href=")) != NULL;) {
        at += 5;
        char quote = *at == '"' || *at == '\'' ? *at++ : '\0';
        size_t len = quote != '\0' ? strcspn(at, quote == '"' ? "\"" : "'") : strcspn(at, " \t\r\n>");
        char *url = str_dup_len(at, len);
        if (url != NULL && !str_starts_nocase(url, own))
            check_link(warnings, url);
        free(url);
        at += len;
    }
}

static json_t *make_warnings(const struct mailer *mailer, const struct content *content, const json_t *spec,
                             const struct message_preview *preview)
{
    json_t *warnings = json_array();
    size_t html_bytes = strlen(preview->html);
    const char *own_text = json_string_value(json_object_get(spec, "text"));
    const char *shown = html_bytes > 0 ? preview->html : preview->text;
    const char *const *urls;
    char *leave = str_printf("%s/u/", mailer->config->public_url);
    if (html_bytes > CLIP_BYTES)
        warn(warnings, "clipped",
             "the HTML has %zu bytes: Gmail shows %zu and hides the rest, the unsubscribe link too", html_bytes,
             CLIP_BYTES);
    if (own_text == NULL || own_text[0] == '\0')
        warn(warnings, "no_text", "there is no text part of your own; one was made from the HTML");
    if (leave != NULL && strstr(shown, leave) == NULL)
        warn(warnings, "no_unsubscribe", "no unsubscribe link can be seen: put {{unsubscribe_url}} into the %s",
             html_bytes > 0 ? "HTML" : "text");
    if (preview->message.missing)
        warn(warnings, "missing_attribute", "a tag names an attribute that this recipient does not have");
    check_links(warnings, preview->html, mailer->config->public_url);
    size_t count = content_links(content, &urls);
    for (size_t i = 0; i < count; i++)
        if (strstr(urls[i], "{{{") == NULL)
            check_link(warnings, urls[i]);
    free(leave);
    return warnings;
}

/* The header of the message, field by field, unfolded. */
static json_t *make_headers(const struct composed *message)
{
    json_t *headers = json_array();
    const char *end = strstr(message->data, "\r\n\r\n");
    for (const char *at = message->data; end != NULL && at < end;) {
        const char *colon = strchr(at, ':');
        const char *next = at;
        do
            next = strstr(next, "\r\n") + 2;
        while (*next == ' ' || *next == '\t');
        struct buffer value = BUFFER_INIT(0);
        for (const char *p = colon + 1 + strspn(colon + 1, " "); p < next; p++)
            if (*p != '\r' && *p != '\n')
                buffer_append_char(&value, *p);
        (void)json_array_append_new(
            headers, json_pack("{s:s%, s:s}", "name", at, (size_t)(colon - at), "value", buffer_text(&value)));
        buffer_finish(&value);
        at = next;
    }
    return headers;
}

static int preview_json(const struct mailer *mailer, const struct content *content,
                        const struct storage_campaign *campaign, const struct message_recipient *recipient,
                        const struct message_preview *preview, json_t **out, struct error *err)
{
    json_t *spec = json_text_reads(campaign->spec, 0, NULL);
    *out = json_pack("{s:s, s:s, s:s, s:s, s:s%, s:I, s:o, s:o}", "recipient", recipient->email, "subject",
                     preview->subject, "html", preview->html, "text", preview->text, "message", preview->message.data,
                     preview->message.size_bytes, "size_bytes", (json_int_t)preview->message.size_bytes, "headers",
                     make_headers(&preview->message), "warnings", make_warnings(mailer, content, spec, preview));
    json_decref(spec);
    return *out != NULL ? 0 : error_memory(err);
}

static int render(struct mailer *mailer, struct storage_reader *reader, const struct storage_campaign *campaign,
                  const struct message_recipient *recipient, struct content **content, struct message_preview *preview,
                  struct problem *problem, struct error *err)
{
    struct composer *composer = NULL;
    int result = mailer_compile(mailer, reader, campaign, SIGNATURE_NONE, content, problem, err);
    if (result == 0)
        result = composer_create(&composer, err);
    if (result == 0)
        result = message_preview(composer, *content, recipient, clock_wall_ms(), preview, err);
    composer_free(composer);
    return result;
}

/* Puts the variant that the recipient gets in the place of the spec: 0, or negative with `err`. */
static int choose_variant(struct storage_reader *reader, struct storage_campaign *campaign, int64_t recipient_id,
                          struct error *err)
{
    struct split split;
    struct storage_split state = {.winner = -1};
    struct problem ignored = {.count = 0}; /* it was checked when it was stored */
    json_t *spec = json_text_reads(campaign->spec, 0, NULL);
    if (spec == NULL)
        return error_memory(err);
    split_parse(spec, &split, &ignored);
    int result = split.variants > 0 ? storage_split_get(reader, campaign->id, &state, err) : 0;
    if (result > 0)
        result = error_set(err, -EIO, "the A/B test of campaign %lld is gone", (long long)campaign->id);
    if (result == 0 && split.variants > 0) {
        json_t *own = split_variant(spec, split_choice(&split, campaign->id, recipient_id, state.winner));
        char *text = own != NULL ? json_text_write(own, JSON_COMPACT) : NULL;
        json_decref(own);
        if (text != NULL) {
            free((char *)(uintptr_t)campaign->spec);
            campaign->spec = text;
        } else {
            result = error_memory(err);
        }
    }
    json_decref(spec);
    return result;
}

int campaign_preview(struct mailer *mailer, struct storage_reader *reader, int64_t id, const char *email, json_t **out,
                     struct problem *problem, struct error *err)
{
    struct stored copy;
    struct message_recipient recipient = {0};
    struct message_preview preview = {0};
    struct content *content = NULL;
    int result = stored_load(reader, id, &copy, err);
    if (result == 0)
        result = shown_find(reader, &copy.campaign, email, &recipient, problem, err);
    if (result == 0)
        result = choose_variant(reader, &copy.campaign, recipient.id, err);
    if (result == 0)
        result = render(mailer, reader, &copy.campaign, &recipient, &content, &preview, problem, err);
    if (result == 0)
        result = preview_json(mailer, content, &copy.campaign, &recipient, &preview, out, err);
    message_preview_finish(&preview);
    content_unref(content);
    shown_free(&recipient);
    stored_free(&copy);
    return result;
}

int campaign_view(struct mailer *mailer, struct storage_reader *reader, const char *token, struct buffer *html,
                  struct error *err)
{
    struct stored copy = {0};
    struct message_recipient recipient = {0};
    struct message_preview preview = {0};
    struct content *content = NULL;
    struct problem problem = {.count = 0};
    int64_t campaign_id, recipient_id;
    int result = token_ring_parse(mailer->ring, TOKEN_VIEW, token, strlen(token), &campaign_id, &recipient_id);
    if (result != 0)
        return result > 0 ? STORAGE_NOT_FOUND : result;
    if (storage_is_message(recipient_id))
        return STORAGE_NOT_FOUND; /* not offered for single messages: see single/post.c */
    result = stored_load(reader, campaign_id, &copy, err);
    /* A test's own page is shown for somebody, as the test was. */
    if (result == 0)
        result = recipient_id == 0 ? shown_find(reader, &copy.campaign, NULL, &recipient, &problem, err)
                                   : shown_get(reader, recipient_id, &recipient, err);
    if (recipient_id == 0 && result == -EINVAL)
        result = STORAGE_NOT_FOUND;
    if (result == 0 && recipient_id != 0)
        result = choose_variant(reader, &copy.campaign, recipient_id, err);
    recipient.untracked = recipient_id == 0; /* else whoever has the link is the recipient */
    if (result == 0)
        result = render(mailer, reader, &copy.campaign, &recipient, &content, &preview, NULL, err);
    if (result == 0)
        buffer_append_str(html, preview.html[0] != '\0' ? preview.html : preview.text);
    if (result == 0 && html->failed)
        result = error_memory(err);
    bool is_html = result == 0 && preview.html[0] != '\0';
    message_preview_finish(&preview);
    content_unref(content);
    shown_free(&recipient);
    stored_free(&copy);
    return result != 0 || is_html ? result : CAMPAIGN_VIEW_TEXT;
}
