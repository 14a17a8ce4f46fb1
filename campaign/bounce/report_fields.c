/*
 * report_fields.c - the machine-readable parts: message/delivery-status (RFC 3464, RFC 6533) and
 * message/feedback-report (RFC 5965).
 *
 * Both are groups of header-like fields. Real ones come with missing, doubled and misspelt fields, with types that are
 * left out and with folded lines that are not folded; so each field is taken for what it is worth, and a new recipient
 * begins where a field comes that the present one has.
 */
#include <string.h>

#include "base/str.h"
#include "campaign/bounce/report_private.h"

#define VALUE_BYTES 2000

struct field {
    const char *name;
    size_t name_len;
    char value[VALUE_BYTES]; /* unfolded */
};

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || (c >= '0' && c <= '9');
}

/* The next field of a group; false at the end of it, or of the text (then **at is 0). */
static bool next_field(const char **at, struct field *field)
{
    for (;;) {
        const char *line = *at;
        const char *end = strchrnul(line, '\n');
        size_t name_len = 0;
        while (is_name_char(line[name_len]))
            name_len++;
        if (*line == '\0')
            return false;
        *at = *end != '\0' ? end + 1 : end;
        const char *text_end = end > line && end[-1] == '\r' ? end - 1 : end;
        if (text_end == line)
            return false;
        const char *colon = line + name_len;
        while (*colon == ' ')
            colon++;
        if (name_len == 0 || *colon != ':')
            continue; /* not a field: what a broken one left behind */
        size_t used = 0;
        const char *from = colon + 1;
        field->name = line;
        field->name_len = name_len;
        for (;;) {
            while (from < text_end && ascii_is_space(*from))
                from++;
            size_t len = (size_t)(text_end - from);
            len = MIN_OF(len, VALUE_BYTES - 2 - used);
            if (used > 0 && used < VALUE_BYTES - 2)
                field->value[used++] = ' ';
            len = MIN_OF(len, VALUE_BYTES - 1 - used);
            memcpy(field->value + used, from, len);
            used += len;
            if (**at != ' ' && **at != '\t')
                break;
            from = *at;
            end = strchrnul(from, '\n');
            *at = *end != '\0' ? end + 1 : end;
            text_end = end > from && end[-1] == '\r' ? end - 1 : end;
            if (used >= VALUE_BYTES - 2)
                text_end = from;
        }
        field->value[used] = '\0';
        return true;
    }
}

static bool named(const struct field *field, const char *name)
{
    return strlen(name) == field->name_len && strncasecmp(field->name, name, field->name_len) == 0;
}

/* "dns; mx.example.org (…)" -> the name; an address literal tells nothing that the recipient's domain does not. */
static void take_mta(struct report_recipient *recipient, const char *value)
{
    const char *semicolon = strchr(value, ';');
    const char *name = semicolon != NULL ? semicolon + 1 : value;
    while (ascii_is_space(*name))
        name++;
    size_t len = strcspn(name, " \t(,;");
    bool letters = false;
    for (size_t i = 0; i < len; i++)
        letters = letters || (name[i] >= 'A' && name[i] != '[' && name[i] != ']');
    if (letters && memchr(name, '.', len) != NULL && len < sizeof(recipient->mx)) {
        memcpy(recipient->mx, name, len);
        recipient->mx[len] = '\0';
    }
}

static enum report_action action_of(const char *value)
{
    if (str_starts_nocase(value, "delay"))
        return REPORT_DELAYED;
    if (str_starts_nocase(value, "deliver") || str_starts_nocase(value, "relay") || str_starts_nocase(value, "expand"))
        return REPORT_DELIVERED;
    return REPORT_FAILED;
}

struct group {
    struct report_recipient *recipient;
    bool has_final, has_original, has_status, has_action;
    char status[12];
    char diagnostic[VALUE_BYTES];
};

static void take_diagnostic(struct group *group)
{
    struct report_recipient *recipient = group->recipient;
    const char *said = group->diagnostic;
    /* "smtp; 550 …": the type goes, unless it is not SMTP that speaks. Some leave it out. */
    size_t type = strspn(said, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
    if (said[type] == ';' && !str_starts_nocase(said, "x-unix"))
        said += type + 1;
    if (*said != '\0')
        report_take_reply(recipient, said, strlen(said));
    if (recipient->enhanced[0] == '\0' && group->status[0] != '\0')
        memcpy(recipient->enhanced, group->status, sizeof(recipient->enhanced));
}

static void end_group(struct group *group)
{
    if (group->recipient != NULL)
        take_diagnostic(group);
    memset(group, 0, sizeof(*group));
}

static void take_field(struct report *report, struct group *group, const struct field *field, size_t *added)
{
    bool final = named(field, "Final-Recipient"), original = named(field, "Original-Recipient");
    bool status = named(field, "Status"), action = named(field, "Action") || named(field, "ction");
    bool diagnostic = named(field, "Diagnostic-Code"), mta = named(field, "Remote-MTA");
    if (!final && !original && !status && !action && !diagnostic && !mta && !named(field, "X-Actual-Recipient"))
        return;
    if ((final && group->has_final) || (original && group->has_original) || (status && group->has_status) ||
        (action && group->has_action))
        end_group(group);
    if (group->recipient == NULL) {
        group->recipient = report_add(report);
        if (group->recipient == NULL)
            return;
        ++*added;
    }
    struct report_recipient *recipient = group->recipient;
    if (final) {
        group->has_final = true;
        report_copy_address(recipient->address, field->value, strlen(field->value));
    } else if (original) {
        group->has_original = true;
        report_copy_address(recipient->original, field->value, strlen(field->value));
    } else if (action) {
        group->has_action = true;
        recipient->action = action_of(field->value);
    } else if (status) {
        struct bounce_line split;
        group->has_status = true;
        bounce_line_split(field->value, &split);
        memcpy(group->status, split.enhanced, sizeof(group->status));
    } else if (diagnostic) {
        (void)str_copy(group->diagnostic, sizeof(group->diagnostic), field->value);
    } else if (mta) {
        take_mta(recipient, field->value);
    } else if (recipient->address[0] == '\0') {
        report_copy_address(recipient->address, field->value, strlen(field->value));
    }
}

size_t report_fields_status(struct report *report, const char *fields)
{
    struct group group = {0};
    struct field field;
    size_t added = 0, first = report->recipient_count;
    while (*fields != '\0') {
        if (next_field(&fields, &field))
            take_field(report, &group, &field, &added);
        else
            end_group(&group);
    }
    end_group(&group);
    /* A group about nobody is not about a recipient: the fields of the message itself, or a broken tail. */
    size_t kept = first;
    for (size_t i = first; i < report->recipient_count; i++) {
        const struct report_recipient *recipient = &report->recipients[i];
        if (recipient->address[0] != '\0' || recipient->original[0] != '\0') {
            if (kept != i)
                report->recipients[kept] = *recipient;
            kept++;
        }
    }
    report->recipient_count = kept;
    return kept - first;
}

void report_fields_feedback(struct report *report, const char *fields)
{
    struct field field;
    buffer_append_str(&report->evidence, fields);
    buffer_append_char(&report->evidence, '\n');
    while (*fields != '\0') {
        if (!next_field(&fields, &field))
            continue;
        if (named(&field, "Feedback-Type")) {
            (void)str_copy(report->feedback_type, sizeof(report->feedback_type), field.value);
        } else if (named(&field, "Original-Rcpt-To") || named(&field, "Removal-Recipient")) {
            struct report_recipient *recipient = report_add(report);
            if (recipient != NULL)
                report_copy_address(recipient->address, field.value, strlen(field.value));
        }
    }
}
