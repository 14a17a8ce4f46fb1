/*
 * records.c - what to publish for a sending domain: the key, the sources, a policy to begin with, the way back of
 * bounces, the host of the links.
 *
 * An MX is named only for a bounce domain of its own: the domain of people's addresses has one already, and ours in its
 * place would take their mail away.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/buffer.h"
#include "base/str.h"
#include "campaign/preflight/check.h"
#include "campaign/sending_domain.h"

bool url_host(const char *url, char host[256], bool *https)
{
    const char *at = strstr(url, "://");
    *https = str_starts_nocase(url, "https://");
    if (at == NULL)
        return false;
    at += 3;
    bool literal = *at == '[';
    size_t len = literal ? strcspn(at + 1, "]") : strcspn(at, ":/?#");
    (void)snprintf(host, 256, "%.*s", (int)MIN_OF(len, (size_t)255), at + (literal ? 1 : 0));
    return len > 0;
}

static bool is_literal(const char *host)
{
    return strchr(host, ':') != NULL || strspn(host, "0123456789.") == strlen(host);
}

/* Without a source the record names the host, unless that is a name of this machine alone ("vm"): a receiver would look
 * for it in vain, and what it is cannot be known here. */
static bool names_nobody(const struct check *check)
{
    const char *host = check->config->hostname;
    return check->source_count == 0 && (strchr(host, '.') == NULL || is_literal(host));
}

/* The terms that name our sources and are not in `existing`. */
static void append_sources(const struct check *check, const char *existing, struct buffer *out)
{
    for (size_t i = 0; i < check->source_count; i++) {
        char term[80];
        const char *address = check->sources[i].address;
        int len = snprintf(term, sizeof term, " %s:%s", strchr(address, ':') != NULL ? "ip6" : "ip4", address);
        const char *there = strstr(existing, term);
        if (there == NULL || (there[len] != ' ' && there[len] != '\0'))
            buffer_append_str(out, term);
    }
    if (names_nobody(check))
        buffer_append_str(out, " ip4:ADDRESS");
    else if (check->source_count == 0)
        buffer_printf(out, " a:%s", check->config->hostname);
}

char *record_spf(const struct check *check, const char *existing)
{
    struct buffer out = BUFFER_INIT(4096);
    if (existing == NULL || !str_starts_nocase(existing, "v=spf1") || strlen(existing) > 2000) {
        buffer_append_str(&out, "v=spf1");
        append_sources(check, "", &out);
        buffer_append_str(&out, " ~all");
    } else {
        /* First in the record: before anything that might match otherwise, or end it. */
        buffer_append_str(&out, "v=spf1");
        append_sources(check, existing, &out);
        buffer_append_str(&out, existing + 6);
    }
    return buffer_steal(&out, NULL);
}

const char *record_spf_note(const struct check *check)
{
    return !names_nobody(check) ? NULL
                                : "ADDRESS stands for the public address that mail leaves from: the configuration has "
                                  "no source, and hostname is no domain name";
}

char *record_dmarc(const char *domain)
{
    return str_printf("v=DMARC1; p=none; rua=mailto:dmarc@%s", domain);
}

static int add(json_t *dns, const char *name, const char *type, const char *value)
{
    json_t *record = value != NULL ? json_pack("{s:s, s:s, s:s}", "name", name, "type", type, "value", value) : NULL;
    return record == NULL || json_array_append_new(dns, record) != 0 ? -1 : 0;
}

static void plain_sources(struct check *check)
{
    const struct config *config = check->config;
    for (size_t i = 0; i < config->source_count && check->source_count < CHECK_SOURCES_MAX; i++)
        (void)str_copy(check->sources[check->source_count++].address, sizeof check->sources[0].address,
                       config->sources[i].address);
}

int sending_domain_records(const struct config *config, const char *domain, json_t *dns, struct error *err)
{
    char host[256], name[300], value[400];
    bool https;
    struct check check = {.config = config, .domain = domain};
    check.bounce_domain = config->bounce_domain[0] != '\0' ? config->bounce_domain : domain;
    plain_sources(&check);
    char *spf = record_spf(&check, NULL), *dmarc = record_dmarc(domain);
    const char *note = record_spf_note(&check);
    int failed = add(dns, check.bounce_domain, "TXT", spf);
    if (failed == 0 && note != NULL)
        failed = json_object_set_new(json_array_get(dns, json_array_size(dns) - 1), "note", json_string(note));
    (void)snprintf(name, sizeof name, "_dmarc.%.253s", domain);
    failed |= add(dns, name, "TXT", dmarc);
    if (!str_eq_nocase(check.bounce_domain, domain)) {
        (void)snprintf(value, sizeof value, "10 %.253s.", config->hostname);
        failed |= add(dns, check.bounce_domain, "MX", value);
    }
    if (url_host(config->public_url, host, &https) && !is_literal(host) && strcmp(host, "localhost") != 0 &&
        !str_eq_nocase(host, config->hostname)) {
        (void)snprintf(value, sizeof value, "%.253s.", config->hostname);
        failed |= add(dns, host, "CNAME", value);
    }
    free(spf);
    free(dmarc);
    return failed != 0 ? error_memory(err) : 0;
}
