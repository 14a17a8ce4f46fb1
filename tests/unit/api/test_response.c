/*
 * test_response.c - every error is a problem document (RFC 9457), whatever is in the text; tokens are what they should
 * be.
 */
#include "tests/unit/api/unit.h"

#include <ctype.h>

#include "api/http/auth.h"
#include "api/http/response.h"

static json_t *body_of(const struct response *response)
{
    json_t *body = json_loadb(response->body.data, response->body.len, 0, NULL);
    assert_non_null(body);
    return body;
}

static void expect_problem(const struct response *response, int status)
{
    assert_int_equal(response->status, status);
    assert_string_equal(response->content_type, "application/problem+json");
    json_t *body = body_of(response);
    assert_int_equal(json_integer_value(json_object_get(body, "status")), status);
    assert_string_equal(json_string_value(json_object_get(body, "title")), http_status_title(status));
    assert_true(json_string_length(json_object_get(body, "detail")) > 0);
    assert_string_equal(json_string_value(json_object_get(body, "type")), "about:blank");
    json_decref(body);
}

static void test_problems(void **state)
{
    (void)state;
    static const int statuses[] = {400, 401, 403, 404, 405, 409, 413, 415, 422, 500, 503, 507};
    for (size_t i = 0; i < countof(statuses); i++) {
        struct response response = RESPONSE_INIT;
        assert_string_not_equal(http_status_title(statuses[i]), "Error");
        response_problem(&response, statuses[i], "hostile: %s", "\"}\r\n\x01\xff</script>");
        expect_problem(&response, statuses[i]);
        response_finish(&response);
    }
}

static void test_fields_at_fault(void **state)
{
    (void)state;
    struct response response = RESPONSE_INIT;
    struct problem problem = {.count = 0};
    problem_add(&problem, "from.email", "is no address");
    problem_add(&problem, "li\nsts", "there is no list named \"%s\"", "\xff\n");
    response_json(&response, 200, json_object());
    response_invalid(&response, &problem); /* replaces what was there */
    expect_problem(&response, 422);
    json_t *body = body_of(&response);
    json_t *errors = json_object_get(body, "errors");
    assert_int_equal(json_array_size(errors), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(errors, 0), "field")), "from.email");
    assert_string_equal(json_string_value(json_object_get(json_array_get(errors, 0), "message")), "is no address");
    json_decref(body);
    response_finish(&response);
}

static void test_more_fields_than_are_kept(void **state)
{
    (void)state;
    struct response response = RESPONSE_INIT;
    struct problem problem = {.count = 0};
    for (int i = 0; i < 3 * PROBLEM_FIELDS_MAX; i++)
        problem_add(&problem, "x", "wrong %d", i);
    response_invalid(&response, &problem);
    expect_problem(&response, 422);
    json_t *body = body_of(&response);
    assert_int_equal(json_array_size(json_object_get(body, "errors")), PROBLEM_FIELDS_MAX);
    assert_non_null(strstr(json_string_value(json_object_get(body, "detail")), "48"));
    json_decref(body);
    response_finish(&response);
}

static void test_conditions(void **state)
{
    (void)state;
    static const struct {
        int code, status;
    } cases[] = {
        {STORAGE_NOT_FOUND, 404},
        {STORAGE_EXISTS, 409},
        {STORAGE_WRONG_STATE, 409},
        {-EINVAL, 422},
        {-EIO, 503},
        {-ENOSPC, 503},
        {-EBUSY, 503},
        {-ENOMEM, 500},
        {-EPERM, 500},
    };
    log_set_level(LOG_LEVEL_ERROR);
    for (size_t i = 0; i < countof(cases); i++) {
        struct response response = RESPONSE_INIT;
        struct error err = {"disk full"};
        response_condition(&response, cases[i].code, "list", i % 2 ? &err : NULL);
        expect_problem(&response, cases[i].status);
        response_finish(&response);
    }
}

static void test_headers_cannot_be_split(void **state)
{
    (void)state;
    struct response response = RESPONSE_INIT;
    response_header(&response, "Location", "/v1/%s", "x\r\nSet-Cookie: y");
    assert_null(strpbrk(response.headers[0].value, "\r\n"));
    response_finish(&response);
}

static void test_no_memory_is_a_500(void **state)
{
    (void)state;
    struct response response = RESPONSE_INIT;
    response_json(&response, 200, NULL);
    assert_int_equal(response.status, 500);
    assert_non_null(response.fixed);
    response_finish(&response);
}

static void test_tokens(void **state)
{
    (void)state;
    char first[TOKEN_TEXT_BYTES];
    char second[TOKEN_TEXT_BYTES];
    uint8_t made[32];
    uint8_t hashed[32];
    struct error err = {""};
    assert_int_equal(token_generate(first, made, &err), 0);
    assert_int_equal(token_generate(second, hashed, &err), 0);
    assert_string_not_equal(first, second);
    assert_int_equal(strlen(first), TOKEN_TEXT_BYTES - 1);
    assert_memory_equal(first, "ph_", 3);
    for (const char *at = first + 3; *at != '\0'; at++)
        assert_true(isxdigit((unsigned char)*at));

    char header[TOKEN_TEXT_BYTES + 32];
    static const char *const schemes[] = {"Bearer ", "bearer ", "BEARER   "};
    for (size_t i = 0; i < countof(schemes); i++) {
        (void)snprintf(header, sizeof(header), "%s%s%s", schemes[i], first, i == 2 ? "  " : "");
        assert_int_equal(auth_hash(header, hashed), 0);
        assert_memory_equal(made, hashed, 32);
    }
    char huge[5000];
    memset(huge, 'x', sizeof(huge));
    memcpy(huge, "Bearer ", 7);
    huge[sizeof(huge) - 1] = '\0';
    const char *const wrong[] = {"", "Bearer", "Bearer ", "Bearer   ", "Basic eDp5", "Bearerx", huge};
    for (size_t i = 0; i < countof(wrong); i++)
        assert_int_equal(auth_hash(wrong[i], hashed), -EINVAL);
}

static void test_scopes(void **state)
{
    (void)state;
    enum token_scope scope;
    for (int i = TOKEN_READ; i <= TOKEN_ADMIN; i++) {
        assert_int_equal(token_scope_parse(token_scope_name((enum token_scope)i), &scope), 0);
        assert_int_equal(scope, i);
    }
    assert_int_equal(token_scope_parse("Admin", &scope), -EINVAL);
    assert_int_equal(token_scope_parse("", &scope), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_problems),
        cmocka_unit_test(test_fields_at_fault),
        cmocka_unit_test(test_more_fields_than_are_kept),
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_headers_cannot_be_split),
        cmocka_unit_test(test_no_memory_is_a_500),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_scopes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
