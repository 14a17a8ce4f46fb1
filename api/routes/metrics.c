/*
 * metrics.c - /metrics, in Prometheus' text format 0.0.4.
 *
 * Names are for ever and say their units. Labels are bounded in number: campaigns and providers beyond the first so
 * many are "other". A counter never falls, so a provider keeps its row until the process ends
 * (campaign/outcome/tally.h).
 */
#include <math.h>
#include <string.h>

#include "api/routes/routes.h"
#include "api/sites.h"

#define CAMPAIGNS_SHOWN 20

static void metric(struct buffer *out, const char *name, const char *type, const char *help)
{
    buffer_printf(out, "# HELP posthaste_%s %s\n# TYPE posthaste_%s %s\n", name, help, name, type);
}

static void metric_value(struct buffer *out, const char *name, const char *type, const char *help, int64_t value)
{
    metric(out, name, type, help);
    buffer_printf(out, "posthaste_%s %lld\n", name, (long long)value);
}

static void commit_metrics(struct app *app, struct buffer *out)
{
    struct storage_commits commits;
    storage_commits(app->storage, &commits);
    metric(out, "storage_commit_seconds", "histogram", "How long a transaction of the database takes.");
    for (size_t i = 0; i < STORAGE_COMMIT_BOUNDS; i++)
        buffer_printf(out, "posthaste_storage_commit_seconds_bucket{le=\"%.3f\"} %llu\n",
                      storage_commit_bounds_ms[i] / 1000.0, (unsigned long long)commits.within[i]);
    buffer_printf(out, "posthaste_storage_commit_seconds_bucket{le=\"+Inf\"} %llu\n",
                  (unsigned long long)commits.count);
    buffer_printf(out, "posthaste_storage_commit_seconds_sum %.6f\nposthaste_storage_commit_seconds_count %llu\n",
                  (double)commits.total_us / 1e6, (unsigned long long)commits.count);
    metric(out, "storage_commit_max_seconds", "gauge", "The longest transaction since the start.");
    buffer_printf(out, "posthaste_storage_commit_max_seconds %.6f\n", (double)commits.max_us / 1e6);
    metric_value(out, "storage_outcomes_total", "counter", "Outcomes of deliveries that were written.",
                 (int64_t)commits.rows);
}

/* A label's value: recipients and servers have no say in its form. */
static void label(struct buffer *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            buffer_append_char(out, '\\');
        buffer_append_char(out, (unsigned char)*text < ' ' ? ' ' : *text);
    }
}

static void provider_metrics(const struct tally_view *view, struct buffer *out)
{
    metric(
        out, "provider_attempts_total", "counter",
        "Attempts that reached a server, by its domain (the first 30 that were met, the rest is other) and outcome.");
    for (int i = 0; i < view->provider_count; i++) {
        for (int class_ = 0; class_ <= OUTCOME_UNCERTAIN; class_++) {
            buffer_append_str(out, "posthaste_provider_attempts_total{provider=\"");
            label(out, view->providers[i].name);
            buffer_printf(out, "\",outcome=\"%s\"} %llu\n", outcome_class_name((enum outcome_class)class_),
                          (unsigned long long)view->providers[i].outcomes[class_]);
        }
    }
}

static void stage_metrics(const struct tally_view *view, struct buffer *out)
{
    metric(out, "delivery_stage_seconds", "histogram",
           "How long deliveries take: queue (claim to MAIL), connect, tls, envelope (MAIL to RCPT), content (to the "
           "end).");
    for (int i = 0; i < TALLY_STAGES; i++) {
        const struct tally_stage_times *times = &view->stages[i];
        const char *name = tally_stage_names[i];
        uint64_t within = 0;
        for (size_t b = 0; b < TALLY_BOUNDS; b++) {
            within += times->buckets[b];
            buffer_printf(out, "posthaste_delivery_stage_seconds_bucket{stage=\"%s\",le=\"%.3f\"} %llu\n", name,
                          tally_bounds_ms[b] / 1000.0, (unsigned long long)within);
        }
        buffer_printf(out,
                      "posthaste_delivery_stage_seconds_bucket{stage=\"%s\",le=\"+Inf\"} %llu\n"
                      "posthaste_delivery_stage_seconds_sum{stage=\"%s\"} %.3f\n"
                      "posthaste_delivery_stage_seconds_count{stage=\"%s\"} %llu\n",
                      name, (unsigned long long)times->count, name, (double)times->total_ms / 1000.0, name,
                      (unsigned long long)times->count);
    }
}

struct campaign_states {
    struct buffer *out;
    int64_t rest[DELIVERY_STATE_COUNT]; /* of campaigns without a row */
};

static int write_campaign(void *context, const struct storage_campaign *campaign)
{
    struct campaign_states *states = context;
    for (int i = 0; i < DELIVERY_STATE_COUNT; i++) {
        states->rest[i] -= campaign->states[i];
        buffer_printf(states->out, "posthaste_campaign_deliveries{campaign=\"%lld\",state=\"%s\"} %lld\n",
                      (long long)campaign->id, delivery_state_name((enum delivery_state)i),
                      (long long)campaign->states[i]);
    }
    return 0;
}

static void campaign_metrics(struct storage_reader *reader, const int64_t totals[DELIVERY_STATE_COUNT],
                             struct buffer *out)
{
    struct campaign_states states = {.out = out};
    struct error err = {""};
    memcpy(states.rest, totals, sizeof(states.rest));
    metric(out, "campaign_deliveries", "gauge",
           "Deliveries by campaign (the 20 newest that run or are paused, the rest is other) and present state.");
    if (storage_campaign_page(reader, 0, CAMPAIGNS_SHOWN, 1u << CAMPAIGN_RUNNING | 1u << CAMPAIGN_PAUSED,
                              write_campaign, &states, NULL, &err) != 0)
        return;
    for (int i = 0; i < DELIVERY_STATE_COUNT; i++)
        buffer_printf(out, "posthaste_campaign_deliveries{campaign=\"other\",state=\"%s\"} %lld\n",
                      delivery_state_name((enum delivery_state)i), (long long)MAX_OF(states.rest[i], 0));
}

static void storage_metrics(struct app *app, struct storage_reader *reader, struct buffer *out)
{
    int64_t states[DELIVERY_STATE_COUNT] = {0};
    int64_t recipients = 0;
    int64_t lists = 0;
    int64_t suppressions = 0;
    int64_t database_bytes = 0;
    int64_t wal_bytes = 0;
    struct error err = {""};
    if (storage_totals(reader, states, &recipients, &lists, &suppressions, &err) == 0) {
        metric(out, "deliveries", "gauge", "Deliveries of all campaigns by their present state.");
        for (int i = 0; i < DELIVERY_STATE_COUNT; i++)
            buffer_printf(out, "posthaste_deliveries{state=\"%s\"} %lld\n", delivery_state_name((enum delivery_state)i),
                          (long long)states[i]);
        metric_value(out, "recipients", "gauge", "Recipients known.", recipients);
        metric_value(out, "lists", "gauge", "Lists.", lists);
        metric_value(out, "suppressions", "gauge", "Suppressed addresses.", suppressions);
    }
    metric_value(out, "storage_healthy", "gauge", "1 while the database takes writes.",
                 storage_healthy(app->storage, NULL) ? 1 : 0);
    if (storage_sizes(app->storage, &database_bytes, &wal_bytes) == 0) {
        metric_value(out, "storage_database_bytes", "gauge", "Size of the database file.", database_bytes);
        metric_value(out, "storage_wal_bytes", "gauge", "Size of the write-ahead log.", wal_bytes);
    }
    campaign_metrics(reader, states, out);
    commit_metrics(app, out);
}

/* All successes, and what has failed: a failure that was never seen has no row. */
static void policy_metrics(engine_tls_counts counts, struct buffer *out)
{
    metric(out, "tls_policy_total", "counter",
           "Delivery attempts since the start for which a recipient domain has a policy about TLS, by result.");
    for (int rule = TLS_RULE_NONE; rule < TLS_RULE_COUNT; rule++) {
        for (int result = TLS_RESULT_OK; result < TLS_RESULT_COUNT; result++) {
            uint64_t count = counts[rule][result];
            if (count > 0 || (rule != TLS_RULE_NONE && result == TLS_RESULT_OK))
                buffer_printf(out, "posthaste_tls_policy_total{policy=\"%s\",result=\"%s\"} %llu\n",
                              tls_rule_name((enum tls_rule)rule), tls_result_name((enum tls_result)result),
                              (unsigned long long)count);
        }
    }
}

static void engine_metrics(struct app *app, struct buffer *out)
{
    struct engine_totals totals = {0};
    struct mailer_status status = {0};
    mailer_status(app->mailer, &status);
    if (sites_totals(mailer_engine(app->mailer), &totals) == 0) {
        metric(out, "attempts_total", "counter", "Delivery attempts since the start by outcome.");
        buffer_printf(out, "posthaste_attempts_total{outcome=\"delivered\"} %llu\n",
                      (unsigned long long)totals.delivered);
        buffer_printf(out, "posthaste_attempts_total{outcome=\"temporary\"} %llu\n",
                      (unsigned long long)totals.temporary);
        buffer_printf(out, "posthaste_attempts_total{outcome=\"permanent\"} %llu\n",
                      (unsigned long long)totals.permanent);
        buffer_printf(out, "posthaste_attempts_total{outcome=\"transport\"} %llu\n",
                      (unsigned long long)totals.transport);
        policy_metrics(totals.tls, out);
        metric_value(out, "sites", "gauge", "Destination sites with work or connections.", totals.sites);
        metric_value(out, "connections", "gauge", "Open SMTP connections.", totals.connections);
        metric_value(out, "queued", "gauge", "Deliveries waiting at sites.", totals.queued);
        metric_value(out, "in_flight", "gauge", "Messages on the wire or composed for it.", totals.in_flight);
    }
    metric(out, "delivered_per_second", "gauge", "Delivered messages a second, now.");
    buffer_printf(out, "posthaste_delivered_per_second %.2f\n", isfinite(status.rate_now) ? status.rate_now : 0.0);
    metric_value(out, "jobs", "gauge", "Deliveries held in memory.", status.jobs);
}

void metrics_get(struct request *request, struct response *response)
{
    struct app *app = request->app;
    struct buffer out = BUFFER_INIT((size_t)1 << 20);
    struct tally_view tally;
    metric(&out, "build_info", "gauge", "The version that runs.");
    buffer_printf(&out, "posthaste_build_info{version=\"%s\"} 1\n", POSTHASTE_VERSION);
    metric(&out, "start_time_seconds", "gauge", "When the process started, in Unix time.");
    buffer_printf(&out, "posthaste_start_time_seconds %.3f\n", (double)app->started_wall_ms / 1000.0);
    engine_metrics(app, &out);
    mailer_tally(app->mailer, &tally);
    provider_metrics(&tally, &out);
    stage_metrics(&tally, &out);
    storage_metrics(app, request->reader, &out);
    metric(&out, "http_requests_total", "counter", "HTTP requests answered, by class of status.");
    for (int i = 2; i <= 5; i++)
        buffer_printf(&out, "posthaste_http_requests_total{status=\"%dxx\"} %llu\n", i,
                      (unsigned long long)atomic_load_explicit(&app->http_requests[i], memory_order_relaxed));
    response_text(response, 200, "text/plain; version=0.0.4; charset=utf-8", buffer_text(&out));
    buffer_finish(&out);
}
