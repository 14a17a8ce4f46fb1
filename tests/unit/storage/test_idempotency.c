/*
 * test_idempotency.c - a key is new once; its answer comes back until it is a day old; nothing grows without bound.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/storage/support.h"

#define NOW INT64_C(1000000000)

static const uint8_t one[32] = {1}, two[32] = {2};

static int begin(struct fixture *fixture, int64_t owner, const char *key, const uint8_t *hash, int64_t now_ms)
{
    struct idempotency_answer answer;
    struct error err = {""};
    int result = storage_idempotency_begin(fixture->storage, owner, key, hash, now_ms, &answer, &err);
    idempotency_answer_finish(&answer);
    return result;
}

static void answer(struct fixture *fixture, int64_t owner, const char *key, int status, char *body)
{
    struct error err = {""};
    struct idempotency_answer made = {
        .status = status, .location = (char[]){"/v1/lists/1"}, .body = body, .body_len = strlen(body)};
    must(storage_idempotency_answer(fixture->storage, owner, key, &made, &err));
}

static void a_key_is_new_once(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {""};
    fixture_open(&fixture, true);
    assert_int_equal(begin(&fixture, 1, "k", one, NOW), 0);
    assert_int_equal(begin(&fixture, 1, "k", one, NOW + 1), IDEMPOTENCY_RUNNING);
    assert_int_equal(begin(&fixture, 1, "k", two, NOW + 1), IDEMPOTENCY_OTHER);
    assert_int_equal(begin(&fixture, 2, "k", two, NOW), 0); /* another token's */
    assert_int_equal(begin(&fixture, 1, "K", two, NOW), 0);
    answer(&fixture, 1, "k", 201, (char[]){"{\"id\":1}"});
    struct idempotency_answer again;
    assert_int_equal(storage_idempotency_begin(fixture.storage, 1, "k", one, NOW + 2, &again, &err),
                     IDEMPOTENCY_ANSWERED);
    assert_int_equal(again.status, 201);
    assert_string_equal(again.body, "{\"id\":1}");
    assert_int_equal(again.body_len, 8);
    assert_string_equal(again.location, "/v1/lists/1");
    idempotency_answer_finish(&again);
    idempotency_answer_finish(&again);
    assert_int_equal(begin(&fixture, 1, "k", two, NOW + 2), IDEMPOTENCY_OTHER);
    struct idempotency_answer none = {.status = 200};
    assert_int_equal(storage_idempotency_answer(fixture.storage, 1, "nobody", &none, &err), STORAGE_NOT_FOUND);
    assert_int_equal(storage_idempotency_answer(fixture.storage, 1, "k", &none, &err), STORAGE_NOT_FOUND);
    must(storage_idempotency_forget(fixture.storage, 1, "K", &err));
    must(storage_idempotency_forget(fixture.storage, 1, "K", &err));
    assert_int_equal(begin(&fixture, 1, "K", one, NOW), 0);
    assert_int_equal(begin(&fixture, 1, "", one, NOW), -EINVAL);
    char longest[IDEMPOTENCY_KEY_MAX_BYTES + 2];
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(begin(&fixture, 1, longest, one, NOW), -EINVAL);
    longest[sizeof(longest) - 2] = '\0';
    assert_int_equal(begin(&fixture, 1, longest, one, NOW), 0);
    fixture_remove(&fixture);
}

static void a_restart_keeps_answers_and_cuts_off_the_rest(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {""};
    fixture_open(&fixture, true);
    assert_int_equal(begin(&fixture, 1, "done", one, NOW), 0);
    answer(&fixture, 1, "done", 201, (char[]){"{}"});
    assert_int_equal(begin(&fixture, 1, "cut", one, NOW), 0);
    fixture_close(&fixture);
    fixture_reopen(&fixture, true);
    must(storage_idempotency_open(fixture.storage, &err));
    assert_int_equal(begin(&fixture, 1, "done", one, NOW), IDEMPOTENCY_ANSWERED);
    assert_int_equal(begin(&fixture, 1, "cut", one, NOW), IDEMPOTENCY_INTERRUPTED);
    assert_int_equal(begin(&fixture, 1, "cut", two, NOW), IDEMPOTENCY_OTHER);
    fixture_remove(&fixture);
}

static void check_size(const struct fixture *fixture)
{
    assert_int_equal(sql_int(fixture, "SELECT rows FROM idempotency_size"),
                     sql_int(fixture, "SELECT count(*) FROM idempotency"));
    assert_int_equal(sql_int(fixture, "SELECT bytes FROM idempotency_size"),
                     sql_int(fixture, "SELECT coalesce(sum(length(body)), 0) FROM idempotency"));
}

static void a_day_later_all_is_forgotten(void **state)
{
    (void)state;
    struct fixture fixture;
    char key[32];
    fixture_open(&fixture, true);
    for (int i = 0; i < 100; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(begin(&fixture, 1, key, one, NOW), 0);
        answer(&fixture, 1, key, 201, (char[]){"{\"some\":\"body\"}"});
    }
    check_size(&fixture);
    int64_t later = NOW + IDEMPOTENCY_KEEP_MS + 1;
    assert_int_equal(begin(&fixture, 1, "k99", one, later - 1), IDEMPOTENCY_ANSWERED);
    assert_int_equal(begin(&fixture, 1, "k99", two, later), 0);
    assert_int_equal(begin(&fixture, 1, "new", two, later), 0);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM idempotency"), 2);
    check_size(&fixture);
    fixture_remove(&fixture);
}

static void when_it_is_full_only_time_helps(void **state)
{
    (void)state;
    struct fixture fixture;
    char key[32];
    fixture_open(&fixture, true);
    for (int i = 0; i < 150; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(begin(&fixture, 1, key, one, NOW), 0);
    }
    sql_exec(&fixture, "UPDATE idempotency_size SET bytes = 1000000000");
    assert_int_equal(begin(&fixture, 1, "more", one, NOW + 1), IDEMPOTENCY_FULL);
    assert_int_equal(begin(&fixture, 1, "k1", one, NOW + 1), IDEMPOTENCY_RUNNING);
    sql_exec(&fixture, "UPDATE idempotency_size SET bytes = 0, rows = 200100");
    assert_int_equal(begin(&fixture, 1, "more", one, NOW + 1), IDEMPOTENCY_FULL);
    /* What is old goes although the slice that a new key brings along is not enough. */
    assert_int_equal(begin(&fixture, 1, "more", one, NOW + IDEMPOTENCY_KEEP_MS + 1), 0);
    assert_true(sql_int(&fixture, "SELECT count(*) FROM idempotency") <= 51);
    fixture_remove(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_new_once),
        cmocka_unit_test(a_restart_keeps_answers_and_cuts_off_the_rest),
        cmocka_unit_test(a_day_later_all_is_forgotten),
        cmocka_unit_test(when_it_is_full_only_time_helps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
