/*
 * preflight.c - when checks are made, how long they are believed, and what they mean to a launch.
 *
 * A good report is believed for five minutes, so that ten launches in a row cost one check; one with errors only for
 * some seconds, because somebody is mending it. A check that could not be made (no memory, a key that cannot be read)
 * is told and does not hold up the launch: what cannot be sent is found by the launch itself.
 *
 * The warden is a thread that looks once a minute whether a domain of a running or scheduled campaign was not checked
 * for a day.
 */
#include "campaign/preflight/preflight.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/address.h"
#include "base/clock.h"
#include "base/hashmap.h"
#include "base/log.h"
#include "base/str.h"
#include "campaign/json_text.h"
#include "campaign/message/message.h"
#include "campaign/preflight/check.h"

#define GOOD_FOR_MS INT64_C(300000)
#define BAD_FOR_MS INT64_C(5000)
#define LOOK_EVERY_MS INT64_C(60000)
#define DOMAINS_MAX 1000

struct kept {
    struct list node;
    json_t *report;
    int64_t at_ms; /* monotonic */
    bool bad;
    size_t len;
    char domain[];
};

struct preflight {
    const struct config *config; /* the start's, which outlives it: the preflight keys are fixed */
    struct config_live *live;    /* for what is checked: sources come and go */
    struct storage *storage;
    struct resolver *resolver;
    pthread_mutex_t lock;
    pthread_cond_t end;
    pthread_t warden;
    atomic_bool ending;
    struct hashmap map; /* domain -> kept */
    struct list all;
};

static bool is_bad(const json_t *report)
{
    const char *status = json_string_value(json_object_get(report, "status"));
    return status == NULL || strcmp(status, "error") == 0;
}

/* ---- what is kept ---- */

static json_t *find(struct preflight *preflight, const char *domain, int64_t good_for_ms)
{
    json_t *report = NULL;
    (void)pthread_mutex_lock(&preflight->lock);
    struct kept *kept = hashmap_get(&preflight->map, domain, strlen(domain));
    if (kept != NULL &&
        clock_monotonic_ms() - kept->at_ms < (kept->bad ? MIN_OF(good_for_ms, BAD_FOR_MS) : good_for_ms))
        report = json_deep_copy(kept->report); /* counts of references are not for two threads */
    (void)pthread_mutex_unlock(&preflight->lock);
    return report;
}

static void kept_free(struct preflight *preflight, struct kept *kept)
{
    (void)hashmap_remove(&preflight->map, kept->domain, kept->len);
    list_remove(&kept->node);
    json_decref(kept->report);
    free(kept);
}

/* Without memory it is not kept, and the next one asks anew. */
static void keep(struct preflight *preflight, const char *domain, const json_t *report)
{
    size_t len = strlen(domain);
    json_t *copy = json_deep_copy(report);
    struct kept *kept = copy != NULL ? calloc(1, sizeof *kept + len + 1) : NULL;
    if (kept == NULL) {
        json_decref(copy);
        return;
    }
    *kept = (struct kept){.report = copy, .at_ms = clock_monotonic_ms(), .bad = is_bad(report), .len = len};
    memcpy(kept->domain, domain, len + 1);
    (void)pthread_mutex_lock(&preflight->lock);
    struct kept *before = hashmap_get(&preflight->map, domain, len);
    if (before != NULL)
        kept_free(preflight, before);
    else if (preflight->map.count >= DOMAINS_MAX)
        kept_free(preflight, list_entry(preflight->all.next, struct kept, node));
    if (hashmap_put(&preflight->map, kept->domain, len, kept) == 0) {
        list_append(&preflight->all, &kept->node);
    } else {
        json_decref(copy);
        free(kept);
    }
    (void)pthread_mutex_unlock(&preflight->lock);
}

static int check(struct preflight *preflight, struct storage_reader *reader, const char *domain, json_t **out,
                 struct error *err)
{
    const struct config *config = config_live_hold(preflight->live);
    int result = sending_domain_check(config, reader, preflight->resolver, domain, out, err);
    config_drop(config);
    if (result == 0)
        keep(preflight, domain, *out);
    return result;
}

int preflight_report(struct preflight *preflight, struct storage_reader *reader, const char *domain, json_t **out,
                     struct error *err)
{
    *out = find(preflight, domain, GOOD_FOR_MS);
    return *out != NULL ? 0 : check(preflight, reader, domain, out, err);
}

/* ---- the launch ---- */

static bool from_domain(const json_t *spec, struct address *address)
{
    const char *from = json_string_value(json_object_get(json_object_get(spec, "from"), "email"));
    return from != NULL && address_parse(from, strlen(from), address, NULL) == 0;
}

static void log_errors(const char *event, const char *domain, const json_t *report)
{
    size_t i;
    json_t *finding;
    json_array_foreach(json_object_get(report, "findings"), i, finding)
    {
        const char *status = json_string_value(json_object_get(finding, "status"));
        const char *seen = json_string_value(json_object_get(finding, "seen"));
        if (status != NULL && seen != NULL && strcmp(status, "error") == 0)
            log_warn("preflight", "%s domain=%s code=%s seen=%s", event, domain,
                     json_string_value(json_object_get(finding, "code")), LOG_QUOTE(seen));
    }
}

void preflight_warm(struct preflight *preflight, struct storage_reader *reader, const json_t *spec)
{
    struct address address;
    struct error err = {""};
    json_t *report = NULL;
    if (preflight->config->preflight == PREFLIGHT_OFF || !from_domain(spec, &address))
        return;
    if (preflight_report(preflight, reader, address_domain(&address), &report, &err) == 0)
        json_decref(report);
}

/* Adds what libopendkim makes of the first message. The report is the caller's own copy. */
static void judge_first(struct preflight *preflight, struct storage_reader *reader, const char *domain,
                        const struct composed *first, json_t *report)
{
    struct error err = {""};
    if (check_first_message(preflight->config, reader, preflight->resolver, domain, first->data, first->size_bytes,
                            report, &err) != 0)
        log_error("preflight", "first-message-not-checked domain=%s reason=%s", domain, LOG_QUOTE(err.text));
    const json_t *findings = json_object_get(report, "findings");
    const json_t *last = json_array_get(findings, json_array_size(findings) - 1);
    const char *code = json_string_value(json_object_get(last, "code"));
    if (code != NULL && strcmp(code, "dkim-message-unknown") == 0)
        log_warn("preflight", "launch-warning domain=%s code=%s seen=%s", domain, code,
                 LOG_QUOTE(json_string_value(json_object_get(last, "seen"))));
}

int preflight_launch(struct preflight *preflight, struct storage_reader *reader, const json_t *spec,
                     const struct composed *first, bool force, struct problem *problem, struct error *err)
{
    struct address address;
    struct error why = {""};
    json_t *report = NULL;
    if (preflight->config->preflight == PREFLIGHT_OFF || !from_domain(spec, &address))
        return 0;
    const char *domain = address_domain(&address);
    int result = preflight_report(preflight, reader, domain, &report, &why);
    if (result != 0) {
        if (result < 0)
            log_error("preflight", "not-checked domain=%s reason=%s", domain, LOG_QUOTE(why.text));
        return 0;
    }
    if (first != NULL)
        judge_first(preflight, reader, domain, first, report);
    bool refused = preflight->config->preflight == PREFLIGHT_ENFORCE && !force && is_bad(report);
    log_errors(refused ? "launch-refused" : force ? "launch-forced" : "launch-warning", domain, report);
    if (!refused) {
        json_decref(report);
        return 0;
    }
    json_decref(problem->preflight);
    problem->preflight = report;
    (void)error_set(err, -EINVAL, "%s is not ready for bulk mail", domain);
    return CAMPAIGN_NOT_READY;
}

/* ---- the warden ---- */

struct domains { /* of running and scheduled campaigns */
    char names[64][DOMAIN_MAX_BYTES + 1];
    size_t count;
};

static int take_domain(void *context, const struct storage_campaign *campaign)
{
    struct domains *domains = context;
    struct address address;
    json_t *spec = json_text_reads(campaign->spec, 0, NULL);
    bool known = !from_domain(spec, &address);
    json_decref(spec);
    for (size_t i = 0; i < domains->count && !known; i++)
        known = strcmp(domains->names[i], address_domain(&address)) == 0;
    if (!known && domains->count < countof(domains->names))
        (void)str_copy(domains->names[domains->count++], sizeof domains->names[0], address_domain(&address));
    return 0;
}

static void look(struct preflight *preflight, struct domains *domains)
{
    static const unsigned statuses = 1u << CAMPAIGN_RUNNING | 1u << CAMPAIGN_SCHEDULED;
    struct storage_reader *reader = NULL;
    struct error err = {""};
    domains->count = 0;
    if (storage_reader_open(preflight->storage, &reader, &err) != 0)
        return;
    if (storage_campaign_page(reader, 0, 1000, statuses, take_domain, domains, NULL, &err) < 0)
        domains->count = 0;
    for (size_t i = 0; i < domains->count && !preflight->ending; i++) {
        const char *name = domains->names[i];
        (void)pthread_mutex_lock(&preflight->lock);
        struct kept *kept = hashmap_get(&preflight->map, name, strlen(name));
        bool due = kept == NULL || clock_monotonic_ms() - kept->at_ms >= preflight->config->preflight_every_ms;
        (void)pthread_mutex_unlock(&preflight->lock);
        json_t *report = NULL;
        if (due && check(preflight, reader, name, &report, &err) == 0) {
            log_info("preflight", "checked domain=%s status=%s", name,
                     json_string_value(json_object_get(report, "status")));
            log_errors("found", name, report);
        }
        json_decref(report);
    }
    storage_reader_close(reader);
}

static void *watch(void *context)
{
    struct preflight *preflight = context;
    struct domains *domains = calloc(1, sizeof *domains);
    int64_t every_ms = MIN_OF(LOOK_EVERY_MS, MAX_OF(preflight->config->preflight_every_ms / 2, (int64_t)100));
    (void)pthread_mutex_lock(&preflight->lock);
    while (!preflight->ending && domains != NULL) {
        struct timespec until;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += every_ms / 1000;
        until.tv_nsec += every_ms % 1000 * 1000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
        if (pthread_cond_timedwait(&preflight->end, &preflight->lock, &until) != ETIMEDOUT)
            continue;
        (void)pthread_mutex_unlock(&preflight->lock);
        look(preflight, domains);
        (void)pthread_mutex_lock(&preflight->lock);
    }
    (void)pthread_mutex_unlock(&preflight->lock);
    free(domains);
    return NULL;
}

static int start_warden(struct preflight *preflight, struct error *err)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&preflight->warden, NULL, watch, preflight);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r != 0 ? error_errno(err, -r, "cannot start a thread") : 0;
}

int preflight_start(const struct config *config, struct config_live *live, struct storage *storage, struct resolver *resolver,
                    struct preflight **out, struct error *err)
{
    pthread_condattr_t monotonic;
    struct preflight *preflight = calloc(1, sizeof *preflight);
    *out = NULL;
    if (preflight == NULL)
        return error_memory(err);
    preflight->config = config;
    preflight->live = live;
    preflight->storage = storage;
    preflight->resolver = resolver;
    preflight->map = HASHMAP_INIT;
    list_init(&preflight->all);
    assure(pthread_mutex_init(&preflight->lock, NULL) == 0 && pthread_condattr_init(&monotonic) == 0);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    assure(pthread_cond_init(&preflight->end, &monotonic) == 0);
    (void)pthread_condattr_destroy(&monotonic);
    int result = config->preflight != PREFLIGHT_OFF ? start_warden(preflight, err) : 0;
    if (result < 0) {
        preflight->ending = true;
        preflight_stop(preflight);
        return result;
    }
    *out = preflight;
    return 0;
}

void preflight_stop(struct preflight *preflight)
{
    if (preflight == NULL)
        return;
    (void)pthread_mutex_lock(&preflight->lock);
    bool watched = preflight->config->preflight != PREFLIGHT_OFF && !preflight->ending;
    preflight->ending = true;
    (void)pthread_cond_signal(&preflight->end);
    (void)pthread_mutex_unlock(&preflight->lock);
    if (watched)
        (void)pthread_join(preflight->warden, NULL);
    while (!list_empty(&preflight->all))
        kept_free(preflight, list_entry(preflight->all.next, struct kept, node));
    hashmap_finish(&preflight->map);
    (void)pthread_cond_destroy(&preflight->end);
    (void)pthread_mutex_destroy(&preflight->lock);
    free(preflight);
}
