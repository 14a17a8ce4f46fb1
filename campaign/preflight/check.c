/*
 * check.c - one check of a sending domain, from its row in the database to the report.
 *
 * All names that are known beforehand are asked for at once, then the evaluators run in the order in which a receiver
 * meets the mail: the address, its name, the return path, the signature, the policy, the links.
 */
#include "campaign/preflight/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/clock.h"
#include "base/str.h"
#include "campaign/preflight/dmarc.h"
#include "campaign/sending_domain.h"

#define CHECK_DNS_MS INT64_C(6000)

struct loading {
    struct check *check;
    struct error *err;
    int result;
};

static int exists(void *context, const struct storage_domain *row)
{
    (void)context;
    (void)row;
    return 0;
}

/* Only keys that sign: one that is being rotated in is not there for receivers yet. */
static int load_key(void *context, const struct storage_dkim_key *row)
{
    struct loading *loading = context;
    struct check *check = loading->check;
    struct check_key *key = &check->keys[check->key_count];
    if (check->key_count == CHECK_KEYS_MAX || row->state != DKIM_KEY_USED)
        return 0;
    key->selector = str_dup(row->selector);
    if (key->selector == NULL)
        loading->result = error_memory(loading->err);
    else
        loading->result = sending_domain_load_key(check->config->data_dir, row->key_file, &key->key, loading->err);
    key->second = strcmp(row->algorithm, "ed25519") == 0;
    if (loading->result == 0)
        check->key_count++;
    else
        free(key->selector);
    return 0;
}

static void ask_ahead(const struct check *check, struct live_lookup *live)
{
    char name[600], organisation[256];
    bool https;
    const struct config *config = check->config;
    lookup_ahead(live, check->bounce_domain, RESOLVE_TXT);
    lookup_ahead(live, check->bounce_domain, RESOLVE_MX);
    lookup_ahead(live, check->domain, RESOLVE_MX);
    (void)snprintf(name, sizeof name, "_dmarc.%.253s", check->domain);
    lookup_ahead(live, name, RESOLVE_TXT);
    organisational_domain(check->domain, organisation);
    (void)snprintf(name, sizeof name, "_dmarc.%.253s", organisation);
    lookup_ahead(live, name, RESOLVE_TXT);
    for (size_t i = 0; i < check->key_count; i++) {
        (void)snprintf(name, sizeof name, "%.63s._domainkey.%.253s", check->keys[i].selector, check->domain);
        lookup_ahead(live, name, RESOLVE_TXT);
    }
    if (url_host(config->public_url, name, &https)) {
        lookup_ahead(live, name, RESOLVE_A);
        lookup_ahead(live, name, RESOLVE_AAAA);
    }
    for (size_t i = 0; i < config->source_count && i < CHECK_SOURCES_MAX; i++) {
        char reverse[RESOLVE_REVERSE_BYTES];
        if (resolve_reverse_name(config->sources[i].address, reverse) == 0)
            lookup_ahead(live, reverse, RESOLVE_PTR);
        if (config->sources[i].hostname[0] != '\0')
            lookup_ahead(live, config->sources[i].hostname, RESOLVE_A);
    }
    lookup_ahead(live, config->hostname, RESOLVE_A);
    lookup_ahead(live, config->hostname, RESOLVE_AAAA);
}

static void evaluate(struct check *check)
{
    check_sources(check);
    check_ptr(check);
    check_spf(check);
    check_mx(check);
    check_dkim(check);
    check_dmarc(check);
    check_web(check);
}

static json_t *make_report(const struct check *check, int64_t begun_ms)
{
    char when[RFC3339_BYTES];
    return json_pack("{s:s, s:s, s:s, s:I, s:O}", "domain", check->domain, "status", finding_status_name(check->worst),
                     "checked_at", time_format_rfc3339(clock_wall_ms(), when), "took_ms",
                     (json_int_t)(clock_monotonic_ms() - begun_ms), "findings", check->findings);
}

static int run(struct check *check, struct resolver *resolver, json_t **out, struct error *err)
{
    int64_t begun_ms = clock_monotonic_ms();
    check->deadline_ms = begun_ms + CHECK_DNS_MS;
    check->now_s = clock_wall_ms() / 1000;
    struct live_lookup *live = live_lookup_create(resolver, check->deadline_ms);
    check->findings = json_array();
    if (live != NULL && check->findings != NULL) {
        check->lookup = live_lookup(live);
        ask_ahead(check, live);
        evaluate(check);
        if (!check->no_memory)
            *out = make_report(check, begun_ms);
    }
    live_lookup_free(live);
    json_decref(check->findings);
    return *out != NULL ? 0 : error_memory(err);
}

int sending_domain_check(const struct config *config, struct storage_reader *reader, struct resolver *resolver,
                         const char *domain, json_t **out, struct error *err)
{
    char name[DOMAIN_MAX_BYTES + 1];
    struct check *check = calloc(1, sizeof *check);
    struct loading loading = {.check = check, .err = err};
    *out = NULL;
    if (check == NULL)
        return error_memory(err);
    int result = domain_normalise(domain, strlen(domain), name, NULL) != 0 ? STORAGE_NOT_FOUND : 0;
    check->config = config;
    check->domain = name;
    check->bounce_domain = config->bounce_domain[0] != '\0' ? config->bounce_domain : name;
    if (result == 0)
        result = storage_domain_get(reader, name, exists, NULL, err);
    if (result == 0)
        result = storage_dkim_keys_list(reader, name, load_key, &loading, err);
    if (result == 0)
        result = loading.result;
    if (result == 0)
        result = run(check, resolver, out, err);
    for (size_t i = 0; i < check->key_count; i++) {
        free(check->keys[i].selector);
        dkim_key_unref(check->keys[i].key);
    }
    free(check);
    return result;
}
