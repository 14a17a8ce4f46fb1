/*
 * test_rows.c - what of an outcome stands in which column, whatever statement wrote it; and the times of the stages.
 */
#include <stdio.h>
#include <string.h>

#include "base/attr.h"
#include "storage/stage_times.h"
#include "tests/unit/storage/support.h"

enum { ROWS = 41 }; /* 32, 8 and 1 to a statement */

/* Every column tells the recipient's place in the list, `at`, or is the same for all. */
static void fill(struct storage_outcome *record, int at, int attempts)
{
    struct outcome *outcome = &record->outcome;
    record->attempts = attempts;
    *outcome = (struct outcome){.class_ = OUTCOME_DELIVERED,
                                .stage = STAGE_CONTENT,
                                .code = 250,
                                .duration_ms = (uint32_t)(100 + at),
                                .ended_wall_ms = 5000 + at};
    outcome->times_ms[STAGE_MAIL] = (uint32_t)(at + 1);
    (void)snprintf(outcome->enhanced, sizeof(outcome->enhanced), "2.0.%d", at);
    (void)snprintf(outcome->text, sizeof(outcome->text), "reply %d", at);
    (void)snprintf(outcome->mx_host, sizeof(outcome->mx_host), "mx%d", at);
    (void)snprintf(outcome->source, sizeof(outcome->source), "ip%d", at);
    (void)snprintf(outcome->address, sizeof(outcome->address), "192.0.2.%d:25", at);
}

/* How many rows are as fill() made them. */
static int64_t right_rows(const struct fixture *fixture, int64_t campaign, int attempts)
{
    char sql[1024];
    (void)snprintf(sql, sizeof(sql),
                   "SELECT count(*) FROM (SELECT d.*, duration - 100 AS at, p.address FROM delivery d JOIN path p"
                   " ON p.id = d.path_id) WHERE recipient_id - (SELECT min(recipient_id) FROM delivery) = at"
                   " AND campaign_id = %d AND state = 2 AND uncertain = 0 AND attempts = %d AND next_attempt = 0"
                   " AND updated = 5000 + at AND code = 250 AND stage = %d AND tls = 0 AND enhanced = '2.0.' || at"
                   " AND reply = 'reply ' || at AND mx_host = 'mx' || at AND source = 'ip' || at"
                   " AND address = '192.0.2.' || at || ':25' AND times = 'm' || (at + 1)",
                   (int)campaign, attempts, STAGE_CONTENT);
    return sql_int(fixture, sql);
}

static void check_columns(int attempts)
{
    struct fixture fixture;
    fixture_open(&fixture, true);
    int64_t list = make_list(&fixture, "l"), lane;
    (void)import_range(&fixture, list, "u", "a.example", 0, ROWS);
    int64_t campaign = make_campaign(&fixture, &list, 1, NULL, 0);
    launch(&fixture, campaign);
    assert_int_equal(lanes_of(&fixture, campaign, &lane, 1), 1);
    struct storage_claim claim = {.campaign_id = campaign, .lane = lane, .max = ROWS, .now_ms = 1};
    claim_wait(fixture.storage, &claim);
    assert_int_equal(claim.job_count, ROWS);
    struct gate gate;
    gate_init(&gate);
    struct list records = LIST_INIT(records);
    for (int i = 0; i < ROWS; i++) {
        struct storage_outcome *record = make_outcome(&claim.jobs[i], DELIVERY_DELIVERED, &gate);
        fill(record, i, attempts);
        list_append(&records, &record->node);
    }
    storage_outcomes_post(fixture.storage, &records);
    gate_wait(&gate, ROWS);
    assert_int_equal(right_rows(&fixture, campaign, attempts), ROWS);
    assert_blocks(&fixture);
    arena_finish(&claim.arena);
    fixture_remove(&fixture);
}

static void usual_rows_have_every_column(void **state)
{
    (void)state;
    check_columns(1);
}

static void other_rows_have_every_column(void **state)
{
    (void)state;
    check_columns(2);
}

static void times_come_back(void **state)
{
    (void)state;
    uint32_t times[STAGE_COUNT] = {[STAGE_CONNECT] = 3, [STAGE_MAIL] = 12, [STAGE_CONTENT] = UINT32_MAX},
             back[STAGE_COUNT];
    char text[STAGE_TIMES_BYTES];
    stage_times_write(times, text);
    assert_string_equal(text, "c3m12f4294967295");
    stage_times_read(text, back);
    assert_memory_equal(back, times, sizeof(times));
    for (size_t i = 0; i < STAGE_COUNT; i++)
        times[i] = UINT32_MAX - (uint32_t)i;
    stage_times_write(times, text); /* the longest */
    assert_int_equal(strlen(text), STAGE_TIMES_BYTES - 1);
    stage_times_read(text, back);
    assert_memory_equal(back, times, sizeof(times));
    stage_times_write((uint32_t[STAGE_COUNT]){0}, text);
    assert_string_equal(text, "");
}

static void times_of_old_rows_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t connect, mail, content;
    } cases[] = {
        {"connect:3 greeting:23 mail:17 rcpt:17 content:40", 3, 17, 40},
        {"mail:1", 0, 1, 0},
        {"c3 mail:4f5", 3, 4, 5},
        {"", 0, 0, 0},
        {"m99999999999999999999f7", 0, UINT32_MAX, 7},
        {"mail: m f:x;:::9 \xff content:", 0, 0, 0},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        uint32_t times[STAGE_COUNT];
        stage_times_read(cases[i].text, times);
        assert_int_equal(times[STAGE_CONNECT], cases[i].connect);
        assert_int_equal(times[STAGE_MAIL], cases[i].mail);
        assert_int_equal(times[STAGE_CONTENT], cases[i].content);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usual_rows_have_every_column),
        cmocka_unit_test(other_rows_have_every_column),
        cmocka_unit_test(times_come_back),
        cmocka_unit_test(times_of_old_rows_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
