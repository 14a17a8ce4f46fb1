/*
 * test_check_message.c - what a launch makes of the campaign's first message, for everything that DNS may hold for its
 * keys.
 */
#include "tests/unit/dkim/keys.h"

#include <string.h>

#include "campaign/preflight/check.h"
#include "fake_lookup.h"

static const char header[] = "From: news@sender.test\r\nTo: a@one.test\r\nSubject: first\r\n";
static const char body[] = "Hello\r\n";
static const char *const selectors[] = {"ph1", "ph1e"};

struct scene {
    struct dkim_key *keys[2], *other;
    struct buffer records[3]; /* of the two, and of a stranger's */
    struct buffer message;
};

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    struct error err = {""};
    assert_non_null(scene);
    scene->keys[0] = load_key(make_rsa(2048));
    scene->keys[1] = load_key(make_ed25519());
    scene->other = load_key(make_rsa(2048));
    scene->message = BUFFER_INIT(0);
    for (int i = 0; i < 3; i++) {
        scene->records[i] = BUFFER_INIT(0);
        assert_int_equal(dkim_record(i < 2 ? scene->keys[i] : scene->other, &scene->records[i], &err), 0);
    }
    for (int i = 0; i < 2; i++) {
        struct dkim_signer *signer = NULL;
        assert_int_equal(dkim_signer_create(scene->keys[i], "sender.test", selectors[i], &signer, &err), 0);
        assert_int_equal(
            dkim_signer_sign(signer, header, strlen(header), body, strlen(body), time(NULL), 0, &scene->message, &err),
            0);
        dkim_signer_free(signer);
    }
    buffer_append_str(&scene->message, header);
    buffer_append_str(&scene->message, "\r\n");
    buffer_append_str(&scene->message, body);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    for (int i = 0; i < 3; i++)
        buffer_finish(&scene->records[i]);
    buffer_finish(&scene->message);
    dkim_key_unref(scene->keys[0]);
    dkim_key_unref(scene->keys[1]);
    dkim_key_unref(scene->other);
    free(scene);
    return 0;
}

static void publish(json_t *zone, int i, const char *record)
{
    char name[64];
    (void)snprintf(name, sizeof(name), "%s._domainkey.sender.test", selectors[i]);
    if (record != NULL)
        assert_int_equal(json_object_set_new(zone, name,
                                             strcmp(record, "FAIL") == 0 ? json_pack("{s:b}", "FAIL", 1)
                                                                         : json_pack("{s:[s]}", "TXT", record)),
                         0);
}

/* The code of the finding for a message and what is published; NULL: nothing. */
static void expect(struct scene *scene, const char *rsa, const char *ed25519, const char *message, size_t len,
                   size_t key_count, const char *code, enum finding_status status)
{
    json_t *zone = json_object();
    struct fake_lookup fake;
    struct check check = {.domain = "sender.test", .findings = json_array(), .key_count = key_count};
    publish(zone, 0, rsa);
    publish(zone, 1, ed25519);
    fake_lookup_init(&fake, zone);
    check.lookup = &fake.base;
    for (size_t i = 0; i < key_count; i++)
        check.keys[i] =
            (struct check_key){.selector = (char *)(uintptr_t)selectors[i], .key = scene->keys[i], .second = i == 1};
    check_message(&check, message, len);
    assert_false(check.no_memory);
    assert_int_equal(json_array_size(check.findings), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(check.findings, 0), "code")), code);
    assert_int_equal(check.worst, status);
    fake_lookup_finish(&fake);
    json_decref(check.findings);
    json_decref(zone);
}

static void the_message_is_judged_by_what_is_in_dns(void **state)
{
    struct scene *scene = *state;
    const char *rsa = buffer_text(&scene->records[0]), *second = buffer_text(&scene->records[1]),
               *stranger = buffer_text(&scene->records[2]);
    const struct {
        const char *rsa, *second, *code;
        enum finding_status status;
    } cases[] = {
        {rsa, second, "dkim-message-verifies", FINDING_OK},
        {rsa, NULL, "dkim-message-verifies", FINDING_OK}, /* Ed25519 alone is missing: check_dkim() warns */
        {rsa, stranger, "dkim-message-verifies", FINDING_OK},
        {stranger, second, "dkim-message-does-not-verify", FINDING_ERROR},
        {NULL, second, "dkim-message-does-not-verify", FINDING_ERROR},
        {NULL, NULL, "dkim-message-does-not-verify", FINDING_ERROR},
        {"v=DKIM1; k=rsa; p=", second, "dkim-message-does-not-verify", FINDING_ERROR},
        {"v=DKIM1; h=sha1; k=rsa; p=AAAA", NULL, "dkim-message-does-not-verify", FINDING_ERROR},
        {"words", second, "dkim-message-does-not-verify", FINDING_ERROR},
        {"FAIL", "FAIL", "dkim-message-unknown", FINDING_WARNING},
        {"FAIL", second, "dkim-message-unknown", FINDING_WARNING},
        {rsa, "FAIL", "dkim-message-unknown", FINDING_WARNING},
    };
    for (size_t i = 0; i < countof(cases); i++)
        expect(scene, cases[i].rsa, cases[i].second, scene->message.data, scene->message.len, 2, cases[i].code,
               cases[i].status);
}

static void a_message_that_was_not_signed_so_is_refused(void **state)
{
    struct scene *scene = *state;
    const char *rsa = buffer_text(&scene->records[0]), *second = buffer_text(&scene->records[1]);
    char *changed = malloc(scene->message.len);
    assert_non_null(changed);
    memcpy(changed, scene->message.data, scene->message.len);
    changed[scene->message.len - 3] = 'O';
    expect(scene, rsa, second, changed, scene->message.len, 2, "dkim-message-does-not-verify", FINDING_ERROR);
    /* Even when nobody can be asked: the keys are here. */
    expect(scene, "FAIL", "FAIL", changed, scene->message.len, 2, "dkim-message-does-not-verify", FINDING_ERROR);
    free(changed);
    const char *plain = "From: news@sender.test\r\nSubject: first\r\n\r\nHello\r\n";
    expect(scene, rsa, second, plain, strlen(plain), 2, "dkim-message-does-not-verify", FINDING_ERROR);
    expect(scene, NULL, NULL, "", 0, 0, "dkim-message-does-not-verify", FINDING_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_message_is_judged_by_what_is_in_dns),
        cmocka_unit_test(a_message_that_was_not_signed_so_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
