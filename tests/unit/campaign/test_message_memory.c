/*
 * test_message_memory.c - compiling and composing while memory runs out (failures.md row 21): the first allocation
 * fails, then the second, the third, until everything succeeds; once with a single failure, once with every allocation
 * failing from there on. Linked with --wrap, so that the allocations of our rooms and of jansson come here; those of
 * OpenSSL do not.
 *
 * Success means: never a crash, a leak (the sanitizer build looks for those) or a half-made result; only a whole
 * message or -ENOMEM.
 */
#include "messages.h"

#include <errno.h>

#include "tests/unit/short_memory.h"

static struct {
    long before;   /* allocations that still succeed; negative: all do */
    bool for_ever; /* what fails once fails from then on */
    bool failed;   /* one has failed */
} memory = {.before = -1};

static bool may_allocate(void)
{
    if (memory.before < 0)
        return true;
    if (memory.before > 0) {
        memory.before--;
        return true;
    }
    if (memory.failed && !memory.for_ever)
        return true;
    memory.failed = true;
    return false;
}

static const char spec_text[] =
    "{\"from\":{\"email\":\"news@example.com\",\"name\":\"Example, "
    "Inc.\"},\"reply_to\":\"help@example.com\",\"subject\":\"Hi {{name}}\","
    "\"html\":\"<p>Hi {{name}}</p>\\n<a "
    "href=\\\"{{unsubscribe_url}}\\\">out</a>\\nline\\n{{{x.y}}}\",\"headers\":{\"X-Fixed\":\"one\","
    "\"X-Own\":\"{{x.y}}\"},\"tags\":[\"sale\"],"
    "\"attachments\":[{\"filename\":\"a\",\"content\":\"QUJD\"},{\"filename\":\"b.png\",\"content_type\":\"image/"
    "png\",\"content\":\"QUJD\",\"inline\":true,\"cid\":\"b\"}]}";

static int scenario(const json_t *spec, struct buffer *result)
{
    struct content_options options = {.spec = spec,
                                      .campaign_id = 42,
                                      .campaign_name = "Spring",
                                      .list_names = list_names,
                                      .list_count = 2,
                                      .public_url = "https://mail.example.com",
                                      .bounce_domain = "b.example.com",
                                      .mac = mac,
                                      .signers = {{.key = key, .selector = "s1"}}};
    struct message_recipient recipient = {
        .id = 7, .email = "a@example.net", .attributes_json = "{\"name\":\"Zo\\u00eb\",\"x\":{\"y\":1.5}}"};
    struct content *content = NULL;
    struct composer *composer = NULL;
    struct composed message = {.block = NULL};
    struct message_preview preview = {.subject = NULL};
    struct problem problem = {.count = 0};
    struct error err = {{0}};
    int rc = content_compile(&options, &content, &problem, &err);
    if (rc == 0)
        rc = composer_create(&composer, &err);
    if (rc == 0)
        rc = message_compose(composer, content, &recipient, NOW_MS, &message, &err);
    if (rc == 0)
        rc = message_preview(composer, content, &recipient, NOW_MS, &preview, &err);
    bool told = rc == 0 || err.text[0] != '\0';
    /* jansson's scanner calls some of its own failed allocations a syntax error. */
    if (rc == -EINVAL && strncmp(err.text, "the recipient's attributes", 26) == 0)
        rc = -ENOMEM;
    memory.before = -1;
    assert_true(told);
    assert_int_equal(problem.count, 0);
    if (rc == 0) {
        assert_string_equal(message.data, preview.message.data);
        buffer_append(result, message.data, message.size_bytes);
    } else {
        assert_null(preview.message.block);
    }
    free(message.block);
    message_preview_finish(&preview);
    composer_free(composer);
    content_unref(content);
    return rc;
}

static void run_out_everywhere(bool for_ever)
{
    json_t *spec = json_loads(spec_text, 0, NULL);
    struct buffer expected = BUFFER_INIT(0);
    assert_non_null(spec);
    assert_int_equal(scenario(spec, &expected), 0);
    long n = 0;
    for (memory.failed = true; memory.failed; n++) {
        struct buffer got = BUFFER_INIT(0);
        memory.before = n;
        memory.for_ever = for_ever;
        memory.failed = false;
        int rc = scenario(spec, &got);
        bool as_expected = rc == 0 ? got.len == expected.len && memcmp(got.data, expected.data, got.len) == 0
                                   : rc == -ENOMEM && memory.failed;
        if (!as_expected)
            fail_msg("allocation %ld: %d", n, rc);
        buffer_finish(&got);
    }
    assert_true(n > 50);
    json_decref(spec);
    buffer_finish(&expected);
}

static void one_allocation_fails(void **state)
{
    (void)state;
    run_out_everywhere(false);
}

static void all_allocations_fail_from_then_on(void **state)
{
    (void)state;
    run_out_everywhere(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_allocation_fails),
        cmocka_unit_test(all_allocations_fail_from_then_on),
    };
    return cmocka_run_group_tests(tests, open_keys, close_keys);
}
