/*
 * fuzz_report.c - any mail as a report: read within all bounds, every text clean, every verdict one that exists; and a
 * vacation notice or a delay never makes a dead address.
 */
#include "base/str.h"
#include "campaign/bounce/report.h"
#include "tests/fuzz/fuzz.h"

static struct report report; /* large */
static struct bounce_rules *rules;

static void check(const struct report_recipient *recipient)
{
    struct bounce_class found;
    report_classify(rules, &report, recipient, &found);
    assure(found.kind < BOUNCE_KIND_COUNT && found.reason < REASON_COUNT);
    assure(strlen(recipient->address) < REPORT_ADDRESS_BYTES && strlen(recipient->original) < REPORT_ADDRESS_BYTES);
    assure(utf8_valid(recipient->text, strlen(recipient->text)) && strpbrk(recipient->text, "\r\n") == NULL);
    assure(recipient->code < 1000 && strlen(recipient->enhanced) < sizeof(recipient->enhanced));
    assure(recipient->action == REPORT_FAILED || !bounce_is_dead(&found));
}

int fuzz_one(const uint8_t *data, size_t size)
{
    struct error err;
    if (rules == NULL)
        assure(bounce_rules_load(POSTHASTE_SOURCE_ROOT "/share/bounce-rules.conf", &rules, &err) == 0);
    char *mail = fuzz_copy(data, size);
    assure(report_read(mail, size, &report, &err) == 0);
    assure(report.recipient_count <= REPORT_RECIPIENTS_MAX);
    assure(report.evidence.len <= REPORT_BYTES && report.trace.len <= REPORT_BYTES);
    for (size_t i = 0; i < report.recipient_count; i++)
        check(&report.recipients[i]);
    report_finish(&report);
    free(mail);
    return 0;
}
