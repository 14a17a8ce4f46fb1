/*
 * test_message.c - composing messages: what is refused, what stays the same over attempts, that no value makes a header
 * field or a command, bounds, threads.
 */
#include "messages.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "campaign/message/token.h"

static struct composer *new_composer(void)
{
    struct composer *composer = NULL;
    assert_int_equal(composer_create(&composer, NULL), 0);
    return composer;
}

static void composed_for(struct composer *composer, const struct content *content, const char *email,
                         const char *attributes, struct composed *out)
{
    struct error err = {{0}};
    struct message_recipient recipient = {.id = 7, .email = email, .attributes_json = attributes};
    if (message_compose(composer, content, &recipient, NOW_MS, out, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(strlen(out->data), out->size_bytes);
    assert_memory_equal(out->data + out->size_bytes - 2, "\r\n", 2);
}

/* The field's value up to the end of its last line, unfolded lines kept; fails when it is not there exactly once. */
static void field_of(const char *message, const char *name, char *out, size_t out_bytes)
{
    const char *end = strstr(message, "\r\n\r\n");
    unsigned found = 0;
    for (const char *line = message; line < end + 2; line = strstr(line, "\r\n") + 2) {
        if (strncmp(line, name, strlen(name)) != 0 || line[strlen(name)] != ':')
            continue;
        const char *stop = strstr(line, "\r\n");
        while (stop[2] == ' ' || stop[2] == '\t')
            stop = strstr(stop + 2, "\r\n");
        const char *value = line + strlen(name) + 1;
        value += *value == ' ';
        snprintf(out, out_bytes, "%.*s", (int)(stop - value), value);
        found++;
    }
    if (found != 1)
        fail_msg("%u fields %s in:\n%s", found, name, message);
}

static void assert_field(const struct composed *message, const char *name, const char *expected)
{
    char value[1000];
    field_of(message->data, name, value, sizeof(value));
    assert_string_equal(value, expected);
}

static void both_parts(void **state)
{
    (void)state;
    struct content *content = compiled(BOTH, NULL);
    struct composer *composer = new_composer();
    struct composed m;
    char token[TOKEN_MAX_BYTES + 1];
    char text[400];
    composed_for(composer, content, "a@example.net", "{\"name\":\"<Zo\\u00eb>\",\"x\":{\"y\":3}}", &m);
    assert_string_equal(content_from_domain(content), "example.com");
    assert_field(&m, "From", "Example <news@example.com>");
    assert_field(&m, "To", "a@example.net");
    assert_field(&m, "Reply-To", "help@example.com");
    assert_field(&m, "Subject", "=?utf-8?B?SGkgPFpvw6s+?=");
    assert_field(&m, "Date", "Mon, 23 Nov 2026 18:02:50 +0000");
    assert_field(&m, "List-Id", "Weekly News <weekly-news.example.com>");
    assert_field(&m, "List-Unsubscribe-Post", "List-Unsubscribe=One-Click");
    assert_field(&m, "Feedback-ID", "42:spring-sale:bulk:example.com");
    assert_field(&m, "MIME-Version", "1.0");
    assert_field(&m, "Content-Type", "multipart/alternative; boundary=\"=_posthaste_42\"");
    assert_field(&m, "X-Fixed", "one");
    assert_field(&m, "X-Own", "3");
    assert_int_equal(token_make(mac, TOKEN_UNSUBSCRIBE, 42, 7, token), 0);
    snprintf(text, sizeof(text), "<https://mail.example.com/u/%s>", token);
    assert_field(&m, "List-Unsubscribe", text);
    assert_int_equal(token_make(mac, TOKEN_MESSAGE_ID, 42, 7, token), 0);
    snprintf(text, sizeof(text), "<%s@example.com>", token);
    assert_field(&m, "Message-ID", text);
    assert_int_equal(token_make(mac, TOKEN_RETURN_PATH, 42, 7, token), 0);
    snprintf(text, sizeof(text), "bounce+%s@example.com", token);
    assert_string_equal(m.mail_from, text);
    assert_false(m.eight_bit);
    assert_false(m.smtputf8);
    assert_false(m.missing);
    assert_non_null(strstr(m.data, "\r\n--=_posthaste_42\r\nContent-Type: text/plain; charset=utf-8\r\n"
                                   "Content-Transfer-Encoding: quoted-printable\r\n\r\nHi <Zo=C3=AB>\r\n"));
    assert_non_null(
        strstr(m.data, "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
                       "<p>Hi &lt;Zo=C3=AB&gt;</p>\r\n"));
    assert_string_equal(m.data + m.size_bytes - 22, "\r\n--=_posthaste_42--\r\n");
    free(m.block);
    composer_free(composer);
    content_unref(content);
}

static void text_only_and_html_only(void **state)
{
    (void)state;
    struct composer *composer = new_composer();
    struct composed m;
    struct content *content =
        compiled("{\"from\":{\"email\":\"a@example.com\"},\"subject\":\"s\",\"text\":\"Only {{t}}\"}", NULL);
    composed_for(composer, content, "b@example.net", "{\"t\":\"text\"}", &m);
    assert_field(&m, "Content-Type", "text/plain; charset=utf-8");
    assert_field(&m, "Content-Transfer-Encoding", "quoted-printable");
    assert_field(&m, "Subject", "s");
    assert_field(&m, "From", "a@example.com");
    assert_string_equal(strstr(m.data, "\r\n\r\n") + 4, "Only text\r\n");
    free(m.block);
    content_unref(content);
    content =
        compiled("{\"from\":{\"email\":\"a@example.com\"},\"subject\":\"s\",\"html\":\"<p>Dear {{t}} &amp; co</p>\","
                 "\"text\":\"\",\"reply_to\":null,\"headers\":null,\"tags\":null}",
                 NULL);
    composed_for(composer, content, "b@example.net", "{\"t\":\"<x>\"}", &m);
    assert_non_null(strstr(m.data, "\r\n\r\nDear <x> & co\r\n"));
    assert_non_null(strstr(m.data, "\r\n\r\n<p>Dear &lt;x&gt; &amp; co</p>\r\n"));
    free(m.block);
    content_unref(content);
    composer_free(composer);
}

static void missing_attributes_are_told(void **state)
{
    (void)state;
    struct composer *composer = new_composer();
    struct content *content = compiled(BOTH, NULL);
    struct composed m;
    static const struct {
        const char *attributes;
        bool missing;
    } cases[] = {{NULL, true},
                 {"", true},
                 {"{}", true},
                 {"{\"name\":\"a\"}", true},
                 {"{\"name\":\"a\",\"x\":{\"y\":\"\"}}", false}};
    for (size_t i = 0; i < countof(cases); i++) {
        composed_for(composer, content, "a@example.net", cases[i].attributes, &m);
        assert_int_equal(m.missing, cases[i].missing);
        free(m.block);
    }
    content_unref(content);
    composer_free(composer);
}

static void attempts_keep_their_names(void **state)
{
    (void)state;
    struct composer *composer = new_composer();
    struct composer *other = new_composer();
    struct content *content = compiled(BOTH, NULL);
    struct content *again = compiled(BOTH, NULL);
    struct message_recipient recipient = {.id = 7, .email = "a@example.net", .attributes_json = "{\"name\":\"x\"}"};
    struct composed a;
    struct composed b;
    char one[200];
    char two[200];
    assert_int_equal(message_compose(composer, content, &recipient, NOW_MS, &a, NULL), 0);
    recipient.attributes_json = "{\"name\":\"changed\"}";
    assert_int_equal(message_compose(other, again, &recipient, NOW_MS + 86400000, &b, NULL), 0);
    assert_string_equal(a.mail_from, b.mail_from);
    field_of(a.data, "Message-ID", one, sizeof(one));
    field_of(b.data, "Message-ID", two, sizeof(two));
    assert_string_equal(one, two);
    field_of(a.data, "List-Unsubscribe", one, sizeof(one));
    field_of(b.data, "List-Unsubscribe", two, sizeof(two));
    assert_string_equal(one, two);
    free(b.block);
    recipient.id = 8;
    assert_int_equal(message_compose(composer, content, &recipient, NOW_MS, &b, NULL), 0);
    assert_string_not_equal(a.mail_from, b.mail_from);
    field_of(b.data, "Message-ID", two, sizeof(two));
    field_of(a.data, "Message-ID", one, sizeof(one));
    assert_string_not_equal(one, two);
    free(a.block);
    free(b.block);
    content_unref(content);
    content_unref(again);
    composer_free(composer);
    composer_free(other);
}

static void signed_messages_verify(void **state)
{
    (void)state;
    struct composer *composer = new_composer();
    struct content *content = compiled(BOTH, key);
    struct content *bare = compiled(BOTH, NULL);
    struct composed m;
    struct error err = {{0}};
    for (int i = 0; i < 20; i++) {
        struct message_recipient recipient = {
            .id = i, .email = "a@example.net", .attributes_json = "{\"name\":\" \\r\\n\\r\\n. x \"}"};
        int64_t now_ms = (int64_t)time(NULL) * 1000;
        assert_int_equal(message_compose(composer, i % 5 == 4 ? bare : content, &recipient, now_ms, &m, &err), 0);
        assert_int_equal(dkim_check(m.data, m.size_bytes, record.data, &err), i % 5 == 4 ? 2 : 0);
        if (i % 5 != 4)
            assert_non_null(strstr(m.data, "d=example.com; s=s1;"));
        free(m.block);
    }
    content_unref(content);
    content_unref(bare);
    composer_free(composer);
}

/* RFC 8463: both signatures over the same header, each good by itself; the one that was published wrongly is found. */
static void two_signatures_verify(void **state)
{
    (void)state;
    struct composer *composer = new_composer();
    struct buffer pem = BUFFER_INIT(0);
    struct buffer second = BUFFER_INIT(0);
    struct dkim_key *ed25519 = NULL;
    struct content *content = NULL;
    struct composed m;
    struct error err = {{0}};
    assert_int_equal(dkim_key_generate_ed25519(&pem, &err), 0);
    assert_int_equal(dkim_key_load(pem.data, pem.len, &ed25519, &err), 0);
    assert_int_equal(dkim_record(ed25519, &second, &err), 0);
    json_t *spec = json_loads(BOTH, 0, NULL);
    struct content_options options = {.spec = spec,
                                      .campaign_id = 1,
                                      .public_url = "https://e",
                                      .bounce_domain = "",
                                      .mac = mac,
                                      .signers = {{key, "s1", NULL}, {ed25519, "ed", NULL}}};
    assert_int_equal(content_compile(&options, &content, NULL, &err), 0);
    const struct dkim_published right[] = {{"s1", record.data}, {"ed", second.data}};
    const struct dkim_published swapped[] = {{"s1", second.data}, {"ed", record.data}};
    for (int i = 0; i < 3; i++) {
        composed_for(composer, content, "a@example.net", "{\"name\":\"Zo\\u00eb\"}", &m);
        assert_true(strstr(m.data, "a=rsa-sha256") < strstr(m.data, "a=ed25519-sha256"));
        assert_int_equal(dkim_check_all(m.data, m.size_bytes, right, 2, &err), 0);
        assert_int_equal(dkim_check_all(m.data, m.size_bytes, right, 1, &err), 1);
        assert_int_equal(dkim_check_all(m.data, m.size_bytes, swapped, 2, &err), 1);
        free(m.block);
    }
    content_unref(content);
    composer_free(composer);
    dkim_key_unref(ed25519);
    json_decref(spec);
    buffer_finish(&pem);
    buffer_finish(&second);
}

static void many_keys_take_turns(void **state)
{
    (void)state;
    struct composer *composer = new_composer();
    struct content *contents[20];
    struct composed m;
    struct error err = {{0}};
    json_t *spec = json_loads(BOTH, 0, NULL);
    for (size_t i = 0; i < countof(contents); i++) {
        char selector[16];
        snprintf(selector, sizeof(selector), "s%zu", i);
        struct content_options options = {.spec = spec,
                                          .campaign_id = 1,
                                          .campaign_name = "c",
                                          .public_url = "https://e",
                                          .bounce_domain = "b.example.org",
                                          .mac = mac,
                                          .signers = {{.key = key, .selector = selector, .domain = "example.org"}}};
        assert_int_equal(content_compile(&options, &contents[i], NULL, &err), 0);
    }
    for (size_t i = 0; i < 60; i++) {
        char expected[64];
        snprintf(expected, sizeof(expected), "d=example.org; s=s%zu;", i * 7 % countof(contents));
        composed_for(composer, contents[i * 7 % countof(contents)], "a@example.net", "{}", &m);
        assert_non_null(strstr(m.data, expected));
        assert_non_null(strstr(m.mail_from, "@b.example.org"));
        free(m.block);
    }
    for (size_t i = 0; i < countof(contents); i++)
        content_unref(contents[i]);
    json_decref(spec);
    composer_free(composer);
}

static void unusable_recipients_are_refused(void **state)
{
    (void)state;
    struct composer *composer = new_composer();
    struct content *content = compiled(BOTH, NULL);
    static const struct {
        const char *email, *attributes;
    } cases[] = {
        {"", "{}"},
        {"nobody", "{}"},
        {"a@example.net\r\nBcc: b@example.net", "{}"},
        {"a@example.net>, <b@example.net", "{}"},
        {"a@example.net", "{"},
        {"a@example.net", "[]"},
        {"a@example.net", "\"text\""},
        {"a@example.net", "{\"name\":\"\xff\"}"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct message_recipient recipient = {.id = 1, .email = cases[i].email, .attributes_json = cases[i].attributes};
        struct composed m;
        struct error err = {{0}};
        assert_int_equal(message_compose(composer, content, &recipient, NOW_MS, &m, &err), -EINVAL);
        assert_null(m.block);
        assert_string_not_equal(err.text, "");
    }
    content_unref(content);
    composer_free(composer);
}

static void utf8_addresses_need_smtputf8(void **state)
{
    (void)state;
    struct composer *composer = new_composer();
    struct content *content = compiled(BOTH, NULL);
    struct composed m;
    composed_for(composer, content, "\xc3\xa4@example.net", "{}", &m);
    assert_true(m.smtputf8);
    assert_true(m.eight_bit);
    assert_field(&m, "To", "\xc3\xa4@example.net");
    free(m.block);
    content_unref(content);
    composer_free(composer);
}

static unsigned count_fields(const char *message)
{
    unsigned count = 0;
    const char *end = strstr(message, "\r\n\r\n");
    for (const char *line = message; line < end + 2; line = strstr(line, "\r\n") + 2)
        count += *line != ' ' && *line != '\t';
    return count;
}

/* failures.md rows 8, 9: every hostile value in every place; the number of fields, boundaries and lines with bare ends
 * must not change. */
static void hostile_values_change_nothing(void **state)
{
    (void)state;
    static const char *const hostile[] = {
        "\\r\\nBcc: x@example.com",
        "\\nBcc: x",
        "\\rBcc: x",
        "\\u0000",
        "\\u2028X: y",
        "\\u2029",
        "\\u0085X: y",
        "\\r\\n\\r\\nbody",
        "=?utf-8?B?DQpYOg==?=",
        "\\r\\n.\\r\\nMAIL FROM:<>\\r\\n",
        "\\r\\n--=_posthaste_42\\r\\n",
        "\\r\\n--=_posthaste_42--\\r\\n",
        ".",
        "\\t",
        "\\u000b\\u000c\\u001e",
        "<\\/script>",
        "\\\"",
        "{{name}}",
        "{{{x}}}",
        "\\ud83d\\ude00",
    };
    struct composer *composer = new_composer();
    struct content *content = compiled(BOTH, NULL);
    struct composed plain;
    composed_for(composer, content, "a@example.net", "{\"name\":\"v\",\"x\":{\"y\":\"v\"}}", &plain);
    unsigned fields = count_fields(plain.data);
    assert_int_equal(fields, 14);
    for (size_t i = 0; i < countof(hostile); i++)
        for (size_t j = 0; j < countof(hostile); j++) {
            char attributes[400];
            struct composed m;
            snprintf(attributes, sizeof(attributes), "{\"name\":\"a%s%sb\",\"x\":{\"y\":\"%s%s\"}}", hostile[i],
                     hostile[j], hostile[j], hostile[i]);
            composed_for(composer, content, "a@example.net", attributes, &m);
            assert_int_equal(count_fields(m.data), fields);
            assert_string_equal(m.mail_from, plain.mail_from);
            unsigned boundaries = 0;
            for (const char *at = m.data; (at = strstr(at, "\r\n--=_posthaste_42")) != NULL; at++)
                boundaries++;
            assert_int_equal(boundaries, 3);
            for (const char *at = m.data; *at != '\0'; at++) {
                assert_true(*at != '\n' || (at > m.data && at[-1] == '\r'));
                assert_true(*at != '\r' || at[1] == '\n');
                assert_true(*at != '.' || at == m.data || at[-1] != '\n');
                assert_true((uint8_t)*at < 0x80);
            }
            free(m.block);
        }
    free(plain.block);
    content_unref(content);
    composer_free(composer);
}

static void sizes_are_bounded(void **state)
{
    (void)state;
    struct composer *composer = new_composer();
    struct content *content =
        compiled("{\"from\":{\"email\":\"a@example.com\"},\"subject\":\"s\",\"text\":\"{{a}}\"}", NULL);
    struct content *in_subject =
        compiled("{\"from\":{\"email\":\"a@example.com\"},\"subject\":\"{{a}}\",\"text\":\"t\"}", NULL);
    size_t large = CONTENT_PART_MAX_BYTES;
    char *attributes = malloc(large + 32);
    struct composed m;
    struct error err = {{0}};
    for (size_t extra = 0; extra < 2; extra++) {
        memcpy(attributes, "{\"a\":\"", 6);
        memset(attributes + 6, 'x', large + extra);
        memcpy(attributes + 6 + large + extra, "\"}", 3);
        struct message_recipient recipient = {.id = 1, .email = "a@example.net", .attributes_json = attributes};
        assert_int_equal(message_compose(composer, content, &recipient, NOW_MS, &m, &err), extra == 0 ? 0 : -E2BIG);
        free(m.block);
        assert_int_equal(message_compose(composer, in_subject, &recipient, NOW_MS, &m, &err), -E2BIG);
    }
    memcpy(attributes, "{\"a\":\"", 6);
    memset(attributes + 6, 'x', 20000);
    memcpy(attributes + 6 + 20000, "\"}", 3);
    composed_for(composer, in_subject, "a@example.net", attributes, &m);
    assert_true(m.size_bytes < 5000); /* a subject is cut */
    free(m.block);
    json_t *spec = json_loads(BOTH, 0, NULL);
    memset(attributes, 'x', large + 1);
    json_object_set_new(spec, "html", json_stringn(attributes, large + 1));
    struct content_options options = {.spec = spec, .public_url = "https://e", .bounce_domain = ""};
    struct content *none = NULL;
    struct problem problem = {.count = 0};
    assert_int_equal(content_compile(&options, &none, &problem, &err), -EINVAL);
    assert_string_equal(problem.fields[0].field, "html");
    assert_non_null(strstr(problem.fields[0].message, "too long"));
    json_decref(spec);
    free(attributes);
    content_unref(content);
    content_unref(in_subject);
    composer_free(composer);
}

static void preview_shows_what_is_sent(void **state)
{
    (void)state;
    struct composer *composer = new_composer();
    struct content *content = compiled(BOTH, key);
    struct message_recipient recipient = {
        .id = 7, .email = "a@example.net", .attributes_json = "{\"name\":\"<Z>\\r\\n\"}"};
    struct message_preview preview;
    assert_int_equal(message_preview(composer, content, &recipient, NOW_MS, &preview, NULL), 0);
    assert_string_equal(preview.subject, "Hi <Z>  ");
    assert_true(strncmp(preview.html, "<p>Hi &lt;Z&gt;\r\n</p>\n<a href=\"https://mail.example.com/u/", 50) == 0);
    assert_true(strncmp(preview.text, "Hi <Z>\r\n\nhttps://", 17) == 0);
    assert_true(preview.message.size_bytes > 1000 && preview.message.missing);
    message_preview_finish(&preview);
    message_preview_finish(&preview);
    recipient.attributes_json = "{\"name\":\"a\\u0000b\"}";
    assert_int_equal(message_preview(composer, content, &recipient, NOW_MS, &preview, NULL), 0);
    assert_true(strncmp(preview.text, "Hi ab\nhttps://", 14) == 0);
    message_preview_finish(&preview);
    recipient.attributes_json = "{";
    assert_int_equal(message_preview(composer, content, &recipient, NOW_MS, &preview, NULL), -EINVAL);
    content_unref(content);
    composer_free(composer);
}

struct shared {
    struct content *content;
    char expected[200];
};

static void *compose_many(void *context)
{
    struct shared *shared = context;
    struct composer *composer = NULL;
    void *failed = NULL;
    if (composer_create(&composer, NULL) < 0)
        return context;
    for (int i = 0; i < 200 && failed == NULL; i++) {
        struct message_recipient recipient = {.id = 7, .email = "a@example.net", .attributes_json = "{\"name\":\"x\"}"};
        struct composed m;
        if (message_compose(composer, shared->content, &recipient, NOW_MS, &m, NULL) < 0 ||
            strcmp(m.mail_from, shared->expected) != 0)
            failed = context;
        free(m.block);
    }
    content_unref(shared->content);
    composer_free(composer);
    return failed;
}

static void threads_share_a_content(void **state)
{
    (void)state;
    struct shared shared = {.content = compiled(BOTH, key)};
    struct composer *composer = new_composer();
    struct composed m;
    pthread_t threads[3];
    composed_for(composer, shared.content, "a@example.net", "{}", &m);
    snprintf(shared.expected, sizeof(shared.expected), "%s", m.mail_from);
    free(m.block);
    for (size_t i = 0; i < countof(threads); i++) {
        (void)content_ref(shared.content);
        assert_int_equal(pthread_create(&threads[i], NULL, compose_many, &shared), 0);
    }
    content_unref(shared.content);
    for (size_t i = 0; i < countof(threads); i++) {
        void *failed = &shared;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    composer_free(composer);
}

/* What holds on to an old content, and outlives everybody's reference to the new one, composes the new one. */
static void the_newest_content_is_composed(void **state)
{
    (void)state;
    struct content *contents[3];
    struct composer *composer = new_composer();
    struct composed m;
    for (int i = 0; i < 3; i++)
        contents[i] = compiled(i == 0   ? "{\"from\":{\"email\":\"n@example.com\"},\"subject\":\"0\",\"text\":\"x\"}"
                               : i == 1 ? "{\"from\":{\"email\":\"n@example.com\"},\"subject\":\"1\",\"text\":\"x\"}"
                                        : "{\"from\":{\"email\":\"n@example.com\"},\"subject\":\"2\",\"text\":\"x\"}",
                               NULL);
    assert_ptr_equal(content_newest(contents[0]), contents[0]);
    content_supersede(contents[0], contents[0]); /* itself: nothing */
    assert_ptr_equal(content_newest(contents[0]), contents[0]);
    content_supersede(contents[0], contents[1]);
    content_supersede(contents[0], contents[2]); /* once only */
    assert_ptr_equal(content_newest(contents[0]), contents[1]);
    content_supersede(contents[1], contents[2]);
    content_unref(contents[1]);
    content_unref(contents[2]);
    composed_for(composer, content_newest(contents[0]), "a@example.net", NULL, &m);
    assert_field(&m, "Subject", "2");
    free(m.block);
    content_unref(contents[0]);
    composer_free(composer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_parts),
        cmocka_unit_test(the_newest_content_is_composed),
        cmocka_unit_test(text_only_and_html_only),
        cmocka_unit_test(missing_attributes_are_told),
        cmocka_unit_test(attempts_keep_their_names),
        cmocka_unit_test(signed_messages_verify),
        cmocka_unit_test(two_signatures_verify),
        cmocka_unit_test(many_keys_take_turns),
        cmocka_unit_test(unusable_recipients_are_refused),
        cmocka_unit_test(utf8_addresses_need_smtputf8),
        cmocka_unit_test(hostile_values_change_nothing),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(preview_shows_what_is_sent),
        cmocka_unit_test(threads_share_a_content),
    };
    return cmocka_run_group_tests(tests, open_keys, close_keys);
}
