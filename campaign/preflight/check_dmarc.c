/*
 * check_dmarc.c - the policy of the From domain, what aligns with it, and whether its reports can arrive (RFC 7489).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "campaign/preflight/check.h"
#include "campaign/preflight/dmarc.h"

static void judge_policy(struct check *check, const struct dmarc *dmarc)
{
    struct finding finding = {.check = "dmarc", .code = "dmarc-found", .subject = check->domain};
    char name[300];
    (void)snprintf(name, sizeof name, "_dmarc.%.253s", check->domain);
    finding_wanted(&finding, "one DMARC record with a policy, p=none at least, at %s", name);
    switch (dmarc->status) {
    case DMARC_FOUND:
        finding_seen(&finding, "%s says \"%s\"", dmarc->name, dmarc->text);
        if (dmarc->percent_bad || dmarc->other_bad) {
            finding.code = "dmarc-sloppy";
            finding.status = FINDING_WARNING;
            finding_wanted(&finding, "tags that can be read: p=none, quarantine or reject; pct=0 to 100");
        }
        break;
    case DMARC_MISSING:
        finding.code = "dmarc-missing";
        finding.status = FINDING_ERROR;
        finding_seen(&finding, "there is no DMARC record at %s", dmarc->name);
        break;
    case DMARC_SEVERAL:
        finding.code = "dmarc-several";
        finding.status = FINDING_ERROR;
        finding_seen(&finding, "%s has more than one DMARC record, which counts as none", dmarc->name);
        break;
    case DMARC_BAD:
        finding.code = "dmarc-broken";
        finding.status = FINDING_ERROR;
        finding_seen(&finding, "%s: %s: \"%s\"", dmarc->name, dmarc->why, dmarc->text);
        break;
    case DMARC_UNKNOWN:
        finding.code = "dmarc-unknown";
        finding.status = FINDING_WARNING;
        finding_seen(&finding, "the look-up of %s failed: %s", dmarc->name, dmarc->why);
        break;
    }
    if (finding.status == FINDING_ERROR) {
        finding.record_name = name;
        finding.record_type = "TXT";
        finding.record_value = record_dmarc(check->domain);
    }
    finding_add(check, &finding);
}

/* DKIM signs with the From domain itself and so is always aligned; the return path may not be. */
static void judge_alignment(struct check *check, const struct dmarc *dmarc)
{
    if (dmarc_aligned(check->domain, check->bounce_domain, dmarc->strict_spf))
        return;
    struct finding finding = {
        .check = "dmarc", .code = "dmarc-spf-alignment", .status = FINDING_WARNING, .subject = check->bounce_domain};
    finding_seen(&finding,
                 "the return path is in %s, which is not aligned with %s (aspf=%s): SPF does not count for DMARC",
                 check->bounce_domain, check->domain, dmarc->strict_spf ? "s" : "r");
    finding_wanted(&finding, "a bounce_domain %s",
                   dmarc->strict_spf ? "equal to the From domain" : "below the From domain");
    finding_add(check, &finding);
}

/* section 7.1: who gets reports about another organisation has to say so. */
static void judge_receiver(struct check *check, const char *address)
{
    char name[600];
    const char *host = strrchr(address, '@') + 1;
    if (dmarc_aligned(check->domain, host, false))
        return;
    (void)snprintf(name, sizeof name, "%.253s._report._dmarc.%.253s", check->domain, host);
    const struct resolve_answer *answer = lookup_ask(check->lookup, name, RESOLVE_TXT);
    for (size_t i = 0; i < answer->count; i++)
        if (strncmp(answer->records[i].text, "v=DMARC1", 8) == 0)
            return;
    if (answer->status == RESOLVE_FAILED)
        return;
    struct finding finding = {
        .check = "dmarc", .code = "dmarc-report-refused", .status = FINDING_WARNING, .subject = address};
    finding_seen(&finding, "reports go to %s, whose domain has not agreed to that", address);
    finding_wanted(&finding, "a record there, or another address in rua=");
    finding.record_name = name;
    finding.record_type = "TXT";
    finding.record_value = str_dup("v=DMARC1");
    finding_add(check, &finding);
}

void check_dmarc(struct check *check)
{
    struct dmarc dmarc;
    dmarc_look_up(check->lookup, check->domain, &dmarc);
    judge_policy(check, &dmarc);
    if (dmarc.status == DMARC_FOUND && dmarc.report_count == 0) {
        struct finding finding = {
            .check = "dmarc", .code = "dmarc-no-reports", .status = FINDING_WARNING, .subject = dmarc.name};
        finding_seen(&finding, "the record has no report address (rua=)");
        finding_wanted(&finding, "rua=mailto:… of somebody who reads the reports");
        finding_add(check, &finding);
    }
    for (size_t i = 0; i < dmarc.report_count; i++)
        judge_receiver(check, dmarc.report_to[i]);
    judge_alignment(check, &dmarc);
}
