/*
 * exchange.h - one request and its answer on the way through libmicrohttpd; private to the HTTP server.
 */
#ifndef POSTHASTE_API_HTTP_EXCHANGE_H
#define POSTHASTE_API_HTTP_EXCHANGE_H

#include <microhttpd.h>

#include "api/http/server.h"
#include "api/http/front.h"
#include "api/http/watch.h"

#define FRONTS_FORMER 3 /* with a certificate that has been renewed; each until a SIGHUP finds nobody connected to it */
struct http_server {
    struct app *app;
    const struct route *routes;
    size_t route_count;
    struct watch *watch;
    struct throttle *throttle;
    struct error library_error; /* what libmicrohttpd said last while it was started */
    pthread_t starter;          /* the thread whose messages those are; the library's own never touch it */
    int listen_fd;
    struct spare *spare;
    struct front front, former[FRONTS_FORMER];
    struct front next; /* between http_server_check() and http_server_reload() */
};

/* libmicrohttpd's callbacks; `context` is the http_server. */
void exchange_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                         enum MHD_ConnectionNotificationCode code);
void *exchange_create(void *context, const char *target, struct MHD_Connection *connection);
enum MHD_Result exchange_step(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *bytes, size_t *len, void **exchange);
void exchange_end(void *context, struct MHD_Connection *connection, void **exchange,
                  enum MHD_RequestTerminationCode code);

#endif
