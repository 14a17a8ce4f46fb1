/*
 * etag.h - versions of what can be edited, so that two people do not overwrite one another (RFC 9110 section 13.1.1).
 *
 * The tag stands for the fields that a client can change, not for the counters that move beside them: it is a lock for
 * If-Match, and nothing is ever answered with 304 by it.
 */
#ifndef POSTHASTE_API_HTTP_ETAG_H
#define POSTHASTE_API_HTTP_ETAG_H

#include "api/http/request.h"
#include "api/http/response.h"

#define ETAG_BYTES 36

/* The tag of a few texts in this order; NULL counts as "". "" when it cannot be made: no condition is then met. */
void etag_make(char out[ETAG_BYTES], const char *const *texts, size_t count);

/* True when a value of If-Match ("*", or tags with commas) names the tag, by strong comparison. */
bool etag_matches(const char *if_match, const char *tag);

/* True when the request has no If-Match or it is met; else the response holds the 412. */
bool etag_check(const struct request *request, const char *tag, struct response *response);

#endif
