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
#include "api/http/exchange_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/http/answer.h"
#include "api/http/json.h"
#include "api/http/replay.h"
#include "api/audit.h"
#include "api/events/stream.h"
#include "api/readers.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

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

bool exchange_take_reader(struct exchange *exchange)
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

/* Method and target, as RFC 3986 has a target written: as it came it need not be UTF-8, which no JSON takes. */
static json_t *action_of(const struct exchange *exchange)
{
    struct buffer text = BUFFER_INIT(3 * REQUEST_TARGET_MAX_BYTES + 16);
    buffer_printf(&text, "%s ", http_method_name(exchange->request.method));
    for (const char *at = exchange->target; *at != '\0'; at++)
        buffer_printf(&text, *at > ' ' && *at < '\x7f' ? "%c" : "%%%02X", (unsigned char)*at);
    json_t *action = text.failed ? NULL : json_string(buffer_text(&text));
    buffer_finish(&text);
    return action;
}

/* The change is made; a log that cannot be written is told to the operator and does not undo it. */
static void note_change(struct exchange *exchange)
{
    const struct request *request = &exchange->request;
    const struct response *response = &exchange->response;
    struct error err = {""};
    bool done = response->status < 300 || response->made_status != 0;
    if (exchange->route->method == METHOD_GET || exchange->route->access == ACCESS_OPEN || !done)
        return;
    json_t *who = request->caller.token_id > 0 ? json_pack("{s:I, s:o}", "token", (json_int_t)request->caller.token_id,
                                                           "name", json_line(request->caller.name))
                                               : json_pack("{s:b}", "local", 1);
    json_t *entry = json_pack("{s:o, s:s, s:o, s:i}", "who", who, "address", request->caller.address, "action",
                              action_of(exchange), "status", response->status);
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
    response_settle(&exchange->response);
    note_change(exchange);
    if (once)
        replay_end(request, &exchange->response);
}

static void run_handler(struct exchange *exchange)
{
    watch_set(exchange->server->watch, exchange->watch, HTTP_ANSWER_DEADLINE_MS);
    if (exchange->refused || !parse_body(exchange))
        return;
    if (!exchange->route->no_reader && !exchange_take_reader(exchange))
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
        exchange_begin(exchange, connection, method);
        return exchange->at_once ? send_answer(exchange, connection) : MHD_YES;
    }
    if (*len > 0) {
        enum MHD_Result go_on = exchange_take_body(exchange, bytes, *len);
        *len = 0;
        return go_on;
    }
    exchange_end_body(exchange);
    run_handler(exchange);
    return send_answer(exchange, connection);
}
