/*
 * reload.h - SIGHUP: the configuration is read again and takes effect where it may under a running server.
 */
#ifndef POSTHASTE_API_CLI_RELOAD_H
#define POSTHASTE_API_CLI_RELOAD_H

#include "api/app.h"
#include "api/http/server.h"

/* Reads the file of the configuration in force (none: looks in the usual places) and the rules files. What is wrong
 * with any of them is in the log, and nothing has changed; else the log says what did. The thread that started the
 * server. */
void reload(struct app *app, struct http_server *http, const char *url);

/* With `listen` on port 0 the default of public_url could not know the port: `url` is what the server listens on. */
int reload_complete(struct config *config, const char *url, struct error *err) ATTR_MUSTCHECK;

#endif
