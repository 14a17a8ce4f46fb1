/*
 * health.c - /healthz (the process answers), /readyz (it can do its work).
 */
#include "api/routes/routes.h"

void health_live(struct request *request, struct response *response)
{
    (void)request;
    response_json(response, 200, json_pack("{s:s}", "status", "ok"));
}

void health_ready(struct request *request, struct response *response)
{
    struct error why = {""};
    if (atomic_load(&request->app->stopping))
        response_problem(response, 503, "the server is stopping");
    else if (!storage_healthy(request->app->storage, &why))
        response_problem(response, 503, "%s", why.text[0] != '\0' ? why.text : "the database cannot be written");
    else
        response_json(response, 200, json_pack("{s:s}", "status", "ready"));
}
