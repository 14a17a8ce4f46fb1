/*
 * spf.c - check_host() (RFC 7208 section 4) and the mechanisms.
 *
 * The order is the RFC's: find the record, read all of it, then evaluate from left to right. What bounds it, whatever a
 * zone holds: ten terms that ask, two of them in vain, ten MX hosts, ten PTR names. `exhaust` answers the question
 * "what does this record cost a receiver at most": nothing matches, so every term is looked at.
 */
#include "campaign/preflight/spf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "campaign/preflight/spf_private.h"

#define NAMES_MAX 10 /* MX hosts, PTR names: section 4.6.4 */

/* What a mechanism says of the client; the errors end the evaluation. */
enum match { NO_MATCH, MATCH, TEMPERROR, PERMERROR };

const char *spf_result_name(enum spf_result result)
{
    static const char *const names[] = {"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"};
    assure((size_t)result < countof(names));
    return names[result];
}

static enum spf_result check_host(struct spf_run *run, const char *domain, unsigned depth);

static void say(struct spf_run *run, const char *format, ...) ATTR_PRINTF(2, 3);

/* The first reason stands: it is the innermost one. */
static void say(struct spf_run *run, const char *format, ...)
{
    va_list args;
    if (run->verdict->why[0] != '\0')
        return;
    va_start(args, format);
    (void)vsnprintf(run->verdict->why, sizeof run->verdict->why, format, args);
    va_end(args);
    str_make_line(run->verdict->why);
}

static bool starts_a_record(const struct resolve_record *record)
{
    return record->len >= 6 && strncasecmp(record->text, "v=spf1", 6) == 0 &&
           (record->len == 6 || record->text[6] == ' ');
}

int spf_find_record(const struct resolve_answer *answer)
{
    int found = -1;
    for (size_t i = 0; i < answer->count; i++) {
        if (!starts_a_record(&answer->records[i]))
            continue;
        if (found >= 0)
            return -2;
        found = (int)i;
    }
    return found;
}

/* ---- asking ---- */

/* Counts an answer that holds nothing. NO_MATCH: go on. */
static enum match count_void(struct spf_run *run, const struct resolve_answer *answer, const char *name)
{
    if (answer->status == RESOLVE_FAILED) {
        say(run, "look-up of %s failed: %s", name, answer->why);
        return TEMPERROR;
    }
    if (answer->status != RESOLVE_FOUND && ++run->verdict->voids > SPF_VOID_MAX) {
        say(run, "more than %d look-ups found nothing (the last: %s)", SPF_VOID_MAX, name);
        return PERMERROR;
    }
    return NO_MATCH;
}

static bool in_network(const struct spf_ip *ip, const uint8_t network[16], unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(ip->bytes, network, whole) != 0)
        return false;
    return rest == 0 || ((ip->bytes[whole] ^ network[whole]) >> (8 - rest)) == 0;
}

static bool holds_ip(const struct spf_run *run, const struct resolve_answer *answer, unsigned bits)
{
    for (size_t i = 0; i < answer->count; i++) {
        struct spf_ip address;
        if (spf_ip_parse(answer->records[i].text, answer->records[i].len, &address) && address.v6 == run->ip.v6 &&
            in_network(&run->ip, address.bytes, bits))
            return true;
    }
    return false;
}

static enum match match_host(struct spf_run *run, const char *name, const struct spf_term *term, bool counted)
{
    if (!lookup_name_valid(name))
        return NO_MATCH;
    const struct resolve_answer *answer = lookup_ask(run->lookup, name, run->ip.v6 ? RESOLVE_AAAA : RESOLVE_A);
    enum match result = counted || answer->status == RESOLVE_FAILED ? count_void(run, answer, name) : NO_MATCH;
    if (result != NO_MATCH)
        return result;
    return holds_ip(run, answer, run->ip.v6 ? term->bits6 : term->bits4) ? MATCH : NO_MATCH;
}

static enum match match_mx(struct spf_run *run, const char *name, const struct spf_term *term)
{
    if (!lookup_name_valid(name))
        return NO_MATCH;
    const struct resolve_answer *answer = lookup_ask(run->lookup, name, RESOLVE_MX);
    enum match result = count_void(run, answer, name);
    if (result == NO_MATCH && answer->count > NAMES_MAX) {
        say(run, "%s has %zu MX records, more than %d", name, answer->count, NAMES_MAX);
        result = PERMERROR;
    }
    for (size_t i = 0; i < answer->count && result == NO_MATCH; i++)
        result = match_host(run, answer->records[i].text, term, false);
    return result;
}

static bool is_below(const char *name, const char *target)
{
    size_t name_len = strlen(name), target_len = strlen(target);
    if (target_len > 0 && target[target_len - 1] == '.')
        target_len--;
    if (name_len < target_len || strncasecmp(name + name_len - target_len, target, target_len) != 0)
        return false;
    return name_len == target_len || name[name_len - target_len - 1] == '.';
}

void spf_validated_name(struct spf_run *run, const char *target, bool any, char out[SPF_NAME_BYTES])
{
    char reverse[RESOLVE_REVERSE_BYTES];
    const struct spf_term whole = {.bits4 = 32, .bits6 = 128};
    const char *best = "";
    out[0] = '\0';
    if (resolve_reverse_name(run->query->ip, reverse) < 0)
        return;
    const struct resolve_answer *answer = lookup_ask(run->lookup, reverse, RESOLVE_PTR);
    for (size_t i = 0; i < answer->count && i < NAMES_MAX; i++) {
        const char *name = answer->records[i].text;
        bool below = is_below(name, target);
        if (!below && (!any || best[0] != '\0'))
            continue;
        const struct resolve_answer *forward = lookup_ask(run->lookup, name, run->ip.v6 ? RESOLVE_AAAA : RESOLVE_A);
        if (!lookup_name_valid(name) || !holds_ip(run, forward, run->ip.v6 ? whole.bits6 : whole.bits4))
            continue;
        if (below) {
            best = name;
            if (!any || str_eq_nocase(name, target))
                break;
        } else {
            best = name;
        }
    }
    (void)str_copy(out, SPF_NAME_BYTES, best);
}

static enum match match_include(struct spf_run *run, const char *name, unsigned depth)
{
    switch (check_host(run, name, depth + 1)) {
    case SPF_PASS:
        return MATCH;
    case SPF_FAIL:
    case SPF_SOFTFAIL:
    case SPF_NEUTRAL:
        return NO_MATCH;
    case SPF_TEMPERROR:
        return TEMPERROR;
    case SPF_NONE:
        say(run, "include:%s has no SPF record", name);
        return PERMERROR;
    case SPF_PERMERROR:
        break;
    }
    return PERMERROR;
}

/* ---- one record ---- */

static enum match count_lookup(struct spf_run *run, const char *text, size_t len)
{
    if (++run->verdict->lookups <= SPF_LOOKUPS_MAX)
        return NO_MATCH;
    say(run, "more than %d terms ask the DNS (the eleventh: \"%.*s\")", SPF_LOOKUPS_MAX, (int)MIN_OF(len, (size_t)80),
        text);
    return PERMERROR;
}

static enum match match_exists(struct spf_run *run, const char *name)
{
    if (!lookup_name_valid(name))
        return NO_MATCH;
    const struct resolve_answer *answer = lookup_ask(run->lookup, name, RESOLVE_A);
    enum match result = count_void(run, answer, name);
    return result == NO_MATCH && answer->status == RESOLVE_FOUND ? MATCH : result;
}

static enum match match_ptr(struct spf_run *run, const char *target)
{
    char name[SPF_NAME_BYTES], reverse[RESOLVE_REVERSE_BYTES];
    if (resolve_reverse_name(run->query->ip, reverse) == 0) {
        const struct resolve_answer *answer = lookup_ask(run->lookup, reverse, RESOLVE_PTR);
        enum match result = answer->status == RESOLVE_FAILED ? NO_MATCH : count_void(run, answer, reverse);
        if (result != NO_MATCH)
            return result;
    }
    spf_validated_name(run, target, false, name);
    return name[0] != '\0' ? MATCH : NO_MATCH;
}

static enum match match_term(struct spf_run *run, const char *domain, const struct spf_term *term, const char *text,
                             size_t len, unsigned depth)
{
    char name[SPF_NAME_BYTES];
    if (term->kind == SPF_ALL)
        return MATCH;
    if (term->kind == SPF_IP4 || term->kind == SPF_IP6)
        return run->ip.v6 == term->network.v6 && in_network(&run->ip, term->network.bytes, term->bits4) ? MATCH
                                                                                                        : NO_MATCH;
    enum match counted = count_lookup(run, text, len);
    if (counted != NO_MATCH)
        return counted;
    if (term->spec != NULL)
        spf_macro_expand(run, domain, term->spec, term->spec_len, name);
    else
        (void)str_copy(name, sizeof name, domain);
    switch (term->kind) {
    case SPF_INCLUDE:
        return match_include(run, name, depth);
    case SPF_A:
        return match_host(run, name, term, true);
    case SPF_MX:
        return match_mx(run, name, term);
    case SPF_PTR:
        return match_ptr(run, name);
    case SPF_EXISTS:
        return match_exists(run, name);
    default:
        return NO_MATCH;
    }
}

/* The next term of the record; false at its end. */
static bool next_term(const struct resolve_record *record, size_t *at, const char **text, size_t *len)
{
    while (*at < record->len && record->text[*at] == ' ')
        (*at)++;
    *text = record->text + *at;
    *len = 0;
    while (*at < record->len && record->text[*at] != ' ') {
        (*at)++;
        (*len)++;
    }
    return *len > 0;
}

struct outline {
    struct spf_term redirect;
    bool has_redirect, has_exp, has_all;
};

/* Reads every term. False: the record is in error, and said so. */
static bool read_record(struct spf_run *run, const char *domain, const struct resolve_record *record,
                        struct outline *outline)
{
    size_t at = 6, len;
    const char *text;
    char why[160];
    struct spf_term term;
    *outline = (struct outline){.has_all = false};
    while (next_term(record, &at, &text, &len)) {
        if (spf_term_parse(text, len, &term, why) < 0) {
            say(run, "the record of %s has %s", domain, why);
            return false;
        }
        if ((term.kind == SPF_REDIRECT && outline->has_redirect) || (term.kind == SPF_EXP && outline->has_exp)) {
            say(run, "the record of %s has %s= twice", domain, term.kind == SPF_EXP ? "exp" : "redirect");
            return false;
        }
        if (term.kind == SPF_REDIRECT) {
            outline->has_redirect = true;
            outline->redirect = term;
        }
        outline->has_exp |= term.kind == SPF_EXP;
        outline->has_all |= term.kind == SPF_ALL;
    }
    return true;
}

static enum spf_result follow_redirect(struct spf_run *run, const char *domain, const struct outline *outline,
                                       unsigned depth)
{
    char name[SPF_NAME_BYTES];
    if (count_lookup(run, outline->redirect.spec - 9, outline->redirect.spec_len + 9) != NO_MATCH)
        return SPF_PERMERROR;
    spf_macro_expand(run, domain, outline->redirect.spec, outline->redirect.spec_len, name);
    enum spf_result result = check_host(run, name, depth + 1);
    if (result == SPF_NONE) {
        say(run, "redirect=%s has no SPF record", name);
        return SPF_PERMERROR;
    }
    return result;
}

static enum spf_result evaluate(struct spf_run *run, const char *domain, const struct resolve_record *record,
                                unsigned depth)
{
    size_t at = 6, len;
    const char *text;
    char why[160];
    struct outline outline;
    if (!read_record(run, domain, record, &outline))
        return SPF_PERMERROR;
    if (run->query->read)
        return SPF_NEUTRAL;
    while (next_term(record, &at, &text, &len)) {
        struct spf_term term;
        if (spf_term_parse(text, len, &term, why) < 0 || term.kind >= SPF_REDIRECT)
            continue;
        switch (match_term(run, domain, &term, text, len, depth)) {
        case TEMPERROR:
            return SPF_TEMPERROR;
        case PERMERROR:
            return SPF_PERMERROR;
        case MATCH:
            if (run->query->exhaust)
                break;
            if (depth == 0)
                (void)snprintf(run->verdict->term, sizeof run->verdict->term, "%.*s", (int)MIN_OF(len, (size_t)120),
                               text);
            return term.qualifier;
        case NO_MATCH:
            break;
        }
    }
    /* section 6.1: ignored when there is an "all" */
    return outline.has_redirect && !outline.has_all ? follow_redirect(run, domain, &outline, depth) : SPF_NEUTRAL;
}

static enum spf_result check_host(struct spf_run *run, const char *domain, unsigned depth)
{
    if (!lookup_name_valid(domain) || strchr(domain, '.') == NULL || depth > SPF_DEPTH_MAX)
        return SPF_NONE;
    const struct resolve_answer *answer = lookup_ask(run->lookup, domain, RESOLVE_TXT);
    if (answer->status == RESOLVE_FAILED) {
        say(run, "look-up of the TXT records of %s failed: %s", domain, answer->why);
        return SPF_TEMPERROR;
    }
    int index = spf_find_record(answer);
    if (index == -1)
        return SPF_NONE;
    if (index < 0) {
        say(run, "%s has more than one SPF record", domain);
        return SPF_PERMERROR;
    }
    return evaluate(run, domain, &answer->records[index], depth);
}

void spf_check(struct lookup *lookup, const struct spf_query *query, struct spf_verdict *out)
{
    struct spf_run run = {.lookup = lookup, .query = query, .verdict = out};
    *out = (struct spf_verdict){.result = SPF_NONE};
    if (!spf_ip_parse(query->ip, strlen(query->ip), &run.ip))
        return;
    const char *at = strrchr(query->sender, '@');
    size_t local = at != NULL ? (size_t)(at - query->sender) : 0;
    (void)snprintf(run.local, sizeof run.local, "%.*s", (int)MIN_OF(local, (size_t)255),
                   local > 0 ? query->sender : "");
    if (run.local[0] == '\0')
        (void)strcpy(run.local, "postmaster");
    (void)str_copy(run.sender_domain, sizeof run.sender_domain, at != NULL ? at + 1 : query->domain);
    out->result = check_host(&run, query->domain, 0);
}
