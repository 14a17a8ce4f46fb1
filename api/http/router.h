/*
 * router.h - from method and path to the handler. A route is a line in a table; its pattern has fixed words and
 * parameters:
 * `{id}` matches a positive integer only, `{text}` any non-empty segment.
 */
#ifndef POSTHASTE_API_HTTP_ROUTER_H
#define POSTHASTE_API_HTTP_ROUTER_H

#include "api/http/request.h"
#include "api/http/response.h"

enum route_access { ACCESS_OPEN, ACCESS_READ, ACCESS_SEND, ACCESS_ADMIN };
enum route_body {
    BODY_NONE,          /* a body is read and thrown away */
    BODY_JSON,          /* required, application/json */
    BODY_JSON_OPTIONAL, /* may be missing */
    BODY_FORM,          /* raw bytes, small; the handler reads them */
    BODY_UPLOAD, /* required, any type that the handler takes; goes to request->spool_fd, up to UPLOAD_MAX_BYTES */
};

typedef void route_handler(struct request *request, struct response *response);

/* Links that recipients follow: what others append to them (utm_source, fbclid) is not looked at, well-formed or not.
 */
#define ROUTE_ANY_QUERY "*"

struct route {
    enum http_method method;
    const char *pattern; /* "/v1/lists/{id}/recipients/{text}" */
    enum route_access access;
    enum route_body body;
    const char *query; /* names of the parameters that are known, separated by spaces; or ROUTE_ANY_QUERY */
    route_handler *handler;
    bool no_reader; /* the handler does not read the database */
};

/* True when the path matches; fills id[] and text[] of the request. */
bool route_match(const char *pattern, struct request *request);

/* The route for the request; HEAD is served by GET. NULL: `allow` holds the methods that the path knows ("" = no such
 * path: 404). */
#define ROUTE_ALLOW_BYTES 64
const struct route *route_find(const struct route *routes, size_t count, struct request *request,
                               char allow[ROUTE_ALLOW_BYTES]);

bool route_takes_any_query(const struct route *route);
/* Every query parameter must be known to the route; adds one problem for each that is not. */
void route_check_query(const struct route *route, const struct request *request, struct problem *problem);

#endif
