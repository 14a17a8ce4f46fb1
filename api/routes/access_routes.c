/*
 * access_routes.c - /v1/domains and /v1/tokens, for administrators.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "api/access.h"
#include "api/http/auth.h"
#include "api/routes/routes.h"
#include "base/clock.h"

/* Both tables are short and given whole by the database; the page is cut here. */
struct cut {
    struct page page;
    int64_t after_id;
    const char *after_name;
    struct storage_reader *reader;
    int64_t total;
};

static void answer_cut(struct response *response, int rc, struct cut *cut, const char *what, const struct error *err)
{
    if (rc < 0) {
        page_drop(&cut->page);
        response_condition(response, rc, what, err);
        return;
    }
    response_json(response, 200, page_json(&cut->page, cut->total));
}

static int take_domain(void *context, const struct storage_domain *domain)
{
    struct cut *cut = context;
    cut->total++;
    if (strcmp(domain->name, cut->after_name) > 0)
        (void)page_take(&cut->page, view_domain(domain, cut->reader), domain->name);
    return 0;
}

void domains_page(struct request *request, struct response *response)
{
    const char *cursor = request_query(request, "cursor");
    struct cut cut = {.after_name = cursor != NULL ? cursor : "", .reader = request->reader};
    struct problem problem = {.count = 0};
    struct error err = {""};
    int limit;
    if (!page_read(request, &limit, NULL, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    int rc = page_init(&cut.page, limit) ? storage_domain_list(request->reader, take_domain, &cut, &err)
                                         : error_memory(&err);
    answer_cut(response, rc, &cut, "domains", &err);
}

void domains_add(struct request *request, struct response *response)
{
    const char *domain = NULL;
    const char *selector = NULL;
    const struct field fields[] = {
        {"domain", FIELD_TEXT, true, 1024, &domain},
        {"selector", FIELD_TEXT, false, 63, &selector},
    };
    struct problem problem = {.count = 0};
    struct error err = {""};
    json_t *added = NULL;
    if (!fields_read(request->json, "", fields, countof(fields), &problem)) {
        response_invalid(response, &problem);
        return;
    }
    const struct config *config = config_live_hold(request->app->live);
    int rc = access_domain_add(request->app->storage, config, domain, selector, &added, &problem, &err);
    config_drop(config);
    if (rc == -EINVAL && problem.count > 0)
        response_invalid(response, &problem);
    else if (rc != 0)
        response_condition(response, rc, "domain", &err);
    else
        response_json(response, 201, added);
}

void domains_get(struct request *request, struct response *response)
{
    struct error err = {""};
    json_t *domain = NULL;
    const struct config *config = config_live_hold(request->app->live);
    int rc = access_domain_get(request->reader, config, request->text[0], &domain, &err);
    config_drop(config);
    if (rc != 0)
        response_condition(response, rc, "domain", &err);
    else
        response_json(response, 200, domain);
}

/* A check waits for the network, and the threads that answer requests are few. */
#define CHECKS_MAX 2

void domains_check(struct request *request, struct response *response)
{
    static atomic_uint running;
    struct app *app = request->app;
    struct error err = {""};
    json_t *report = NULL;
    if (atomic_fetch_add(&running, 1) >= CHECKS_MAX) {
        atomic_fetch_sub(&running, 1);
        response_problem(response, 503, "two checks are running; ask again when they have ended");
        response_header(response, "Retry-After", "5");
        return;
    }
    const struct config *config = config_live_hold(app->live);
    int rc = sending_domain_check(config, request->reader, mailer_resolver(app->mailer), request->text[0], &report, &err);
    config_drop(config);
    atomic_fetch_sub(&running, 1);
    if (rc != 0)
        response_condition(response, rc, "domain", &err);
    else
        response_json(response, 200, report);
}

/* The next step: the same as posthaste domain rotate. One may wait for the DNS. */
void domains_rotate(struct request *request, struct response *response)
{
    static atomic_bool running;
    struct app *app = request->app;
    struct problem problem = {.count = 0};
    struct error err = {""};
    json_t *domain = NULL;
    if (request->json != NULL && !fields_read(request->json, "", NULL, 0, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    if (atomic_exchange(&running, true)) {
        response_problem(response, 503, "another domain's keys are being looked up; ask again when that has ended");
        response_header(response, "Retry-After", "5");
        return;
    }
    int rc = access_domain_rotate(app->storage, request->reader, app->config, request->text[0], &domain, &err);
    atomic_store(&running, false);
    if (rc != 0)
        response_condition(response, rc, "domain", &err);
    else
        response_json(response, 200, domain);
}

static int take_token(void *context, const struct storage_token *token)
{
    struct cut *cut = context;
    cut->total++;
    if (token->id > cut->after_id)
        (void)page_take_id(&cut->page, view_token(token), token->id);
    return 0;
}

void tokens_page(struct request *request, struct response *response)
{
    struct cut cut = {.total = 0};
    struct problem problem = {.count = 0};
    struct error err = {""};
    int limit;
    if (!page_read(request, &limit, &cut.after_id, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    int rc =
        page_init(&cut.page, limit) ? storage_token_list(request->reader, take_token, &cut, &err) : error_memory(&err);
    answer_cut(response, rc, &cut, "tokens", &err);
}

void tokens_create(struct request *request, struct response *response)
{
    const char *name = NULL;
    const char *scope_name = NULL;
    const struct field fields[] = {
        {"name", FIELD_TEXT, true, TOKEN_NAME_MAX_BYTES, &name},
        {"scope", FIELD_TEXT, true, 0, &scope_name},
    };
    struct problem problem = {.count = 0};
    struct error err = {""};
    enum token_scope scope = TOKEN_READ;
    json_t *created = NULL;
    bool fit = fields_read(request->json, "", fields, countof(fields), &problem);
    if (fit && token_scope_parse(scope_name, &scope) != 0)
        problem_add(&problem, "scope", "must be read, send or admin");
    if (problem.count > 0) {
        response_invalid(response, &problem);
        return;
    }
    int rc = access_token_create(request->app->storage, name, scope, &created, &err);
    if (rc != 0)
        response_condition(response, rc, "token", &err);
    else
        response_json(response, 201, created);
    response->secret = true;
}

void tokens_revoke(struct request *request, struct response *response)
{
    struct error err = {""};
    int rc = storage_token_revoke(request->app->storage, request->id[0], clock_wall_ms(), &err);
    if (rc != 0)
        response_condition(response, rc, "token", &err);
    else
        response_empty(response, 204);
}
