/*
 * campaigns.c - /v1/campaigns: create, launch, pause, resume, cancel, clone, preview. The rules are campaign/'s; here
 * they get their HTTP status.
 */
#include <errno.h>
#include <string.h>

#include "api/http/etag.h"
#include "api/routes/routes.h"

struct campaign_page {
    struct page page;
    struct mailer *mailer;
};

static int take_campaign(void *context, const struct storage_campaign *campaign)
{
    struct campaign_page *pages = context;
    return page_take_id(&pages->page, view_campaign(campaign, pages->mailer), campaign->id) ? 0 : 1;
}

/* "running" or "running,paused" as a bit set. */
static bool read_statuses(const struct request *request, unsigned *statuses, struct problem *problem)
{
    const char *at = request_query(request, "status");
    *statuses = 0;
    while (at != NULL) {
        size_t len = strcspn(at, ",");
        unsigned before = *statuses;
        for (int i = 0; i < CAMPAIGN_STATUS_COUNT; i++) {
            const char *name = campaign_status_name((enum campaign_status)i);
            if (strlen(name) == len && memcmp(name, at, len) == 0)
                *statuses |= 1u << i;
        }
        if (*statuses == before) {
            problem_add(problem, "status",
                        "must be draft, scheduled, running, paused, finished or cancelled, or several with commas");
            return false;
        }
        at = at[len] == ',' ? at + len + 1 : NULL;
    }
    return true;
}

void campaigns_page(struct request *request, struct response *response)
{
    struct campaign_page pages = {.mailer = request->app->mailer};
    struct problem problem = {.count = 0};
    struct error err = {""};
    int64_t before;
    int64_t total = 0;
    unsigned statuses;
    int limit;
    if (!page_read(request, &limit, &before, &problem) || !read_statuses(request, &statuses, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    if (!page_init(&pages.page, limit)) {
        response_json(response, 200, NULL);
        return;
    }
    int rc = storage_campaign_page(request->reader, before, limit + 1, statuses, take_campaign, &pages, &total, &err);
    if (rc < 0) {
        page_drop(&pages.page);
        response_condition(response, rc, "campaign", &err);
        return;
    }
    response_json(response, 200, page_json(&pages.page, total));
}

struct detail {
    json_t *object;
    struct mailer *mailer;
    char tag[ETAG_BYTES];
};

static int keep_campaign(void *context, const struct storage_campaign *campaign)
{
    struct detail *detail = context;
    json_decref(detail->object);
    detail->object = view_campaign_detail(campaign, detail->mailer);
    etag_make(detail->tag, &campaign->spec, 1);
    return 0;
}

static int keep_tag(void *context, const struct storage_campaign *campaign)
{
    etag_make(context, &campaign->spec, 1);
    return 0;
}

/* Call it with `edits` held. False: the response is there. */
static bool check_version(struct request *request, struct response *response)
{
    char tag[ETAG_BYTES] = "";
    struct error err = {""};
    if (request->if_match == NULL)
        return true;
    int rc = storage_campaign_get(request->reader, request->id[0], keep_tag, tag, &err);
    if (rc != 0)
        response_condition(response, rc, "campaign", &err);
    return rc == 0 && etag_check(request, tag, response);
}

static void answer_campaign(struct request *request, struct response *response, int64_t id, int status)
{
    struct detail detail = {NULL, request->app->mailer, ""};
    struct error err = {""};
    int rc = storage_campaign_get(request->reader, id, keep_campaign, &detail, &err);
    if (rc != 0) {
        response_condition(response, rc, "campaign", &err);
        return;
    }
    response_json(response, status, detail.object);
    response_header(response, "ETag", "%s", detail.tag);
}

/* -EINVAL with named fields is the caller's input; everything else goes the common way. */
static void answer_refusal(struct response *response, int rc, const struct problem *problem, const struct error *err)
{
    if (rc == CAMPAIGN_NOT_READY && problem != NULL)
        response_preflight(response, problem->preflight);
    else if (rc == -EINVAL && problem != NULL && problem->count > 0)
        response_invalid(response, problem);
    else
        response_condition(response, rc, "campaign", err);
}

void campaigns_create(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    int64_t id = 0;
    if (!json_is_object(request->json)) {
        problem_add(&problem, "(body)", "must be an object, this is %s", json_kind(request->json));
        response_invalid(response, &problem);
        return;
    }
    if (json_is_true(json_object_get(request->json, "launch")) && json_is_true(json_object_get(request->json, "force")))
        request->audit_note = "force";
    int rc = campaign_create(request->app->mailer, request->reader, request->json, &id, &problem, &err);
    if (rc != 0) {
        answer_refusal(response, rc, &problem, &err);
        json_decref(problem.preflight);
        return;
    }
    response_made(response, 201, id);
    answer_campaign(request, response, id, 201);
    response_header(response, "Location", "/v1/campaigns/%lld", (long long)id);
}

void campaigns_get(struct request *request, struct response *response)
{
    answer_campaign(request, response, request->id[0], 200);
}

void campaigns_update(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    (void)pthread_mutex_lock(&request->app->edits);
    bool current = check_version(request, response);
    int rc = current
                 ? campaign_edit(request->app->mailer, request->reader, request->id[0], request->json, &problem, &err)
                 : 0;
    (void)pthread_mutex_unlock(&request->app->edits);
    if (!current)
        return;
    if (rc != 0)
        answer_refusal(response, rc, &problem, &err);
    else
        answer_campaign(request, response, request->id[0], 200);
}

void campaigns_delete(struct request *request, struct response *response)
{
    struct error err = {""};
    (void)pthread_mutex_lock(&request->app->edits);
    bool current = check_version(request, response);
    int rc = current ? storage_campaign_delete(request->app->storage, request->id[0], &err) : 0;
    (void)pthread_mutex_unlock(&request->app->edits);
    if (!current)
        return;
    if (rc == STORAGE_WRONG_STATE)
        response_problem(response, 409, "only a draft can be deleted; cancel the campaign in place of it");
    else if (rc != 0)
        response_condition(response, rc, "campaign", &err);
    else
        response_empty(response, 204);
}

/* {"force": true}, {} or nothing. False: the response is there. */
static bool read_force(struct request *request, struct response *response, bool *force)
{
    struct problem problem = {.count = 0};
    const struct field fields[] = {{"force", FIELD_BOOL, false, 0, force}};
    *force = false;
    if (request->json != NULL && !fields_read(request->json, "", fields, countof(fields), &problem)) {
        response_invalid(response, &problem);
        return false;
    }
    if (*force)
        request->audit_note = "force";
    return true;
}

/* An action takes no fields: {} or nothing. */
static bool check_no_fields(const struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    if (request->json == NULL || fields_read(request->json, "", NULL, 0, &problem))
        return true;
    response_invalid(response, &problem);
    return false;
}

static void answer_move(struct request *request, struct response *response, int rc, const struct problem *problem,
                        const struct error *err)
{
    if (rc != 0) {
        answer_refusal(response, rc, problem, err);
        return;
    }
    response_made(response, 202, request->id[0]);
    answer_campaign(request, response, request->id[0], 202);
}

void campaigns_launch(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    bool force;
    if (!read_force(request, response, &force))
        return;
    if (!force)
        campaign_preflight(request->app->mailer, request->reader, request->id[0]); /* not while others wait to edit */
    /* What is launched is what was checked: nobody edits between the two. */
    (void)pthread_mutex_lock(&request->app->edits);
    bool current = check_version(request, response);
    int rc =
        current ? campaign_launch(request->app->mailer, request->reader, request->id[0], force, &problem, &err) : 0;
    (void)pthread_mutex_unlock(&request->app->edits);
    if (current)
        answer_move(request, response, rc, &problem, &err);
    json_decref(problem.preflight);
}

void campaigns_pause(struct request *request, struct response *response)
{
    struct error err = {""};
    if (check_no_fields(request, response))
        answer_move(request, response, campaign_pause(request->app->mailer, request->id[0], &err), NULL, &err);
}

void campaigns_resume(struct request *request, struct response *response)
{
    struct error err = {""};
    if (check_no_fields(request, response))
        answer_move(request, response, campaign_resume(request->app->mailer, request->reader, request->id[0], &err),
                    NULL, &err);
}

void campaigns_cancel(struct request *request, struct response *response)
{
    struct error err = {""};
    if (check_no_fields(request, response))
        answer_move(request, response, campaign_cancel(request->app->mailer, request->id[0], &err), NULL, &err);
}

void campaigns_clone(struct request *request, struct response *response)
{
    struct error err = {""};
    int64_t id = 0;
    if (!check_no_fields(request, response))
        return;
    int rc = campaign_clone(request->app->mailer, request->reader, request->id[0], &id, &err);
    if (rc != 0) {
        response_condition(response, rc, "campaign", &err);
        return;
    }
    response_made(response, 201, id);
    answer_campaign(request, response, id, 201);
    response_header(response, "Location", "/v1/campaigns/%lld", (long long)id);
}

void campaigns_preview(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    json_t *preview = NULL;
    int rc = campaign_preview(request->app->mailer, request->reader, request->id[0],
                              request_query(request, "recipient"), &preview, &problem, &err);
    if (rc != 0)
        answer_refusal(response, rc, &problem, &err);
    else
        response_json(response, 200, preview);
}
