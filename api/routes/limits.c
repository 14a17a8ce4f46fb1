/*
 * limits.c - /v1/suspensions: limits for a time, set by hand or by automation rules; and /v1/sources: how the local
 * addresses stand.
 *
 * What is set here is durable when the answer goes out.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/routes/routes.h"
#include "base/address.h"
#include "base/clock.h"
#include "base/str.h"

#define REASON_MAX_BYTES 190
#define LONGEST_MS (INT64_C(366) * 86400000)

static const struct {
    const char *field;
    enum limit_scope scope;
} scopes[] = {{"site", SCOPE_SITE},
              {"source", SCOPE_SOURCE},
              {"domain", SCOPE_DOMAIN},
              {"campaign", SCOPE_CAMPAIGN},
              {"sending_domain", SCOPE_SENDER}};

static json_t *measure_json(const struct engine_measure *measure)
{
    char value[RATE_TEXT_BYTES] = "";
    if (measure->what == WHAT_RATE)
        (void)rate_format(measure->rate, value);
    json_t *number = measure->what == WHAT_RATE        ? json_string(value)
                     : measure->what == WHAT_SUSPENDED ? json_null()
                                                       : json_integer((json_int_t)measure->number);
    return json_pack("{s:I, s:s, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "id", (json_int_t)measure->id, "scope",
                     limit_scope_name(measure->scope), "target", json_line(measure->target), "source",
                     json_line(measure->source), "what", limit_what_name(measure->what), "value", number, "reason",
                     json_line(measure->reason), "origin", json_line(measure->origin), "since",
                     json_time(measure->since_wall_ms), "until", json_time(measure->until_wall_ms));
}

static void append_measure(void *context, const struct engine_measure *measure)
{
    (void)json_array_append_new(context, measure_json(measure));
}

void suspensions_page(struct request *request, struct response *response)
{
    json_t *array = json_array();
    engine_measures(mailer_engine(request->app->mailer), append_measure, array);
    json_int_t total = (json_int_t)json_array_size(array);
    response_json(response, 200, json_pack("{s:o, s:n, s:I}", "data", array, "next", "total", total));
}

/* A target that is looked for among what there is. */
struct sought {
    char *target;
    bool found;
};

/* Somebody may name the domain and mean its provider; of one that is not known yet the domain's own mail is held. */
static void take_site_name(void *context, const struct engine_site_stats *site)
{
    struct sought *sought = context;
    sought->found = true;
    if (site->profile[0] != '\0')
        (void)str_copy(sought->target, MEASURE_TARGET_BYTES, site->site);
}

/* One that stands in no pool yet counts, too: it may be held before its first mail. */
static bool is_source(const struct app *app, const char *name)
{
    const struct config *config = config_live_hold(app->live);
    bool found = false;
    for (size_t i = 0; i < config->source_count && !found; i++)
        found = strcmp(config->sources[i].name, name) == 0;
    config_drop(config);
    return found;
}

static int ignore_campaign(void *context, const struct storage_campaign *campaign)
{
    (void)context, (void)campaign;
    return 0;
}

/* What the engine calls a site of several hosts (mx_site_key()). */
static bool is_host_set(const char *name)
{
    static const char bytes[] = "abcdefghijklmnopqrstuvwxyz0123456789-_. (|)";
    return name[0] == '(' && strchr(name, ')') != NULL && name[strspn(name, bytes)] == '\0';
}

/* 0, or negative when the engine cannot be asked. */
static int check_site(struct engine *engine, char *target, struct problem *problem)
{
    char domain[DOMAIN_MAX_BYTES + 1];
    struct error err = {""};
    struct sought sought = {.target = target};
    bool is_domain = domain_normalise(target, strlen(target), domain, &err) == 0;
    if (is_domain)
        (void)str_copy(target, MEASURE_TARGET_BYTES, domain);
    int rc = engine_explain(engine, target, take_site_name, &sought);
    if (rc == 0 && !is_domain && !sought.found && !is_host_set(target))
        problem_add(problem, "site", "\"%.100s\" is no site and no domain: %s", target, err.text);
    return rc;
}

/* A limit against what does not exist would be kept, and mail that it was meant for would go out: a campaign and a
 * source must be there, while a site or a domain may be one that nothing was sent to yet. Negative when that cannot be
 * told. */
static int check_target(struct request *request, struct engine_measure *measure, const char *field,
                         struct problem *problem)
{
    char domain[DOMAIN_MAX_BYTES + 1];
    struct error err = {""};
    int rc = 0;
    switch (measure->scope) {
    case SCOPE_SITE:
        rc = check_site(mailer_engine(request->app->mailer), measure->target, problem);
        break;
    case SCOPE_CAMPAIGN:
        rc = storage_campaign_get(request->reader, json_integer_value(json_object_get(request->json, field)),
                                  ignore_campaign, NULL, &err);
        if (rc == STORAGE_NOT_FOUND)
            problem_add(problem, field, "there is no campaign %s", measure->target);
        break;
    case SCOPE_SOURCE:
        if (!is_source(request->app, measure->target))
            problem_add(problem, field, "there is no source \"%.100s\"", measure->target);
        break;
    default:
        if (domain_normalise(measure->target, strlen(measure->target), domain, &err) == 0)
            (void)str_copy(measure->target, sizeof(measure->target), domain);
        else
            problem_add(problem, field, "\"%.100s\" is no domain: %s", measure->target, err.text);
    }
    return rc < 0 ? rc : 0;
}

/* The field of the target, or NULL when there is none that can be checked. */
static const char *read_target(const json_t *json, struct engine_measure *measure, struct problem *problem)
{
    size_t count = 0;
    const char *field = NULL;
    for (size_t i = 0; i < countof(scopes); i++) {
        const json_t *value = json_object_get(json, scopes[i].field);
        if (value == NULL)
            continue;
        count++;
        measure->scope = scopes[i].scope;
        field = scopes[i].field;
        if (json_is_integer(value) && measure->scope == SCOPE_CAMPAIGN)
            (void)snprintf(measure->target, sizeof(measure->target), "%lld", (long long)json_integer_value(value));
        else if (json_is_string(value) && measure->scope != SCOPE_CAMPAIGN && json_string_length(value) > 0 &&
                 json_string_length(value) < sizeof(measure->target))
            (void)str_copy(measure->target, sizeof(measure->target), json_string_value(value));
        else
            problem_add(problem, scopes[i].field,
                        measure->scope == SCOPE_CAMPAIGN ? "must be the number of a campaign" : "must be a name");
    }
    if (count != 1)
        problem_add(problem, "site", "give one of site, source, domain, campaign, sending_domain");
    return count == 1 && measure->target[0] != '\0' ? field : NULL;
}

static void check_fields(const json_t *json, struct problem *problem)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)json, key, value)
    {
        bool known = strcmp(key, "reason") == 0 || strcmp(key, "until") == 0;
        for (size_t i = 0; i < countof(scopes) && !known; i++)
            known = strcmp(key, scopes[i].field) == 0;
        if (!known)
            problem_add(problem, key, "is not known here");
    }
}

void suspensions_add(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct engine *engine = mailer_engine(request->app->mailer);
    struct engine_measure measure = {.what = WHAT_SUSPENDED, .since_wall_ms = clock_wall_ms(), .origin = "by hand"};
    const json_t *reason = json_object_get(request->json, "reason");
    const json_t *until = json_object_get(request->json, "until");
    if (!json_is_object(request->json)) {
        response_problem(response, 422, "send an object");
        return;
    }
    check_fields(request->json, &problem);
    const char *field = read_target(request->json, &measure, &problem);
    if (field != NULL && check_target(request, &measure, field, &problem) < 0) {
        response_problem(response, 503, "%s \"%.100s\" cannot be looked up now; nothing was suspended", field,
                         measure.target);
        return;
    }
    if (!json_is_string(reason) || json_string_length(reason) == 0 || json_string_length(reason) > REASON_MAX_BYTES)
        problem_add(&problem, "reason", "must be a text of at most %d bytes", REASON_MAX_BYTES);
    else
        (void)str_copy(measure.reason, sizeof(measure.reason), json_string_value(reason));
    if (until != NULL && !json_is_null(until) &&
        (!json_is_string(until) || time_parse_rfc3339(json_string_value(until), &measure.until_wall_ms) != 0 ||
         measure.until_wall_ms <= measure.since_wall_ms || measure.until_wall_ms - measure.since_wall_ms > LONGEST_MS))
        problem_add(&problem, "until", "must be a time ahead, like 2026-11-23T17:00:00Z, within a year");
    if (problem.count > 0) {
        response_invalid(response, &problem);
        return;
    }
    int rc = engine_measure_set(engine, &measure);
    if (rc == -E2BIG) {
        response_problem(response, 409, "there are %d of them already", MEASURES_MAX);
    } else if (rc != 0 || mailer_keep_limits(request->app->mailer) != 0) {
        response_problem(response, 503, "it holds, but could not be written down in time");
    } else {
        response_json(response, 201, measure_json(&measure));
    }
}

void suspensions_cancel(struct request *request, struct response *response)
{
    struct error err = {""};
    int rc = engine_measure_cancel(mailer_engine(request->app->mailer), (uint64_t)request->id[0]);
    if (rc != 0) {
        response_condition(response, STORAGE_NOT_FOUND, "suspension", &err);
        return;
    }
    if (mailer_keep_limits(request->app->mailer) != 0)
        response_problem(response, 503, "it is gone, but that could not be written down in time");
    else
        response_empty(response, 204);
}

/* Sources. */

static json_t *source_of(json_t *array, const char *name)
{
    size_t i;
    json_t *row;
    json_array_foreach(array, i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "source")), name) == 0)
            return row;
    }
    return NULL;
}

static void append_source(void *context, const struct engine_source_stats *source)
{
    json_t *array = context;
    json_t *row = source_of(array, source->name);
    if (row == NULL) {
        bool cold = source->warm_day > 0;
        row = json_pack("{s:s, s:s, s:s, s:I, s:o, s:o, s:o}", "source", source->name, "address", source->address,
                        "hostname", source->hostname, "connections", (json_int_t)source->connections, "connections_max",
                        source->connections_max > 0 ? json_integer((json_int_t)source->connections_max) : json_null(),
                        "suspended", json_line(source->suspended), "warmup",
                        cold ? json_pack("{s:I, s:I, s:I, s:[]}", "day", (json_int_t)source->warm_day, "days",
                                         (json_int_t)source->warm_days, "per_provider", (json_int_t)source->warm_quota,
                                         "providers")
                             : json_null());
        (void)json_array_append_new(array, row);
    }
    json_t *providers = json_object_get(json_object_get(row, "warmup"), "providers");
    if (source->provider[0] != '\0' && providers != NULL)
        (void)json_array_append_new(providers, json_pack("{s:o, s:I, s:I}", "profile", json_line(source->provider),
                                                         "sent", (json_int_t)source->warm_quota - source->warm_left,
                                                         "left", (json_int_t)source->warm_left));
}

void sources_page(struct request *request, struct response *response)
{
    json_t *array = json_array();
    engine_sources(mailer_engine(request->app->mailer), append_source, array);
    json_int_t total = (json_int_t)json_array_size(array);
    response_json(response, 200, json_pack("{s:o, s:n, s:I}", "data", array, "next", "total", total));
}
