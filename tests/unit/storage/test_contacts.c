/*
 * test_contacts.c - lists, imports, lanes and memberships.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "storage/import.h"
#include "tests/unit/storage/support.h"

static void assert_counts(struct upsert_counts counts, int created, int updated, int unchanged)
{
    assert_int_equal(counts.created, created);
    assert_int_equal(counts.updated, updated);
    assert_int_equal(counts.unchanged, unchanged);
}

static int keep_text(void *context, const struct storage_recipient *recipient)
{
    (void)snprintf(context, 500, "%s", recipient->attributes);
    return 0;
}

static void assert_attributes(struct fixture *fixture, const char *email, const char *expected)
{
    struct error err = {.text = ""};
    char text[500];
    must(storage_recipient_find(fixture->reader, email, keep_text, text, &err));
    assert_string_equal(text, expected);
}

static void lists_have_unique_names(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    int64_t news = make_list(&fixture, "news"), other = make_list(&fixture, "other"), id;
    assert_int_equal(storage_list_create(fixture.storage, "news", "", &id, &err), STORAGE_EXISTS);
    assert_int_equal(id, news);
    assert_int_equal(storage_list_create(fixture.storage, "", "", &id, &err), -EINVAL);
    assert_int_equal(storage_list_update(fixture.storage, other, "news", NULL, &err), STORAGE_EXISTS);
    assert_int_equal(storage_list_update(fixture.storage, 999, "x", NULL, &err), STORAGE_NOT_FOUND);
    must(storage_list_update(fixture.storage, other, NULL, "described", &err));
    must(storage_list_update(fixture.storage, news, "news", NULL, &err));
    assert_int_equal(storage_list_find(fixture.reader, "none", &id, &err), STORAGE_NOT_FOUND);
    fixture_remove(&fixture);
}

static void a_list_in_use_is_not_deleted(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    int64_t list = make_list(&fixture, "news"), free_list = make_list(&fixture, "free");
    import_range(&fixture, free_list, "u", "a.test", 0, 12000); /* more than one slice */
    int64_t campaign = make_campaign(&fixture, &list, 1, NULL, 0);
    launch(&fixture, campaign);
    assert_int_equal(storage_list_delete(fixture.storage, list, &err), STORAGE_WRONG_STATE);
    must(storage_list_delete(fixture.storage, free_list, &err));
    assert_int_equal(storage_list_delete(fixture.storage, free_list, &err), STORAGE_NOT_FOUND);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM member"), 0);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM recipient"), 12000);
    assert_int_not_equal(make_list(&fixture, "next"), free_list);
    fixture_remove(&fixture);
}

static void an_import_counts_what_it_did(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t list = make_list(&fixture, "news"), second = make_list(&fixture, "second");
    assert_counts(import_range(&fixture, list, "u", "a.test", 0, 1000), 1000, 0, 0);
    assert_counts(import_range(&fixture, list, "u", "a.test", 0, 1000), 0, 0, 1000);
    assert_counts(import_range(&fixture, list, "u", "a.test", 500, 1500), 500, 0, 500);
    assert_counts(import_range(&fixture, second, "u", "a.test", 1400, 1600), 100, 100, 0);
    assert_counts(import_one(&fixture, list, "u1@a.test", "{\"n\":1,\"city\":\"Bonn\"}"), 0, 1, 0);
    assert_counts(import_one(&fixture, list, "u1@a.test", "{\"n\":1}"), 0, 0, 1);
    assert_counts(import_one(&fixture, list, "u1@a.test", "{ \"city\" : \"Bonn\" }"), 0, 0, 1);
    assert_counts(import_one(&fixture, list, "u1@a.test", "{\"city\":null}"), 0, 1, 0);
    assert_attributes(&fixture, "u1@a.test", "{\"n\":1}");
    assert_int_equal(sql_int(&fixture, "SELECT sum(n) FROM list_lane WHERE list_id = 1"), 1500);
    assert_int_equal(sql_int(&fixture, "SELECT recipients FROM meta"), 1600);
    assert_int_equal(sql_int(&fixture, "SELECT recipients FROM domain WHERE name = 'a.test'"), 1600);
    fixture_remove(&fixture);
}

struct line {
    const char *email, *json;
};

static struct upsert_counts import_lines(struct fixture *fixture, int64_t list, enum upsert_mode mode,
                                         const struct line *lines, size_t count)
{
    struct error err = {.text = ""};
    struct storage_import *import;
    struct upsert_counts counts;
    must(storage_import_begin(fixture->storage, list, mode, &import, &err));
    for (size_t i = 0; i < count; i++)
        must(storage_import_add(import, lines[i].email, strlen(lines[i].email), lines[i].json, strlen(lines[i].json),
                                &err));
    must(storage_import_finish(import, false, &counts, &err));
    return counts;
}

static void duplicates_merge_key_by_key(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"b@a.test", "{\"x\":1,\"y\":1}"}, {"a@a.test", "{\"x\":1}"}, {"b@a.test", "{\"x\":2,\"z\":3}"},
        {"b@a.test", "{\"x\":2}"},         {"a@a.test", "{\"x\":1}"},
    };
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t list = make_list(&fixture, "news");
    assert_counts(import_lines(&fixture, list, UPSERT_UPDATE, lines, countof(lines)), 2, 1, 2);
    assert_attributes(&fixture, "b@a.test", "{\"x\":2,\"y\":1,\"z\":3}");
    assert_attributes(&fixture, "a@a.test", "{\"x\":1}");
    fixture_remove(&fixture);
}

static void skip_keeps_what_is_known(void **state)
{
    (void)state;
    static const struct line first[] = {{"a@a.test", "{\"x\":1}"}, {"a@a.test", "{\"x\":2}"}};
    static const struct line later[] = {{"a@a.test", "{\"x\":9}"}, {"b@a.test", "{}"}};
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t list = make_list(&fixture, "news"), second = make_list(&fixture, "second");
    assert_counts(import_lines(&fixture, list, UPSERT_SKIP, first, 2), 1, 0, 1);
    assert_attributes(&fixture, "a@a.test", "{\"x\":1}");
    assert_counts(import_lines(&fixture, second, UPSERT_SKIP, later, 2), 1, 1, 0); /* joined the second list */
    assert_attributes(&fixture, "a@a.test", "{\"x\":1}");
    fixture_remove(&fixture);
}

static void an_import_never_resubscribes(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    int64_t list = make_list(&fixture, "news");
    import_range(&fixture, list, "u", "a.test", 0, 3);
    must(storage_member_set(fixture.storage, list, "u0@a.test", MEMBER_UNSUBSCRIBED, &err));
    must(storage_member_set(fixture.storage, list, "u0@a.test", MEMBER_UNSUBSCRIBED, &err));
    must(storage_member_set(fixture.storage, list, "u1@a.test", MEMBER_REMOVED, &err));
    assert_int_equal(storage_member_set(fixture.storage, list, "u1@a.test", MEMBER_REMOVED, &err), STORAGE_NOT_FOUND);
    assert_int_equal(storage_member_set(fixture.storage, list, "x@a.test", MEMBER_ACTIVE, &err), STORAGE_NOT_FOUND);
    assert_int_equal(sql_int(&fixture, "SELECT sum(n) * 100 + sum(total) FROM list_lane"), 102);
    assert_counts(import_range(&fixture, list, "u", "a.test", 0, 3), 0, 1, 2); /* the removed one is back */
    assert_int_equal(sql_int(&fixture, "SELECT sum(n) * 100 + sum(total) FROM list_lane"), 203);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM member WHERE status = 1"), 1);
    fixture_remove(&fixture);
}

static void refuses_rows_that_cannot_be(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    struct storage_import *import;
    int64_t list = make_list(&fixture, "news");
    assert_int_equal(storage_import_begin(fixture.storage, 77, UPSERT_UPDATE, &import, &err), STORAGE_NOT_FOUND);
    assert_null(import);
    must(storage_import_begin(fixture.storage, list, UPSERT_UPDATE, &import, &err));
    static const char big[70000] = "{";
    const struct {
        const char *email;
        size_t email_len;
        const char *json;
        size_t json_len;
    } cases[] = {{"", 0, "{}", 2},       {"a@", 2, "{}", 2},    {"nobody", 6, "{}", 2},
                 {"a@b", 3, "[]", 2},    {"a@b", 3, "{", 1},    {"a\0@b", 4, "{}", 2},
                 {"a@b", 3, big, 70000}, {"a@b", 3, "{\0}", 3}, {"@example.test", 13, "{}", 2}};
    for (size_t i = 0; i < countof(cases); i++)
        assert_int_equal(
            storage_import_add(import, cases[i].email, cases[i].email_len, cases[i].json, cases[i].json_len, &err),
            -EINVAL);
    must(storage_import_add(import, "a@b.test", 8, "{}", 2, &err));
    struct upsert_counts counts;
    must(storage_import_finish(import, true, &counts, &err));
    assert_counts(counts, 0, 0, 0);
    fixture_remove(&fixture);
}

/* Malformed JSON shows when it must be merged, as a failure of the import that names the reason; nothing half done. */
static void reports_json_that_cannot_be_merged(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    struct storage_import *import;
    int64_t list = make_list(&fixture, "news");
    import_one(&fixture, list, "a@b.test", "{\"n\":1}");
    must(storage_import_begin(fixture.storage, list, UPSERT_UPDATE, &import, &err));
    must(storage_import_add(import, "a@b.test", 8, "{oops}", 6, &err));
    must(storage_import_add(import, "b@b.test", 8, "{}", 2, &err));
    assert_int_equal(storage_import_finish(import, false, NULL, &err), -EIO);
    assert_non_null(strstr(err.text, "malformed JSON"));
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM recipient"), 1);
    import_one(&fixture, list, "c@b.test", "{}"); /* the next one works */
    fixture_remove(&fixture);
}

static void big_domains_get_lanes_of_their_own(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t list = make_list(&fixture, "news");
    import_range(&fixture, list, "u", "small.test", 0, 63);
    import_range(&fixture, list, "u", "big.test", 0, 64);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM recipient WHERE lane BETWEEN 0 AND 3"), 63);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM recipient r JOIN domain d ON d.id = r.domain_id"
                                       " WHERE d.name = 'big.test' AND r.lane = 16 + d.id"),
                     64);
    import_range(&fixture, list, "u", "small.test", 63, 100); /* grown: the new ones go to its own lane */
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM recipient r JOIN domain d ON d.id = r.domain_id"
                                       " WHERE d.name = 'small.test' AND r.lane < 4"),
                     63);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM member m JOIN recipient r ON r.id = m.recipient_id"
                                       " WHERE m.lane <> r.lane"),
                     0);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM list_lane l WHERE n <> (SELECT count(*) FROM member m"
                                       " WHERE m.list_id = l.list_id AND m.lane = l.lane AND status = 0)"),
                     0);
    fixture_remove(&fixture);
}

struct seen {
    int64_t last;
    int count;
};

static int see_member(void *context, const struct storage_member *member)
{
    struct seen *seen = context;
    assert_true(member->recipient_id > seen->last);
    seen->last = member->recipient_id;
    seen->count++;
    return 0;
}

static int note_list(void *context, const struct storage_member *member)
{
    char *out = context;
    (void)snprintf(out + strlen(out), 100 - strlen(out), "%s:%d ", member->list_name, (int)member->status);
    return 0;
}

static void member_pages_come_in_order_across_lanes(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    int64_t list = make_list(&fixture, "news"), total;
    for (int i = 0; i < 12; i++) {
        char domain[32];
        (void)snprintf(domain, sizeof(domain), "d%d.test", i % 6);
        import_range(&fixture, list, "u", domain, i * 100, i * 100 + 70);
    }
    must(storage_member_set(fixture.storage, list, "u5@d0.test", MEMBER_REMOVED, &err));
    must(storage_member_set(fixture.storage, list, "u6@d0.test", MEMBER_UNSUBSCRIBED, &err));
    struct seen seen = {0};
    int before, pages = 0;
    do {
        before = seen.count;
        must(storage_member_page(fixture.reader, list, seen.last, 50, see_member, &seen, &total, &err));
        pages++;
    } while (seen.count > before);
    assert_int_equal(seen.count, 12 * 70 - 1);
    assert_int_equal(total, 12 * 70 - 1);
    assert_int_equal(pages, (12 * 70 - 1) / 50 + 2);
    int64_t second = make_list(&fixture, "second");
    import_one(&fixture, second, "u6@d0.test", "{}");
    char lists[100] = "";
    must(storage_recipient_memberships(fixture.reader, recipient_id(&fixture, "u6@d0.test"), note_list, lists, &err));
    assert_string_equal(lists, "news:1 second:0 ");
    char text[500];
    must(storage_list_sample(fixture.reader, second, keep_text, text, &err));
    assert_int_equal(storage_list_sample(fixture.reader, make_list(&fixture, "empty"), keep_text, text, &err),
                     STORAGE_NOT_FOUND);
    fixture_remove(&fixture);
}

static int compare_rows(const void *a, const void *b)
{
    const struct import_row *x = *(const struct import_row *const *)a, *y = *(const struct import_row *const *)b;
    int order = memcmp(x->email, y->email, MIN_OF(x->email_len, y->email_len));
    if (order == 0)
        order = (x->email_len > y->email_len) - (x->email_len < y->email_len);
    return order != 0 ? order : (x > y) - (x < y);
}

/* Against qsort() with memcmp(), on alphabets that make long common beginnings, prefixes and duplicates. */
static void sorts_as_memcmp_does_and_stably(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    static char text[COUNT][40];
    static struct import_row rows[COUNT];
    static const struct import_row *expected[COUNT];
    static struct import_key keys[2 * COUNT];
    for (unsigned round = 0; round < 20; round++) {
        srandom(round);
        size_t count = round < 3 ? round : (size_t)random() % COUNT;
        for (size_t i = 0; i < count; i++) {
            size_t len = 1 + (size_t)random() % (round % 2 ? 39 : 10);
            for (size_t n = 0; n < len; n++)
                text[i][n] = (char)(round % 3 == 0 ? 1 + random() % 255 : 'a' + random() % 2);
            if (round % 4 == 0)
                memset(text[i], 'x', len / 2);
            rows[i] = (struct import_row){.email = text[i], .email_len = (uint16_t)len};
            expected[i] = &rows[i];
        }
        import_sort(rows, keys, keys + count, count);
        qsort(expected, count, sizeof(*expected), compare_rows);
        for (size_t i = 0; i < count; i++)
            assert_ptr_equal(expected[i], &rows[keys[i].row]);
    }
}

/* A load into a list of its own, in a database of its own. */
static struct storage_import *begin_load(struct fixture *fixture)
{
    struct error err = {.text = ""};
    struct storage_import *import;
    fixture_open(fixture, false);
    must(storage_import_begin(fixture->storage, make_list(fixture, "news"), UPSERT_UPDATE, &import, &err));
    return import;
}

/* A load of several chunks gives what one chunk gives: rows in random order, half of them twice. */
static void many_chunks_are_one_load(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""};
    struct storage_import *import = begin_load(&fixture);
    static char json[30000];
    memset(json, ' ', sizeof(json));
    json[0] = '{';
    json[sizeof(json) - 1] = '}';
    for (int i = 0; i < 6000; i++) { /* 180 MB of text: two chunks written beside, and the last */
        char email[64];
        int len = snprintf(email, sizeof(email), "u%d@d%d.test", (i * 7919) % 3000, (i * 7919) % 3000 % 50);
        must(storage_import_add(import, email, (size_t)len, json, sizeof(json), &err));
    }
    struct upsert_counts counts;
    storage_import_counts(import, &counts);
    assert_true(counts.created >= 2000); /* the first, which was waited for before the second was begun */
    must(storage_import_finish(import, false, &counts, &err));
    assert_int_equal(counts.created, 3000);
    assert_int_equal(counts.created + counts.updated + counts.unchanged, 6000);
    assert_int_equal(sql_int(&fixture, "SELECT sum(n) FROM list_lane"), 3000);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM member"), 3000);
    fixture_remove(&fixture);
}

/* Ten domains whose addresses alternate when they are sorted: what a claim of one takes has neighbouring ids. */
static void the_members_of_a_lane_lie_together(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""};
    struct storage_import *import = begin_load(&fixture);
    for (int i = 0; i < 6000; i++) {
        char email[64];
        int len = snprintf(email, sizeof(email), "user%05d@d%d.test", i, i % 10);
        must(storage_import_add(import, email, (size_t)len, "{}", 2, &err));
    }
    must(storage_import_finish(import, false, NULL, &err));
    assert_int_equal(sql_int(&fixture, "SELECT count(DISTINCT lane) FROM member"), 10);
    int64_t changes = sql_int(&fixture, "SELECT count(*) FROM recipient a JOIN recipient b ON b.id = a.id + 1"
                                        " WHERE b.lane <> a.lane");
    assert_in_range(changes, 9, 19); /* of 5999 steps: two groups of ten lanes */
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM recipient r JOIN member m ON m.recipient_id = r.id"
                                       " AND m.lane = r.lane"),
                     6000);
    fixture_remove(&fixture);
}

#define DUPLICATES 50000

struct caller {
    struct fixture *fixture;
    atomic_bool stop;
    int64_t longest_us;
};

/* The server's writer goes on, a change after the other. */
static void *change_lists(void *arg)
{
    struct caller *caller = arg;
    struct error err = {.text = ""};
    char name[32];
    int64_t id;
    for (int i = 0; !atomic_load(&caller->stop); i++) {
        (void)snprintf(name, sizeof(name), "list%d", i);
        int64_t begun_us = clock_monotonic_us();
        assure(storage_list_create(caller->fixture->storage, name, "", &id, &err) == 0);
        caller->longest_us = MAX_OF(caller->longest_us, clock_monotonic_us() - begun_us);
    }
    return NULL;
}

/* One address in every row: all are merged before the first is written, and the lock is not held so long. */
static void duplicates_keep_nobody_waiting(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""};
    struct storage_import *import;
    struct caller caller = {.fixture = &fixture};
    struct upsert_counts counts;
    pthread_t thread;
    fixture_open(&fixture, true);
    must(storage_import_begin(fixture.storage, make_list(&fixture, "news"), UPSERT_UPDATE, &import, &err));
    for (int i = 0; i < DUPLICATES; i++) {
        char json[600];
        int len = snprintf(json, sizeof(json), "{\"n\":%d,\"text\":\"%0400d\"}", i, i);
        must(storage_import_add(import, "a@b.test", 8, json, (size_t)len, &err));
    }
    assert_int_equal(pthread_create(&thread, NULL, change_lists, &caller), 0);
    int64_t begun_us = clock_monotonic_us();
    must(storage_import_finish(import, false, &counts, &err));
    int64_t took_us = clock_monotonic_us() - begun_us;
    atomic_store(&caller.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_counts(counts, 1, DUPLICATES - 1, 0);
    assert_in_range(caller.longest_us, 0, took_us / 2);
    assert_int_equal(sql_int(&fixture, "SELECT json_extract(attributes, '$.n') FROM recipient"), DUPLICATES - 1);
    fixture_remove(&fixture);
}

/* What the thread beside could not write is told once, by the next call or the last, and nothing of it stays. */
static void what_fails_beside_is_told(void **state)
{
    (void)state;
    static char json[60000];
    memset(json, ' ', sizeof(json));
    json[0] = '{';
    json[sizeof(json) - 1] = '}';
    for (int rows = 1300; rows <= 5000; rows += 3700) { /* told by the end; told by a row, when the second chunk is full at the latest */
        struct fixture fixture;
        fixture_open(&fixture, false);
        struct error err = {.text = ""};
        struct storage_import *import;
        int64_t list = make_list(&fixture, "news");
        must(storage_import_begin(fixture.storage, list, UPSERT_UPDATE, &import, &err));
        must(storage_list_delete(fixture.storage, list, &err));
        int told = 0, i = 0;
        for (; i < rows && told == 0; i++) {
            char email[64];
            int len = snprintf(email, sizeof(email), "u%d@d.test", i);
            told = storage_import_add(import, email, (size_t)len, json, sizeof(json), &err);
        }
        assert_true(rows < 5000 || told == -ENOENT);
        if (told != 0)
            assert_int_not_equal(storage_import_add(import, "a@b.test", 8, "{}", 2, NULL), 0);
        int finished = storage_import_finish(import, false, NULL, told == 0 ? &err : NULL);
        assert_int_equal(told == 0 ? finished : told, -ENOENT);
        assert_non_null(strstr(err.text, "was deleted"));
        assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM recipient"), 0);
        fixture_remove(&fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_have_unique_names),
        cmocka_unit_test(a_list_in_use_is_not_deleted),
        cmocka_unit_test(an_import_counts_what_it_did),
        cmocka_unit_test(duplicates_merge_key_by_key),
        cmocka_unit_test(skip_keeps_what_is_known),
        cmocka_unit_test(an_import_never_resubscribes),
        cmocka_unit_test(refuses_rows_that_cannot_be),
        cmocka_unit_test(reports_json_that_cannot_be_merged),
        cmocka_unit_test(big_domains_get_lanes_of_their_own),
        cmocka_unit_test(member_pages_come_in_order_across_lanes),
        cmocka_unit_test(sorts_as_memcmp_does_and_stably),
        cmocka_unit_test(many_chunks_are_one_load),
        cmocka_unit_test(the_members_of_a_lane_lie_together),
        cmocka_unit_test(duplicates_keep_nobody_waiting),
        cmocka_unit_test(what_fails_beside_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
