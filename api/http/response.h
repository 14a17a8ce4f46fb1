/*
 * response.h - the answer to a request: a status, a few headers, bytes. Every error is application/problem+json (RFC
 * 9457), made only here.
 */
#ifndef POSTHASTE_API_HTTP_RESPONSE_H
#define POSTHASTE_API_HTTP_RESPONSE_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buffer.h"
#include "campaign/campaign.h"

#define RESPONSE_HEADERS_MAX 10

struct response {
    int status;
    const char *content_type; /* static text; NULL when there is no body */
    struct buffer body;
    const void *fixed; /* bytes that outlive the server, in place of `body` */
    size_t fixed_bytes;
    bool has_file; /* `file_bytes` of this descriptor, in place of `body`; the response closes it */
    int file;
    size_t file_bytes;
    struct stream *stream;       /* a listener of /v1/events that answers without end, in place of `body` */
    const char *security_policy; /* static text of Content-Security-Policy; NULL = nothing may be loaded */
    char *location;              /* heap: a redirect's, which may be long; NULL = none */
    bool cacheable;              /* else Cache-Control: no-store */
    bool secret;                 /* shown once: must not be kept anywhere */
    bool close;                  /* end the connection behind it */
    struct {
        const char *name; /* static text */
        char value[256];
    } headers[RESPONSE_HEADERS_MAX];
    size_t header_count;
    int made_status; /* response_made() */
    int64_t made_id;
};

#define RESPONSE_INIT ((struct response){.body = BUFFER_INIT((size_t)256 << 20)})

const char *http_status_title(int status); /* "Not Found"; "Error" for one that we never use */

void response_finish(struct response *response);
void response_header(struct response *response, const char *name, const char *format, ...) ATTR_PRINTF(3, 4);

/* The handler's work is done and stored, only showing it is left: whatever befalls that, the answer has this status. An
 * error would make the client ask again, and a list would be mailed twice. */
void response_made(struct response *response, int status, int64_t id);
/* Behind the handler: in place of an error after response_made() the answer is that status with {"id": N}. */
void response_settle(struct response *response);

/* Takes over the reference; NULL (no memory while it was built) becomes a 500. */
void response_json(struct response *response, int status, json_t *value);
void response_empty(struct response *response, int status);
/* Takes the text over: the address of a redirect, with nothing in it that a header may not hold. */
void response_location(struct response *response, struct buffer *address);
void response_text(struct response *response, int status, const char *content_type, const char *text);
void response_fixed(struct response *response, const char *content_type, const void *bytes, size_t len);

/* Takes over the descriptor; the bytes from its beginning. */
void response_file(struct response *response, const char *content_type, int fd, size_t len);

/* Problem with a sentence for a person. Replaces whatever was in the response. */
void response_problem(struct response *response, int status, const char *format, ...) ATTR_PRINTF(3, 4);
/* 422 with errors:[{field,message}]. */
void response_invalid(struct response *response, const struct problem *problem);
/* 422 for a launch that the preflight check refuses: errors:[{field: "preflight.CHECK", message}], one for each error
 * of the report (borrowed), which is there whole as "preflight". */
void response_preflight(struct response *response, const json_t *report);
/* What a room's call gave: STORAGE_NOT_FOUND -> 404, STORAGE_EXISTS and STORAGE_WRONG_STATE -> 409, -EINVAL -> 422, a
 * database that cannot be written -> 503, else 500 (logged). */
void response_condition(struct response *response, int code, const char *what, const struct error *err);

#endif
