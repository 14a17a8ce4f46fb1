/*
 * check_names.c - names and addresses: which addresses receivers see, what they are called, and whether mail can come
 * back.
 *
 * A source with a private address stands behind a translation that we cannot see. Its EHLO name has to lead to the
 * public address anyway (that is what receivers compare), so that name's addresses are checked in its place.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "campaign/preflight/check.h"

static void add_source(struct check *check, const char *name, const char *address, const char *ehlo, bool by_name)
{
    for (size_t i = 0; i < check->source_count; i++)
        if (strcmp(check->sources[i].address, address) == 0)
            return;
    if (check->source_count == CHECK_SOURCES_MAX)
        return;
    struct check_source *source = &check->sources[check->source_count++];
    *source = (struct check_source){.name = name, .ehlo = ehlo, .by_name = by_name};
    (void)str_copy(source->address, sizeof source->address, address);
}

/* `like` is the address that stands in the configuration, whose family counts; NULL = none. */
static void add_by_name(struct check *check, const char *name, const char *ehlo, const char *like)
{
    static const enum resolve_type types[] = {RESOLVE_A, RESOLVE_AAAA};
    size_t before = check->source_count;
    for (size_t t = 0; t < countof(types); t++) {
        if (like != NULL && (strchr(like, ':') != NULL) != (types[t] == RESOLVE_AAAA))
            continue;
        const struct resolve_answer *answer = lookup_ask(check->lookup, ehlo, types[t]);
        for (size_t i = 0; i < answer->count; i++)
            add_source(check, name, answer->records[i].text, ehlo, true);
    }
    if (check->source_count > before)
        return;
    struct finding finding = {.check = "ptr", .code = "source-unknown", .status = FINDING_WARNING, .subject = name};
    finding_seen(&finding,
                 "which address mail leaves from is not known: there is no source with a public address, and %s "
                 "has no address",
                 ehlo);
    finding_wanted(&finding, "source \"…\" { address hostname } in the configuration, or an address of %s", ehlo);
    finding_add(check, &finding);
}

void check_sources(struct check *check)
{
    const struct config *config = check->config;
    for (size_t i = 0; i < config->source_count; i++) {
        const struct config_source *source = &config->sources[i];
        const char *ehlo = source->hostname[0] != '\0' ? source->hostname : config->hostname;
        if (!config->allow_private_mx && resolve_address_is_private(source->address))
            add_by_name(check, source->name, ehlo, source->address);
        else
            add_source(check, source->name, source->address, ehlo, false);
    }
    if (config->source_count == 0)
        add_by_name(check, config->hostname, config->hostname, NULL);
}

static bool leads_to(struct check *check, const char *name, const char *address)
{
    const struct resolve_answer *answer =
        lookup_ask(check->lookup, name, strchr(address, ':') != NULL ? RESOLVE_AAAA : RESOLVE_A);
    for (size_t i = 0; i < answer->count; i++)
        if (strcmp(answer->records[i].text, address) == 0)
            return true;
    return false;
}

static void judge_ptr(struct check *check, const struct check_source *source)
{
    char reverse[RESOLVE_REVERSE_BYTES];
    const char *confirmed = NULL;
    bool is_ehlo = false;
    struct finding finding = {.check = "ptr", .code = "ptr-good", .subject = source->address};
    if (resolve_reverse_name(source->address, reverse) < 0)
        return;
    const struct resolve_answer *answer = lookup_ask(check->lookup, reverse, RESOLVE_PTR);
    for (size_t i = 0; i < answer->count && i < 10 && !is_ehlo; i++) {
        if (!leads_to(check, answer->records[i].text, source->address))
            continue;
        confirmed = answer->records[i].text;
        is_ehlo = str_eq_nocase(confirmed, source->ehlo);
    }
    finding_wanted(&finding, "PTR of %s is %s, and an address of %s is %s", source->address, source->ehlo, source->ehlo,
                   source->address);
    if (answer->status == RESOLVE_FAILED) {
        finding.code = "ptr-unknown";
        finding.status = FINDING_WARNING;
        finding_seen(&finding, "the look-up of %s failed: %s", reverse, answer->why);
    } else if (answer->count == 0) {
        finding.code = "ptr-missing";
        finding.status = FINDING_ERROR;
        finding_seen(&finding, "%s has no name (PTR)", source->address);
    } else if (confirmed == NULL) {
        finding.code = "ptr-not-confirmed";
        finding.status = FINDING_ERROR;
        finding_seen(&finding, "%s is called %s, but that name does not lead back to it", source->address,
                     answer->records[0].text);
    } else if (!is_ehlo) {
        finding.code = "ptr-other-name";
        finding.status = FINDING_WARNING;
        finding_seen(&finding, "%s is called %s, but says EHLO %s", source->address, confirmed, source->ehlo);
    } else {
        finding_seen(&finding, "%s and %s lead to one another", source->address, source->ehlo);
    }
    if (finding.status != FINDING_OK && answer->status != RESOLVE_FAILED) {
        finding.record_name = reverse;
        finding.record_type = "PTR";
        finding.record_value = str_printf("%s.", source->ehlo);
    }
    finding_add(check, &finding);
}

void check_ptr(struct check *check)
{
    for (size_t i = 0; i < check->source_count; i++)
        judge_ptr(check, &check->sources[i]);
}

static bool has_address(struct check *check, const char *name, bool *unknown)
{
    const struct resolve_answer *v4 = lookup_ask(check->lookup, name, RESOLVE_A);
    const struct resolve_answer *v6 = lookup_ask(check->lookup, name, RESOLVE_AAAA);
    *unknown |= v4->count + v6->count == 0 && (v4->status == RESOLVE_FAILED || v6->status == RESOLVE_FAILED);
    return v4->count + v6->count > 0;
}

struct mx_words { /* codes of one of the two domains */
    const char *check, *good, *null_mx, *no_domain, *no_host, *implicit, *unknown;
    enum finding_status null_status;
};

static void judge_mx(struct check *check, const char *domain, const struct mx_words *words)
{
    bool unknown = false, any = false;
    struct finding finding = {.check = words->check, .code = words->good, .subject = domain};
    const struct resolve_answer *answer = lookup_ask(check->lookup, domain, RESOLVE_MX);
    finding_wanted(&finding, "an MX record of %s whose host has an address", domain);
    for (size_t i = 0; i < answer->count && i < 10; i++)
        any |= answer->records[i].len > 0 && has_address(check, answer->records[i].text, &unknown);
    if (answer->status == RESOLVE_FAILED || (unknown && !any)) {
        finding.code = words->unknown;
        finding.status = FINDING_WARNING;
        finding_seen(&finding, "the look-up failed: %s", answer->why);
    } else if (answer->count == 1 && answer->records[0].len == 0) {
        finding.code = words->null_mx;
        finding.status = words->null_status;
        finding_seen(&finding, "%s says that it accepts no mail (null MX, RFC 7505)", domain);
    } else if (any) {
        finding_seen(&finding, "mail to %s goes to %s%s", domain, answer->records[0].text,
                     answer->count > 1 ? " and others" : "");
    } else if (answer->count > 0) {
        finding.code = words->no_host;
        finding.status = FINDING_ERROR;
        finding_seen(&finding, "none of the MX hosts of %s has an address", domain);
    } else if (answer->status == RESOLVE_NO_NAME || !has_address(check, domain, &unknown)) {
        finding.code = words->no_domain;
        finding.status = FINDING_ERROR;
        finding_seen(&finding,
                     answer->status == RESOLVE_NO_NAME ? "%s does not exist" : "%s has neither MX nor address", domain);
    } else {
        finding.code = words->implicit;
        finding.status = FINDING_WARNING;
        finding_seen(&finding, "%s has no MX record; its own address takes the mail", domain);
    }
    bool own = !str_eq_nocase(domain, check->domain); /* a bounce domain of its own is ours to receive for */
    if (finding.status != FINDING_OK && strcmp(finding.code, words->unknown) != 0 && own) {
        finding.record_name = domain;
        finding.record_type = "MX";
        finding.record_value = str_printf("10 %s.", check->config->hostname);
    }
    finding_add(check, &finding);
}

void check_mx(struct check *check)
{
    static const struct mx_words bounce = {"bounce_mx",         "bounce-mx-good", "bounce-null-mx",
                                           "bounce-no-mail",    "bounce-no-host", "bounce-mx-implicit",
                                           "bounce-mx-unknown", FINDING_ERROR};
    static const struct mx_words from = {"from_mx",      "from-mx-good",     "from-null-mx",    "from-no-mail",
                                         "from-no-host", "from-mx-implicit", "from-mx-unknown", FINDING_WARNING};
    judge_mx(check, check->bounce_domain, &bounce);
    judge_mx(check, check->domain, &from);
}
