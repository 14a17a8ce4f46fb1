/*
 * request.h - one HTTP request as a handler sees it: parsed, authorised, bounded. Knows nothing of the HTTP library.
 *
 * All pointers belong to the request and live until the response was sent. A handler may read the body (`json`), the
 * path parameters in the order of the route's pattern (`text[]` decoded, `id[]` for `{id}`), the query parameters that
 * its route names, and use `reader`.
 */
#ifndef POSTHASTE_API_HTTP_REQUEST_H
#define POSTHASTE_API_HTTP_REQUEST_H

#include <jansson.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "storage/storage.h"

struct app;

enum http_method { METHOD_GET, METHOD_HEAD, METHOD_POST, METHOD_PATCH, METHOD_DELETE, METHOD_OPTIONS, METHOD_OTHER };
enum http_method http_method_parse(const char *name);
const char *http_method_name(enum http_method method);

#define REQUEST_SEGMENTS_MAX 8
#define REQUEST_PARAMS_MAX 3
#define REQUEST_QUERY_MAX 16
#define REQUEST_TARGET_MAX_BYTES 4096

/* Who asks. */
struct caller {
    int64_t token_id; /* 0 = the local token; -1 = nobody that we know */
    char name[104];   /* the token's */
    char address[48]; /* of the connection, "" = unknown */
};

struct request_pair {
    const char *name, *value;
};

struct request {
    struct app *app;
    enum http_method method;
    struct arena arena;

    const char *segments[REQUEST_SEGMENTS_MAX]; /* of the path, percent-decoded */
    size_t segment_count;
    struct request_pair query[REQUEST_QUERY_MAX];
    size_t query_count;

    int64_t id[REQUEST_PARAMS_MAX];       /* value of {id} parameters, else 0 */
    const char *text[REQUEST_PARAMS_MAX]; /* every parameter as text */

    const char *content_type;    /* "" when there is none */
    const char *if_none_match;   /* "" when there is none */
    const char *if_match;        /* NULL when there is none */
    const char *last_event_id;   /* NULL when there is none */
    const char *idempotency_key; /* NULL when there is none */
    struct caller caller;
    const char *user_agent; /* "" when there is none */
    bool prefetch;          /* it says that nobody looks at it yet */
    bool wants_html;        /* Accept names text/html: a person looks at it */

    struct buffer body;
    int spool_fd; /* BODY_UPLOAD: the body in a file without a name, at its end; -1 = none. A handler that keeps it sets
                     -1 */
    json_t *json; /* the parsed body of a JSON route; NULL when the route allows none and none came */

    const char *audit_note; /* static text for the audit log; NULL = none */

    struct storage_reader *reader; /* for routes that read the database */
};

/* Positive results of request_parse_target(). */
enum { REQUEST_BAD_PATH = 1, REQUEST_BAD_QUERY = 2 };

/*
 * Splits and decodes the request target ("/v1/lists/7?limit=3"). 0; REQUEST_BAD_PATH or REQUEST_BAD_QUERY with the
 * reason in `err`: bad percent escape, NUL or a control character, not UTF-8, too many segments or parameters, a
 * parameter given twice; -EINVAL: not an absolute path, or too long; -ENOMEM. An empty segment
 * ("//", trailing "/") counts as a segment.
 */
int request_parse_target(struct request *request, const char *target, struct error *err) ATTR_MUSTCHECK;

/* Value of a query parameter, or NULL. */
const char *request_query(const struct request *request, const char *name);

void request_finish(struct request *request);

#endif
