/*
 * report.c - takes a mail apart with GMime and decides what kind of report it is.
 *
 * First the outer mail is walked, without the messages inside it, because what it returns may itself be a report. Where
 * the outer mail says nothing machine-readable, its text is asked; then, one level down, a report that somebody
 * forwarded. A mail from a mail system is a bounce even when it calls itself "auto-replied", as Exim's do; a mail of a
 * person's robot never is, whatever words of failure it holds.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <gmime/gmime.h>

#include "base/str.h"
#include "campaign/bounce/report_private.h"

#define DEPTH_MAX 12
#define PARTS_MAX 100
#define EVIDENCE_BYTES ((size_t)256 << 10)
#define TEXT_BYTES ((size_t)256 << 10)

const char *report_kind_name(enum report_kind kind)
{
    static const char *const names[] = {"none", "bounce", "complaint", "feedback", "auto-reply"};
    return (size_t)kind < countof(names) ? names[kind] : "none";
}

struct report_recipient *report_add(struct report *report)
{
    if (report->recipient_count == REPORT_RECIPIENTS_MAX)
        return NULL;
    struct report_recipient *recipient = &report->recipients[report->recipient_count++];
    memset(recipient, 0, sizeof(*recipient));
    return recipient;
}

struct walk {
    struct report *report;
    int parts;
    bool into_messages;
    bool saw_status, saw_feedback;
    struct buffer text; /* what the outer parts say to people */
    struct buffer html;
};

/* The decoded content of a part, appended and cut; NULs become spaces so that it is text. */
static void append_content(struct buffer *out, GMimePart *part, size_t limit)
{
    GMimeDataWrapper *content = g_mime_part_get_content(part);
    if (content == NULL)
        return;
    GMimeStream *stream = g_mime_stream_mem_new();
    (void)g_mime_data_wrapper_write_to_stream(content, stream);
    GByteArray *bytes = g_mime_stream_mem_get_byte_array(GMIME_STREAM_MEM(stream));
    size_t from = out->len, len = bytes != NULL ? bytes->len : 0;
    len = MIN_OF(len, limit > out->len ? limit - out->len : 0);
    if (len > 0)
        buffer_append(out, bytes->data, len);
    for (size_t i = from; i < out->len; i++) {
        if (out->data[i] == '\0')
            out->data[i] = ' ';
    }
    buffer_append_char(out, '\n');
    g_object_unref(stream);
}

static void append_headers(struct buffer *out, GMimeObject *object)
{
    char *text = g_mime_object_get_headers(object, NULL);
    if (text != NULL)
        buffer_append(out, text, MIN_OF(strlen(text), (size_t)64 << 10));
    buffer_append_char(out, '\n');
    g_free(text);
}

static void take_part(struct walk *walk, GMimeObject *object)
{
    GMimeContentType *type = g_mime_object_get_content_type(object);
    struct report *report = walk->report;
    if (type == NULL || !GMIME_IS_PART(object))
        return;
    struct buffer content = BUFFER_INIT(TEXT_BYTES + 16);
    bool status = g_mime_content_type_is_type(type, "message", "delivery-status") ||
                  g_mime_content_type_is_type(type, "message", "global-delivery-status");
    if (status || g_mime_content_type_is_type(type, "message", "feedback-report")) {
        append_content(&content, GMIME_PART(object), TEXT_BYTES);
        if (status) {
            walk->saw_status = report_fields_status(report, buffer_text(&content)) > 0 || walk->saw_status;
        } else {
            walk->saw_feedback = true;
            report_fields_feedback(report, buffer_text(&content));
        }
    } else if (g_mime_content_type_is_type(type, "text", "rfc822-headers") ||
               g_mime_content_type_is_type(type, "message", "global-headers") ||
               g_mime_content_type_is_type(type, "message", "*")) {
        append_content(&report->evidence, GMIME_PART(object), EVIDENCE_BYTES - 1024);
    } else if (g_mime_content_type_is_type(type, "text", "html")) {
        append_content(&walk->html, GMIME_PART(object), TEXT_BYTES);
    } else if (g_mime_content_type_is_type(type, "text", "*")) {
        append_content(&walk->text, GMIME_PART(object), TEXT_BYTES);
    }
    buffer_finish(&content);
}

static void walk_object(struct walk *walk, GMimeObject *object, int depth)
{
    if (object == NULL || depth > DEPTH_MAX || ++walk->parts > PARTS_MAX)
        return;
    if (GMIME_IS_MULTIPART(object)) {
        int count = g_mime_multipart_get_count(GMIME_MULTIPART(object));
        for (int i = 0; i < count && walk->parts <= PARTS_MAX; i++)
            walk_object(walk, g_mime_multipart_get_part(GMIME_MULTIPART(object), i), depth + 1);
        if (count == 0) { /* its boundary never comes: all of it is preamble */
            const char *preamble = g_mime_multipart_get_prologue(GMIME_MULTIPART(object));
            if (preamble != NULL)
                buffer_append(&walk->text, preamble, MIN_OF(strlen(preamble), TEXT_BYTES / 2));
        }
    } else if (GMIME_IS_MESSAGE_PART(object)) {
        GMimeMessage *inner = g_mime_message_part_get_message(GMIME_MESSAGE_PART(object));
        if (inner == NULL)
            return;
        if (!walk->into_messages)
            append_headers(&walk->report->evidence, GMIME_OBJECT(inner));
        else
            walk_object(walk, g_mime_message_get_mime_part(inner), depth + 1);
    } else {
        take_part(walk, object);
    }
}

/* ---- what the headers tell ---- */

static const char *header(GMimeMessage *message, const char *name)
{
    const char *value = g_mime_object_get_header(GMIME_OBJECT(message), name);
    return value != NULL ? value : "";
}

static bool contains(const char *text, const char *needle)
{
    return report_find(text, strlen(text), needle) >= 0;
}

/* From nobody, or with the field in which Exim names who failed: no person's mail program makes these. */
static bool is_returned(GMimeMessage *message)
{
    const char *from = header(message, "From");
    return from[0] == '\0' || strcmp(from, "<>") == 0 || header(message, "X-Failed-Recipients")[0] != '\0';
}

static bool from_mail_system(GMimeMessage *message)
{
    static const char *const senders[] = {"mailer-daemon",    "mailer daemon", "postmaster",  "mail delivery",
                                          "mail-daemon",      "mailerdaemon",  "post_master", "maildelivery",
                                          "bounce",           "-admin@",       "amazonses",   "sns.amazonaws.com",
                                          "microsoftexchange"};
    static const char *const subjects[] = {"undeliver",
                                           "delivery status",
                                           "delivery failure",
                                           "delivery failed",
                                           "failure notice",
                                           "returned mail",
                                           "returned to sender",
                                           "mail system error",
                                           "failed delivery",
                                           "delivery has failed",
                                           "delivery notification",
                                           "mail failure",
                                           "nondeliverable",
                                           "could not be delivered",
                                           "not deliver",
                                           "non remis",
                                           "unzustellbar",
                                           "mail failed",
                                           "delivery error",
                                           "delayed",
                                           "not member",
                                           "loop alert",
                                           "errors from",
                                           "delivery problem"};
    const char *from = header(message, "From"), *subject = header(message, "Subject");
    char *decoded = g_mime_utils_header_decode_text(NULL, subject);
    bool found = is_returned(message);
    for (size_t i = 0; i < countof(senders) && !found; i++)
        found = contains(from, senders[i]);
    for (size_t i = 0; i < countof(subjects) && !found; i++)
        found = contains(decoded != NULL ? decoded : subject, subjects[i]);
    g_free(decoded);
    return found;
}

/* RFC 3834, and what robots wrote before it. */
static bool calls_itself_auto_reply(GMimeMessage *message)
{
    return str_starts_nocase(header(message, "Auto-Submitted"), "auto-replied") ||
           str_starts_nocase(header(message, "Auto-Submitted"), "auto-generated (vacation") ||
           header(message, "X-Autoreply")[0] != '\0' || header(message, "X-Autorespond")[0] != '\0' ||
           contains(header(message, "Precedence"), "auto_reply") ||
           contains(header(message, "X-Auto-Response-Suppress"), "all");
}

static bool is_auto_reply(GMimeMessage *message)
{
    static const char *const subjects[] = {
        "automatic reply",      "auto reply",          "auto-reply", "autoreply",
        "auto response",        "autoresponse",        "auto:",      "out of office",
        "out of the office",    "out-of-office",       "vacation",   "abwesenheit",
        "automatische antwort", "on holiday",          "away from",  "réponse automatique",
        "respuesta automática", "risposta automatica", "absence"};
    char *decoded = g_mime_utils_header_decode_text(NULL, header(message, "Subject"));
    bool found = calls_itself_auto_reply(message);
    for (size_t i = 0; i < countof(subjects) && !found; i++)
        found = contains(decoded != NULL ? decoded : "", subjects[i]);
    g_free(decoded);
    return found;
}

static void take_envelope(struct report *report, GMimeMessage *message)
{
    static const char *const names[] = {"To",
                                        "Cc",
                                        "Delivered-To",
                                        "X-Original-To",
                                        "Envelope-To",
                                        "X-Envelope-To",
                                        "X-Delivered-To",
                                        "X-Rcpt-To",
                                        "Apparently-To",
                                        "Original-Recipient",
                                        "In-Reply-To",
                                        "References",
                                        "X-Failed-Recipients"};
    GMimeHeaderList *list = g_mime_object_get_header_list(GMIME_OBJECT(message));
    int count = list != NULL ? g_mime_header_list_get_count(list) : 0;
    for (int i = 0; i < count && i < 500; i++) {
        GMimeHeader *item = g_mime_header_list_get_header_at(list, i);
        const char *name = g_mime_header_get_name(item), *value = g_mime_header_get_raw_value(item);
        for (size_t k = 0; name != NULL && value != NULL && k < countof(names); k++) {
            if (str_eq_nocase(name, names[k])) {
                buffer_append(&report->trace, value, MIN_OF(strlen(value), (size_t)4096));
                buffer_append_char(&report->trace, '\n');
            }
        }
    }
}

static void take_unsubscribe(struct report *report, GMimeMessage *message)
{
    static const char prefix[] = "unsubscribe+";
    const char *places[] = {header(message, "To"), header(message, "Delivered-To"), header(message, "X-Original-To")};
    for (size_t i = 0; i < countof(places); i++) {
        long at = report_find(places[i], strlen(places[i]), prefix);
        if (at < 0)
            continue;
        const char *token = places[i] + at + strlen(prefix);
        size_t len = strcspn(token, "@> \t");
        if (len > 0 && len < sizeof(report->unsubscribe_to)) {
            memcpy(report->unsubscribe_to, token, len);
            report->unsubscribe_to[len] = '\0';
            str_lower(report->unsubscribe_to);
            return;
        }
    }
}

static void first_address(const char *value, char out[REPORT_ADDRESS_BYTES])
{
    size_t start, len = report_find_address(value, strlen(value), &start);
    out[0] = '\0';
    if (len > 0)
        report_copy_address(out, value + start, len);
}

/* Several From fields or addresses are nobody's. */
static void take_source(struct report *report, GMimeMessage *message)
{
    InternetAddressList *list = g_mime_message_get_from(message);
    if (list == NULL || internet_address_list_length(list) != 1)
        return;
    InternetAddress *one = internet_address_list_get_address(list, 0);
    const char *text =
        INTERNET_ADDRESS_IS_MAILBOX(one) ? internet_address_mailbox_get_addr(INTERNET_ADDRESS_MAILBOX(one)) : NULL;
    const char *at = text != NULL ? strrchr(text, '@') : NULL;
    if (at == NULL || !str_copy(report->from_domain, sizeof(report->from_domain), at + 1))
        report->from_domain[0] = '\0';
    str_lower(report->from_domain);
}

/* A report for people: its words, with the headers' help. */
static void read_words(struct walk *walk, GMimeMessage *message)
{
    struct report *report = walk->report;
    const char *text = buffer_text(&walk->text);
    char to[REPORT_ADDRESS_BYTES], from[REPORT_ADDRESS_BYTES];
    first_address(header(message, "To"), to);
    first_address(header(message, "From"), from);
    const struct report_own own = {.addresses = {to, from}};
    size_t end = report_text_end(text);
    buffer_append(&report->evidence, text + end, MIN_OF(strlen(text + end), (size_t)64 << 10));
    const char *status = strcasestr(text, "\nFinal-Recipient:");
    if (status != NULL) {
        const char *action = strcasestr(text, "\nAction:");
        if (report_fields_status(report, action != NULL && action < status ? action + 1 : status + 1) > 0) {
            report_text_complete(report, text, MIN_OF(end, (size_t)(status - text)));
            return;
        }
    }
    const char *failed = header(message, "X-Failed-Recipients");
    report_make_words(report, text, end);
    if (report_text_recipients(report, text, end, &own, failed[0] != '\0') == 0) {
        struct report_recipient *recipient = report_add(report);
        if (recipient == NULL)
            return;
        report_take_reply(recipient, text, end);
        first_address(failed, recipient->address);
        if (recipient->address[0] == '\0' && text[end] != '\0') {
            const char *line = strcasestr(text + end, "\nTo:");
            if (line != NULL)
                first_address(line, recipient->address);
        }
    }
    if (contains(header(message, "Subject"), "delay") || contains(header(message, "Subject"), "warning")) {
        for (size_t i = 0; i < report->recipient_count; i++)
            report->recipients[i].action = REPORT_DELAYED;
    }
}

static void read_message(struct report *report, GMimeMessage *message)
{
    struct walk walk = {.report = report, .text = BUFFER_INIT(TEXT_BYTES * 2), .html = BUFFER_INIT(TEXT_BYTES * 2)};
    const char *id = g_mime_message_get_message_id(message);
    (void)str_copy(report->message_id, sizeof(report->message_id), id != NULL ? id : "");
    take_envelope(report, message);
    take_unsubscribe(report, message);
    take_source(report, message);
    walk_object(&walk, g_mime_message_get_mime_part(message), 0);
    bool system = from_mail_system(message);
    if (!walk.saw_status && !walk.saw_feedback && (!is_auto_reply(message) || system)) {
        walk.into_messages = true;
        struct walk inner = {
            .report = report, .into_messages = true, .text = BUFFER_INIT(TEXT_BYTES), .html = BUFFER_INIT(TEXT_BYTES)};
        walk_object(&inner, g_mime_message_get_mime_part(message), 0);
        walk.saw_status = inner.saw_status;
        walk.saw_feedback = inner.saw_feedback;
        buffer_finish(&inner.text);
        buffer_finish(&inner.html);
    }
    report->automatic = walk.saw_status || is_returned(message) || calls_itself_auto_reply(message);
    if (walk.saw_feedback) {
        bool abuse = report->feedback_type[0] == '\0' || str_starts_nocase(report->feedback_type, "abuse") ||
                     str_starts_nocase(report->feedback_type, "fraud") ||
                     str_starts_nocase(report->feedback_type, "miscategorized") ||
                     str_starts_nocase(report->feedback_type, "opt-out");
        report->kind = abuse ? REPORT_COMPLAINT : REPORT_FEEDBACK;
    } else if (walk.saw_status) {
        report->kind = REPORT_BOUNCE;
        if (walk.text.len <= 1)
            buffer_append(&walk.text, buffer_text(&walk.html), walk.html.len);
        report_text_complete(report, buffer_text(&walk.text), report_text_end(buffer_text(&walk.text)));
    } else if (buffer_text(&walk.text)[0] == '{' && report_json(report, buffer_text(&walk.text)) > 0) {
        report->automatic = true;
        buffer_append(&report->evidence, walk.text.data, walk.text.len);
    } else if (!system && is_auto_reply(message)) {
        report->kind = REPORT_AUTO_REPLY;
    } else if (system) {
        report->kind = REPORT_BOUNCE;
        if (walk.text.len <= 1)
            buffer_append(&walk.text, buffer_text(&walk.html), walk.html.len);
        read_words(&walk, message);
    }
    buffer_finish(&walk.text);
    buffer_finish(&walk.html);
}

static void init_gmime(void)
{
    g_mime_init();
}

int report_read(const void *mail, size_t len, struct report *out, struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, init_gmime);
    memset(out, 0, sizeof(*out));
    out->trace = BUFFER_INIT(EVIDENCE_BYTES);
    out->evidence = BUFFER_INIT(EVIDENCE_BYTES * 2);
    GMimeStream *stream = g_mime_stream_mem_new_with_buffer(mail, MIN_OF(len, REPORT_BYTES));
    GMimeParser *parser = g_mime_parser_new_with_stream(stream);
    GMimeMessage *message = g_mime_parser_construct_message(parser, NULL);
    if (message != NULL) {
        read_message(out, message);
        g_object_unref(message);
    }
    g_object_unref(parser);
    g_object_unref(stream);
    (void)err;
    return 0;
}

void report_finish(struct report *report)
{
    buffer_finish(&report->trace);
    buffer_finish(&report->evidence);
}

void report_classify(const struct bounce_rules *rules, const struct report *report,
                     const struct report_recipient *recipient, struct bounce_class *out)
{
    const char *at = strrchr(recipient->address, '@');
    struct bounce_reply reply = {
        .code = recipient->code,
        .enhanced = recipient->enhanced,
        .text = recipient->text,
        .stage = recipient->stage,
        .mx = recipient->mx[0] != '\0' ? recipient->mx
              : at != NULL             ? at + 1
                                       : "",
    };
    bounce_classify(rules, &reply, out);
    bool vague = out->line == 0 && report->words[0] != '\0';
    if (vague) {
        reply.text = report->words;
        bounce_classify(rules, &reply, out);
    }
    if (out->kind == BOUNCE_HARD && (vague || recipient->action != REPORT_FAILED))
        out->kind = BOUNCE_SOFT;
}
