/*
 * stats.c - /v1/stats: the whole server in one answer (what the dashboard, `status` and `top` show), its sites, its
 * minutes.
 */
#include <errno.h>
#include <string.h>

#include "api/routes/routes.h"
#include "api/sites.h"
#include "base/clock.h"
#include "base/str.h"

#define CAMPAIGNS_SHOWN 20
#define MINUTE_MS INT64_C(60000)
#define TIMESERIES_DEFAULT_MS (60 * MINUTE_MS)
#define TIMESERIES_MAX_MS (7 * 24 * 60 * MINUTE_MS)

struct campaign_rows {
    json_t *array;
    struct mailer *mailer;
};

static int append_campaign(void *context, const struct storage_campaign *campaign)
{
    struct campaign_rows *rows = context;
    (void)json_array_append_new(rows->array, view_campaign(campaign, rows->mailer));
    return 0;
}

/* What is under way comes first, whatever its age; then the newest of the rest. */
static int add_campaigns(struct request *request, json_t *object, struct error *err)
{
    const unsigned active = 1u << CAMPAIGN_RUNNING | 1u << CAMPAIGN_PAUSED | 1u << CAMPAIGN_SCHEDULED;
    const unsigned rest = 1u << CAMPAIGN_DRAFT | 1u << CAMPAIGN_FINISHED | 1u << CAMPAIGN_CANCELLED;
    struct campaign_rows rows = {json_array(), request->app->mailer};
    int64_t active_count = 0;
    int64_t rest_count = 0;
    (void)json_object_set_new(object, "campaigns", rows.array);
    int rc =
        storage_campaign_page(request->reader, 0, CAMPAIGNS_SHOWN, active, append_campaign, &rows, &active_count, err);
    int room = CAMPAIGNS_SHOWN - (int)json_array_size(rows.array);
    if (rc >= 0)
        rc = storage_campaign_page(request->reader, 0, MAX_OF(room, 1), rest, append_campaign, &rows, &rest_count, err);
    (void)json_object_set_new(object, "campaigns_active", json_integer(active_count));
    (void)json_object_set_new(object, "campaigns_total", json_integer(active_count + rest_count));
    return MIN_OF(rc, 0);
}

static json_t *engine_json(struct app *app)
{
    struct engine_totals totals = {0};
    struct mailer_status status = {0};
    mailer_status(app->mailer, &status);
    /* A loop that does not answer in time leaves zeros; the page must not go blank for that. */
    if (sites_totals(mailer_engine(app->mailer), &totals) != 0)
        totals = (struct engine_totals){0};
    return json_pack("{s:f, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "rate_now", status.rate_now, "jobs",
                     (json_int_t)status.jobs, "held_by", json_line(status.held_by), "sites", (json_int_t)totals.sites,
                     "connections", (json_int_t)totals.connections, "queued", (json_int_t)totals.queued, "in_flight",
                     (json_int_t)totals.in_flight, "delivered", (json_int_t)totals.delivered, "temporary",
                     (json_int_t)totals.temporary, "permanent", (json_int_t)totals.permanent, "transport",
                     (json_int_t)totals.transport);
}

static json_t *storage_json(struct app *app)
{
    struct error why = {""};
    int64_t database_bytes = 0;
    int64_t wal_bytes = 0;
    bool healthy = storage_healthy(app->storage, &why);
    (void)storage_sizes(app->storage, &database_bytes, &wal_bytes);
    return json_pack("{s:b, s:o, s:I, s:I}", "healthy", healthy ? 1 : 0, "why", json_line(healthy ? "" : why.text),
                     "database_bytes", (json_int_t)database_bytes, "wal_bytes", (json_int_t)wal_bytes);
}

/* What the listener for reports has taken since the start; null without one. */
static json_t *bounces_json(struct app *app)
{
    struct intake_stats stats;
    if (app->intake == NULL)
        return json_null();
    intake_stats(app->intake, &stats);
    json_t *object = view_bounce_summary(&stats.summary);
    (void)json_object_set_new(object, "connections", json_integer((json_int_t)stats.connections));
    (void)json_object_set_new(object, "refused_connections", json_integer((json_int_t)stats.refused_connections));
    (void)json_object_set_new(object, "open_connections", json_integer((json_int_t)stats.open_connections));
    return object;
}

void stats_get(struct request *request, struct response *response)
{
    struct app *app = request->app;
    struct error err = {""};
    int64_t states[DELIVERY_STATE_COUNT] = {0};
    int64_t recipients = 0;
    int64_t lists = 0;
    int64_t suppressions = 0;
    int rc = storage_totals(request->reader, states, &recipients, &lists, &suppressions, &err);
    if (rc != 0) {
        response_condition(response, rc, "statistics", &err);
        return;
    }
    json_t *object =
        json_pack("{s:o, s:s, s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "time", json_time(clock_wall_ms()), "version",
                  POSTHASTE_VERSION, "hostname", app->config->hostname, "uptime_s",
                  (json_int_t)((clock_monotonic_ms() - app->started_mono_ms) / 1000), "recipients",
                  (json_int_t)recipients, "lists", (json_int_t)lists, "suppressions", (json_int_t)suppressions,
                  "deliveries", view_states(states), "engine", engine_json(app), "storage", storage_json(app), "bounces",
                  bounces_json(app));
    if (object != NULL)
        rc = add_campaigns(request, object, &err);
    if (rc < 0) {
        json_decref(object);
        response_condition(response, rc, "statistics", &err);
        return;
    }
    response_json(response, 200, object);
}

void stats_sites(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct engine_totals totals;
    struct error err = {""};
    json_t *sites = NULL;
    int limit;
    if (!page_read(request, &limit, NULL, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    int rc = sites_busiest(mailer_engine(request->app->mailer), request_query(request, "site"), limit, &sites, &totals,
                           &err);
    if (rc != 0) {
        response_condition(response, rc, "sites", &err);
        return;
    }
    response_json(response, 200,
                  json_pack("{s:o, s:n, s:I}", "data", sites, "next", "total", (json_int_t)totals.sites));
}

void stats_site(struct request *request, struct response *response)
{
    struct error err = {""};
    json_t *site = NULL;
    int rc = site_explained(mailer_engine(request->app->mailer), request->text[0], &site, &err);
    if (rc == 0 && site == NULL)
        rc = STORAGE_NOT_FOUND;
    if (rc != 0)
        response_condition(response, rc, "site", &err);
    else
        response_json(response, 200, site);
}

static bool read_time(const struct request *request, const char *name, int64_t *ms, struct problem *problem)
{
    const char *text = request_query(request, name);
    if (text == NULL)
        return true;
    if (time_parse_rfc3339(text, ms) == 0)
        return true;
    problem_add(problem, name, "must be a time like 2026-11-23T17:00:00Z");
    return false;
}

static int append_minute(void *context, const struct storage_minute *minute)
{
    (void)json_array_append_new(context, view_minute(minute));
    return 0;
}

void timeseries_answer(struct request *request, struct response *response, int64_t campaign_id)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    int64_t to_ms = clock_wall_ms();
    bool fit = read_time(request, "to", &to_ms, &problem);
    int64_t from_ms = to_ms - TIMESERIES_DEFAULT_MS;
    fit = read_time(request, "from", &from_ms, &problem) && fit;
    if (fit && (from_ms > to_ms || to_ms - from_ms > TIMESERIES_MAX_MS))
        problem_add(&problem, "from", "must lie before `to`, by 7 days at most");
    if (problem.count > 0) {
        response_invalid(response, &problem);
        return;
    }
    json_t *minutes = json_array();
    int rc = minutes != NULL
                 ? storage_timeseries(request->reader, campaign_id, from_ms, to_ms, append_minute, minutes, &err)
                 : error_memory(&err);
    if (rc != 0) {
        json_decref(minutes);
        response_condition(response, rc, "campaign", &err);
        return;
    }
    json_int_t total = (json_int_t)json_array_size(minutes);
    response_json(response, 200, json_pack("{s:o, s:n, s:I}", "data", minutes, "next", "total", total));
}

void stats_timeseries(struct request *request, struct response *response)
{
    timeseries_answer(request, response, 0);
}
