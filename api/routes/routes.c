/*
 * routes.c - the table of calls. api/openapi.json describes the same calls to others; a unit test compares the two.
 */
#include "api/routes/routes.h"

#define PAGE "cursor limit"

static const struct route ROUTES[] = {
    {METHOD_GET, "/v1/lists", ACCESS_READ, BODY_NONE, PAGE " name", lists_page, false},
    {METHOD_POST, "/v1/lists", ACCESS_SEND, BODY_JSON, NULL, lists_create, false},
    {METHOD_GET, "/v1/lists/{id}", ACCESS_READ, BODY_NONE, NULL, lists_get, false},
    {METHOD_PATCH, "/v1/lists/{id}", ACCESS_SEND, BODY_JSON, NULL, lists_update, false},
    {METHOD_DELETE, "/v1/lists/{id}", ACCESS_SEND, BODY_NONE, NULL, lists_delete, false},
    {METHOD_GET, "/v1/lists/{id}/recipients", ACCESS_READ, BODY_NONE, PAGE, members_page, false},
    {METHOD_POST, "/v1/lists/{id}/recipients", ACCESS_SEND, BODY_JSON, "mode", members_upsert, false},
    {METHOD_DELETE, "/v1/lists/{id}/recipients/{text}", ACCESS_SEND, BODY_NONE, NULL, members_remove, true},
    {METHOD_POST, "/v1/lists/{id}/imports", ACCESS_SEND, BODY_UPLOAD, "mode", imports_create, false},
    {METHOD_GET, "/v1/imports/{id}", ACCESS_READ, BODY_NONE, NULL, imports_get, true},
    {METHOD_GET, "/v1/imports/{id}/rejects", ACCESS_READ, BODY_NONE, NULL, imports_rejects, true},
    {METHOD_GET, "/v1/recipients/{text}", ACCESS_READ, BODY_NONE, NULL, recipients_get, false},

    {METHOD_GET, "/v1/campaigns", ACCESS_READ, BODY_NONE, PAGE " status", campaigns_page, false},
    {METHOD_POST, "/v1/campaigns", ACCESS_SEND, BODY_JSON, NULL, campaigns_create, false},
    {METHOD_GET, "/v1/campaigns/{id}", ACCESS_READ, BODY_NONE, NULL, campaigns_get, false},
    {METHOD_PATCH, "/v1/campaigns/{id}", ACCESS_SEND, BODY_JSON, NULL, campaigns_update, false},
    {METHOD_DELETE, "/v1/campaigns/{id}", ACCESS_SEND, BODY_NONE, NULL, campaigns_delete, false},
    {METHOD_POST, "/v1/campaigns/{id}/launch", ACCESS_SEND, BODY_JSON_OPTIONAL, NULL, campaigns_launch, false},
    {METHOD_POST, "/v1/campaigns/{id}/pause", ACCESS_SEND, BODY_JSON_OPTIONAL, NULL, campaigns_pause, false},
    {METHOD_POST, "/v1/campaigns/{id}/resume", ACCESS_SEND, BODY_JSON_OPTIONAL, NULL, campaigns_resume, false},
    {METHOD_POST, "/v1/campaigns/{id}/cancel", ACCESS_SEND, BODY_JSON_OPTIONAL, NULL, campaigns_cancel, false},
    {METHOD_POST, "/v1/campaigns/{id}/clone", ACCESS_SEND, BODY_JSON_OPTIONAL, NULL, campaigns_clone, false},
    {METHOD_POST, "/v1/campaigns/{id}/winner", ACCESS_SEND, BODY_JSON, NULL, campaigns_winner, false},
    {METHOD_GET, "/v1/campaigns/{id}/variants", ACCESS_READ, BODY_NONE, NULL, campaigns_variants, false},
    {METHOD_POST, "/v1/campaigns/{id}/test", ACCESS_SEND, BODY_JSON, NULL, campaigns_test, false},
    {METHOD_GET, "/v1/campaigns/{id}/test/{id}", ACCESS_READ, BODY_NONE, NULL, campaigns_test_get, true},
    {METHOD_GET, "/v1/campaigns/{id}/preview", ACCESS_READ, BODY_NONE, "recipient", campaigns_preview, false},
    {METHOD_GET, "/v1/campaigns/{id}/stats", ACCESS_READ, BODY_NONE, NULL, campaigns_stats, false},
    {METHOD_GET, "/v1/campaigns/{id}/deliveries", ACCESS_READ, BODY_NONE, PAGE " state domain", campaigns_deliveries,
     false},
    {METHOD_GET, "/v1/campaigns/{id}/timeseries", ACCESS_READ, BODY_NONE, "from to", campaigns_timeseries, false},
    {METHOD_GET, "/v1/campaigns/{id}/sites", ACCESS_READ, BODY_NONE, "limit", campaigns_sites, false},

    {METHOD_GET, "/v1/campaigns/{id}/links", ACCESS_READ, BODY_NONE, PAGE, campaigns_links, false},

    {METHOD_POST, "/v1/messages", ACCESS_SEND, BODY_JSON, NULL, messages_create, false},
    {METHOD_GET, "/v1/messages", ACCESS_READ, BODY_NONE, PAGE " state to", messages_page, false},
    {METHOD_GET, "/v1/messages/stats", ACCESS_READ, BODY_NONE, NULL, messages_stats, false},
    {METHOD_GET, "/v1/messages/{id}", ACCESS_READ, BODY_NONE, NULL, messages_get, false},

    {METHOD_GET, "/v1/snippets", ACCESS_READ, BODY_NONE, PAGE, snippets_page, false},
    {METHOD_POST, "/v1/snippets", ACCESS_SEND, BODY_JSON, NULL, snippets_create, false},
    {METHOD_GET, "/v1/snippets/{text}", ACCESS_READ, BODY_NONE, NULL, snippets_get, false},
    {METHOD_PATCH, "/v1/snippets/{text}", ACCESS_SEND, BODY_JSON, NULL, snippets_put, false},
    {METHOD_DELETE, "/v1/snippets/{text}", ACCESS_SEND, BODY_NONE, NULL, snippets_remove, true},

    {METHOD_GET, "/v1/stats", ACCESS_READ, BODY_NONE, NULL, stats_get, false},
    {METHOD_GET, "/v1/stats/sites", ACCESS_READ, BODY_NONE, "limit site", stats_sites, true},
    {METHOD_GET, "/v1/stats/sites/{text}", ACCESS_READ, BODY_NONE, NULL, stats_site, true},
    {METHOD_GET, "/v1/stats/timeseries", ACCESS_READ, BODY_NONE, "from to", stats_timeseries, false},
    {METHOD_GET, "/v1/campaigns/{id}/replies", ACCESS_READ, BODY_NONE, "limit", campaigns_replies, false},
    {METHOD_GET, "/v1/stats/queue", ACCESS_READ, BODY_NONE, NULL, stats_queue, false},
    {METHOD_GET, "/v1/events", ACCESS_READ, BODY_NONE, "types", events_stream, true},

    {METHOD_GET, "/v1/sources", ACCESS_READ, BODY_NONE, NULL, sources_page, true},
    {METHOD_GET, "/v1/suspensions", ACCESS_READ, BODY_NONE, NULL, suspensions_page, true},
    {METHOD_POST, "/v1/suspensions", ACCESS_SEND, BODY_JSON, NULL, suspensions_add, false},
    {METHOD_DELETE, "/v1/suspensions/{id}", ACCESS_SEND, BODY_NONE, NULL, suspensions_cancel, true},

    {METHOD_GET, "/v1/suppressions", ACCESS_READ, BODY_NONE, PAGE, suppressions_page, false},
    {METHOD_POST, "/v1/suppressions", ACCESS_SEND, BODY_JSON, NULL, suppressions_add, false},
    {METHOD_GET, "/v1/suppressions/{text}", ACCESS_READ, BODY_NONE, "list", suppressions_get, false},
    {METHOD_DELETE, "/v1/suppressions/{text}", ACCESS_SEND, BODY_NONE, "list", suppressions_remove, false},

    {METHOD_GET, "/v1/domains", ACCESS_READ, BODY_NONE, PAGE, domains_page, false},
    {METHOD_POST, "/v1/domains", ACCESS_ADMIN, BODY_JSON, NULL, domains_add, false},
    {METHOD_GET, "/v1/domains/{text}", ACCESS_READ, BODY_NONE, NULL, domains_get, false},
    {METHOD_GET, "/v1/domains/{text}/check", ACCESS_READ, BODY_NONE, NULL, domains_check, false},
    {METHOD_POST, "/v1/domains/{text}/rotate", ACCESS_ADMIN, BODY_JSON_OPTIONAL, NULL, domains_rotate, false},
    {METHOD_GET, "/v1/link-keys", ACCESS_ADMIN, BODY_NONE, NULL, link_keys_page, false},
    {METHOD_POST, "/v1/link-keys", ACCESS_ADMIN, BODY_JSON_OPTIONAL, NULL, link_keys_rotate, false},
    {METHOD_DELETE, "/v1/link-keys/{text}", ACCESS_ADMIN, BODY_NONE, "force", link_keys_retire, false},
    {METHOD_GET, "/v1/tokens", ACCESS_ADMIN, BODY_NONE, PAGE, tokens_page, false},
    {METHOD_POST, "/v1/tokens", ACCESS_ADMIN, BODY_JSON, NULL, tokens_create, true},
    {METHOD_DELETE, "/v1/tokens/{id}", ACCESS_ADMIN, BODY_NONE, NULL, tokens_revoke, true},

    {METHOD_GET, "/v1/webhooks", ACCESS_ADMIN, BODY_NONE, PAGE, webhooks_page, false},
    {METHOD_POST, "/v1/webhooks", ACCESS_ADMIN, BODY_JSON, NULL, webhooks_create_one, true},
    {METHOD_GET, "/v1/webhooks/{id}", ACCESS_ADMIN, BODY_NONE, NULL, webhooks_get, false},
    {METHOD_PATCH, "/v1/webhooks/{id}", ACCESS_ADMIN, BODY_JSON, NULL, webhooks_update, false},
    {METHOD_DELETE, "/v1/webhooks/{id}", ACCESS_ADMIN, BODY_NONE, NULL, webhooks_delete, true},
    {METHOD_POST, "/v1/webhooks/{id}/rotate", ACCESS_ADMIN, BODY_JSON_OPTIONAL, NULL, webhooks_rotate, true},
    {METHOD_POST, "/v1/webhooks/{id}/replay", ACCESS_ADMIN, BODY_JSON, NULL, webhooks_replay, true},

    {METHOD_GET, "/healthz", ACCESS_OPEN, BODY_NONE, NULL, health_live, true},
    {METHOD_GET, "/readyz", ACCESS_OPEN, BODY_NONE, NULL, health_ready, true},
    {METHOD_GET, "/metrics", ACCESS_OPEN, BODY_NONE, NULL, metrics_get, false},
    {METHOD_GET, "/openapi.json", ACCESS_OPEN, BODY_NONE, NULL, openapi_get, true},
    {METHOD_GET, "/", ACCESS_OPEN, BODY_NONE, NULL, root_get, true},
    {METHOD_GET, "/dashboard", ACCESS_OPEN, BODY_NONE, NULL, dashboard_page, true},
    {METHOD_GET, "/dashboard/dashboard.js", ACCESS_OPEN, BODY_NONE, NULL, dashboard_script, true},
    {METHOD_GET, "/dashboard/views.js", ACCESS_OPEN, BODY_NONE, NULL, dashboard_views, true},
    {METHOD_GET, "/dashboard/operations.js", ACCESS_OPEN, BODY_NONE, NULL, dashboard_operations, true},
    {METHOD_GET, "/dashboard/dashboard.css", ACCESS_OPEN, BODY_NONE, NULL, dashboard_style, true},
    {METHOD_GET, "/dashboard/chart.js", ACCESS_OPEN, BODY_NONE, NULL, dashboard_charts, true},
    {METHOD_GET, "/c/{text}", ACCESS_OPEN, BODY_NONE, ROUTE_ANY_QUERY, tracking_follow, false},
    {METHOD_GET, "/o/{text}", ACCESS_OPEN, BODY_NONE, ROUTE_ANY_QUERY, tracking_pixel, true},
    {METHOD_GET, "/v/{text}", ACCESS_OPEN, BODY_NONE, ROUTE_ANY_QUERY, view_page, false},
    {METHOD_GET, "/p/{text}", ACCESS_OPEN, BODY_NONE, ROUTE_ANY_QUERY, preferences_page, false},
    {METHOD_POST, "/p/{text}", ACCESS_OPEN, BODY_FORM, ROUTE_ANY_QUERY, preferences_act, false},
    {METHOD_GET, "/u/{text}", ACCESS_OPEN, BODY_NONE, ROUTE_ANY_QUERY, unsubscribe_page, false},
    {METHOD_POST, "/u/{text}", ACCESS_OPEN, BODY_FORM, ROUTE_ANY_QUERY, unsubscribe_act, true},
};

const struct route *routes_all(size_t *count)
{
    *count = countof(ROUTES);
    return ROUTES;
}
