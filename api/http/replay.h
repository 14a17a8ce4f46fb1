/*
 * replay.h - Idempotency-Key: a POST that is sent again with the same key is not carried out again, its first answer is
 * given again (draft-ietf-httpapi-idempotency-key-header-07).
 *
 * Kept for 24 hours, over restarts: the key before the handler runs, the answer when the handler made something (2xx).
 * A refusal makes nothing, so its key is free again. Another request under a used key: 422; the first one not answered
 * yet, or cut off by the end of the server: 409; too many keys: 503.
 */
#ifndef POSTHASTE_API_HTTP_REPLAY_H
#define POSTHASTE_API_HTTP_REPLAY_H

#include "api/http/request.h"
#include "api/http/response.h"

/* False: the response is there already, the handler must not run. */
bool replay_begin(const struct request *request, const char *target, struct response *response);
/* After the handler. A secret answer is not kept; its repetition is told that it was given (409). */
void replay_end(const struct request *request, const struct response *response);

#endif
