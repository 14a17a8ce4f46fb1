/*
 * response.c - builds answers; the one place that writes problem documents.
 *
 * Success of any function means that the response can be sent: when memory runs out while a body is built, the answer
 * becomes a 500 with fixed text. What a negative code means to the outside is decided in response_condition() and
 * nowhere else.
 */
#include "api/http/response.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"

static const char TYPE_JSON[] = "application/json";
static const char TYPE_PROBLEM[] = "application/problem+json";
static const char OUT_OF_MEMORY[] =
    "{\"type\":\"about:blank\",\"title\":\"Internal Server Error\",\"status\":500,\"detail\":\"out of memory\"}";

const char *http_status_title(int status)
{
    static const struct {
        int status;
        const char *title;
    } titles[] = {
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < countof(titles); i++) {
        if (titles[i].status == status)
            return titles[i].title;
    }
    return "Error";
}

static void reset_body(struct response *response)
{
    buffer_finish(&response->body);
    response->fixed = NULL;
    response->fixed_bytes = 0;
    if (response->has_file)
        (void)close(response->file);
    response->has_file = false;
    free(response->location);
    response->location = NULL;
}

void response_finish(struct response *response)
{
    reset_body(response);
}

void response_header(struct response *response, const char *name, const char *format, ...)
{
    assure(response->header_count < RESPONSE_HEADERS_MAX);
    va_list args;
    va_start(args, format);
    char *value = response->headers[response->header_count].value;
    int n = vsnprintf(value, sizeof(response->headers[0].value), format, args);
    va_end(args);
    if (n < 0)
        value[0] = '\0';
    str_make_line(value);
    response->headers[response->header_count++].name = name;
}

static void out_of_memory(struct response *response)
{
    reset_body(response);
    response->status = 500;
    response->content_type = TYPE_PROBLEM;
    response->fixed = OUT_OF_MEMORY;
    response->fixed_bytes = sizeof(OUT_OF_MEMORY) - 1;
}

static int dump_piece(const char *bytes, size_t len, void *context)
{
    struct buffer *buffer = context;
    buffer_append(buffer, bytes, len);
    return buffer->failed ? -1 : 0;
}

static void put_json(struct response *response, int status, const char *content_type, json_t *value)
{
    reset_body(response);
    response->status = status;
    response->content_type = content_type;
    if (value == NULL || json_text_write_to(value, dump_piece, &response->body, JSON_COMPACT) != 0)
        out_of_memory(response);
    else
        buffer_append_char(&response->body, '\n');
    if (response->body.failed)
        out_of_memory(response);
    json_decref(value);
}

void response_json(struct response *response, int status, json_t *value)
{
    put_json(response, status, TYPE_JSON, value);
}

void response_empty(struct response *response, int status)
{
    reset_body(response);
    response->status = status;
    response->content_type = NULL;
}

void response_location(struct response *response, struct buffer *address)
{
    response->location = buffer_steal(address, NULL);
    if (response->location == NULL)
        out_of_memory(response);
    else
        str_make_line(response->location);
}

void response_text(struct response *response, int status, const char *content_type, const char *text)
{
    reset_body(response);
    response->status = status;
    response->content_type = content_type;
    buffer_append_str(&response->body, text);
    if (response->body.failed)
        out_of_memory(response);
}

void response_made(struct response *response, int status, int64_t id)
{
    response->made_status = status;
    response->made_id = id;
}

void response_settle(struct response *response)
{
    char text[40];
    if (response->made_status == 0 || response->status < 300)
        return;
    log_error("http", "made_but_not_shown id=%lld status=%d", (long long)response->made_id, response->status);
    (void)snprintf(text, sizeof(text), "{\"id\":%lld}\n", (long long)response->made_id);
    response_text(response, response->made_status, TYPE_JSON, text);
}

void response_fixed(struct response *response, const char *content_type, const void *bytes, size_t len)
{
    reset_body(response);
    response->status = 200;
    response->content_type = content_type;
    response->fixed = bytes;
    response->fixed_bytes = len;
}

void response_file(struct response *response, const char *content_type, int fd, size_t len)
{
    reset_body(response);
    response->status = 200;
    response->content_type = content_type;
    response->has_file = true;
    response->file = fd;
    response->file_bytes = len;
}

static json_t *problem_json(int status, const char *detail)
{
    return json_pack("{s:s, s:s, s:i, s:s}", "type", "about:blank", "title", http_status_title(status), "status",
                     status, "detail", detail);
}

void response_problem(struct response *response, int status, const char *format, ...)
{
    char detail[640];
    va_list args;
    va_start(args, format);
    if (vsnprintf(detail, sizeof(detail), format, args) < 0)
        detail[0] = '\0';
    va_end(args);
    str_make_line(detail);
    put_json(response, status, TYPE_PROBLEM, problem_json(status, detail));
}

void response_invalid(struct response *response, const struct problem *problem)
{
    char detail[640];
    size_t kept = MIN_OF(problem->count, (size_t)PROBLEM_FIELDS_MAX);
    if (kept == 0)
        (void)snprintf(detail, sizeof(detail), "the request cannot be carried out as it is");
    else if (problem->count == 1)
        (void)snprintf(detail, sizeof(detail), "%s: %s", problem->fields[0].field, problem->fields[0].message);
    else
        (void)snprintf(detail, sizeof(detail), "%zu fields are not right, the first: %s: %s", problem->count,
                       problem->fields[0].field, problem->fields[0].message);
    str_make_line(detail);
    json_t *body = problem_json(422, detail);
    json_t *errors = json_array();
    for (size_t i = 0; i < kept; i++) {
        char field[sizeof(problem->fields[0].field)];
        char message[sizeof(problem->fields[0].message)];
        (void)str_copy(field, sizeof(field), problem->fields[i].field);
        (void)str_copy(message, sizeof(message), problem->fields[i].message);
        str_make_line(field);
        str_make_line(message);
        (void)json_array_append_new(errors, json_pack("{s:s, s:s}", "field", field, "message", message));
    }
    (void)json_object_set_new(body, "errors", errors);
    put_json(response, 422, TYPE_PROBLEM, body);
}

/* One error of a report as a sentence that says what to do. */
static json_t *preflight_error(const json_t *finding)
{
    const json_t *record = json_object_get(finding, "record");
    const char *seen = json_string_value(json_object_get(finding, "seen"));
    const char *check = json_string_value(json_object_get(finding, "check"));
    json_t *message =
        json_is_object(record)
            ? json_sprintf("%s; publish: %s %s %s", seen, json_string_value(json_object_get(record, "name")),
                           json_string_value(json_object_get(record, "type")),
                           json_string_value(json_object_get(record, "value")))
            : json_sprintf("%s; wanted: %s", seen, json_string_value(json_object_get(finding, "wanted")));
    return json_pack("{s:o, s:o}", "field", json_sprintf("preflight.%s", check), "message", message);
}

void response_preflight(struct response *response, const json_t *report)
{
    char detail[4096];
    const json_t *finding;
    json_t *errors = json_array();
    size_t i;
    json_array_foreach(json_object_get(report, "findings"), i, finding)
    {
        const char *status = json_string_value(json_object_get(finding, "status"));
        if (status != NULL && strcmp(status, "error") == 0)
            (void)json_array_append_new(errors, preflight_error(finding));
    }
    const char *first = json_string_value(json_object_get(json_array_get(errors, 0), "message"));
    (void)snprintf(detail, sizeof(detail), "%s is not ready for bulk mail (%zu error%s; \"force\" overrules): %.3600s",
                   json_string_value(json_object_get(report, "domain")), json_array_size(errors), json_array_size(errors) == 1 ? "" : "s",
                   first != NULL ? first : "");
    json_t *body = problem_json(422, detail);
    (void)json_object_set_new(body, "errors", errors);
    (void)json_object_set_new(body, "preflight", json_deep_copy(report));
    put_json(response, 422, TYPE_PROBLEM, body);
}

void response_condition(struct response *response, int code, const char *what, const struct error *err)
{
    const char *text = err != NULL ? err->text : "";
    switch (code) {
    case STORAGE_NOT_FOUND:
        response_problem(response, 404, "there is no such %s", what);
        return;
    case STORAGE_EXISTS:
        response_problem(response, 409, "this %s exists already", what);
        return;
    case STORAGE_WRONG_STATE:
        response_problem(response, 409, "%s", text[0] != '\0' ? text : "its present state does not allow this");
        return;
    case -EINVAL:
        response_problem(response, 422, "%s", text[0] != '\0' ? text : "the request cannot be carried out as it is");
        return;
    case -ENOSPC:
    case -EIO:
    case -EBUSY:
    case -ETIMEDOUT:
        log_error("http", "failed what=%s error=%s", LOG_QUOTE(what), LOG_QUOTE(text));
        response_problem(response, 503, "%s", text[0] != '\0' ? text : "the database cannot be used now");
        return;
    default:
        log_error("http", "failed what=%s code=%d error=%s", LOG_QUOTE(what), code, LOG_QUOTE(text));
        response_problem(response, 500, "%s", text[0] != '\0' ? text : "internal error");
    }
}
