/*
 * tally.c - counts attempts by provider and stage. One lock, held for a walk over some thirty names: the names are
 * found again mostly at the place where they were found last.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#include "campaign/outcome/tally_private.h"
#include "campaign/preflight/dmarc.h"

const uint32_t tally_bounds_ms[TALLY_BOUNDS] = {5,    10,   25,    50,    100,    250,    500,
                                                1000, 2500, 10000, 60000, 600000, 3600000};
const char *const tally_stage_names[TALLY_STAGES] = {"queue", "connect", "tls", "envelope", "content"};

struct tally {
    pthread_mutex_t lock;
    int last; /* the provider of the last attempt, and its host */
    char last_host[sizeof(((struct outcome *)NULL)->mx_host)];
    struct tally_view view;
};

int tally_create(struct tally **out, struct error *err)
{
    struct tally *tally = calloc(1, sizeof(*tally));
    if (tally == NULL)
        return error_memory(err);
    pthread_mutex_init(&tally->lock, NULL);
    *out = tally;
    return 0;
}

void tally_free(struct tally *tally)
{
    if (tally == NULL)
        return;
    pthread_mutex_destroy(&tally->lock);
    free(tally);
}

static bool is_address(const char *host)
{
    return strchr(host, ':') != NULL || host[strspn(host, "0123456789.")] == '\0';
}

void tally_provider_name(const char *mx_host, char out[TALLY_NAME_BYTES])
{
    char host[sizeof(((struct outcome *)NULL)->mx_host)];
    (void)str_copy(host, sizeof(host), mx_host[0] != '\0' ? mx_host : "none");
    str_lower(host); /* as the list is written */
    char domain[256];
    if (is_address(host))
        (void)str_copy(domain, sizeof(domain), host);
    else
        organisational_domain(host, domain);
    (void)str_copy(out, TALLY_NAME_BYTES, domain);
    str_make_line(out);
}

/* Names are looked up where the host is another than that of the last attempt. */
static struct tally_provider *find(struct tally *tally, const char *host)
{
    struct tally_view *view = &tally->view;
    char name[TALLY_NAME_BYTES];
    if (view->provider_count > 0 && strcmp(host, tally->last_host) == 0)
        return &view->providers[tally->last];
    tally_provider_name(host, name);
    int at = 0;
    while (at < view->provider_count && at < TALLY_PROVIDERS && strcmp(view->providers[at].name, name) != 0)
        at++;
    if (at == view->provider_count) {
        view->provider_count++;
        (void)str_copy(view->providers[at].name, TALLY_NAME_BYTES, at == TALLY_PROVIDERS ? "other" : name);
    }
    tally->last = at;
    (void)str_copy(tally->last_host, sizeof(tally->last_host), host);
    return &view->providers[at];
}

static void note_time(struct tally_stage_times *times, int64_t ms)
{
    size_t bucket = 0;
    if (ms < 0)
        ms = 0;
    while (bucket < TALLY_BOUNDS && ms > tally_bounds_ms[bucket])
        bucket++;
    times->buckets[bucket]++;
    times->count++;
    times->total_ms += (uint64_t)ms;
}

void tally_note(struct tally *tally, const struct outcome *outcome, int64_t waited_ms)
{
    const uint32_t *at = outcome->times_ms;
    if (outcome->class_ > OUTCOME_UNCERTAIN || outcome->stage < STAGE_CONNECT)
        return;
    pthread_mutex_lock(&tally->lock);
    struct tally_stage_times *stages = tally->view.stages;
    find(tally, outcome->mx_host)->outcomes[outcome->class_]++;
    if (at[STAGE_MAIL] > 0)
        note_time(&stages[TALLY_QUEUE], waited_ms - (int64_t)outcome->duration_ms);
    if (at[STAGE_CONNECT] > 0)
        note_time(&stages[TALLY_CONNECT], at[STAGE_CONNECT]);
    if (at[STAGE_TLS] > 0)
        note_time(&stages[TALLY_TLS], (int64_t)at[STAGE_TLS] - MIN_OF(at[STAGE_GREETING], at[STAGE_TLS]));
    if (at[STAGE_RCPT] > 0)
        note_time(&stages[TALLY_ENVELOPE], at[STAGE_RCPT]);
    if (at[STAGE_CONTENT] > 0 && outcome->stage == STAGE_CONTENT) /* not that of a content nobody was left for */
        note_time(&stages[TALLY_CONTENT], (int64_t)at[STAGE_CONTENT] - at[STAGE_RCPT]);
    pthread_mutex_unlock(&tally->lock);
}

void tally_read(struct tally *tally, struct tally_view *out)
{
    pthread_mutex_lock(&tally->lock);
    *out = tally->view;
    pthread_mutex_unlock(&tally->lock);
}
