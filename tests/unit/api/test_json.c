/*
 * test_json.c - JSON of strangers: malformed, deep, wrong fields; and the pages that we answer with.
 */
#include "tests/unit/api/unit.h"

#include "api/http/json.h"

static int parse(const char *text, struct error *err)
{
    json_t *value = NULL;
    int rc = json_parse(text, strlen(text), &value, err);
    assert_true((rc == 0) == (value != NULL));
    json_decref(value);
    return rc;
}

static void test_malformed(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"{", "line 1"},
        {"{\"a\": 1,\n \"b\": [}", "line 2, column"},
        {"{\"a\":1,\"a\":2}", "\"a\""},
        {"{\"a\":\"\\u0000\"}", ""},
        {"{\"a\":\"\xff\"}", ""},
        {"{} x", ""},
        {"7", ""},
        {"", ""},
        {"{\"a\":99999999999999999999}", ""},
        {"{\"a\":1e999}", ""},
        {"{'a':1}", ""},
        {"{\"a\":NaN}", ""},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct error err = {""};
        assert_int_equal(parse(cases[i].text, &err), -EINVAL);
        if (strstr(err.text, cases[i].says) == NULL || err.text[0] == '\0')
            fail_msg("%s: %s", cases[i].text, err.text);
    }
}

static void test_depth(void **state)
{
    (void)state;
    char text[2 * JSON_DEPTH_MAX + 8];
    for (int depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        struct error err = {""};
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        text[2 * depth] = '\0';
        assert_int_equal(parse(text, &err), depth <= JSON_DEPTH_MAX ? 0 : -EINVAL);
    }
    /* Brackets inside a text are no levels, and an escaped quote does not end it. */
    struct error err = {""};
    assert_int_equal(parse("{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[ \\\" [[[[[\"}", &err), 0);
}

struct target {
    const char *name;
    bool launch;
    int64_t limit;
    json_t *object, *array;
};

static bool read_fields(const char *text, struct target *out, struct problem *problem)
{
    const struct field fields[] = {
        {"name", FIELD_TEXT, true, 10, &out->name},      {"launch", FIELD_BOOL, false, 0, &out->launch},
        {"limit", FIELD_INTEGER, false, 0, &out->limit}, {"object", FIELD_OBJECT, false, 0, &out->object},
        {"array", FIELD_ARRAY, false, 2, &out->array},
    };
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    bool fit = fields_read(value, "", fields, countof(fields), problem);
    json_decref(value);
    return fit;
}

static void test_fields(void **state)
{
    (void)state;
    static const struct {
        const char *text, *field, *says;
    } cases[] = {
        {"{\"name\":\"x\"}", NULL, NULL},
        {"{\"name\":\"x\",\"launch\":true,\"limit\":3,\"object\":{},\"array\":[1,2]}", NULL, NULL},
        {"{}", "name", "required"},
        {"{\"name\":\"\"}", "name", "empty"},
        {"{\"name\":\" \\t\"}", "name", "empty"},
        {"{\"name\":7}", "name", "an integer"},
        {"{\"name\":null}", "name", "null"},
        {"{\"name\":\"12345678901\"}", "name", "10"},
        {"{\"name\":\"x\",\"launch\":\"yes\"}", "launch", "a text"},
        {"{\"name\":\"x\",\"launch\":1}", "launch", "true or false"},
        {"{\"name\":\"x\",\"limit\":1.5}", "limit", "fraction"},
        {"{\"name\":\"x\",\"object\":[]}", "object", "an array"},
        {"{\"name\":\"x\",\"array\":{}}", "array", "an object"},
        {"{\"name\":\"x\",\"array\":[1,2,3]}", "array", "2"},
        {"{\"name\":\"x\",\"lanch\":true}", "lanch", "launch"},
        {"{\"name\":\"x\",\"colour\":1}", "colour", "unknown"},
        {"[]", "(body)", "an array"},
        {"7", "(body)", "an integer"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct target target = {0};
        struct problem problem = {.count = 0};
        bool fit = read_fields(cases[i].text, &target, &problem);
        if (fit != (cases[i].field == NULL) || problem.count != (cases[i].field == NULL ? 0u : 1u))
            fail_msg("%s: %zu problems", cases[i].text, problem.count);
        if (cases[i].field != NULL && (strcmp(problem.fields[0].field, cases[i].field) != 0 ||
                                       strstr(problem.fields[0].message, cases[i].says) == NULL))
            fail_msg("%s: %s: %s", cases[i].text, problem.fields[0].field, problem.fields[0].message);
    }
}

static void test_many_problems_do_not_overflow(void **state)
{
    (void)state;
    struct target target = {0};
    struct problem problem = {.count = 0};
    json_t *object = json_object();
    for (int i = 0; i < 100; i++) {
        char name[300];
        memset(name, 'x', sizeof(name));
        (void)snprintf(name + 290, 10, "%d", i);
        assert_int_equal(json_object_set_new(object, name, json_null()), 0);
    }
    char *text = json_dumps(object, 0);
    json_decref(object);
    assert_false(read_fields(text, &target, &problem));
    assert_int_equal(problem.count, 101);
    free(text);
}

static void test_pages(void **state)
{
    (void)state;
    struct page page;
    assert_true(page_init(&page, 2));
    assert_true(page_take_id(&page, json_integer(1), 11));
    assert_true(page_take_id(&page, json_integer(2), 12));
    assert_false(page_take_id(&page, json_integer(3), 13));
    json_t *value = page_json(&page, 3);
    char *text = json_dumps(value, JSON_COMPACT);
    assert_string_equal(text, "{\"data\":[1,2],\"next\":\"12\",\"total\":3}");
    free(text);
    json_decref(value);

    assert_true(page_init(&page, 2));
    assert_true(page_take(&page, json_integer(1), "a@b.test"));
    value = page_json(&page, -1);
    text = json_dumps(value, JSON_COMPACT);
    assert_string_equal(text, "{\"data\":[1],\"next\":null,\"total\":null}");
    free(text);
    json_decref(value);
}

static void test_page_parameters(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        bool fit;
        int limit;
        int64_t after;
    } cases[] = {
        {"/x", true, PAGE_LIMIT_DEFAULT, 0}, {"/x?limit=7&cursor=12", true, 7, 12},
        {"/x?limit=1000", true, 1000, 0},    {"/x?limit=1001", false, 0, 0},
        {"/x?limit=0", false, 0, 0},         {"/x?limit=-1", false, 0, 0},
        {"/x?limit=", false, 0, 0},          {"/x?limit=many", false, 0, 0},
        {"/x?cursor=x", false, 0, 0},        {"/x?cursor=99999999999999999999", false, 0, 0},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct request request = {.spool_fd = -1};
        struct problem problem = {.count = 0};
        int limit;
        int64_t after;
        assert_int_equal(request_parse_target(&request, cases[i].target, NULL), 0);
        if (page_read(&request, &limit, &after, &problem) != cases[i].fit)
            fail_msg("%s", cases[i].target);
        if (cases[i].fit)
            assert_true(limit == cases[i].limit && after == cases[i].after);
        request_finish(&request);
    }
}

static void test_values(void **state)
{
    (void)state;
    json_t *value = json_time(0);
    assert_true(json_is_null(value));
    json_decref(value);
    value = json_time(1795457819586);
    assert_string_equal(json_string_value(value), "2026-11-23T18:16:59.586Z");
    json_decref(value);
    /* What a mail server said cannot break the document. */
    value = json_line("550 no\r\nsuch \xff user");
    assert_non_null(value);
    assert_null(strpbrk(json_string_value(value), "\r\n\xff"));
    json_decref(value);
    static const char *const not_objects[] = {NULL, "", "[]", "7", "{", "null"};
    for (size_t i = 0; i < countof(not_objects); i++) {
        value = json_attributes(not_objects[i]);
        assert_true(json_is_object(value));
        json_decref(value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_depth),
        cmocka_unit_test(test_fields),    cmocka_unit_test(test_many_problems_do_not_overflow),
        cmocka_unit_test(test_pages),     cmocka_unit_test(test_page_parameters),
        cmocka_unit_test(test_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
