/*
 * events.c - GET /v1/events: events as they happen.
 */
#include <errno.h>
#include <string.h>

#include "api/events/hub.h"
#include "api/events/stream.h"
#include "api/routes/routes.h"
#include "base/str.h"

/* "delivered,campaign.*,stats"; nothing said means every event. */
static void read_types(const char *text, struct stream_wish *wish, struct problem *problem)
{
    if (text == NULL) {
        wish->kinds = EVENT_ALL;
        return;
    }
    while (*text != '\0') {
        char name[48];
        size_t len = strcspn(text, ",");
        (void)str_copy(name, MIN_OF(len + 1, sizeof(name)), text);
        uint32_t kinds = event_kinds_parse(name);
        if (strcmp(name, "stats") == 0)
            wish->stats = true;
        else if (kinds == 0)
            problem_add(problem, "types", "there is no event \"%s\"", name);
        wish->kinds |= kinds;
        text += len + (text[len] == ',');
    }
    if (wish->kinds == 0 && !wish->stats && problem->count == 0)
        problem_add(problem, "types", "must name at least one event, or \"stats\"");
}

void events_stream(struct request *request, struct response *response)
{
    struct stream_wish wish = {.after = -1};
    struct problem problem = {.count = 0};
    struct error err = {""};
    uint64_t after;
    read_types(request_query(request, "types"), &wish, &problem);
    if (request->last_event_id != NULL && request->last_event_id[0] != '\0') {
        if (str_parse_u64(request->last_event_id, INT64_MAX, &after) != 0)
            problem_add(&problem, "Last-Event-ID", "must be the id of an event of this stream");
        else
            wish.after = (int64_t)after;
    }
    if (problem.count > 0) {
        response_invalid(response, &problem);
        return;
    }
    struct stream *stream = NULL;
    int rc = request->method == METHOD_HEAD ? 0 : stream_open(hub_streams(request->app->hub), &wish, &stream, &err);
    if (rc == STORAGE_WRONG_STATE) {
        response_problem(response, 503, "%s", err.text);
        response_header(response, "Retry-After", "5");
    } else if (rc != 0) {
        response_condition(response, rc, "events", &err);
    } else {
        response_text(response, 200, "text/event-stream; charset=utf-8", "");
        response_header(response, "X-Accel-Buffering", "no"); /* nginx would hold events back */
        response->stream = stream;
    }
}
