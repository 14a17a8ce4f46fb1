/*
 * router.c - matches paths against the table, first fit. The table is small and a request costs a database query
 * anyway, so a walk is enough.
 */
#include "api/http/router.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

static bool parse_id(const char *text, int64_t *out)
{
    uint64_t value;
    /* One spelling per id: no leading zeros, so that a cache or a log sees one resource under one name. */
    if (text[0] < '1' || text[0] > '9' || str_parse_u64(text, INT64_MAX, &value) != 0)
        return false;
    *out = (int64_t)value;
    return true;
}

bool route_match(const char *pattern, struct request *request)
{
    size_t params = 0;
    size_t segment = 0;
    const char *at = pattern + 1;
    while (true) {
        const char *end = strchrnul(at, '/');
        size_t len = (size_t)(end - at);
        if (segment == request->segment_count)
            return false;
        const char *have = request->segments[segment++];
        if (at[0] == '{') {
            assure(params < REQUEST_PARAMS_MAX);
            int64_t id = 0;
            if (have[0] == '\0' || (strncmp(at, "{id}", len) == 0 && !parse_id(have, &id)))
                return false;
            request->id[params] = id;
            request->text[params++] = have;
        } else if (strlen(have) != len || memcmp(have, at, len) != 0) {
            return false;
        }
        if (*end == '\0')
            return segment == request->segment_count;
        at = end + 1;
    }
}

static void allow_add(char allow[ROUTE_ALLOW_BYTES], const char *method)
{
    size_t len = strlen(allow);
    (void)snprintf(allow + len, ROUTE_ALLOW_BYTES - len, "%s%s", len > 0 ? ", " : "", method);
}

const struct route *route_find(const struct route *routes, size_t count, struct request *request,
                               char allow[ROUTE_ALLOW_BYTES])
{
    allow[0] = '\0';
    enum http_method method = request->method == METHOD_HEAD ? METHOD_GET : request->method;
    for (size_t i = 0; i < count; i++) {
        if (!route_match(routes[i].pattern, request))
            continue;
        if (routes[i].method == method)
            return &routes[i];
        if (strstr(allow, http_method_name(routes[i].method)) == NULL)
            allow_add(allow, routes[i].method == METHOD_GET ? "GET, HEAD" : http_method_name(routes[i].method));
    }
    return NULL;
}

static bool has_word(const char *words, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = words; *at != '\0';) {
        const char *end = strchrnul(at, ' ');
        if ((size_t)(end - at) == len && memcmp(at, word, len) == 0)
            return true;
        at = *end == ' ' ? end + 1 : end;
    }
    return false;
}

bool route_takes_any_query(const struct route *route)
{
    return route->query != NULL && strcmp(route->query, ROUTE_ANY_QUERY) == 0;
}

void route_check_query(const struct route *route, const struct request *request, struct problem *problem)
{
    const char *words = route->query != NULL ? route->query : "";
    for (size_t i = 0; i < request->query_count && !route_takes_any_query(route); i++) {
        if (has_word(words, request->query[i].name))
            continue;
        if (words[0] == '\0')
            problem_add(problem, request->query[i].name, "unknown query parameter; this call has none");
        else
            problem_add(problem, request->query[i].name, "unknown query parameter; known are: %s", words);
    }
}
