/*
 * trial.c - /v1/campaigns/{id}/test: sends a test of a campaign, and tells how it ended. The caller polls: a test may
 * take as long as the slowest of its servers.
 */
#include <errno.h>

#include "api/routes/routes.h"

/* False: problems were added. */
static bool read_test(const struct request *request, const char *to[CAMPAIGN_TEST_MAX], struct campaign_test *test,
                      struct problem *problem)
{
    json_t *recipients = NULL;
    int64_t variant = -1;
    const struct field fields[] = {{"recipients", FIELD_ARRAY, true, CAMPAIGN_TEST_MAX, &recipients},
                                   {"recipient", FIELD_TEXT, false, 320, &test->recipient},
                                   {"subject_prefix", FIELD_TEXT, false, 100, &test->subject_prefix},
                                   {"variant", FIELD_INTEGER, false, 0, &variant}};
    size_t i;
    json_t *address;
    if (!fields_read(request->json, "", fields, countof(fields), problem))
        return false;
    json_array_foreach(recipients, i, address)
    {
        to[i] = json_string_value(address);
        if (to[i] == NULL)
            problem_add(problem, "recipients", "must hold addresses, this holds %s", json_kind(address));
    }
    if (i == 0)
        problem_add(problem, "recipients", "must hold 1 to %d addresses", CAMPAIGN_TEST_MAX);
    if (json_object_get(request->json, "variant") != NULL && (variant < 0 || variant >= SPLIT_VARIANTS_MAX))
        problem_add(problem, "variant", "must be 0 to %d", SPLIT_VARIANTS_MAX - 1);
    test->to = to;
    test->count = i;
    test->variant = (int)variant;
    return problem->count == 0;
}

static void answer(struct request *request, struct response *response, int64_t number, int status)
{
    struct error err = {""};
    json_t *view = NULL;
    int rc = campaign_test_get(request->app->mailer, request->id[0], number, &view, &err);
    if (rc != 0)
        response_condition(response, rc, "test", &err);
    else
        response_json(response, status, view);
}

static int is_there(void *context, const struct storage_campaign *campaign)
{
    (void)context;
    (void)campaign;
    return 0;
}

void campaigns_test(struct request *request, struct response *response)
{
    const char *to[CAMPAIGN_TEST_MAX];
    struct campaign_test test = {0};
    struct problem problem = {.count = 0};
    struct error err = {""};
    int64_t number = 0;
    int rc = storage_campaign_get(request->reader, request->id[0], is_there, NULL, &err);
    if (rc == 0 && !read_test(request, to, &test, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    if (rc == 0)
        rc = campaign_test(request->app->mailer, request->reader, request->id[0], &test, &number, &problem, &err);
    if (rc == -EINVAL && problem.count > 0)
        response_invalid(response, &problem);
    else if (rc == CAMPAIGN_TEST_BUSY)
        response_problem(response, 429, "%s; ask again when some have ended", err.text);
    else if (rc != 0)
        response_condition(response, rc, "campaign", &err);
    else {
        response_made(response, 202, number);
        answer(request, response, number, 202);
        response_header(response, "Location", "/v1/campaigns/%lld/test/%lld", (long long)request->id[0],
                        (long long)number);
    }
}

void campaigns_test_get(struct request *request, struct response *response)
{
    answer(request, response, request->id[1], 200);
}
