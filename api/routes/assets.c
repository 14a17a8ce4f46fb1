/*
 * assets.c - the dashboard's files and the API's description, out of the program's own memory.
 *
 * An ETag (of the bytes) makes a reload cost nothing. The policy lets the page load what came from this server and
 * nothing else; there is no inline script and no inline style.
 */
#include <stdio.h>
#include <string.h>

#include "api/assets.h"
#include "api/routes/routes.h"
#include "dkim/dkim.h"

static const char PAGE_POLICY[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static void answer_asset(struct request *request, struct response *response, const char *content_type,
                         const unsigned char *bytes, size_t size)
{
    uint8_t sha256[32];
    char tag[20] = "";
    if (digest_sha256(bytes, size, sha256) == 0)
        (void)snprintf(tag, sizeof(tag), "\"%02x%02x%02x%02x%02x%02x%02x%02x\"", sha256[0], sha256[1], sha256[2],
                       sha256[3], sha256[4], sha256[5], sha256[6], sha256[7]);
    if (tag[0] != '\0' && strstr(request->if_none_match, tag) != NULL)
        response_empty(response, 304);
    else
        response_fixed(response, content_type, bytes, size);
    response->security_policy = PAGE_POLICY;
    response->cacheable = true;
    if (tag[0] != '\0')
        response_header(response, "ETag", "W/%s", tag); /* packed or not, it is the same to a reader */
}

void root_get(struct request *request, struct response *response)
{
    (void)request;
    response_empty(response, 302);
    response_header(response, "Location", "/dashboard");
}

void dashboard_page(struct request *request, struct response *response)
{
    answer_asset(request, response, "text/html; charset=utf-8", dashboard_html_data, dashboard_html_size);
}

void dashboard_script(struct request *request, struct response *response)
{
    answer_asset(request, response, "text/javascript; charset=utf-8", dashboard_js_data, dashboard_js_size);
}

void dashboard_views(struct request *request, struct response *response)
{
    answer_asset(request, response, "text/javascript; charset=utf-8", views_js_data, views_js_size);
}

void dashboard_operations(struct request *request, struct response *response)
{
    answer_asset(request, response, "text/javascript; charset=utf-8", operations_js_data, operations_js_size);
}

void dashboard_style(struct request *request, struct response *response)
{
    answer_asset(request, response, "text/css; charset=utf-8", dashboard_css_data, dashboard_css_size);
}

void dashboard_charts(struct request *request, struct response *response)
{
    answer_asset(request, response, "text/javascript; charset=utf-8", chart_js_data, chart_js_size);
}

void openapi_get(struct request *request, struct response *response)
{
    answer_asset(request, response, "application/json", openapi_json_data, openapi_json_size);
}
