/*
 * test_documents.c - what is written about the program is true: the OpenAPI document has the calls of the route table
 * and no others, the manual page every command and option.
 */
#include "tests/unit/api/unit.h"

#include <jansson.h>

#include "api/assets.h"
#include "api/cli/cli.h"
#include "api/routes/routes.h"

/* "/v1/lists/{id}/recipients/{email}" and "/v1/lists/{id}/recipients/{text}" name the same thing. */
static bool same_path(const char *pattern, const char *path)
{
    while (*pattern != '\0' && *path != '\0') {
        if (*pattern == '{' && *path == '{') {
            pattern += strcspn(pattern, "}");
            path += strcspn(path, "}");
        } else if (*pattern != *path) {
            return false;
        }
        pattern++;
        path++;
    }
    return *pattern == *path;
}

static const char *lower_method(enum http_method method)
{
    static const char *const names[] = {"get", "head", "post", "patch", "delete", "options", "?"};
    return names[method];
}

static const json_t *find_call(const json_t *paths, const struct route *route)
{
    const char *path;
    json_t *calls;
    json_object_foreach((json_t *)(uintptr_t)paths, path, calls)
    {
        if (same_path(route->pattern, path))
            return json_object_get(calls, lower_method(route->method));
    }
    return NULL;
}

static const char *scope_of(enum route_access access)
{
    static const char *const names[] = {"", "read", "send", "admin"};
    return names[access];
}

/* The query parameters of a call, references resolved, as "cursor limit ". */
static bool names_parameter(const json_t *call, const char *name)
{
    size_t i;
    json_t *parameter;
    char reference[64];
    (void)snprintf(reference, sizeof(reference), "#/components/parameters/%s", name);
    json_array_foreach(json_object_get(call, "parameters"), i, parameter)
    {
        const char *ref = json_string_value(json_object_get(parameter, "$ref"));
        const char *own = json_string_value(json_object_get(parameter, "name"));
        if ((ref != NULL && strcmp(ref, reference) == 0) || (own != NULL && strcmp(own, name) == 0))
            return true;
    }
    return false;
}

static void check_call(const struct route *route, const json_t *call)
{
    if (call == NULL)
        fail_msg("openapi.json lacks %s %s", http_method_name(route->method), route->pattern);
    const char *scope = json_string_value(json_object_get(call, "x-scope"));
    assert_string_equal(scope != NULL ? scope : "", scope_of(route->access));
    assert_int_equal(json_object_get(call, "requestBody") != NULL, route->body != BODY_NONE);
    char words[128];
    (void)str_copy(words, sizeof(words), route->query == NULL || route_takes_any_query(route) ? "" : route->query);
    char *save = NULL;
    for (char *word = strtok_r(words, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
        if (!names_parameter(call, word))
            fail_msg("openapi.json: %s %s lacks ?%s", http_method_name(route->method), route->pattern, word);
    }
}

static void test_openapi(void **state)
{
    (void)state;
    size_t count;
    size_t calls = 0;
    const struct route *routes = routes_all(&count);
    json_error_t where;
    json_t *document = json_loadb((const char *)openapi_json_data, openapi_json_size, JSON_REJECT_DUPLICATES, &where);
    if (document == NULL)
        fail_msg("openapi.json:%d: %s", where.line, where.text);
    const json_t *paths = json_object_get(document, "paths");
    const char *path;
    json_t *methods;
    json_object_foreach((json_t *)(uintptr_t)paths, path, methods) calls += json_object_size(methods);
    for (size_t i = 0; i < count; i++)
        check_call(&routes[i], find_call(paths, &routes[i]));
    assert_int_equal(calls, count);
    assert_string_equal(json_string_value(json_object_get(json_object_get(document, "info"), "version")),
                        POSTHASTE_VERSION);
    json_decref(document);
}

static char *read_manual(void)
{
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    FILE *file = fopen(MANUAL_PAGE, "re");
    assert_non_null(file);
    assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
    (void)fclose(file);
    return text;
}

static void test_manual(void **state)
{
    (void)state;
    size_t count;
    const struct cli_command *commands = cli_commands(&count);
    char *text = read_manual();
    char line[128];
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(line, sizeof(line), ".Ss posthaste %s", commands[i].words);
        if (strstr(text, line) == NULL)
            fail_msg("docs/posthaste.1 lacks \"%s\"; make it anew: posthaste help --mdoc >docs/posthaste.1",
                     commands[i].words);
        for (const struct cli_option *option = commands[i].options; option != NULL && option->name != NULL; option++) {
            (void)snprintf(line, sizeof(line), "Fl Fl %s", option->name);
            if (strstr(text, line) == NULL)
                fail_msg("docs/posthaste.1 lacks --%s of %s; make it anew: posthaste help --mdoc >docs/posthaste.1",
                         option->name, commands[i].words);
        }
    }
    free(text);
}

static bool holds(const unsigned char *data, size_t size, const char *text)
{
    return memmem(data, size, text, strlen(text)) != NULL;
}

/* The page runs under a policy without inline script and style, and takes text in as text. */
static void test_page(void **state)
{
    (void)state;
    assert_false(holds(dashboard_html_data, dashboard_html_size, "<style"));
    assert_false(holds(dashboard_html_data, dashboard_html_size, " style="));
    assert_false(holds(dashboard_html_data, dashboard_html_size, " onclick"));
    assert_false(holds(dashboard_html_data, dashboard_html_size, "http://") ||
                 holds(dashboard_html_data, dashboard_html_size, "https://"));
    static const char *const forbidden[] = {"innerHTML",      "outerHTML", "insertAdjacentHTML",
                                            "document.write", "eval(",     "localStorage"};
    for (size_t i = 0; i < countof(forbidden); i++)
        assert_false(holds(dashboard_js_data, dashboard_js_size, forbidden[i]));
    assert_true(chart_js_size > 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_openapi),
        cmocka_unit_test(test_manual),
        cmocka_unit_test(test_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
