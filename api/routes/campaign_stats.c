/*
 * campaign_stats.c - what became of a campaign: its counters, its deliveries one by one, its minutes, its big
 * destinations.
 */
#include <string.h>

#include "api/routes/routes.h"
#include "api/sites.h"
#include "base/address.h"

struct stats {
    json_t *object;
    struct mailer *mailer;
    int64_t launched_ms, total;
};

static int keep_stats(void *context, const struct storage_campaign *campaign)
{
    struct stats *stats = context;
    json_decref(stats->object);
    stats->object = view_campaign_stats(campaign, stats->mailer);
    return 0;
}

void campaigns_stats(struct request *request, struct response *response)
{
    struct stats stats = {.mailer = request->app->mailer};
    struct error err = {""};
    int rc = storage_campaign_get(request->reader, request->id[0], keep_stats, &stats, &err);
    if (rc != 0)
        response_condition(response, rc, "campaign", &err);
    else
        response_json(response, 200, stats.object);
}

/* ---- deliveries ---- */

struct totals {
    int state; /* -1 = all */
    int64_t total;
};

/* Rows, not members: what is pending, and what is in the air for the first time, has no row. */
static int count_rows(void *context, const struct storage_campaign *campaign)
{
    struct totals *totals = context;
    if (totals->state >= 0) {
        totals->total = campaign->states[totals->state];
        return 0;
    }
    totals->total = 0;
    for (int i = 0; i < DELIVERY_STATE_COUNT; i++) {
        if (i != DELIVERY_PENDING)
            totals->total += campaign->states[i];
    }
    return 0;
}

static int take_delivery(void *context, const struct storage_delivery *delivery)
{
    return page_take_id(context, view_delivery(delivery), delivery->id) ? 0 : 1;
}

static bool read_filter(const struct request *request, int *state, char domain[DOMAIN_MAX_BYTES + 1],
                        struct problem *problem)
{
    const char *text = request_query(request, "state");
    enum delivery_state parsed;
    struct error err = {""};
    *state = -1;
    domain[0] = '\0';
    if (text != NULL && delivery_state_parse(text, &parsed) == 0)
        *state = (int)parsed;
    else if (text != NULL)
        problem_add(problem, "state", "there is no delivery state \"%.40s\"", text);
    text = request_query(request, "domain");
    if (text != NULL && domain_normalise(text, strlen(text), domain, &err) != 0)
        problem_add(problem, "domain", "%s", err.text);
    return problem->count == 0;
}

void campaigns_deliveries(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    struct totals totals = {.total = 0};
    char domain[DOMAIN_MAX_BYTES + 1];
    struct page page;
    int64_t after;
    int limit;
    if (!page_read(request, &limit, &after, &problem) || !read_filter(request, &totals.state, domain, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    int rc = storage_campaign_get(request->reader, request->id[0], count_rows, &totals, &err);
    if (rc != 0) {
        response_condition(response, rc, "campaign", &err);
        return;
    }
    if (!page_init(&page, limit)) {
        response_json(response, 200, NULL);
        return;
    }
    rc = storage_delivery_page(request->reader, request->id[0], totals.state, domain[0] != '\0' ? domain : NULL, after,
                               limit + 1, take_delivery, &page, &err);
    if (rc < 0) {
        page_drop(&page);
        response_condition(response, rc, "campaign", &err);
        return;
    }
    /* How many rows a domain has is not counted anywhere, and counting it would read the whole campaign. */
    response_json(response, 200, page_json(&page, domain[0] != '\0' ? -1 : totals.total));
}

/* ---- minutes and destinations ---- */

static int ignore_campaign(void *context, const struct storage_campaign *campaign)
{
    (void)context;
    (void)campaign;
    return 0;
}

static bool campaign_exists(struct request *request, struct response *response)
{
    struct error err = {""};
    int rc = storage_campaign_get(request->reader, request->id[0], ignore_campaign, NULL, &err);
    if (rc != 0)
        response_condition(response, rc, "campaign", &err);
    return rc == 0;
}

void campaigns_timeseries(struct request *request, struct response *response)
{
    if (campaign_exists(request, response))
        timeseries_answer(request, response, request->id[0]);
}

struct lanes {
    json_t *data;
    int limit;
    int64_t tail_lanes, tail_members, tail_done, total;
};

static int take_lane(void *context, const struct storage_lane *lane)
{
    struct lanes *lanes = context;
    if (lane->domain == NULL) {
        lanes->tail_lanes++;
        lanes->tail_members += lane->member_count;
        lanes->tail_done += lane->done ? 1 : 0;
        return 0;
    }
    if (lanes->total++ < lanes->limit)
        (void)json_array_append_new(lanes->data,
                                    json_pack("{s:o, s:I, s:b, s:n}", "domain", json_line(lane->domain), "members",
                                              (json_int_t)lane->member_count, "claimed", lane->done ? 1 : 0, "site"));
    return 0;
}

/* Puts the engine's view of the same domain beside each lane. */
static void join_sites(struct lanes *lanes, const json_t *sites)
{
    size_t i;
    json_t *lane;
    json_array_foreach(lanes->data, i, lane)
    {
        size_t k;
        json_t *site;
        json_array_foreach(sites, k, site)
        {
            if (json_equal(json_object_get(site, "site"), json_object_get(lane, "domain")))
                (void)json_object_set(lane, "site", site);
        }
    }
}

void campaigns_sites(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    struct engine_totals totals;
    struct lanes lanes = {0};
    json_t *sites = NULL;
    if (!page_read(request, &lanes.limit, NULL, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    if (!campaign_exists(request, response))
        return;
    lanes.data = json_array();
    int rc = lanes.data != NULL ? storage_campaign_lanes(request->reader, request->id[0], take_lane, &lanes, &err)
                                : error_memory(&err);
    if (rc == 0)
        rc = sites_busiest(mailer_engine(request->app->mailer), NULL, SITES_MAX, &sites, &totals, &err);
    if (rc != 0) {
        json_decref(lanes.data);
        response_condition(response, rc, "campaign", &err);
        return;
    }
    join_sites(&lanes, sites);
    json_decref(sites);
    response_json(response, 200,
                  json_pack("{s:o, s:n, s:I, s:{s:I, s:b}}", "data", lanes.data, "next", "total",
                            (json_int_t)lanes.total, "others", "members", (json_int_t)lanes.tail_members, "claimed",
                            lanes.tail_done == lanes.tail_lanes ? 1 : 0));
}
