/*
 * exchange_head.c - what the head of a request alone decides: framing, route, token, rate, and whether its body may
 * come.
 *
 * A refusal is remembered here and sent by exchange.c, when it is of use to the client.
 */
#include "api/http/exchange_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/http/auth.h"
#include "api/http/throttle.h"
#include "api/readers.h"
#include "base/clock.h"
#include "base/str.h"

static const char *header(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

struct framing {
    int lengths, encodings;
    bool chunked;
    uint64_t declared; /* Content-Length */
    bool bad;
};

static enum MHD_Result read_framing(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct framing *framing = context;
    (void)kind;
    if (str_eq_nocase(name, "Content-Length")) {
        framing->lengths++;
        framing->bad |= value == NULL || str_parse_u64(value, INT64_MAX, &framing->declared) != 0;
    } else if (str_eq_nocase(name, "Transfer-Encoding")) {
        framing->encodings++;
        framing->chunked = value != NULL && str_eq_nocase(value, "chunked");
    }
    return MHD_YES;
}

/* RFC 9112 section 6.3: a message whose length two readers could understand in two ways is refused, not guessed at. */
static bool check_framing(struct exchange *exchange, struct MHD_Connection *connection, struct framing *framing)
{
    (void)MHD_get_connection_values(connection, MHD_HEADER_KIND, read_framing, framing);
    const char *wrong = NULL;
    if (framing->bad)
        wrong = "Content-Length is not a number";
    else if (framing->lengths > 1)
        wrong = "more than one Content-Length";
    else if (framing->encodings > 0 && framing->lengths > 0)
        wrong = "both Transfer-Encoding and Content-Length";
    else if (framing->encodings > 1 || (framing->encodings == 1 && !framing->chunked))
        wrong = "the only Transfer-Encoding that is understood is chunked";
    if (wrong == NULL)
        return true;
    REFUSE(exchange, 400, "%s", wrong);
    exchange->at_once = true;
    return false;
}

static bool find_route(struct exchange *exchange)
{
    struct request *request = &exchange->request;
    struct error err = {""};
    int rc = exchange->target != NULL ? request_parse_target(request, exchange->target, &err) : error_memory(&err);
    if (rc != 0 && rc != REQUEST_BAD_QUERY) {
        REFUSE(exchange, rc == REQUEST_BAD_PATH ? 404 : rc == -ENOMEM ? 503 : 400, "%s", err.text);
        return false;
    }
    char allow[ROUTE_ALLOW_BYTES];
    exchange->route = route_find(exchange->server->routes, exchange->server->route_count, request, allow);
    if (rc == REQUEST_BAD_QUERY && (exchange->route == NULL || !route_takes_any_query(exchange->route))) {
        REFUSE(exchange, 422, "%s", err.text);
        return false;
    }
    if (exchange->route != NULL)
        return true;
    if (allow[0] == '\0') {
        REFUSE(exchange, 404, "there is nothing at this path");
    } else if (request->method == METHOD_OPTIONS) {
        exchange->refused = true;
        response_empty(&exchange->response, 204);
        response_header(&exchange->response, "Allow", "%s, OPTIONS", allow);
    } else {
        REFUSE(exchange, 405, "this path knows %s only", allow);
        response_header(&exchange->response, "Allow", "%s, OPTIONS", allow);
    }
    return false;
}

static bool check_token(struct exchange *exchange, const char *authorization)
{
    enum route_access access = exchange->route->access;
    if (access == ACCESS_OPEN)
        return true;
    if (!exchange_take_reader(exchange))
        return false;
    struct app *app = exchange->server->app;
    bool allowed = auth_check(app, exchange->request.reader, access, authorization, &exchange->request.caller,
                              &exchange->response);
    /* Not held while a slow client sends its body. */
    readers_give(app->readers, exchange->request.reader);
    exchange->request.reader = NULL;
    exchange->refused = !allowed;
    return allowed;
}

static bool is_json_type(const char *type)
{
    size_t len = strcspn(type, "; \t");
    return (len == 16 && str_starts_nocase(type, "application/json")) ||
           (len > 17 && str_starts_nocase(type, "application/") && memcmp(type + len - 5, "+json", 5) == 0);
}

/* True when the body's coding is one that we know. */
static bool check_coding(struct exchange *exchange, const char *coding)
{
    bool coded = coding != NULL && coding[0] != '\0' && !str_eq_nocase(coding, "identity");
    if (!coded || exchange->route->body == BODY_NONE)
        return true;
    if (exchange->route->body == BODY_FORM || (!str_eq_nocase(coding, "gzip") && !str_eq_nocase(coding, "x-gzip"))) {
        REFUSE(exchange, 415, "the body's Content-Encoding is not understood; send it plain%s",
               exchange->route->body == BODY_FORM ? "" : " or as gzip");
        response_header(&exchange->response, "Accept-Encoding",
                        exchange->route->body == BODY_FORM ? "identity" : "gzip");
        return false;
    }
    exchange->gunzip = gunzip_create(exchange_keep_bytes, exchange);
    if (exchange->gunzip == NULL)
        REFUSE(exchange, 503, "out of memory");
    return exchange->gunzip != NULL;
}

static void check_body(struct exchange *exchange, const struct framing *framing, const char *coding)
{
    const struct route *route = exchange->route;
    bool has_body = framing->chunked || framing->declared > 0;
    if (framing->declared > exchange_body_limit(route)) {
        REFUSE(exchange, 413, "the body may have %llu bytes at most, this one has %llu",
               (unsigned long long)exchange_body_limit(route), (unsigned long long)framing->declared);
    } else if ((route->body == BODY_JSON || (route->body == BODY_JSON_OPTIONAL && has_body)) &&
               !is_json_type(exchange->request.content_type)) {
        REFUSE(exchange, 415, "send the body as Content-Type: application/json");
    } else if (route->body == BODY_UPLOAD && !has_body) {
        REFUSE(exchange, 400, "a body is required");
    } else if ((!has_body || check_coding(exchange, coding)) && route->body == BODY_UPLOAD) {
        (void)exchange_open_spool(exchange);
    }
}

static void find_address(struct exchange *exchange, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info != NULL ? info->client_addr : NULL;
    struct caller *caller = &exchange->request.caller;
    const void *bytes = NULL;
    if (address != NULL && address->sa_family == AF_INET)
        bytes = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
    else if (address != NULL && address->sa_family == AF_INET6)
        bytes = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    if (bytes == NULL || inet_ntop(address->sa_family, bytes, caller->address, sizeof(caller->address)) == NULL)
        caller->address[0] = '\0';
}

/* A known caller is counted by its token, everybody else, and whoever guesses tokens, by the address. */
static void check_rate(struct exchange *exchange)
{
    const struct caller *caller = &exchange->request.caller;
    char key[64];
    int64_t wait_ms;
    if (caller->token_id >= 0)
        (void)snprintf(key, sizeof(key), "token %lld", (long long)caller->token_id);
    else
        (void)snprintf(key, sizeof(key), "address %s", caller->address);
    if (throttle_take(exchange->server->throttle, key, strlen(key), clock_monotonic_us(), &wait_ms))
        return;
    exchange->response.header_count = 0;
    REFUSE(exchange, 429, "too many requests; the limit is api_rate in the configuration");
    response_header(&exchange->response, "Retry-After", "%lld", (long long)((wait_ms + 999) / 1000));
}

static bool says_prefetch(struct MHD_Connection *connection)
{
    static const char *const names[] = {"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"};
    for (size_t i = 0; i < countof(names); i++) {
        const char *value = header(connection, names[i]);
        if (value != NULL && (strcasestr(value, "prefetch") != NULL || strcasestr(value, "preview") != NULL))
            return true;
    }
    return false;
}

void exchange_begin(struct exchange *exchange, struct MHD_Connection *connection, const char *method)
{
    struct request *request = &exchange->request;
    request->method = http_method_parse(method);
    const char *accept = header(connection, "Accept");
    exchange->packs = gzip_accepted(header(connection, "Accept-Encoding"));
    request->wants_html = accept != NULL && strstr(accept, "text/html") != NULL;
    const char *value = header(connection, "Content-Type");
    request->content_type = value != NULL ? value : "";
    value = header(connection, "If-None-Match");
    request->if_none_match = value != NULL ? value : "";

    value = header(connection, "User-Agent");
    request->user_agent = value != NULL ? value : "";
    request->prefetch = says_prefetch(connection);

    request->if_match = header(connection, "If-Match");
    request->idempotency_key = header(connection, "Idempotency-Key");
    request->last_event_id = header(connection, "Last-Event-ID");

    watch_set(exchange->server->watch, exchange->watch, HTTP_BODY_DEADLINE_MS);
    exchange->next_step = HTTP_UPLOAD_STEP_BYTES;
    struct framing framing = {0};
    find_address(exchange, connection);
    bool known = check_framing(exchange, connection, &framing) && find_route(exchange) &&
                 check_token(exchange, header(connection, "Authorization"));
    check_rate(exchange);
    if (known && !exchange->refused) {
        struct problem problem = {.count = 0};
        route_check_query(exchange->route, request, &problem);
        if (problem.count > 0) {
            exchange->refused = true;
            response_invalid(&exchange->response, &problem);
        } else {
            check_body(exchange, &framing, header(connection, "Content-Encoding"));
        }
    }
    if (exchange->refused && (header(connection, "Expect") != NULL || framing.declared > DRAIN_MAX_BYTES))
        exchange->at_once = true;
}
