/*
 * test_access.c - tokens, sending domains, secrets, suppressions.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/storage/support.h"

static int keep_token(void *context, const struct storage_token *token)
{
    *(struct storage_token *)context = *token;
    return 0;
}

static int count_token(void *context, const struct storage_token *token)
{
    (void)token;
    ++*(int *)context;
    return 0;
}

static void tokens_live_until_revoked(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    uint8_t hash[32] = {1}, other[32] = {2};
    int64_t id, second;
    struct storage_token token = {0};
    must(storage_token_add(fixture.storage, "ci", TOKEN_SEND, hash, 10, &id, &err));
    must(storage_token_add(fixture.storage, "ops", TOKEN_ADMIN, other, 11, &second, &err));
    assert_true(storage_token_add(fixture.storage, "twin", TOKEN_READ, hash, 12, &id, &err) < 0);
    must(storage_token_check(fixture.reader, hash, keep_token, &token, &err));
    id = token.id;
    assert_int_equal(token.scope, TOKEN_SEND);
    assert_int_equal(token.last_used_ms, 0);
    must(storage_token_used(fixture.storage, id, 50, &err));
    must(storage_token_revoke(fixture.storage, id, 60, &err));
    assert_int_equal(storage_token_revoke(fixture.storage, id, 61, &err), STORAGE_NOT_FOUND);
    assert_int_equal(storage_token_revoke(fixture.storage, 999, 61, &err), STORAGE_NOT_FOUND);
    assert_int_equal(storage_token_check(fixture.reader, hash, keep_token, &token, &err), STORAGE_NOT_FOUND);
    must(storage_token_check(fixture.reader, other, keep_token, &token, &err));
    assert_int_equal(token.id, second);
    int count = 0;
    must(storage_token_list(fixture.reader, count_token, &count, &err));
    assert_int_equal(count, 2);
    fixture_remove(&fixture);
}

static int check_domain(void *context, const struct storage_domain *domain)
{
    assert_string_equal(domain->selector, "ph1");
    assert_string_equal(domain->key_file, "dkim/example.org.ph1.pem");
    ++*(int *)context;
    return 0;
}

static void sending_domains_are_added_once(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    struct storage_domain domain = {.name = "example.org",
                                    .selector = "ph1",
                                    .key_file = "dkim/example.org.ph1.pem",
                                    .dkim_record = "v=DKIM1; p=",
                                    .created_ms = 5};
    int count = 0;
    must(storage_domain_add(fixture.storage, &domain, &err));
    assert_int_equal(storage_domain_add(fixture.storage, &domain, &err), STORAGE_EXISTS);
    must(storage_domain_get(fixture.reader, "example.org", check_domain, &count, &err));
    assert_int_equal(storage_domain_get(fixture.reader, "example.com", check_domain, &count, &err), STORAGE_NOT_FOUND);
    must(storage_domain_list(fixture.reader, check_domain, &count, &err));
    assert_int_equal(count, 2);
    fixture_remove(&fixture);
}

static void a_secret_is_made_once_and_stays(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    uint8_t first[32], again[32], other[32];
    must(storage_secret(fixture.storage, "message-id", first, &err));
    must(storage_secret(fixture.storage, "other", other, &err));
    fixture_close(&fixture);
    fixture_reopen(&fixture, false);
    must(storage_secret(fixture.storage, "message-id", again, &err));
    assert_memory_equal(first, again, 32);
    assert_memory_not_equal(first, other, 32);
    sql_exec(&fixture, "UPDATE secret SET value = x'00' WHERE name = 'other'");
    assert_int_equal(storage_secret(fixture.storage, "other", other, &err), -EIO);
    assert_non_null(strstr(err.text, "damaged"));
    fixture_remove(&fixture);
}

static int note_email(void *context, const struct storage_suppression *item)
{
    char *out = context;
    (void)snprintf(out + strlen(out), 200 - strlen(out), "%s ", item->email);
    return 0;
}

static void suppressions_page_in_order(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    const struct storage_suppression items[] = {
        {.email = "c@x.test", .reason = "manual", .origin = "cli"},
        {.email = "a@x.test", .reason = "manual", .origin = NULL},
        {.email = "b@x.test", .reason = "complaint", .origin = "api"},
        {.email = "a@x.test", .reason = "hard-bounce", .origin = "twice"},
    };
    int64_t added, total;
    must(storage_suppression_add_many(fixture.storage, items, 4, &added, &err));
    assert_int_equal(added, 3);
    assert_int_equal(storage_suppression_add(fixture.storage, &items[2], &err), STORAGE_EXISTS);
    char seen[200] = "";
    must(storage_suppression_page(fixture.reader, NULL, 2, note_email, seen, &total, &err));
    assert_string_equal(seen, "a@x.test b@x.test ");
    assert_int_equal(total, 3);
    seen[0] = '\0';
    must(storage_suppression_page(fixture.reader, &(struct storage_suppression_place){.email = "b@x.test"}, 2,
                                  note_email, seen, NULL, &err));
    assert_string_equal(seen, "c@x.test ");
    must(storage_suppression_remove(fixture.storage, "b@x.test", 0, &err));
    assert_int_equal(storage_suppression_remove(fixture.storage, "b@x.test", 0, &err), STORAGE_NOT_FOUND);
    assert_int_equal(storage_suppression_get(fixture.reader, "b@x.test", note_email, seen, &err), STORAGE_NOT_FOUND);
    must(storage_suppression_get(fixture.reader, "a@x.test", note_email, seen, &err));
    int64_t states[DELIVERY_STATE_COUNT], recipients, lists, suppressions;
    must(storage_totals(fixture.reader, states, &recipients, &lists, &suppressions, &err));
    assert_int_equal(suppressions, 2);
    assert_int_equal(
        storage_suppression_add(fixture.storage, &(struct storage_suppression){.email = "", .reason = "manual"}, &err),
        -EINVAL);
    fixture_remove(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_live_until_revoked),
        cmocka_unit_test(sending_domains_are_added_once),
        cmocka_unit_test(a_secret_is_made_once_and_stays),
        cmocka_unit_test(suppressions_page_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
