/*
 * answer.h - our response in libmicrohttpd's form; private to the HTTP server.
 */
#ifndef POSTHASTE_API_HTTP_ANSWER_H
#define POSTHASTE_API_HTTP_ANSWER_H

#include <microhttpd.h>

#include "api/http/response.h"

/* Takes the body out of the response, or takes `stream` (NULL = none), an answer that was made already and lacks the
 * headers. `packs`: the client takes gzip; `close`: the connection ends behind it. NULL: no memory. */
struct MHD_Response *answer_make(struct response *response, struct MHD_Response *stream, bool packs, bool close);

#endif
