/*
 * routes.h - every call of the HTTP API and the page, in one table (routes.c). A handler is named by resource and verb.
 */
#ifndef POSTHASTE_API_ROUTES_ROUTES_H
#define POSTHASTE_API_ROUTES_ROUTES_H

#include "api/app.h"
#include "api/http/json.h"
#include "api/http/router.h"
#include "api/views.h"

const struct route *routes_all(size_t *count);

route_handler lists_page, lists_create, lists_get, lists_update, lists_delete;
route_handler members_page, members_upsert, members_remove, recipients_get;
route_handler imports_create, imports_get, imports_rejects;
route_handler campaigns_page, campaigns_create, campaigns_get, campaigns_update, campaigns_delete;
route_handler campaigns_launch, campaigns_pause, campaigns_resume, campaigns_cancel, campaigns_clone, campaigns_preview;
route_handler campaigns_winner, campaigns_variants, campaigns_test, campaigns_test_get;
route_handler campaigns_stats, campaigns_deliveries, campaigns_timeseries, campaigns_sites;
route_handler messages_create, messages_page, messages_stats, messages_get;
route_handler stats_get, stats_sites, stats_site, stats_timeseries;
route_handler suspensions_page, suspensions_add, suspensions_cancel, sources_page;
route_handler suppressions_page, suppressions_add, suppressions_get, suppressions_remove;
route_handler domains_page, domains_add, domains_get, domains_check, domains_rotate;
route_handler link_keys_page, link_keys_rotate, link_keys_retire;
route_handler tokens_page, tokens_create, tokens_revoke;
route_handler events_stream, campaigns_replies, stats_queue, dashboard_views, dashboard_operations;
route_handler webhooks_page, webhooks_create_one, webhooks_get, webhooks_update, webhooks_delete, webhooks_rotate,
    webhooks_replay;
route_handler health_live, health_ready, metrics_get, openapi_get;
route_handler root_get, dashboard_page, dashboard_script, dashboard_style, dashboard_charts;
route_handler unsubscribe_page, unsubscribe_act;
route_handler tracking_follow, tracking_pixel, campaigns_links;
route_handler view_page, preferences_page, preferences_act;
route_handler snippets_page, snippets_create, snippets_get, snippets_put, snippets_remove;

/* Minutes of all campaigns (0) or of one: shared by two resources. */
void timeseries_answer(struct request *request, struct response *response, int64_t campaign_id);

#endif
