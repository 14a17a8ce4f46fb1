/*
 * finding.c - a finding into JSON, and the table of who refuses mail because of it.
 *
 * The replies are what the providers have published or were seen to say; a provider that only files mail as spam is not
 * named. Text from DNS is made one line of valid UTF-8 here.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "campaign/preflight/check.h"

struct refusal {
    const char *prefix; /* of the code of an error */
    const char *provider, *reply;
};

/*
 * Where it stands: Gmail, "Gmail SMTP errors and codes" (support.google.com/a/answer/3726730, of 2026-02-12); Microsoft,
 * "Fix NDR error 550 5.7.515 in Outlook.com" (support.microsoft.com); Yahoo, "Error 554 5.7.9: Message not accepted for
 * policy reasons" (help.yahoo.com/kb/SLN7253.html); a sender without a mail host, RFC 7505 section 4.2 and RFC 3463
 * section 3.2.
 */
static const struct refusal refusals[] = {
    {"spf-", "Gmail", "550 5.7.27"},
    {"spf-", "Microsoft", "550 5.7.515"},
    {"dkim-", "Gmail", "550 5.7.30"},
    {"dkim-", "Microsoft", "550 5.7.515"},
    {"dmarc-", "Gmail", "550 5.7.40"},
    {"dmarc-", "Microsoft", "550 5.7.515"},
    {"dmarc-", "Yahoo", "554 5.7.9"},
    {"ptr-", "Gmail", "550 5.7.25"},
    {"bounce-null-mx", "any that follow RFC 7505", "550 5.7.27"},
    {"bounce-no-", "any that check the sender", "550 5.1.8"},
    {"from-no-", "any that check the sender", "550 5.1.8"},
};

const char *finding_status_name(enum finding_status status)
{
    static const char *const names[] = {"ok", "warning", "error"};
    assure((size_t)status < countof(names));
    return names[status];
}

static json_t *line(const char *text)
{
    char *copy = str_dup(text);
    if (copy == NULL)
        return NULL;
    str_make_line(copy);
    json_t *value = json_string(copy);
    free(copy);
    return value;
}

static json_t *providers(const struct finding *finding)
{
    json_t *all = json_array();
    for (size_t i = 0; finding->status == FINDING_ERROR && i < countof(refusals); i++) {
        const struct refusal *refusal = &refusals[i];
        if (strncmp(finding->code, refusal->prefix, strlen(refusal->prefix)) == 0)
            (void)json_array_append_new(all,
                                        json_pack("{s:s, s:s}", "name", refusal->provider, "reply", refusal->reply));
    }
    return all;
}

void finding_seen(struct finding *finding, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(finding->seen, sizeof finding->seen, format, args);
    va_end(args);
}

void finding_wanted(struct finding *finding, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(finding->wanted, sizeof finding->wanted, format, args);
    va_end(args);
}

void finding_add(struct check *check, struct finding *finding)
{
    bool has_record = finding->record_type != NULL && finding->record_value != NULL;
    json_t *record = has_record ? json_pack("{s:o, s:s, s:o}", "name", line(finding->record_name), "type",
                                            finding->record_type, "value", line(finding->record_value))
                                : json_null();
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "check", finding->check, "code", finding->code, "status",
                  finding_status_name(finding->status), "subject", line(finding->subject), "seen", line(finding->seen),
                  "wanted", line(finding->wanted), "record", record, "providers", providers(finding));
    if (object == NULL || json_array_append_new(check->findings, object) != 0)
        check->no_memory = true;
    check->worst = MAX_OF(check->worst, finding->status);
    free(finding->record_value);
    finding->record_value = NULL;
}
