/*
 * messages.c - /v1/messages: single messages, posted and looked after. The rules are campaign/'s; here they get their
 * HTTP status. An answer of 202 says that the message is stored for good, not that it was sent.
 */
#include <errno.h>
#include <string.h>

#include "api/routes/routes.h"
#include "base/address.h"

struct found {
    json_t *object;
    int64_t delivery_id;
};

static int keep_message(void *context, const struct storage_message *message)
{
    struct found *found = context;
    found->object = view_message(message);
    found->delivery_id = message->delivery_id;
    return 0;
}

static int append_attempt(void *context, const struct storage_delivery *attempt)
{
    (void)json_array_append_new(context, view_attempt(attempt));
    return 0;
}

static void answer_message(struct request *request, struct response *response, int64_t id, int status)
{
    struct found found = {NULL, 0};
    struct error err = {""};
    json_t *history = json_array();
    int rc = storage_message_get(request->reader, id, keep_message, &found, &err);
    if (rc == 0 && found.delivery_id != 0)
        rc = storage_delivery_attempts(request->reader, found.delivery_id, append_attempt, history, &err);
    if (rc != 0) {
        json_decref(history);
        json_decref(found.object);
        response_condition(response, rc, "message", &err);
        return;
    }
    (void)json_object_set_new(found.object, "history", history);
    response_json(response, status, found.object);
}

void messages_get(struct request *request, struct response *response)
{
    answer_message(request, response, request->id[0], 200);
}

void messages_create(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    int64_t id = 0;
    int rc = message_post(request->app->mailer, request->reader, request->json, &id, &problem, &err);
    if (rc == -EINVAL && problem.count > 0) {
        response_invalid(response, &problem);
        return;
    }
    if (rc != 0) {
        response_condition(response, rc, "message", &err);
        return;
    }
    response_made(response, 202, id);
    answer_message(request, response, id, 202);
    response_header(response, "Location", "/v1/messages/%lld", (long long)id);
}

static int take_message(void *context, const struct storage_message *message)
{
    return page_take_id(context, view_message(message), message->id) ? 0 : 1;
}

static bool read_filter(const struct request *request, int *state, struct address *to, struct problem *problem)
{
    const char *text = request_query(request, "state");
    enum delivery_state parsed;
    struct error err = {""};
    *state = -1;
    if (text != NULL && delivery_state_parse(text, &parsed) == 0)
        *state = (int)parsed;
    else if (text != NULL)
        problem_add(problem, "state", "there is no delivery state \"%.40s\"", text);
    text = request_query(request, "to");
    if (text != NULL && address_parse_stored(text, strlen(text), to, &err) != 0)
        problem_add(problem, "to", "%s", err.text);
    return problem->count == 0;
}

/* A page of a rare state may be short, even empty, and still have a next one: each looks at so many messages only. */
void messages_page(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    struct address to = {.text = ""};
    struct page page;
    int64_t before, reached;
    int limit, state;
    if (!page_read(request, &limit, &before, &problem) || !read_filter(request, &state, &to, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    if (!page_init(&page, limit)) {
        response_json(response, 200, NULL);
        return;
    }
    int rc = storage_message_page(request->reader, before, limit + 1, state, to.text[0] != '\0' ? to.text : NULL,
                                  take_message, &page, &reached, &err);
    if (rc < 0) {
        page_drop(&page);
        response_condition(response, rc, "message", &err);
        return;
    }
    if (!page.more && reached != 0)
        page_continue(&page, reached);
    response_json(response, 200, page_json(&page, -1));
}

void messages_stats(struct request *request, struct response *response)
{
    struct error err = {""};
    int64_t audience, states[DELIVERY_STATE_COUNT];
    int rc = storage_message_totals(request->reader, &audience, states, &err);
    if (rc != 0) {
        response_condition(response, rc, "message", &err);
        return;
    }
    json_t *stats = view_states(states);
    (void)json_object_set_new(stats, "audience", json_integer(audience));
    response_json(response, 200, stats);
}
