/*
 * access_routes.c - /v1/domains and /v1/tokens, for administrators.
 */
#include <errno.h>
#include <string.h>

#include "api/access.h"
#include "api/http/auth.h"
#include "api/routes/routes.h"
#include "base/clock.h"

static void answer_whole_list(struct response *response, int rc, json_t *rows, const char *what, const struct error *err)
{
    if (rc < 0) {
        json_decref(rows);
        response_condition(response, rc, what, err);
        return;
    }
    json_int_t total = (json_int_t)json_array_size(rows);
    response_json(response, 200, json_pack("{s:o, s:n, s:I}", "data", rows, "next", "total", total));
}

static int append_domain(void *context, const struct storage_domain *domain)
{
    (void)json_array_append_new(context, view_domain(domain));
    return 0;
}

void domains_page(struct request *request, struct response *response)
{
    struct error err = {""};
    json_t *rows = json_array();
    int rc = rows != NULL ? storage_domain_list(request->reader, append_domain, rows, &err) : error_memory(&err);
    answer_whole_list(response, rc, rows, "domains", &err);
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
    int rc = access_domain_add(request->app->storage, request->app->config, domain, selector, &added, &problem, &err);
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
    int rc = access_domain_get(request->reader, request->text[0], &domain, &err);
    if (rc != 0)
        response_condition(response, rc, "domain", &err);
    else
        response_json(response, 200, domain);
}

static int append_token(void *context, const struct storage_token *token)
{
    (void)json_array_append_new(context, view_token(token));
    return 0;
}

void tokens_page(struct request *request, struct response *response)
{
    struct error err = {""};
    json_t *rows = json_array();
    int rc = rows != NULL ? storage_token_list(request->reader, append_token, rows, &err) : error_memory(&err);
    answer_whole_list(response, rc, rows, "tokens", &err);
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
