/*
 * mailer.c - wires the campaign room together: engine, composers, feeder, and the outcome sink between them.
 *
 * The order of the stop is the whole point of it: no new claims (feeder_halt), then the engine gives back what has not
 * begun and finishes what is in the air, so every delivery gets its outcome; then the feeder waits until the last of
 * them is durable. What was given back lies as deferred rows that are due at once, so a restart goes on where this
 * process stopped and nothing is uncertain.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/address.h"
#include "base/clock.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "base/str.h"

#include "campaign/mailer.h"
#include "campaign/message/pool.h"
#include "campaign/outcome/tally_private.h"
#include "campaign/preflight/preflight.h"
#include "campaign/schedule/delivery.h"
#include "campaign/schedule/run.h"
#include "campaign/sending_domain.h"
#include "campaign/single/contents.h"
#include "campaign/shaping.h"
#include "campaign/tlsrpt/tlsrpt.h"
#include "campaign/tracking/tracker.h"
#include "campaign/trial.h"

/* ---- the engine's message source and outcome sink (loop threads) ---- */

static void source_compose(void *context, struct engine_job *job)
{
    struct mailer *mailer = context;
    struct delivery *delivery = container_of(job, struct delivery, job);
    if (delivery->letter != NULL)
        engine_composed(mailer->engine, job, delivery->letter(delivery), "out of memory");
    else
        pool_post(mailer->pool, mailer->engine, delivery);
}

/* The flight journal: storage/journal.c tells why these three places and no other. */
static void sink_content_out(void *context, struct engine_job *job)
{
    struct mailer *mailer = context;
    struct delivery *delivery = container_of(job, struct delivery, job);
    if (delivery->ended != NULL)
        return;
    uint32_t slot = journal_sent(mailer->journal, delivery->run->id, delivery->recipient_id, delivery->attempts + 1);
    assure(slot != 0); /* it has one for each delivery that may be in memory */
    delivery->record.journal_slot = slot;
}

static void sink_content_back(void *context, struct engine_job *job)
{
    struct mailer *mailer = context;
    struct delivery *delivery = container_of(job, struct delivery, job);
    if (delivery->ended != NULL)
        return;
    journal_clear(mailer->journal, delivery->record.journal_slot);
    delivery->record.journal_slot = 0;
}

static void sink_save(void *context, struct engine_record *record)
{
    struct mailer *mailer = context;
    shaping_keeper_save(mailer->shaping, record);
}

void mailer_judge(struct mailer *mailer, struct delivery *delivery, const struct outcome *outcome, bool stopping)
{
    pthread_rwlock_rdlock(&mailer->judging);
    delivery_judge(delivery, &mailer->policy, outcome, stopping);
    pthread_rwlock_unlock(&mailer->judging);
}

static void sink_tls_session(void *context, const struct engine_tls_session *session)
{
    struct mailer *mailer = context;
    tlsrpt_count(mailer->tlsrpt, session);
}

static void sink_done(void *context, struct engine_job *job, const struct outcome *outcome)
{
    struct mailer *mailer = context;
    struct delivery *delivery = container_of(job, struct delivery, job);
    if (delivery->ended != NULL) {
        delivery->ended(delivery, outcome);
        return;
    }
    tally_note(mailer->tally, outcome, clock_monotonic_ms() - delivery->claimed_ms);
    mailer_judge(mailer, delivery, outcome, atomic_load(&mailer->stopping));
    CRASH_POINT("reply-judged");
    journal_outcome(mailer->journal, &delivery->record);
    CRASH_POINT("reply-noted");
    pthread_mutex_lock(&mailer->lock);
    list_append(&mailer->pending, &delivery->record.node);
    pthread_mutex_unlock(&mailer->lock);
}

static void sink_flush(void *context, unsigned loop)
{
    struct mailer *mailer = context;
    struct list records = LIST_INIT(records);
    (void)loop;
    pthread_mutex_lock(&mailer->lock);
    list_splice(&records, &mailer->pending);
    pthread_mutex_unlock(&mailer->lock);
    if (!list_empty(&records))
        storage_outcomes_post(mailer->storage, &records);
    CRASH_POINT("outcomes-posted");
}

/* ---- what cannot be recorded is not sent ---- */

static void health_changed(void *context, bool healthy, const char *why)
{
    struct mailer *mailer = context;
    engine_hold(mailer->engine, !healthy);
    if (healthy)
        log_warn("campaign", "sending goes on");
    else
        log_error("campaign", "sending paused reason=%s", LOG_QUOTE(why));
}

/* ---- start and stop ---- */

static int recover(struct mailer *mailer, struct error *err)
{
    struct storage_recovery *found = &mailer->recovered;
    bool hold = mailer->config->on_uncertain == UNCERTAIN_HOLD;
    int result = storage_recover(mailer->storage, hold, clock_wall_ms(), found, err);
    if (result == 0 && found->deliveries > 0)
        log_warn("campaign", "recovered claims=%lld unsent=%lld recorded=%lld uncertain=%lld uncertain_are=%s",
                 (long long)found->claims, (long long)found->unsent, (long long)found->recorded,
                 (long long)found->uncertain, hold ? "held" : "sent again");
    if (result == 0)
        result = storage_journal_begin(mailer->storage, FEEDER_JOBS_MAX, err);
    if (result == 0)
        mailer->journal = storage_journal(mailer->storage);
    return result > 0 ? -EBUSY : result;
}

static int start_parts(struct mailer *mailer, struct error *err)
{
    struct storage_reader *reader = NULL;
    int result = storage_reader_open(mailer->storage, &reader, err);
    if (result == 0)
        result = token_ring_create(mailer->storage, reader, &mailer->ring, err);
    storage_reader_close(reader);
    if (result != 0)
        return result;
    storage_set_digest(mailer->storage, digest_sha256);
    (void)storage_suppression_expire(mailer->storage, clock_wall_ms(), NULL, err); /* a failure will come again */
    result = recover(mailer, err);
    if (result == 0)
        result = resolver_start(mailer->config, &mailer->resolver, err);
    if (result == 0)
        result =
            preflight_start(mailer->config, mailer->live, mailer->storage, mailer->resolver, &mailer->preflight, err);
    if (result == 0)
        result = tally_create(&mailer->tally, err);
    if (result == 0)
        result = contents_create(mailer, &mailer->contents, err);
    if (result == 0)
        result = pool_start(mailer->config->compose_threads, mailer->contents, &mailer->pool, err);
    if (result == 0)
        result = shaping_keeper_start(mailer->storage, &mailer->shaping, err);
    if (result == 0 && mailer->config->tls_rpt)
        result = tlsrpt_create(mailer, &mailer->tlsrpt, err);
    if (result == 0) {
        size_t restored_count;
        const struct engine_restored *restored = shaping_keeper_restored(mailer->shaping, &restored_count);
        const struct engine_callbacks callbacks = {
            .context = mailer,
            .compose = source_compose,
            .content_out = sink_content_out,
            .content_back = sink_content_back,
            .done = sink_done,
            .flush = sink_flush,
            .save = sink_save,
            .tls_session = mailer->tlsrpt != NULL ? sink_tls_session : NULL,
            .restored = restored,
            .restored_count = restored_count,
        };
        result = engine_start(mailer->config, &callbacks, &mailer->engine, err);
        if (result == 0)
            shaping_keeper_attach(mailer->shaping, mailer->engine);
    }
    if (result == 0)
        storage_on_health(mailer->storage, health_changed, mailer);
    if (result == 0)
        result = tracker_start(mailer->storage, &mailer->tracker, err);
    if (result == 0)
        result = trials_create(&mailer->trials, err);
    if (result == 0)
        result = tlsrpt_start(mailer->tlsrpt, err);
    if (result == 0)
        result = feeder_start(mailer, &mailer->feeder, err);
    return result;
}

static struct policy policy_of(const struct config *config, const struct bounce_rules *rules)
{
    return (struct policy){
        .retry_first_ms = config->retry_first_ms,
        .retry_max_ms = config->retry_max_ms,
        .on_uncertain = config->on_uncertain,
        .rules = rules,
        .suppress_hard = config->bounces.suppress_hard,
        .soft_limit = (int)config->bounces.soft_bounces,
        .soft_window_ms = config->bounces.soft_window_ms,
    };
}

int mailer_reload(struct mailer *mailer, const struct config *config, struct error *err)
{
    struct bounce_rules *rules = NULL;
    int result = bounce_rules_load(NULL, &rules, err);
    if (result == 0)
        result = engine_reload(mailer->engine, config, err);
    if (result == 0) {
        pthread_rwlock_wrlock(&mailer->judging);
        struct bounce_rules *before = mailer->rules;
        mailer->rules = rules;
        mailer->policy = policy_of(config, rules);
        pthread_rwlock_unlock(&mailer->judging);
        rules = before;
    }
    bounce_rules_free(rules);
    return result;
}

int mailer_start(struct config_live *live, struct storage *storage, struct mailer **out, struct error *err)
{
    struct mailer *mailer = calloc(1, sizeof(*mailer));
    if (mailer == NULL)
        return error_memory(err);
    mailer->live = live;
    mailer->config = config_live_hold(live);
    mailer->storage = storage;
    pthread_rwlock_init(&mailer->judging, NULL);
    list_init(&mailer->pending);
    pthread_mutex_init(&mailer->lock, NULL);
    int result = bounce_rules_load(NULL, &mailer->rules, err);
    mailer->policy = policy_of(mailer->config, mailer->rules);
    if (result == 0)
        result = start_parts(mailer, err);
    if (result != 0) {
        mailer_stop(mailer);
        return result;
    }
    *out = mailer;
    return 0;
}

void mailer_stop(struct mailer *mailer)
{
    if (mailer == NULL)
        return;
    atomic_store(&mailer->stopping, true);
    if (mailer->feeder != NULL)
        feeder_halt(mailer->feeder);
    tlsrpt_halt(mailer->tlsrpt);
    const struct config *config = config_live_hold(mailer->live);
    int64_t shutdown_ms = config->shutdown_ms;
    config_drop(config);
    if (mailer->engine != NULL)
        engine_stop(mailer->engine, shutdown_ms);
    feeder_finish(mailer->feeder, shutdown_ms);
    storage_on_health(mailer->storage, NULL, NULL);
    pool_stop(mailer->pool);
    contents_free(mailer->contents);
    shaping_keeper_stop(mailer->shaping);
    tracker_stop(mailer->tracker);
    if (mailer->engine != NULL)
        engine_free(mailer->engine);
    trials_free(mailer->trials); /* every job is back */
    tlsrpt_free(mailer->tlsrpt);
    preflight_stop(mailer->preflight);
    resolver_stop(mailer->resolver);
    token_ring_free(mailer->ring);
    bounce_rules_free(mailer->rules);
    config_drop(mailer->config);
    pthread_rwlock_destroy(&mailer->judging);
    tally_free(mailer->tally);
    pthread_mutex_destroy(&mailer->lock);
    free(mailer);
}

struct resolver *mailer_resolver(struct mailer *mailer)
{
    return mailer->resolver;
}

int mailer_keep_limits(struct mailer *mailer)
{
    return shaping_keeper_flush(mailer->shaping);
}

struct engine *mailer_engine(struct mailer *mailer)
{
    return mailer->engine;
}

void mailer_tally(struct mailer *mailer, struct tally_view *out)
{
    tally_read(mailer->tally, out);
}

void mailer_status(struct mailer *mailer, struct mailer_status *out)
{
    struct engine_totals totals = {0};
    struct feeder_view view;
    feeder_view(mailer->feeder, &view);
    (void)engine_sites(mailer->engine, NULL, NULL, &totals);
    out->rate_now = totals.rate_now;
    out->jobs = view.jobs;
    out->recovered = mailer->recovered;
    struct error why = {""};
    bool healthy = storage_healthy(mailer->storage, &why);
    (void)str_copy(out->held_by, sizeof(out->held_by), healthy ? view.held_by : why.text);
}

/* What holds up most of the campaign's mail, whatever words the engine has for it (static ones). */
struct limit_count {
    const char *name;
    uint32_t queued;
};
struct limits {
    struct limit_count counts[32];
    size_t count;
};

static void count_limit(void *context, const struct engine_site_stats *site)
{
    struct limits *limits = context;
    size_t i = 0;
    if (strcmp(site->limited_by, "nothing") == 0 || strcmp(site->limited_by, "idle") == 0)
        return;
    while (i < limits->count && strcmp(limits->counts[i].name, site->limited_by) != 0)
        i++;
    if (i == countof(limits->counts))
        return;
    if (i == limits->count)
        limits->counts[limits->count++].name = site->limited_by;
    limits->counts[i].queued += site->queued;
}

static const char *engine_limit(struct mailer *mailer, int64_t campaign_id)
{
    struct limits limits = {0};
    const char *most = "nothing";
    uint32_t queued = 0;
    if (engine_group_sites(mailer->engine, (uint64_t)campaign_id, count_limit, &limits) != 0)
        return most;
    for (size_t i = 0; i < limits.count; i++) {
        if (limits.counts[i].queued > queued) {
            queued = limits.counts[i].queued;
            most = limits.counts[i].name;
        }
    }
    return most;
}

const char *mailer_campaign_limit(struct mailer *mailer, int64_t campaign_id, double *rate_now)
{
    struct run_view run;
    struct feeder_view view;
    *rate_now = 0;
    if (!feeder_run_view(mailer->feeder, campaign_id, &run))
        return "nothing";
    *rate_now = run.rate_now;
    feeder_view(mailer->feeder, &view);
    if (view.held_by[0] != '\0' || !storage_healthy(mailer->storage, NULL))
        return "storage";
    if (run.status != CAMPAIGN_RUNNING)
        return campaign_status_name(run.status);
    if (run.closed)
        return "window";
    if (run.testing)
        return "winner";
    if (run.only_retries)
        return "retries";
    return engine_limit(mailer, campaign_id);
}
