/*
 * test_message_content.c - compiling a campaign's content: every fault of the spec is found, named by its field and
 * told together with the others.
 */
#include "messages.h"

#include <errno.h>

#include "campaign/message/attachment.h"

static void faults_name_their_field(void **state)
{
    (void)state;
#define REST "\"subject\":\"s\",\"text\":\"t\""
#define FROM "\"from\":{\"email\":\"a@example.com\"}"
    static const struct {
        const char *spec, *field, *message;
    } cases[] = {
        {"{" REST "}", "from", "missing"},
        {"{\"from\":\"a@example.com\"," REST "}", "from", "object"},
        {"{\"from\":{}," REST "}", "from.email", "missing"},
        {"{\"from\":{\"email\":5}," REST "}", "from.email", "must be a string"},
        {"{\"from\":{\"email\":\"nobody\"}," REST "}", "from.email", "not an e-mail address"},
        {"{\"from\":{\"email\":\"a@example.com\\r\\nBcc: b@example.com\"}," REST "}", "from.email",
         "not an e-mail address"},
        {"{\"from\":{\"email\":\"a@example.com\",\"nmae\":\"x\"}," REST "}", "from.nmae", "not a known field"},
        {"{\"from\":{\"email\":\"a@example.com\",\"name\":1}," REST "}", "from.name", "must be a string"},
        {"{\"from\":{\"email\":\"a@example.com\",\"name\":\"x\\ny\"}," REST "}", "from.name", "one line"},
        {"{\"from\":{\"email\":\"a@example.com\",\"name\":\"for {{x}}\"}," REST "}", "from.name", "cannot hold tags"},
        {"{" FROM ",\"reply_to\":\"x\"," REST "}", "reply_to", "not an e-mail address"},
        {"{" FROM ",\"reply_to\":[]," REST "}", "reply_to", "must be a string"},
        {"{" FROM ",\"text\":\"t\"}", "subject", "missing"},
        {"{" FROM ",\"subject\":\"\",\"text\":\"t\"}", "subject", "missing"},
        {"{" FROM ",\"subject\":7,\"text\":\"t\"}", "subject", "must be a string"},
        {"{" FROM ",\"subject\":\"a\\r\\nb\",\"text\":\"t\"}", "subject", "one line"},
        {"{" FROM ",\"subject\":\"a\\u0000b\",\"text\":\"t\"}", "subject", "one line"},
        {"{" FROM ",\"subject\":\"{{#x}}\",\"text\":\"t\"}", "subject", "line 1, column 1: the section"},
        {"{" FROM ",\"subject\":\"s\"}", "html", "missing"},
        {"{" FROM ",\"subject\":\"s\",\"html\":\"\",\"text\":\"\"}", "html", "missing"},
        {"{" FROM ",\"subject\":\"s\",\"html\":true}", "html", "must be a string"},
        {"{" FROM ",\"subject\":\"s\",\"html\":\"a\\nb {{x\"}", "html", "line 2, column 3"},
        {"{" FROM ",\"subject\":\"s\",\"html\":\"h\",\"text\":\"{{}}\"}", "text", "line 1, column 1"},
        {"{" FROM "," REST ",\"headers\":[]}", "headers", "object"},
        {"{" FROM "," REST ",\"headers\":{\"X-A\":1}}", "headers.X-A", "must be a string"},
        {"{" FROM "," REST ",\"headers\":{\"X-A\":\"a\\nb\"}}", "headers.X-A", "one line"},
        {"{" FROM "," REST ",\"headers\":{\"X-A\":\"{{x\"}}", "headers.X-A", "line 1"},
        {"{" FROM "," REST ",\"headers\":{\"X A\":\"x\"}}", "headers.X A", "not a header field name"},
        {"{" FROM "," REST ",\"headers\":{\"X\\r\\nBcc\":\"x\"}}", "headers.X  Bcc", "not a header field name"},
        {"{" FROM "," REST ",\"headers\":{\"subject\":\"x\"}}", "headers.subject", "cannot be set"},
        {"{" FROM "," REST ",\"headers\":{\"Content-Type\":\"x\"}}", "headers.Content-Type", "cannot be set"},
        {"{" FROM "," REST ",\"headers\":{\"X-A\":\"x\",\"x-a\":\"y\"}}", "headers.x-a", "twice"},
        {"{" FROM ",\"subject\":\"s\",\"html\":\"{{>x}}\"}", "html", "line 1, column 1: there is no partial"},
        {"{" FROM ",\"subject\":\"s\",\"html\":\"{{#a}}<p title='{{/a}}'>\"}", "text", "is needed: the section \"a\""},
        {"{" FROM "," REST ",\"attachments\":{}}", "attachments", "array"},
        {"{" FROM "," REST ",\"attachments\":[1]}", "attachments[0]", "object"},
#define FILE_WITH(more)                                                                                                \
    "{" FROM "," REST ",\"html\":\"h\",\"attachments\":[{\"filename\":\"f\",\"content\":\"QQ==\"," more "}]}"
        {"{" FROM "," REST ",\"attachments\":[{\"content\":\"QQ==\"}]}", "attachments[0].filename", "missing"},
        {"{" FROM "," REST ",\"attachments\":[{\"filename\":\"f\"}]}", "attachments[0].content", "missing"},
        {FILE_WITH("\"size\":1"), "attachments[0].size", "not a known field"},
        {FILE_WITH("\"filename\":\"a/b\""), "attachments[0].filename", "slash"},
        {FILE_WITH("\"filename\":\"a\\r\\nX: b\""), "attachments[0].filename", "control"},
        {FILE_WITH("\"filename\":\"\""), "attachments[0].filename", "1 to"},
        {FILE_WITH("\"content\":\"A\""), "attachments[0].content", "not base64"},
        {FILE_WITH("\"content\":7"), "attachments[0].content", "base64"},
        {FILE_WITH("\"content_type\":\"png\""), "attachments[0].content_type", "media type"},
        {FILE_WITH("\"content_type\":\"a/b\\r\\nX: y\""), "attachments[0].content_type", "control"},
        {FILE_WITH("\"content_type\":\"a/b; c\""), "attachments[0].content_type", "media type"},
        {FILE_WITH("\"content_type\":\"a/b; c=\\\"d\\\"\""), "attachments[0].content_type", "media type"},
        {FILE_WITH("\"content_type\":\"Message/rfc822\""), "attachments[0].content_type", "cannot be"},
        {FILE_WITH("\"inline\":1"), "attachments[0].inline", "true or false"},
        {FILE_WITH("\"inline\":true"), "attachments[0].cid", "missing"},
        {FILE_WITH("\"inline\":true,\"cid\":\"a>b\""), "attachments[0].cid", "may hold"},
        {FILE_WITH("\"cid\":\"a\""), "attachments[0].cid", "inline files only"},
        {"{" FROM "," REST ",\"attachments\":[{\"filename\":\"f\",\"content\":\"\",\"inline\":true,\"cid\":\"x\"}]}",
         "attachments[0].inline", "HTML"},
        {"{" FROM "," REST
         ",\"html\":\"h\",\"attachments\":[{\"filename\":\"f\",\"content\":\"\",\"inline\":true,\"cid\":\"x\"},"
         "{\"filename\":\"g\",\"content\":\"\",\"inline\":true,\"cid\":\"x\"}]}",
         "attachments[1].cid", "another file"},
        {"{" FROM "," REST ",\"tags\":\"x\"}", "tags", "array"},
        {"{" FROM "," REST ",\"tags\":[1]}", "tags", "array"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct problem problem = {.count = 0};
        struct error err = {{0}};
        struct content *content = (struct content *)1;
        if (compile(cases[i].spec, NULL, &content, &problem, &err) != -EINVAL)
            fail_msg("passes: %s", cases[i].spec);
        assert_null(content);
        assert_string_not_equal(err.text, "");
        if (problem.count != 1 || strcmp(problem.fields[0].field, cases[i].field) != 0 ||
            strstr(problem.fields[0].message, cases[i].message) == NULL)
            fail_msg("%s: %zu, %s: %s", cases[i].spec, problem.count, problem.fields[0].field,
                     problem.fields[0].message);
        assert_int_equal(compile(cases[i].spec, NULL, &content, NULL, NULL), -EINVAL);
    }
}

static void files_are_bounded(void **state)
{
    (void)state;
    static const struct {
        size_t files, bytes;
        const char *field;
    } cases[] = {{1, ATTACHMENTS_MAX_BYTES, NULL},
                 {1, ATTACHMENTS_MAX_BYTES + 1, "attachments[0].content"},
                 {1, 3 * ATTACHMENTS_MAX_BYTES, "attachments[0].content"},
                 {4, ATTACHMENTS_MAX_BYTES / 4 + 1, "attachments[3].content"},
                 {ATTACHMENTS_MAX, 1, NULL},
                 {ATTACHMENTS_MAX + 1, 1, "attachments"}};
    for (size_t i = 0; i < countof(cases); i++) {
        struct problem problem = {.count = 0};
        struct content *content = NULL;
        size_t digits = (cases[i].bytes + 2) / 3 * 4;
        char *text = malloc(digits + 1);
        assert_non_null(text);
        memset(text, 'A', digits + 1);
        memset(text + digits - (3 - cases[i].bytes % 3) % 3, '=', (3 - cases[i].bytes % 3) % 3);
        text[digits] = '\0';
        json_t *spec = json_loads("{" FROM "," REST "}", 0, NULL);
        json_t *files = json_array();
        for (size_t n = 0; n < cases[i].files; n++)
            json_array_append_new(files, json_pack("{s:s, s:s}", "filename", "f", "content", text));
        json_object_set_new(spec, "attachments", files);
        struct content_options options = {.spec = spec, .public_url = "https://e", .mac = mac, .bounce_domain = ""};
        int rc = content_compile(&options, &content, &problem, NULL);
        assert_int_equal(rc, cases[i].field == NULL ? 0 : -EINVAL);
        if (cases[i].field != NULL)
            assert_string_equal(problem.fields[0].field, cases[i].field);
        assert_int_equal(problem.count, cases[i].field != NULL);
        content_unref(content);
        json_decref(spec);
        free(text);
    }
}

static void every_fault_is_told_at_once(void **state)
{
    (void)state;
    struct problem problem = {.count = 0};
    struct content *content = NULL;
    assert_int_equal(
        compile("{\"from\":{\"email\":\"x\"},\"subject\":\"{{\",\"html\":\"{{\",\"text\":\"{{\",\"reply_to\":\"y\","
                "\"headers\":{\"To\":\"z\"},\"tags\":5}",
                NULL, &content, &problem, NULL),
        -EINVAL);
    assert_int_equal(problem.count, 7);
    /* More than are kept: counted. */
    json_t *spec = json_loads("{\"from\":{\"email\":\"a@example.com\"},\"subject\":\"s\",\"text\":\"t\"}", 0, NULL);
    json_t *headers = json_object();
    for (int i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof(name), "Content-%d", i);
        json_object_set_new(headers, name, json_string("x"));
    }
    json_object_set_new(spec, "headers", headers);
    struct content_options options = {.spec = spec, .public_url = "https://e", .bounce_domain = ""};
    problem.count = 0;
    assert_int_equal(content_compile(&options, &content, &problem, NULL), -EINVAL);
    assert_int_equal(problem.count, 100);
    json_decref(spec);
}

static void configuration_faults_are_errors(void **state)
{
    (void)state;
    json_t *spec = json_loads(BOTH, 0, NULL);
    static const struct {
        const char *url, *domain, *why;
    } cases[] = {
        {"", "", "public_url"},
        {"///", "", "public_url"},
        {"https://e/\r\nX: y", "", "public_url"},
        {"https://e/<x>", "", "public_url"},
        {"https://e", "not a domain", "bounce_domain"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct content_options options = {
            .spec = spec, .public_url = cases[i].url, .bounce_domain = cases[i].domain, .mac = mac};
        struct content *content = NULL;
        struct problem problem = {.count = 0};
        struct error err = {{0}};
        assert_true(content_compile(&options, &content, &problem, &err) < 0);
        assert_int_equal(problem.count, 0);
        assert_non_null(strstr(err.text, cases[i].why));
    }
    json_decref(spec);
}

static void problems_are_bounded_lines(void **state)
{
    (void)state;
    struct problem problem = {.count = 0};
    char large[1000];
    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    problem_add(NULL, "field", "nobody reads %s", "this");
    problem_add(&problem, large, "%s", large);
    assert_int_equal(strlen(problem.fields[0].field), sizeof(problem.fields[0].field) - 1);
    assert_int_equal(strlen(problem.fields[0].message), sizeof(problem.fields[0].message) - 1);
    problem_add(&problem, "a\nb", "\xff %s\r\nd", "c");
    assert_string_equal(problem.fields[1].field, "a b");
    assert_string_equal(problem.fields[1].message, "? c  d");
    for (int i = 0; i < 100; i++)
        problem_add(&problem, "f", "m");
    assert_int_equal(problem.count, 102);
    assert_string_equal(problem.fields[PROBLEM_FIELDS_MAX - 1].field, "f");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_name_their_field),     cmocka_unit_test(files_are_bounded),
        cmocka_unit_test(every_fault_is_told_at_once), cmocka_unit_test(configuration_faults_are_errors),
        cmocka_unit_test(problems_are_bounded_lines),
    };
    return cmocka_run_group_tests(tests, open_keys, close_keys);
}
