/*
 * exchange.c - the life of one request: head, body, handler, answer.
 *
 * libmicrohttpd calls exchange_step() once when the head is complete, then for each piece of the body, then once more
 * at its end. All that the head alone can decide (route, token, length, type) is decided in the first call; a refusal
 * is remembered and sent after the body was read and thrown away, because a client that still writes when the
 * connection closes would lose the answer to a TCP reset. Where reading on is pointless (a declared length over the
 * limit, framing that cannot be trusted, a client that waits for "100 Continue") the answer goes at once and the
 * connection ends.
 *
 * What this file does not do: faults in the request line or in the header syntax are answered by libmicrohttpd itself
 * (400, 431), before we see anything.
 */
#include "api/http/exchange.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/http/answer.h"
#include "api/http/auth.h"
#include "api/http/gzip.h"
#include "api/http/json.h"
#include "api/http/replay.h"
#include "api/http/throttle.h"
#include "api/audit.h"
#include "api/events/stream.h"
#include "api/readers.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

#define GZIP_RATIO_MAX 200
#define GZIP_FREE_BYTES ((uint64_t)16 << 20) /* not asked how much it grew */
/* So much of a refused body is read and thrown away, so that a simple client gets to read the answer. */
#define DRAIN_MAX_BYTES (2 * (uint64_t)HTTP_BODY_MAX_BYTES)

struct exchange {
    struct http_server *server;
    struct watch_entry *watch;
    char *target;
    struct request request;
    struct response response;
    const struct route *route;
    bool begun;
    bool refused; /* the response is there already */
    bool at_once; /* send it without reading the body */
    bool packs;   /* the client takes gzip */
    struct gunzip *gunzip;
    uint64_t received;  /* bytes of the body as they came */
    uint64_t unpacked;  /* and after gzip */
    uint64_t next_step; /* upload: when `received` gets here, the deadline is renewed */
};

/* ---- life ---- */

static struct watch_entry *watch_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

void exchange_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                         enum MHD_ConnectionNotificationCode code)
{
    struct http_server *server = context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        *socket_context = info != NULL ? watch_add(server->watch, info->connect_fd, HTTP_HEAD_DEADLINE_MS) : NULL;
    } else {
        watch_remove(server->watch, *socket_context);
        *socket_context = NULL;
    }
}

void *exchange_create(void *context, const char *target, struct MHD_Connection *connection)
{
    struct exchange *exchange = calloc(1, sizeof(*exchange));
    if (exchange == NULL)
        return NULL;
    exchange->server = context;
    exchange->watch = watch_of(connection);
    exchange->target = str_dup(target);
    exchange->request.app = exchange->server->app;
    exchange->request.spool_fd = -1;
    exchange->request.caller.token_id = -1;
    exchange->request.body = BUFFER_INIT(HTTP_BODY_MAX_BYTES);
    exchange->response = RESPONSE_INIT;
    return exchange;
}

void exchange_end(void *context, struct MHD_Connection *connection, void **slot, enum MHD_RequestTerminationCode code)
{
    struct http_server *server = context;
    struct exchange *exchange = *slot;
    (void)code;
    if (exchange == NULL)
        return;
    *slot = NULL;
    watch_set(server->watch, watch_of(connection), HTTP_HEAD_DEADLINE_MS);
    readers_give(server->app->readers, exchange->request.reader);
    exchange->request.reader = NULL;
    gunzip_free(exchange->gunzip);
    request_finish(&exchange->request);
    stream_drop(exchange->response.stream);
    response_finish(&exchange->response);
    free(exchange->target);
    free(exchange);
}

/* ---- head ---- */

#define REFUSE(exchange, status, ...)                                                                                  \
    do {                                                                                                               \
        (exchange)->refused = true;                                                                                    \
        response_problem(&(exchange)->response, status, __VA_ARGS__);                                                  \
    } while (0)

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
    if (rc != 0) {
        REFUSE(exchange,
               rc == REQUEST_BAD_PATH    ? 404
               : rc == REQUEST_BAD_QUERY ? 422
               : rc == -ENOMEM           ? 503
                                         : 400,
               "%s", err.text);
        return false;
    }
    char allow[ROUTE_ALLOW_BYTES];
    exchange->route = route_find(exchange->server->routes, exchange->server->route_count, request, allow);
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

static bool take_reader(struct exchange *exchange)
{
    struct error err = {""};
    if (exchange->request.reader != NULL)
        return true;
    int rc = readers_take(exchange->server->app->readers, &exchange->request.reader, &err);
    if (rc == 0)
        return true;
    exchange->refused = true;
    response_condition(&exchange->response, rc, "database", &err);
    return false;
}

static bool check_token(struct exchange *exchange, const char *authorization)
{
    enum route_access access = exchange->route->access;
    if (access == ACCESS_OPEN)
        return true;
    if (!take_reader(exchange))
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

static uint64_t body_limit(const struct route *route)
{
    switch (route != NULL ? route->body : BODY_NONE) {
    case BODY_UPLOAD:
        return HTTP_UPLOAD_MAX_BYTES;
    case BODY_FORM:
        return HTTP_FORM_MAX_BYTES;
    case BODY_NONE:
    case BODY_JSON:
    case BODY_JSON_OPTIONAL:
    default:
        return HTTP_BODY_MAX_BYTES;
    }
}

static bool is_json_type(const char *type)
{
    size_t len = strcspn(type, "; \t");
    return (len == 16 && str_starts_nocase(type, "application/json")) ||
           (len > 17 && str_starts_nocase(type, "application/") && memcmp(type + len - 5, "+json", 5) == 0);
}

static bool open_spool(struct exchange *exchange)
{
    const char *dir = exchange->server->app->config->data_dir;
    /* A file without a name: whatever happens to us, it takes no room afterwards. */
    exchange->request.spool_fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (exchange->request.spool_fd < 0) {
        char path[4096];
        (void)snprintf(path, sizeof(path), "%s/upload-XXXXXX", dir);
        exchange->request.spool_fd = mkostemp(path, O_CLOEXEC);
        if (exchange->request.spool_fd >= 0)
            (void)unlink(path);
    }
    if (exchange->request.spool_fd >= 0)
        return true;
    REFUSE(exchange, 503, "cannot make a file for the upload in %s: %s", dir, strerror(errno));
    return false;
}

static int keep_bytes(void *context, const char *bytes, size_t len);

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
    exchange->gunzip = gunzip_create(keep_bytes, exchange);
    if (exchange->gunzip == NULL)
        REFUSE(exchange, 503, "out of memory");
    return exchange->gunzip != NULL;
}

static void check_body(struct exchange *exchange, const struct framing *framing, const char *coding)
{
    const struct route *route = exchange->route;
    bool has_body = framing->chunked || framing->declared > 0;
    if (framing->declared > body_limit(route)) {
        REFUSE(exchange, 413, "the body may have %llu bytes at most, this one has %llu",
               (unsigned long long)body_limit(route), (unsigned long long)framing->declared);
    } else if ((route->body == BODY_JSON || (route->body == BODY_JSON_OPTIONAL && has_body)) &&
               !is_json_type(exchange->request.content_type)) {
        REFUSE(exchange, 415, "send the body as Content-Type: application/json");
    } else if (route->body == BODY_UPLOAD && !has_body) {
        REFUSE(exchange, 400, "a body is required");
    } else if ((!has_body || check_coding(exchange, coding)) && route->body == BODY_UPLOAD) {
        (void)open_spool(exchange);
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

static void begin(struct exchange *exchange, struct MHD_Connection *connection, const char *method)
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

/* ---- body ---- */

static bool write_spool(struct exchange *exchange, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(exchange->request.spool_fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            REFUSE(exchange, 507, "cannot keep the upload: %s", strerror(errno));
            return false;
        }
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

/* Unpacked bytes find their place. Anything but 0: the request is refused by now. */
static int keep_bytes(void *context, const char *bytes, size_t len)
{
    struct exchange *exchange = context;
    uint64_t limit = body_limit(exchange->route);
    exchange->unpacked += len;
    /* A list of people packs to a tenth or a thirtieth; what grows more is made to fill our disk. */
    bool bomb = exchange->gunzip != NULL && exchange->route->body == BODY_UPLOAD &&
                exchange->unpacked > GZIP_FREE_BYTES && exchange->unpacked / GZIP_RATIO_MAX > exchange->received;
    if (exchange->unpacked > limit || bomb) {
        if (bomb)
            REFUSE(exchange, 413, "the body grows more than %d-fold when it is unpacked", GZIP_RATIO_MAX);
        else
            REFUSE(exchange, 413, "the body may have %llu bytes at most", (unsigned long long)limit);
        buffer_finish(&exchange->request.body);
        return -E2BIG;
    }
    if (exchange->route->body == BODY_UPLOAD)
        return write_spool(exchange, bytes, len) ? 0 : -EIO;
    if (exchange->route->body == BODY_NONE)
        return 0;
    buffer_append(&exchange->request.body, bytes, len);
    if (!exchange->request.body.failed)
        return 0;
    REFUSE(exchange, 503, "out of memory");
    return -ENOMEM;
}

/* MHD_NO ends the connection: for a client that goes on sending what was refused long ago. */
static enum MHD_Result take_body(struct exchange *exchange, const char *bytes, size_t len)
{
    exchange->received += len;
    if (exchange->refused)
        return exchange->received > DRAIN_MAX_BYTES ? MHD_NO : MHD_YES;
    if (exchange->received > body_limit(exchange->route)) {
        REFUSE(exchange, 413, "the body may have %llu bytes at most", (unsigned long long)body_limit(exchange->route));
        buffer_finish(&exchange->request.body);
        return exchange->route->body == BODY_UPLOAD ? MHD_NO : MHD_YES;
    }
    if (exchange->route->body == BODY_UPLOAD && exchange->received >= exchange->next_step) {
        exchange->next_step = exchange->received + HTTP_UPLOAD_STEP_BYTES;
        watch_set(exchange->server->watch, exchange->watch, HTTP_BODY_DEADLINE_MS);
    }
    struct error err = {""};
    if (exchange->gunzip == NULL)
        (void)keep_bytes(exchange, bytes, len);
    else if (gunzip_feed(exchange->gunzip, bytes, len, &err) != 0 && !exchange->refused)
        REFUSE(exchange, 400, "%s", err.text);
    return MHD_YES;
}

static void end_body(struct exchange *exchange)
{
    struct error err = {""};
    if (exchange->gunzip != NULL && !exchange->refused && gunzip_end(exchange->gunzip, &err) != 0)
        REFUSE(exchange, 400, "%s", err.text);
}

/* ---- handler and answer ---- */

static bool parse_body(struct exchange *exchange)
{
    struct request *request = &exchange->request;
    enum route_body kind = exchange->route->body;
    if (kind != BODY_JSON && kind != BODY_JSON_OPTIONAL)
        return true;
    if (request->body.len == 0) {
        if (kind == BODY_JSON)
            REFUSE(exchange, 400, "a JSON body is required");
        return kind == BODY_JSON_OPTIONAL;
    }
    struct error err = {""};
    int rc = json_parse(request->body.data, request->body.len, &request->json, &err);
    if (rc != 0) {
        REFUSE(exchange, rc == -ENOMEM ? 503 : 400, "%s", err.text);
        return false;
    }
    return true;
}

/* The change is made; a log that cannot be written is told to the operator and does not undo it. */
static void note_change(struct exchange *exchange)
{
    const struct request *request = &exchange->request;
    const struct response *response = &exchange->response;
    struct error err = {""};
    if (exchange->route->method == METHOD_GET || exchange->route->access == ACCESS_OPEN || response->status >= 300)
        return;
    json_t *who = request->caller.token_id > 0 ? json_pack("{s:I, s:o}", "token", (json_int_t)request->caller.token_id,
                                                           "name", json_line(request->caller.name))
                                               : json_pack("{s:b}", "local", 1);
    json_t *action = json_sprintf("%s %s", http_method_name(request->method), exchange->target);
    json_t *entry = json_pack("{s:o, s:s, s:o, s:i}", "who", who, "address", request->caller.address, "action", action,
                              "status", response->status);
    for (size_t i = 0; i < response->header_count; i++) {
        if (strcmp(response->headers[i].name, "Location") == 0)
            (void)json_object_set_new(entry, "made", json_string(response->headers[i].value));
    }
    if (request->audit_note != NULL)
        (void)json_object_set_new(entry, "note", json_string(request->audit_note));
    if (audit_write(exchange->server->app->config->data_dir, entry, &err) != 0)
        log_error("audit", "not_written error=%s", LOG_QUOTE(err.text));
}

static void call_handler(struct exchange *exchange)
{
    const struct route *route = exchange->route;
    struct request *request = &exchange->request;
    /* Only a POST can make a second thing by being repeated (RFC 9110 section 9.2.2; our PATCHes merge). */
    bool once = request->idempotency_key != NULL && route->method == METHOD_POST && route->access != ACCESS_OPEN;
    if (once && !replay_begin(request, exchange->target, &exchange->response))
        return;
    exchange->response.status = 0;
    route->handler(request, &exchange->response);
    assure(exchange->response.status != 0);
    note_change(exchange);
    if (once)
        replay_end(request, &exchange->response);
}

static void run_handler(struct exchange *exchange)
{
    watch_set(exchange->server->watch, exchange->watch, HTTP_ANSWER_DEADLINE_MS);
    if (exchange->refused || !parse_body(exchange))
        return;
    if (!exchange->route->no_reader && !take_reader(exchange))
        return;
    call_handler(exchange);
    readers_give(exchange->server->app->readers, exchange->request.reader);
    exchange->request.reader = NULL;
}

static enum MHD_Result send_answer(struct exchange *exchange, struct MHD_Connection *connection)
{
    struct app *app = exchange->server->app;
    int status = exchange->response.status;
    struct stream *stream = exchange->response.stream;
    exchange->response.stream = NULL;
    struct MHD_Response *own =
        stream != NULL ? stream_answer(stream, connection, exchange->server->watch, exchange->watch) : NULL;
    if (stream != NULL && own == NULL)
        return MHD_NO;
    struct MHD_Response *answer = answer_make(&exchange->response, own, exchange->packs, exchange->at_once);
    if (answer == NULL)
        return MHD_NO;
    enum MHD_Result queued = MHD_queue_response(connection, (unsigned)status, answer);
    MHD_destroy_response(answer);
    if (status >= 100 && status < 600)
        atomic_fetch_add_explicit(&app->http_requests[status / 100], 1, memory_order_relaxed);
    log_debug("http", "answered method=%s target=%s status=%d", http_method_name(exchange->request.method),
              LOG_QUOTE(exchange->target != NULL ? exchange->target : ""), status);
    return queued;
}

enum MHD_Result exchange_step(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *bytes, size_t *len, void **slot)
{
    struct exchange *exchange = *slot;
    (void)context;
    (void)url;
    (void)version;
    if (exchange == NULL)
        return MHD_NO;
    if (!exchange->begun) {
        exchange->begun = true;
        begin(exchange, connection, method);
        return exchange->at_once ? send_answer(exchange, connection) : MHD_YES;
    }
    if (*len > 0) {
        enum MHD_Result go_on = take_body(exchange, bytes, *len);
        *len = 0;
        return go_on;
    }
    end_body(exchange);
    run_handler(exchange);
    return send_answer(exchange, connection);
}
