/*
 * check_spf.c - SPF for every source, as a receiver evaluates it for the return path (RFC 7208), and for the EHLO name
 * where that has a record. Where no source is known, only whether there is a record that can be read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "campaign/preflight/check.h"
#include "campaign/preflight/spf.h"

static const char *existing_record(const struct check *check, const char *name)
{
    const struct resolve_answer *answer = lookup_ask(check->lookup, name, RESOLVE_TXT);
    int index = spf_find_record(answer);
    return index >= 0 ? answer->records[index].text : NULL;
}

static const char *code_of(enum spf_result result)
{
    switch (result) {
    case SPF_PASS:
        return "spf-pass";
    case SPF_NONE:
        return "spf-missing";
    case SPF_TEMPERROR:
        return "spf-unknown";
    case SPF_PERMERROR:
        return "spf-broken";
    case SPF_FAIL:
        return "spf-fail";
    case SPF_SOFTFAIL:
        return "spf-softfail";
    case SPF_NEUTRAL:
        break;
    }
    return "spf-neutral";
}

static void judge_source(struct check *check, const struct check_source *source)
{
    struct spf_verdict verdict;
    char sender[300];
    (void)snprintf(sender, sizeof sender, "bounce@%.253s", check->bounce_domain);
    const struct spf_query query = {
        .ip = source->address, .domain = check->bounce_domain, .sender = sender, .helo = source->ehlo};
    spf_check(check->lookup, &query, &verdict);
    struct finding finding = {.check = "spf", .code = code_of(verdict.result), .subject = source->address};
    finding.status = verdict.result == SPF_PASS        ? FINDING_OK
                     : verdict.result == SPF_TEMPERROR ? FINDING_WARNING
                                                       : FINDING_ERROR;
    if (verdict.result == SPF_PASS)
        finding_seen(&finding, "%s may send for %s (\"%s\", %u look-ups)", source->address, check->bounce_domain,
                     verdict.term, verdict.lookups);
    else if (verdict.result == SPF_NONE)
        finding_seen(&finding, "%s has no SPF record", check->bounce_domain);
    else if (verdict.why[0] != '\0')
        finding_seen(&finding, "%s: %s", spf_result_name(verdict.result), verdict.why);
    else
        finding_seen(&finding, "%s for %s%s%s%s", spf_result_name(verdict.result), source->address,
                     verdict.term[0] != '\0' ? " (\"" : "", verdict.term, verdict.term[0] != '\0' ? "\")" : "");
    finding_wanted(&finding, "an SPF record of %s that lets %s send, within %d look-ups", check->bounce_domain,
                   source->address, SPF_LOOKUPS_MAX);
    if (finding.status == FINDING_ERROR) {
        bool broken = verdict.result == SPF_PERMERROR;
        finding.record_name = check->bounce_domain;
        finding.record_type = "TXT";
        finding.record_value = record_spf(check, broken ? NULL : existing_record(check, check->bounce_domain));
    }
    finding_add(check, &finding);
}

/* Which address mail leaves from is not known; without a record, or with one that is none, that does not matter. */
static void judge_record(struct check *check)
{
    struct spf_verdict verdict;
    const struct spf_query query = {
        .ip = "192.0.2.255", .domain = check->bounce_domain, .sender = "x", .helo = "x", .read = true};
    spf_check(check->lookup, &query, &verdict);
    if (verdict.result == SPF_NEUTRAL)
        return;
    struct finding finding = {.check = "spf", .code = code_of(verdict.result), .subject = check->bounce_domain};
    finding.status = verdict.result == SPF_TEMPERROR ? FINDING_WARNING : FINDING_ERROR;
    /* Here, because a launch that is refused shows no more than this and the record. */
    const char *note = finding.status == FINDING_ERROR ? record_spf_note(check) : NULL;
    const char *lead = note != NULL ? "; in the one to publish " : "";
    note = note != NULL ? note : "";
    if (verdict.result == SPF_NONE)
        finding_seen(&finding, "%s has no SPF record%s%s", check->bounce_domain, lead, note);
    else
        finding_seen(&finding, "%s: %s%s%s", spf_result_name(verdict.result), verdict.why, lead, note);
    finding_wanted(&finding, "an SPF record of %s that lets the address send that mail leaves from",
                   check->bounce_domain);
    if (finding.status == FINDING_ERROR) {
        finding.record_name = check->bounce_domain;
        finding.record_type = "TXT";
        finding.record_value = record_spf(check, NULL);
    }
    finding_add(check, &finding);
}

/* What the record costs when nothing matches early; more than ten is an error for those who come last. */
static void judge_cost(struct check *check)
{
    struct spf_verdict verdict;
    const struct spf_query query = {
        .ip = "192.0.2.255", .domain = check->bounce_domain, .sender = "x", .helo = "x", .exhaust = true};
    const char *record = existing_record(check, check->bounce_domain);
    if (record == NULL)
        return;
    spf_check(check->lookup, &query, &verdict);
    struct finding finding = {
        .check = "spf", .code = "spf-costly", .status = FINDING_WARNING, .subject = check->bounce_domain};
    if (verdict.lookups > SPF_LOOKUPS_MAX || verdict.voids > SPF_VOID_MAX) {
        finding_seen(&finding, "evaluated to its end the record is an error: %s", verdict.why);
        finding_wanted(&finding, "at most %d look-ups, at most %d of them without an answer", SPF_LOOKUPS_MAX,
                       SPF_VOID_MAX);
        finding_add(check, &finding);
    } else if (strstr(record, "+all") != NULL || strstr(record, " all") != NULL) {
        finding.code = "spf-open";
        finding_seen(&finding, "the record lets everybody send: \"%.300s\"", record);
        finding_wanted(&finding, "a record that ends with ~all or -all");
        finding_add(check, &finding);
    }
}

static void judge_helo(struct check *check, const struct check_source *source)
{
    struct spf_verdict verdict;
    char sender[300];
    if (str_eq_nocase(source->ehlo, check->bounce_domain) || existing_record(check, source->ehlo) == NULL)
        return;
    (void)snprintf(sender, sizeof sender, "postmaster@%.253s", source->ehlo);
    const struct spf_query query = {
        .ip = source->address, .domain = source->ehlo, .sender = sender, .helo = source->ehlo};
    spf_check(check->lookup, &query, &verdict);
    if (verdict.result == SPF_PASS || verdict.result == SPF_TEMPERROR)
        return;
    struct finding finding = {.check = "spf", .code = "spf-helo", .status = FINDING_WARNING, .subject = source->ehlo};
    finding_seen(&finding, "the record of the EHLO name %s says %s for %s", source->ehlo,
                 spf_result_name(verdict.result), source->address);
    finding_wanted(&finding, "no record there, or one that lets the source send");
    finding.record_name = source->ehlo;
    finding.record_type = "TXT";
    finding.record_value = str_dup("v=spf1 a -all");
    finding_add(check, &finding);
}

void check_spf(struct check *check)
{
    for (size_t i = 0; i < check->source_count; i++) {
        judge_source(check, &check->sources[i]);
        judge_helo(check, &check->sources[i]);
    }
    if (check->source_count == 0)
        judge_record(check);
    judge_cost(check);
}
