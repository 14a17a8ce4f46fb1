/*
 * stats.c - /v1/stats: the whole server in one answer (what the dashboard, `status` and `top` show), its sites, its
 * minutes.
 */
#include <errno.h>
#include <string.h>

#include "api/routes/routes.h"
#include "api/server_stats.h"
#include "api/sites.h"
#include "base/clock.h"
#include "base/str.h"

#define MINUTE_MS INT64_C(60000)
#define TIMESERIES_DEFAULT_MS (60 * MINUTE_MS)
#define TIMESERIES_MAX_MS (7 * 24 * 60 * MINUTE_MS)

void stats_get(struct request *request, struct response *response)
{
    struct error err = {""};
    json_t *stats = server_stats(request->app, request->reader, &err);
    if (stats == NULL)
        response_condition(response, -EIO, "statistics", &err);
    else
        response_json(response, 200, stats);
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
