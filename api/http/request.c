/*
 * request.c - takes the request target apart. Success means that every segment and parameter is well-formed UTF-8
 * without control characters.
 *
 * The target is decoded here and not by the HTTP library, because that decodes before it splits: "%2F" inside an e-mail
 * address would become a path separator.
 */
#include "api/http/request.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

static const char *const METHOD_NAMES[] = {"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "?"};

enum http_method http_method_parse(const char *name)
{
    for (int i = 0; i < METHOD_OTHER; i++) {
        if (strcmp(METHOD_NAMES[i], name) == 0)
            return (enum http_method)i;
    }
    return METHOD_OTHER;
}

const char *http_method_name(enum http_method method)
{
    return METHOD_NAMES[method];
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* `form`: application/x-www-form-urlencoded, where '+' is a space. */
static int decode(struct request *request, const char *text, size_t len, bool form, const char **out, struct error *err)
{
    char *decoded = arena_alloc(&request->arena, len + 1);
    if (decoded == NULL)
        return error_memory(err);
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%') {
            int high = len - i > 2 ? hex_value(text[i + 1]) : -1;
            int low = high >= 0 ? hex_value(text[i + 2]) : -1;
            if (low < 0)
                return error_set(err, -EINVAL, "bad percent escape in the URL");
            c = (char)(high * 16 + low);
            i += 2;
        } else if (form && c == '+') {
            c = ' ';
        }
        if ((unsigned char)c < 0x20 || c == 0x7f)
            return error_set(err, -EINVAL, "control character in the URL");
        decoded[n++] = c;
    }
    decoded[n] = '\0';
    if (!utf8_valid(decoded, n))
        return error_set(err, -EINVAL, "the URL is not UTF-8");
    *out = decoded;
    return 0;
}

static int parse_path(struct request *request, const char *path, size_t len, struct error *err)
{
    const char *end = path + len;
    const char *at = path + 1; /* behind the leading '/' */
    while (true) {
        const char *slash = memchr(at, '/', (size_t)(end - at));
        const char *stop = slash != NULL ? slash : end;
        if (request->segment_count == REQUEST_SEGMENTS_MAX)
            return error_set(err, -EINVAL, "the path has more than %d segments", REQUEST_SEGMENTS_MAX);
        int rc = decode(request, at, (size_t)(stop - at), false, &request->segments[request->segment_count++], err);
        if (rc < 0)
            return rc;
        if (slash == NULL)
            return 0;
        at = slash + 1;
    }
}

static int parse_pair(struct request *request, const char *text, size_t len, struct error *err)
{
    if (len == 0)
        return 0;
    if (request->query_count == REQUEST_QUERY_MAX)
        return error_set(err, -EINVAL, "more than %d query parameters", REQUEST_QUERY_MAX);
    const char *equals = memchr(text, '=', len);
    size_t name_len = equals != NULL ? (size_t)(equals - text) : len;
    struct request_pair pair = {.value = ""};
    int rc = decode(request, text, name_len, true, &pair.name, err);
    if (rc == 0 && equals != NULL)
        rc = decode(request, equals + 1, len - name_len - 1, true, &pair.value, err);
    if (rc < 0)
        return rc;
    if (request_query(request, pair.name) != NULL)
        return error_set(err, -EINVAL, "query parameter \"%.60s\" is given twice", pair.name);
    request->query[request->query_count++] = pair;
    return 0;
}

int request_parse_target(struct request *request, const char *target, struct error *err)
{
    size_t len = strlen(target);
    if (target[0] != '/')
        return error_set(err, -EINVAL, "the request target is not an absolute path");
    if (len > REQUEST_TARGET_MAX_BYTES)
        return error_set(err, -EINVAL, "the URL is longer than %d bytes", REQUEST_TARGET_MAX_BYTES);
    const char *question = memchr(target, '?', len);
    int rc = parse_path(request, target, question != NULL ? (size_t)(question - target) : len, err);
    if (rc != 0)
        return rc == -EINVAL ? REQUEST_BAD_PATH : rc;
    const char *at = question != NULL ? question + 1 : NULL;
    while (rc == 0 && at != NULL) {
        const char *ampersand = strchr(at, '&');
        rc = parse_pair(request, at, ampersand != NULL ? (size_t)(ampersand - at) : strlen(at), err);
        at = ampersand != NULL ? ampersand + 1 : NULL;
    }
    return rc == -EINVAL ? REQUEST_BAD_QUERY : rc;
}

const char *request_query(const struct request *request, const char *name)
{
    for (size_t i = 0; i < request->query_count; i++) {
        if (strcmp(request->query[i].name, name) == 0)
            return request->query[i].value;
    }
    return NULL;
}

void request_finish(struct request *request)
{
    json_decref(request->json);
    request->json = NULL;
    if (request->spool_fd >= 0)
        (void)close(request->spool_fd);
    request->spool_fd = -1;
    buffer_finish(&request->body);
    arena_finish(&request->arena);
}
