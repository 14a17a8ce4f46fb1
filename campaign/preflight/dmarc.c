/*
 * dmarc.c - finding and reading a policy: the domain's own record, else the organisational domain's (RFC 7489 section
 * 6.6.3), whose sp= then counts.
 */
#include "campaign/preflight/dmarc.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpsl.h>

#include "base/str.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static psl_ctx_t *suffixes; /* lives as long as the program */

static void load_suffixes(void)
{
    suffixes = psl_latest(NULL); /* the distribution's list when there is one, else the library's own */
}

void organisational_domain(const char *domain, char out[256])
{
    (void)pthread_once(&once, load_suffixes);
    const char *found = suffixes != NULL ? psl_registrable_domain(suffixes, domain) : NULL;
    (void)str_copy(out, 256, found != NULL ? found : domain);
}

const char *dmarc_policy_name(enum dmarc_policy policy)
{
    static const char *const names[] = {"none", "quarantine", "reject"};
    assure((size_t)policy < countof(names));
    return names[policy];
}

bool dmarc_aligned(const char *from_domain, const char *other, bool strict)
{
    char a[256], b[256];
    if (strict)
        return str_eq_nocase(from_domain, other);
    organisational_domain(from_domain, a);
    organisational_domain(other, b);
    return str_eq_nocase(a, b);
}

static bool starts_a_record(const struct resolve_record *record)
{
    if (record->len < 8 || memcmp(record->text, "v=DMARC1", 8) != 0)
        return false;
    size_t at = 8;
    while (at < record->len && ascii_is_space(record->text[at]))
        at++;
    return at == record->len || record->text[at] == ';';
}

/* The domain's record in one answer: its index, -1 = none, -2 = several. */
static int find_record(const struct resolve_answer *answer)
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

static bool read_policy(const char *value, enum dmarc_policy *out)
{
    for (int i = DMARC_NONE; i <= DMARC_REJECT; i++) {
        if (str_eq_nocase(value, dmarc_policy_name((enum dmarc_policy)i))) {
            *out = (enum dmarc_policy)i;
            return true;
        }
    }
    return false;
}

/* mailto: URIs of a comma-separated list; "!10m" behind one limits the size of reports. */
static void read_uris(struct dmarc *out, char *value)
{
    char *rest = NULL;
    for (char *uri = strtok_r(value, ",", &rest); uri != NULL; uri = strtok_r(NULL, ",", &rest)) {
        while (ascii_is_space(*uri))
            uri++;
        if (!str_starts_nocase(uri, "mailto:"))
            continue;
        uri += 7;
        uri[strcspn(uri, "!? \t")] = '\0';
        const char *at = strrchr(uri, '@');
        if (at != NULL && lookup_name_valid(at + 1) && out->report_count < DMARC_URIS_MAX)
            (void)str_copy(out->report_to[out->report_count++], sizeof out->report_to[0], uri);
    }
}

struct seen {
    bool p, sp;
    enum dmarc_policy policy, below;
};

static void read_tag(struct dmarc *out, const char *name, char *value, struct seen *seen)
{
    uint64_t percent;
    if (strcmp(name, "p") == 0)
        seen->p = read_policy(value, &seen->policy);
    else if (strcmp(name, "sp") == 0)
        seen->sp = read_policy(value, &seen->below);
    else if (strcmp(name, "adkim") == 0)
        out->strict_dkim = str_eq_nocase(value, "s");
    else if (strcmp(name, "aspf") == 0)
        out->strict_spf = str_eq_nocase(value, "s");
    else if (strcmp(name, "pct") == 0)
        out->percent_bad = str_parse_u64(value, 100, &percent) != 0;
    else if (strcmp(name, "rua") == 0)
        read_uris(out, value);
}

static char *trim(char *text)
{
    while (ascii_is_space(*text))
        text++;
    size_t len = strlen(text);
    while (len > 0 && ascii_is_space(text[len - 1]))
        text[--len] = '\0';
    return text;
}

static void read_record(struct dmarc *out, const struct resolve_record *record)
{
    char text[4096];
    char *rest = NULL;
    struct seen seen = {.p = false};
    size_t len = MIN_OF(record->len, sizeof text - 1);
    memcpy(text, record->text, len);
    text[len] = '\0';
    (void)str_copy(out->text, sizeof out->text, text);
    str_make_line(out->text);
    if (record->len >= sizeof text || strlen(text) != len) {
        out->status = DMARC_BAD;
        (void)snprintf(out->why, sizeof out->why, "the record has %zu bytes, or a byte that no text has", record->len);
        return;
    }
    for (char *tag = strtok_r(text, ";", &rest); tag != NULL; tag = strtok_r(NULL, ";", &rest)) {
        char *equals = strchr(tag, '=');
        if (equals == NULL) {
            out->other_bad |= trim(tag)[0] != '\0';
            continue;
        }
        *equals = '\0';
        read_tag(out, trim(tag), trim(equals + 1), &seen);
    }
    /* section 6.6.3: without a policy that can be read, a record with a report address counts as p=none */
    if (!seen.p && out->report_count == 0) {
        out->status = DMARC_BAD;
        (void)strcpy(out->why, "the record has no policy (p=none, quarantine or reject)");
        return;
    }
    out->status = DMARC_FOUND;
    out->other_bad |= !seen.p;
    out->policy = out->inherited && seen.sp ? seen.below : seen.p ? seen.policy : DMARC_NONE;
}

/* True when the answer decides. */
static bool look_at(struct lookup *lookup, const char *domain, struct dmarc *out)
{
    (void)snprintf(out->name, sizeof out->name, "_dmarc.%.253s", domain);
    const struct resolve_answer *answer = lookup_ask(lookup, out->name, RESOLVE_TXT);
    if (answer->status == RESOLVE_FAILED) {
        out->status = DMARC_UNKNOWN;
        (void)snprintf(out->why, sizeof out->why, "%s", answer->why);
        return true;
    }
    int index = find_record(answer);
    if (index == -2)
        out->status = DMARC_SEVERAL;
    else if (index >= 0)
        read_record(out, &answer->records[index]);
    return index != -1;
}

void dmarc_look_up(struct lookup *lookup, const char *domain, struct dmarc *out)
{
    char organisation[256];
    *out = (struct dmarc){.status = DMARC_MISSING};
    if (look_at(lookup, domain, out))
        return;
    organisational_domain(domain, organisation);
    if (str_eq_nocase(organisation, domain))
        return;
    out->inherited = true;
    if (!look_at(lookup, organisation, out))
        out->inherited = false;
}
