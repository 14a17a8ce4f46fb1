/*
 * server.h - the HTTP server: a listening socket, a few threads of libmicrohttpd, limits for everything that a client
 * chooses.
 */
#ifndef POSTHASTE_API_HTTP_SERVER_H
#define POSTHASTE_API_HTTP_SERVER_H

#include "api/app.h"
#include "api/http/router.h"

#define HTTP_THREADS 4
#define HTTP_CONNECTIONS_MAX 1024
#define HTTP_CONNECTIONS_PER_IP_MAX 256
#define HTTP_HEAD_MAX_BYTES ((size_t)64 << 10)
#define HTTP_BODY_MAX_BYTES ((size_t)10 << 20)
#define HTTP_FORM_MAX_BYTES ((size_t)16 << 10)
#define HTTP_UPLOAD_MAX_BYTES ((uint64_t)8 << 30)
#define HTTP_HEAD_DEADLINE_MS 30000 /* from the connection, or the last response, to a complete head */
#define HTTP_BODY_DEADLINE_MS 60000 /* for the body; an upload has it anew for each HTTP_UPLOAD_STEP_BYTES */
#define HTTP_UPLOAD_STEP_BYTES ((uint64_t)256 << 10)
#define HTTP_ANSWER_DEADLINE_MS 300000 /* for the handler, and until the client has taken the answer */

#define HTTP_URL_BYTES 128
/* Binds and listens at config->listen. `url` gets "http://HOST:PORT" with the real port. Negative: which address, which
 * port, why. */
int http_listen(const struct config *config, int *fd, char url[HTTP_URL_BYTES], struct error *err) ATTR_MUSTCHECK;

struct http_server;
/* Takes over the socket, also on failure. `app` and `routes` outlive the server. */
int http_server_start(struct app *app, int listen_fd, const struct route *routes, size_t route_count,
                      struct http_server **out, struct error *err) ATTR_MUSTCHECK;
/* Two steps, on the thread that started it. The first reads the certificate anew and changes nothing; negative: it would
 * not do. The second shows it to whoever comes from then on (those who are there keep theirs), and takes over what else
 * may change under a running server: the rate of requests. It cannot fail; what goes wrong after all is logged. */
int http_server_check(struct http_server *server, struct error *err) ATTR_MUSTCHECK;
void http_server_reload(struct http_server *server, const struct config *config);
/* Whether the files of certificate and key would do for a start. */
int http_files_check(const struct config *config, struct error *err) ATTR_MUSTCHECK;
/* Stops listening, lets running handlers finish, closes all connections, frees. NULL is allowed. */
void http_server_stop(struct http_server *server);

#endif
