/*
 * source.c - who sent an abuse report: the domain of its From, proven by a DKIM signature.
 *
 * A signature proves a domain only for the mail of that domain: its d= has to be the From's domain, or one of the two
 * below the other. Keys come from the DNS, through the engine's resolver; an answer that cannot be had now is no
 * answer, and the report waits.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "dkim/dkim.h"

#include "campaign/bounce/ingest_private.h"
#include "campaign/bounce/report_private.h"

#define LOOKUP_MS 5000

struct proof {
    struct bounce_ingest *ingest;
    bool found;
};

/* "mail.example.org" is below "example.org"; a top-level domain vouches for nobody. */
static bool is_below(const char *name, const char *domain)
{
    size_t name_len = strlen(name), len = strlen(domain);
    return strchr(domain, '.') != NULL && name_len > len + 1 && name[name_len - len - 1] == '.' &&
           str_ends_nocase(name, domain);
}

static bool are_kin(const char *a, const char *b)
{
    return str_eq_nocase(a, b) || is_below(a, b) || is_below(b, a);
}

static bool is_allowed(const struct config_bounces *config, const char *domain)
{
    for (size_t i = 0; i < config->complaint_source_count; i++) {
        const char *pattern = config->complaint_sources[i];
        if (pattern[0] == '.' ? str_ends_nocase(domain, pattern) : str_eq_nocase(domain, pattern))
            return true;
    }
    return config->complaint_source_count == 0;
}

/* The strings of a TXT record that is a key; others may stand beside it. */
static int look_up(void *context, const char *name, struct buffer *record)
{
    struct proof *proof = context;
    struct resolve_answer *answer = resolver_wait(proof->ingest->resolver, name, RESOLVE_TXT, LOOKUP_MS);
    if (answer == NULL)
        return -ENOMEM;
    int rc = answer->status == RESOLVE_FAILED && !answer->bogus ? -EAGAIN : 1;
    for (size_t i = 0; i < answer->count && rc == 1; i++) {
        if (report_find(answer->records[i].text, answer->records[i].len, "p=") < 0)
            continue;
        buffer_append(record, answer->records[i].text, answer->records[i].len);
        rc = 0;
    }
    resolve_answer_free(answer);
    return rc;
}

static void take_good(void *context, const char *domain)
{
    struct proof *proof = context;
    proof->found = proof->found || are_kin(domain, proof->ingest->report.from_domain);
}

int ingest_source(struct bounce_ingest *ingest, const void *mail, size_t len)
{
    struct proof proof = {.ingest = ingest};
    struct error err = {""};
    const char *from = ingest->report.from_domain;
    if (from[0] == '\0' || !is_allowed(ingest->config, from))
        return 0;
    if (!ingest->config->complaint_dkim)
        return 1;
    if (ingest->resolver == NULL) {
        if (resolver_start(ingest->whole, &ingest->own_resolver, &err) < 0) {
            log_warn("bounce", "no resolver reason=%s", LOG_QUOTE(err.text));
            return -EAGAIN;
        }
        ingest->resolver = ingest->own_resolver;
    }
    int rc = dkim_vouchers(mail, len, look_up, take_good, &proof, &err);
    if (proof.found)
        return 1;
    return rc == -EAGAIN || rc == -ENOMEM ? -EAGAIN : 0;
}
