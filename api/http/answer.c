/*
 * answer.c - packs the body when that pays, and adds the headers that every answer has.
 */
#include "api/http/answer.h"

#include <stdlib.h>

#include "api/http/gzip.h"
#include "base/str.h"

#define PACK_MIN_BYTES 1024

static bool is_packable(const struct response *response)
{
    size_t len = response->fixed != NULL ? response->fixed_bytes : response->body.len;
    const char *type = response->content_type != NULL ? response->content_type : "";
    return !response->has_file && len >= PACK_MIN_BYTES &&
           (str_starts_nocase(type, "text/") || str_starts_nocase(type, "application/json") ||
            str_starts_nocase(type, "application/problem+json"));
}

/* Failing to pack is no failure: the body goes as it is. */
static void pack(struct response *response, bool packs)
{
    if (!is_packable(response))
        return;
    response_header(response, "Vary", "Accept-Encoding");
    if (!packs)
        return;
    struct buffer packed = BUFFER_INIT((size_t)256 << 20);
    const void *bytes = response->fixed != NULL ? response->fixed : response->body.data;
    size_t len = response->fixed != NULL ? response->fixed_bytes : response->body.len;
    if (gzip_pack(bytes, len, &packed) != 0 || packed.len >= len) {
        buffer_finish(&packed);
        return;
    }
    buffer_finish(&response->body);
    response->body = packed;
    response->fixed = NULL;
    response_header(response, "Content-Encoding", "gzip");
}

static struct MHD_Response *make(struct response *response)
{
    if (response->has_file) {
        struct MHD_Response *answer = MHD_create_response_from_fd64(response->file_bytes, response->file);
        response->has_file = answer == NULL; /* the library's now */
        return answer;
    }
    if (response->fixed != NULL) /* libmicrohttpd does not write to persistent memory; its signature predates const */
        return MHD_create_response_from_buffer(response->fixed_bytes, (void *)(uintptr_t)response->fixed,
                                               MHD_RESPMEM_PERSISTENT);
    if (response->body.len == 0)
        return MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    size_t len;
    char *bytes = buffer_steal(&response->body, &len);
    if (bytes == NULL)
        return NULL;
    struct MHD_Response *answer = MHD_create_response_from_buffer(len, bytes, MHD_RESPMEM_MUST_FREE);
    if (answer == NULL)
        free(bytes);
    return answer;
}

static void add_headers(const struct response *response, bool close, struct MHD_Response *answer)
{
    const char *policy =
        response->security_policy != NULL ? response->security_policy : "default-src 'none'; frame-ancestors 'none'";
    if (response->content_type != NULL)
        (void)MHD_add_response_header(answer, "Content-Type", response->content_type);
    (void)MHD_add_response_header(answer, "X-Content-Type-Options", "nosniff");
    (void)MHD_add_response_header(answer, "Referrer-Policy", "no-referrer");
    (void)MHD_add_response_header(answer, "Content-Security-Policy", policy);
    (void)MHD_add_response_header(answer, "Cache-Control", response->cacheable ? "no-cache" : "no-store");
    if (response->location != NULL)
        (void)MHD_add_response_header(answer, "Location", response->location);
    for (size_t i = 0; i < response->header_count; i++)
        (void)MHD_add_response_header(answer, response->headers[i].name, response->headers[i].value);
    if (response->close || close)
        (void)MHD_add_response_header(answer, "Connection", "close");
}

struct MHD_Response *answer_make(struct response *response, struct MHD_Response *stream, bool packs, bool close)
{
    if (stream == NULL)
        pack(response, packs);
    struct MHD_Response *answer = stream != NULL ? stream : make(response);
    if (answer != NULL)
        add_headers(response, close, answer);
    return answer;
}
