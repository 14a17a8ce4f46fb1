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
#define MESSAGE_DNS_MS INT64_C(3000) /* its answers were asked for a moment ago, and are kept by the resolver */

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

/* The domain and its keys that sign. check_free() in any case. */
static int load(struct check *check, const struct config *config, struct storage_reader *reader, const char *domain,
                struct error *err)
{
    struct loading loading = {.check = check, .err = err};
    check->config = config;
    check->domain = domain;
    check->bounce_domain = config->bounce_domain[0] != '\0' ? config->bounce_domain : domain;
    int result = storage_domain_get(reader, domain, exists, NULL, err);
    if (result == 0)
        result = storage_dkim_keys_list(reader, domain, load_key, &loading, err);
    return result == 0 ? loading.result : result;
}

static void check_free(struct check *check)
{
    for (size_t i = 0; i < check->key_count; i++) {
        free(check->keys[i].selector);
        dkim_key_unref(check->keys[i].key);
    }
    free(check);
}

int sending_domain_check(const struct config *config, struct storage_reader *reader, struct resolver *resolver,
                         const char *domain, json_t **out, struct error *err)
{
    char name[DOMAIN_MAX_BYTES + 1];
    struct check *check = calloc(1, sizeof *check);
    *out = NULL;
    if (check == NULL)
        return error_memory(err);
    int result = domain_normalise(domain, strlen(domain), name, NULL) != 0 ? STORAGE_NOT_FOUND : 0;
    if (result == 0)
        result = load(check, config, reader, name, err);
    if (result == 0)
        result = run(check, resolver, out, err);
    check_free(check);
    return result;
}

/* The answer to every question, once it is known that there is none. */
static const struct resolve_answer *ask_nobody(struct lookup *lookup, const char *name, enum resolve_type type)
{
    static const struct resolve_answer failed = {.status = RESOLVE_FAILED, .why = "was asked for a moment ago"};
    (void)lookup;
    (void)name;
    (void)type;
    return &failed;
}

static bool keys_are_unknown(const json_t *report)
{
    size_t i;
    json_t *finding;
    json_array_foreach(json_object_get(report, "findings"), i, finding)
    {
        const char *code = json_string_value(json_object_get(finding, "code"));
        if (code != NULL && strcmp(code, "dkim-unknown") == 0)
            return true;
    }
    return false;
}

static enum finding_status status_of(const json_t *report)
{
    const char *name = json_string_value(json_object_get(report, "status"));
    for (int i = FINDING_OK; i < FINDING_ERROR && name != NULL; i++)
        if (strcmp(name, finding_status_name((enum finding_status)i)) == 0)
            return (enum finding_status)i;
    return FINDING_ERROR;
}

int check_first_message(const struct config *config, struct storage_reader *reader, struct resolver *resolver,
                        const char *domain, const char *message, size_t len, json_t *report, struct error *err)
{
    struct check *check = calloc(1, sizeof *check);
    struct lookup nobody = {.ask = ask_nobody};
    if (check == NULL)
        return error_memory(err);
    int result = load(check, config, reader, domain, err);
    bool unknown = keys_are_unknown(report);
    struct live_lookup *live = unknown ? NULL : live_lookup_create(resolver, clock_monotonic_ms() + MESSAGE_DNS_MS);
    if (result == 0 && !unknown && live == NULL)
        result = error_memory(err);
    if (result == 0) {
        check->lookup = unknown ? &nobody : live_lookup(live);
        check->findings = json_object_get(report, "findings"); /* borrowed */
        check->worst = status_of(report);
        check_message(check, message, len);
        if (check->no_memory ||
            json_object_set_new(report, "status", json_string(finding_status_name(check->worst))) != 0)
            result = error_memory(err);
    }
    live_lookup_free(live);
    check_free(check);
    return result;
}
