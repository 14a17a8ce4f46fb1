/*
 * imports.c - /v1/lists/{id}/imports takes a file, /v1/imports/{id} tells how far it is.
 */
#include <errno.h>
#include <string.h>

#include "api/imports.h"
#include "api/routes/routes.h"
#include "base/str.h"

static const char REJECTS_TYPE[] = "text/csv; charset=utf-8; header=present";

static int format_of(const char *type, enum import_format *format)
{
    static const char *const jsonl[] = {"application/jsonl", "application/x-ndjson", "application/ndjson",
                                        "application/json-lines", "application/jsonlines"};
    size_t len = strcspn(type, "; \t");
    *format = IMPORT_CSV;
    if (len == 8 && str_starts_nocase(type, "text/csv"))
        return 0;
    *format = IMPORT_JSONL;
    for (size_t i = 0; i < countof(jsonl); i++) {
        if (len == strlen(jsonl[i]) && str_starts_nocase(type, jsonl[i]))
            return 0;
    }
    return -EINVAL;
}

static int ignore_list(void *context, const struct storage_list *list)
{
    (void)context;
    (void)list;
    return 0;
}

void imports_create(struct request *request, struct response *response)
{
    struct import_jobs *jobs = request->app->imports;
    enum import_format format;
    struct error err = {""};
    int64_t id = 0;
    const char *mode = request_query(request, "mode");
    if (format_of(request->content_type, &format) != 0) {
        response_problem(response, 415, "send the file as Content-Type: text/csv or application/jsonl");
        return;
    }
    if (mode != NULL && strcmp(mode, "update") != 0 && strcmp(mode, "skip") != 0) {
        struct problem problem = {.count = 0};
        problem_add(&problem, "mode", "must be update or skip");
        response_invalid(response, &problem);
        return;
    }
    int rc = storage_list_get(request->reader, request->id[0], ignore_list, NULL, &err);
    if (rc == 0)
        rc = import_jobs_add(jobs, request->id[0], format,
                             mode != NULL && strcmp(mode, "skip") == 0 ? UPSERT_SKIP : UPSERT_UPDATE, request->spool_fd,
                             &id, &err);
    if (rc != 0) {
        response_condition(response, rc, "list", &err);
        return;
    }
    request->spool_fd = -1; /* the job's now */
    response_made(response, 202, id);
    response_json(response, 202, import_jobs_get(jobs, id));
    response_header(response, "Location", "/v1/imports/%lld", (long long)id);
}

void imports_get(struct request *request, struct response *response)
{
    json_t *job = import_jobs_get(request->app->imports, request->id[0]);
    if (job == NULL)
        response_problem(response, 404, "there is no such import (they are remembered until the server is restarted)");
    else
        response_json(response, 200, job);
}

void imports_rejects(struct request *request, struct response *response)
{
    struct error err = {""};
    int fd = -1;
    size_t len = 0;
    int rc = import_jobs_rejects(request->app->imports, request->id[0], &fd, &len, &err);
    if (rc == STORAGE_WRONG_STATE)
        response_problem(response, 409, "the import has not ended");
    else if (rc != 0)
        response_condition(response, rc, "import", &err);
    else if (fd < 0)
        response_text(response, 200, REJECTS_TYPE, "line,reason,row\r\n");
    else
        response_file(response, REJECTS_TYPE, fd, len);
    if (rc == 0)
        response_header(response, "Content-Disposition", "attachment; filename=\"import-%lld-rejects.csv\"",
                        (long long)request->id[0]);
}
