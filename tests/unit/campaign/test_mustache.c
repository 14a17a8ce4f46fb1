/*
 * test_mustache.c - the core tests of the Mustache specification: comments, delimiters, interpolation, inverted,
 * partials, sections; all 136.
 *
 * The files are not part of the source tree. POSTHASTE_CORPORA names the folder that holds mustache-spec; without it
 * the folder beside the checkout is meant. A message has one kind of line end, so CRLF in a template and in what is
 * expected is LF here.
 */
#include "tests/unit/base/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "campaign/message/template.h"

#define TESTS 136

static const char *const files[] = {"comments", "delimiters", "interpolation", "inverted", "partials", "sections"};

static void without_cr(char *text)
{
    char *to = text;
    for (const char *p = text; *p != '\0'; p++)
        if (*p != '\r' || p[1] != '\n')
            *to++ = *p;
    *to = '\0';
}

static bool run(const char *file, const json_t *test)
{
    const char *source = json_string_value(json_object_get(test, "template"));
    char *expected = strdup(json_string_value(json_object_get(test, "expected")));
    const struct template_partials partials = {.texts = json_object_get(test, "partials")};
    struct template_values values = {.attributes = json_object_get(test, "data")};
    struct template *template = NULL;
    struct error err = {{0}};
    struct buffer out = BUFFER_INIT(0);
    assert_non_null(source);
    assert_non_null(expected);
    without_cr(expected);
    int rc = template_compile(source, strlen(source), &partials, &template, &err);
    if (rc == 0)
        rc = template_render(template, &values, TEMPLATE_HTML, &out, &(unsigned){0});
    bool passed = rc == 0 && strcmp(buffer_text(&out), expected) == 0;
    if (!passed)
        print_error("%s, %s: \"%s\"\n gives    \"%s\" %s\n expected \"%s\"\n", file,
                    json_string_value(json_object_get(test, "name")), source, buffer_text(&out), err.text, expected);
    template_free(template);
    buffer_finish(&out);
    free(expected);
    return passed;
}

static void core_of_the_specification(void **state)
{
    (void)state;
    const char *root = getenv("POSTHASTE_CORPORA");
    int count = 0;
    int passed = 0;
    for (size_t i = 0; i < countof(files); i++) {
        char path[1024];
        json_error_t why;
        (void)snprintf(path, sizeof(path), "%s/mustache-spec/specs/%s.json",
                       root != NULL ? root : POSTHASTE_SOURCE_ROOT "/../shared/corpora", files[i]);
        json_t *spec = json_load_file(path, 0, &why);
        if (spec == NULL)
            fail_msg("%s: %s; set POSTHASTE_CORPORA to the folder that holds mustache-spec", path, why.text);
        const json_t *tests = json_object_get(spec, "tests");
        for (size_t n = 0; n < json_array_size(tests); n++) {
            count++;
            passed += run(files[i], json_array_get(tests, n));
        }
        json_decref(spec);
    }
    assert_int_equal(count, TESTS);
    assert_int_equal(passed, TESTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(core_of_the_specification)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
