/*
 * test_tracking.c - opens and clicks: who is counted, how often, and what is told.
 */
#include <stdio.h>

#include "tests/unit/storage/support.h"

static const char *const urls[] = {"https://a.test/", "https://b.test/{{{x}}}"};

struct scene {
    struct fixture fixture;
    int64_t campaign, recipient[3];
};

static void open_scene(struct scene *scene)
{
    struct error err = {.text = ""};
    fixture_open(&scene->fixture, false);
    int64_t list = make_list(&scene->fixture, "news");
    import_range(&scene->fixture, list, "p", "one.test", 0, 3);
    scene->campaign = make_campaign(&scene->fixture, &list, 1, NULL, 0);
    const struct storage_frozen frozen = {.partials = "{}", .urls = urls, .url_count = 2};
    must(storage_campaign_freeze(scene->fixture.storage, scene->campaign, &frozen, &err));
    launch(&scene->fixture, scene->campaign);
    assert_int_equal(storage_campaign_freeze(scene->fixture.storage, scene->campaign, &frozen, &err),
                     STORAGE_WRONG_STATE);
    assert_int_equal(deliver_all(&scene->fixture, scene->campaign, DELIVERY_DELIVERED), 3);
    for (int i = 0; i < 3; i++) {
        char email[32];
        (void)snprintf(email, sizeof(email), "p%d@one.test", i);
        scene->recipient[i] = recipient_id(&scene->fixture, email);
    }
}

static int64_t long_after(const struct scene *scene)
{
    return sql_int(&scene->fixture, "SELECT max(updated) FROM delivery") + TRACKING_PERSON_MS;
}

static void hit(struct scene *scene, int who, int link, int64_t at_ms, bool machine)
{
    struct error err = {.text = ""};
    const struct storage_hit one = {.campaign_id = scene->campaign,
                                    .recipient_id = scene->recipient[who],
                                    .link = link,
                                    .at_ms = at_ms,
                                    .machine = machine};
    must(storage_hits_record(scene->fixture.storage, &one, 1, &err));
}

static void a_person_counts_once(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    int64_t now = long_after(&scene);
    for (int i = 0; i < 3; i++)
        hit(&scene, 0, 0, now + i, false);
    hit(&scene, 0, 1, now, false);
    hit(&scene, 0, 2, now, false);
    hit(&scene, 1, 2, now, false);
    struct storage_campaign counts = stats(&scene.fixture, scene.campaign);
    assert_int_equal(counts.opened, 1);
    assert_int_equal(counts.clicked, 2);
    assert_int_equal(sql_int(&scene.fixture, "SELECT people FROM campaign_link WHERE number = 2"), 2);
    assert_int_equal(sql_int(&scene.fixture, "SELECT hits FROM campaign_link WHERE number = 1"), 1);
    assert_int_equal(sql_int(&scene.fixture, "SELECT people FROM hit WHERE link = 0"), 3);
    fixture_remove(&scene.fixture);
}

static void a_machine_counts_apart(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    int64_t now = long_after(&scene);
    hit(&scene, 0, 0, now - 1, false); /* faster than any person */
    hit(&scene, 0, 1, now, true);
    struct storage_campaign counts = stats(&scene.fixture, scene.campaign);
    assert_int_equal(counts.opened, 0);
    assert_int_equal(counts.clicked, 0);
    assert_int_equal(sql_int(&scene.fixture, "SELECT machines FROM campaign_link WHERE number = 1"), 1);
    hit(&scene, 0, 1, now, false); /* and then its owner comes */
    hit(&scene, 0, 0, now, false);
    counts = stats(&scene.fixture, scene.campaign);
    assert_int_equal(counts.opened, 1);
    assert_int_equal(counts.clicked, 1);
    fixture_remove(&scene.fixture);
}

static void what_is_not_there_is_passed_over(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    struct error err = {.text = ""};
    int64_t now = long_after(&scene);
    hit(&scene, 0, 3, now, false); /* no such link */
    const struct storage_hit strangers[] = {{.campaign_id = 99, .recipient_id = scene.recipient[0], .at_ms = now},
                                            {.campaign_id = scene.campaign, .recipient_id = 99, .at_ms = now}};
    must(storage_hits_record(scene.fixture.storage, strangers, 2, &err));
    sql_exec(&scene.fixture, "UPDATE campaign SET finished = 1");
    sql_exec(&scene.fixture, "DELETE FROM delivery"); /* as retention does */
    hit(&scene, 0, 1, now, false);
    assert_int_equal(sql_int(&scene.fixture, "SELECT count(*) FROM hit"), 0);
    fixture_remove(&scene.fixture);
}

static void events_tell_of_people(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    sql_exec(&scene.fixture, "UPDATE meta SET event_live = 32767");
    int64_t now = long_after(&scene);
    hit(&scene, 0, 1, now, true);
    hit(&scene, 0, 1, now, false);
    hit(&scene, 0, 0, now, false);
    assert_int_equal(sql_int(&scene.fixture, "SELECT count(*) FROM event WHERE kind IN (7, 8)"), 2);
    assert_int_equal(
        sql_int(&scene.fixture, "SELECT count(*) FROM event WHERE kind = 8 AND detail = 'https://a.test/'"), 1);
    fixture_remove(&scene.fixture);
}

static int count_snippet(void *context, const struct storage_snippet *snippet)
{
    (void)snippet;
    ++*(int *)context;
    return 0;
}

static void snippets_are_replaced_and_deleted(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""};
    bool created = false;
    int count = 0;
    fixture_open(&fixture, false);
    must(storage_snippet_set(fixture.storage, "b", "one", 5, &created, &err));
    assert_true(created);
    must(storage_snippet_set(fixture.storage, "b", "two", 6, &created, &err));
    assert_false(created);
    must(storage_snippet_set(fixture.storage, "a", "x", 7, NULL, &err));
    int64_t total = 0;
    must(storage_snippet_page(fixture.reader, "a", 10, count_snippet, &count, &total, &err));
    assert_int_equal(count, 1);
    assert_int_equal(total, 2);
    must(storage_snippet_delete(fixture.storage, "b", &err));
    assert_int_equal(storage_snippet_delete(fixture.storage, "b", &err), STORAGE_NOT_FOUND);
    assert_int_equal(storage_snippet_get(fixture.reader, "b", count_snippet, &count, &err), STORAGE_NOT_FOUND);
    fixture_remove(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_person_counts_once),
        cmocka_unit_test(a_machine_counts_apart),
        cmocka_unit_test(what_is_not_there_is_passed_over),
        cmocka_unit_test(events_tell_of_people),
        cmocka_unit_test(snippets_are_replaced_and_deleted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
