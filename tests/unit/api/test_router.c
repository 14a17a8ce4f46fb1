/*
 * test_router.c - targets are taken apart, routes are found, methods are named.
 */
#include "tests/unit/api/unit.h"

#include "api/http/request.h"
#include "api/http/router.h"
#include "api/routes/routes.h"

static struct request *parse(const char *target, int *rc)
{
    struct error err = {""};
    struct request *request = calloc(1, sizeof(*request));
    assert_non_null(request);
    request->spool_fd = -1;
    *rc = request_parse_target(request, target, &err);
    assert_true(*rc == 0 || err.text[0] != '\0');
    return request;
}

static void done(struct request *request)
{
    request_finish(request);
    free(request);
}

static void test_targets(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        int rc;
        size_t segments, queries;
    } cases[] = {
        {"/", 0, 1, 0},
        {"/v1/lists", 0, 2, 0},
        {"/v1/lists/", 0, 3, 0},
        {"//", 0, 2, 0},
        {"/v1/lists?", 0, 2, 0},
        {"/v1/lists?limit=3&cursor=7", 0, 2, 2},
        {"/v1/lists?limit", 0, 2, 1},
        {"/v1/lists?&&limit=3", 0, 2, 1},
        {"/a%2Fb", 0, 1, 0},
        {"/a%41", 0, 1, 0},
        {"/%C3%A4", 0, 1, 0},
        {"/a%", REQUEST_BAD_PATH, 0, 0},
        {"/a%4", REQUEST_BAD_PATH, 0, 0},
        {"/a%4g", REQUEST_BAD_PATH, 0, 0},
        {"/a%+4", REQUEST_BAD_PATH, 0, 0},
        {"/a%00", REQUEST_BAD_PATH, 0, 0},
        {"/a%0d%0a", REQUEST_BAD_PATH, 0, 0},
        {"/a%7f", REQUEST_BAD_PATH, 0, 0},
        {"/%ff", REQUEST_BAD_PATH, 0, 0},
        {"/%c0%af", REQUEST_BAD_PATH, 0, 0},
        {"/1/2/3/4/5/6/7/8/9", REQUEST_BAD_PATH, 0, 0},
        {"/a?x=%00", REQUEST_BAD_QUERY, 0, 0},
        {"/a?x=1&x=2", REQUEST_BAD_QUERY, 0, 0},
        {"/a?%=1", REQUEST_BAD_QUERY, 0, 0},
        {"/a?a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q", REQUEST_BAD_QUERY, 0, 0},
        {"", -EINVAL, 0, 0},
        {"*", -EINVAL, 0, 0},
        {"v1/lists", -EINVAL, 0, 0},
        {"http://elsewhere.test/v1", -EINVAL, 0, 0},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        int rc;
        struct request *request = parse(cases[i].target, &rc);
        if (rc != cases[i].rc)
            fail_msg("%s: %d", cases[i].target, rc);
        if (rc == 0) {
            assert_int_equal(request->segment_count, cases[i].segments);
            assert_int_equal(request->query_count, cases[i].queries);
        }
        done(request);
    }
}

static void test_decoding(void **state)
{
    (void)state;
    int rc;
    struct request *request = parse("/u/a%2Fb+c?q=d+e%2B&r=%C3%A4%26", &rc);
    assert_int_equal(rc, 0);
    assert_string_equal(request->segments[1], "a/b+c"); /* '+' is a space in a query only */
    assert_string_equal(request_query(request, "q"), "d e+");
    assert_string_equal(request_query(request, "r"), "ä&");
    assert_null(request_query(request, "s"));
    done(request);
}

static void test_long_target(void **state)
{
    (void)state;
    int rc;
    char target[REQUEST_TARGET_MAX_BYTES + 2];
    memset(target, 'a', sizeof(target));
    target[0] = '/';
    target[sizeof(target) - 1] = '\0';
    struct request *request = parse(target, &rc);
    assert_int_equal(rc, -EINVAL);
    done(request);
}

static void test_matching(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *target;
        bool match;
        int64_t id;
    } cases[] = {
        {"/", "/", true, 0},
        {"/v1/lists", "/v1/lists", true, 0},
        {"/v1/lists", "/v1/lists/", false, 0},
        {"/v1/lists", "/v1/list", false, 0},
        {"/v1/lists", "/v1", false, 0},
        {"/v1/lists/{id}", "/v1/lists/7", true, 7},
        {"/v1/lists/{id}", "/v1/lists/9223372036854775807", true, INT64_MAX},
        {"/v1/lists/{id}", "/v1/lists/9223372036854775808", false, 0},
        {"/v1/lists/{id}", "/v1/lists/0", false, 0},
        {"/v1/lists/{id}", "/v1/lists/07", false, 0},
        {"/v1/lists/{id}", "/v1/lists/-1", false, 0},
        {"/v1/lists/{id}", "/v1/lists/+1", false, 0},
        {"/v1/lists/{id}", "/v1/lists/1x", false, 0},
        {"/v1/lists/{id}", "/v1/lists/", false, 0},
        {"/v1/lists/{id}/recipients/{text}", "/v1/lists/3/recipients/a%2Fb@c.test", true, 3},
        {"/v1/lists/{id}/recipients/{text}", "/v1/lists/3/recipients/", false, 0},
        {"/u/{text}", "/u/x/y", false, 0},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        int rc;
        struct request *request = parse(cases[i].target, &rc);
        assert_int_equal(rc, 0);
        if (route_match(cases[i].pattern, request) != cases[i].match)
            fail_msg("%s against %s", cases[i].target, cases[i].pattern);
        if (cases[i].match)
            assert_true(request->id[0] == cases[i].id);
        done(request);
    }
}

static void expect_route(const char *method, const char *target, const char *pattern, const char *allow)
{
    size_t count;
    const struct route *routes = routes_all(&count);
    char allowed[ROUTE_ALLOW_BYTES];
    int rc;
    struct request *request = parse(target, &rc);
    assert_int_equal(rc, 0);
    request->method = http_method_parse(method);
    const struct route *route = route_find(routes, count, request, allowed);
    if (pattern == NULL) {
        assert_null(route);
        assert_string_equal(allowed, allow);
    } else {
        assert_non_null(route);
        assert_string_equal(route->pattern, pattern);
    }
    done(request);
}

static void test_table(void **state)
{
    (void)state;
    expect_route("GET", "/v1/campaigns/12/stats", "/v1/campaigns/{id}/stats", NULL);
    expect_route("HEAD", "/v1/campaigns/12/stats", "/v1/campaigns/{id}/stats", NULL);
    expect_route("POST", "/v1/campaigns/12/launch", "/v1/campaigns/{id}/launch", NULL);
    expect_route("PUT", "/v1/lists", NULL, "GET, HEAD, POST");
    expect_route("get", "/v1/lists", NULL, "GET, HEAD, POST"); /* methods are case-sensitive (RFC 9110 9.1) */
    expect_route("DELETE", "/v1/lists/1", "/v1/lists/{id}", NULL);
    expect_route("POST", "/v1/lists/1", NULL, "GET, HEAD, PATCH, DELETE");
    expect_route("GET", "/v1/campaigns/abc", NULL, "");
    expect_route("GET", "/v1/nothing", NULL, "");
    expect_route("GET", "/dashboard/../etc/passwd", NULL, "");
}

/* What answers without a token is a short list, and none of it is under /v1. */
static void test_everything_under_v1_needs_a_token(void **state)
{
    (void)state;
    size_t count;
    const struct route *routes = routes_all(&count);
    for (size_t i = 0; i < count; i++) {
        bool v1 = strncmp(routes[i].pattern, "/v1/", 4) == 0;
        assert_int_equal(v1, routes[i].access != ACCESS_OPEN);
        /* Whatever changes something needs more than a token that reads. */
        if (v1 && routes[i].method != METHOD_GET)
            assert_true(routes[i].access >= ACCESS_SEND);
    }
}

static void test_unknown_query(void **state)
{
    (void)state;
    static const struct route page = {.pattern = "/", .query = "cursor limit"};
    static const struct route none = {.pattern = "/"};
    struct problem problem = {.count = 0};
    int rc;
    struct request *request = parse("/?limit=1&colour=red", &rc);
    assert_int_equal(rc, 0);
    route_check_query(&page, request, &problem);
    assert_int_equal(problem.count, 1);
    assert_string_equal(problem.fields[0].field, "colour");
    route_check_query(&none, request, &problem);
    assert_int_equal(problem.count, 3);
    static const struct route link = {.pattern = "/", .query = ROUTE_ANY_QUERY};
    problem.count = 0;
    route_check_query(&link, request, &problem);
    assert_int_equal(problem.count, 0);
    done(request);
    /* A piece of a known name is not a known name. */
    request = parse("/?lim=1&cursor+limit=2", &rc);
    problem.count = 0;
    route_check_query(&page, request, &problem);
    assert_int_equal(problem.count, 2);
    done(request);
}

static void test_random_targets_never_crash(void **state)
{
    (void)state;
    static const char alphabet[] = "/%?&=+.aA0\xc3\xa4\x01";
    unsigned seed = 1;
    for (int round = 0; round < 20000; round++) {
        char target[40];
        size_t len = (size_t)rand_r(&seed) % (sizeof(target) - 1);
        for (size_t i = 0; i < len; i++)
            target[i] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
        target[len] = '\0';
        int rc;
        struct request *request = parse(target, &rc);
        for (size_t i = 0; rc == 0 && i < request->segment_count; i++)
            assert_true(utf8_valid(request->segments[i], strlen(request->segments[i])));
        done(request);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),       cmocka_unit_test(test_decoding),
        cmocka_unit_test(test_long_target),   cmocka_unit_test(test_matching),
        cmocka_unit_test(test_table),         cmocka_unit_test(test_everything_under_v1_needs_a_token),
        cmocka_unit_test(test_unknown_query), cmocka_unit_test(test_random_targets_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
