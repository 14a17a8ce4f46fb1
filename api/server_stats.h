/*
 * server_stats.h - the whole server in one object: what GET /v1/stats answers and what /v1/events sends every second to
 * who asks for `stats`.
 */
#ifndef POSTHASTE_API_SERVER_STATS_H
#define POSTHASTE_API_SERVER_STATS_H

#include <jansson.h>

#include "api/app.h"

/* A new reference; NULL when the database cannot be read or there is no memory. Any thread; waits a moment for the
 * engine's loops. */
json_t *server_stats(struct app *app, struct storage_reader *reader, struct error *err);

#endif
