/*
 * test_crash.c - kill -9 in the middle, and two processes at once.
 *
 * The child reports each acknowledged outcome through a pipe before it dies; whatever it reported must be in the
 * database after it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/storage/support.h"

enum { PEOPLE = 3000 };

static int pipe_out;

static void acknowledge(struct list *records)
{
    for (struct list *node; (node = list_take_first(records)) != NULL;) {
        struct storage_outcome *record = list_entry(node, struct storage_outcome, node);
        int64_t id = record->recipient_id;
        if (write(pipe_out, &id, sizeof(id)) != sizeof(id))
            _exit(3);
        free(record);
    }
}

/* Claims and delivers until it is killed. Never returns; a failure shows as its exit status. */
static void child_sends(const char *dir, int64_t campaign)
{
    struct fixture fixture = {.storage = NULL};
    (void)snprintf(fixture.dir, sizeof(fixture.dir), "%s", dir);
    struct error err = {.text = ""};
    if (storage_open(&(struct storage_options){.data_dir = dir, .server = true}, &fixture.storage, &err) != 0 ||
        storage_reader_open(fixture.storage, &fixture.reader, &err) != 0)
        _exit(4);
    int64_t lanes[16];
    int count = lanes_of(&fixture, campaign, lanes, 16);
    for (int i = 0; i < count; i++) {
        struct storage_claim claim = {.campaign_id = campaign, .lane = lanes[i], .max = 40, .now_ms = 1};
        do {
            claim_wait(fixture.storage, &claim);
            for (int n = 0; n < claim.job_count; n++) {
                struct list records = LIST_INIT(records);
                struct storage_outcome *record = make_outcome(&claim.jobs[n], DELIVERY_DELIVERED, NULL);
                record->done = acknowledge;
                list_append(&records, &record->node);
                storage_outcomes_post(fixture.storage, &records);
            }
            arena_finish(&claim.arena);
        } while (!claim.lane_done);
    }
    pause();
    _exit(5);
}

/* Reads acknowledgements, kills after `after` of them, reads the rest. acknowledged[id] counts. */
static int run_and_kill(const char *dir, int64_t campaign, int after, int *acknowledged)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ends[0]);
        pipe_out = ends[1];
        child_sends(dir, campaign);
    }
    close(ends[1]);
    int total = 0;
    for (int64_t id; read(ends[0], &id, sizeof(id)) == sizeof(id); total++) {
        assert_in_range(id, 1, PEOPLE);
        acknowledged[id]++;
        if (total + 1 == after)
            kill(child, SIGKILL);
    }
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return total;
}

static int check_acknowledged(void *context, const struct storage_delivery *delivery)
{
    const int *acknowledged = context;
    if (acknowledged[delivery->recipient_id] != 0)
        assert_int_equal(delivery->state, DELIVERY_DELIVERED);
    return 0;
}

static void kill_minus_nine_loses_no_acknowledged_outcome(void **state)
{
    (void)state;
    static int acknowledged[PEOPLE + 1];
    struct fixture fixture;
    struct error err = {.text = ""};
    memset(acknowledged, 0, sizeof(acknowledged));
    fixture_open(&fixture, false);
    int64_t list = make_list(&fixture, "news");
    import_range(&fixture, list, "u", "a.test", 0, PEOPLE / 2);
    import_range(&fixture, list, "u", "b.test", 0, PEOPLE / 2);
    int64_t campaign = make_campaign(&fixture, &list, 1, NULL, 0);
    launch(&fixture, campaign);
    for (int round = 0; round < 8; round++) {
        fixture_close(&fixture); /* no thread of ours may run across fork() */
        run_and_kill(fixture.dir, campaign, 50 + round * 37, acknowledged);
        fixture_reopen(&fixture, true);
        struct storage_recovery found;
        must(storage_recover(fixture.storage, false, 1, &found, &err));
        struct storage_campaign now = stats(&fixture, campaign);
        assert_adds_up(&now);
        assert_int_equal(now.states[DELIVERY_SENDING], 0);
        must(storage_delivery_page(fixture.reader, campaign, -1, NULL, 0, PEOPLE, check_acknowledged, acknowledged,
                                   &err));
        int64_t rows = sql_int(&fixture, "SELECT count(*) FROM delivery");
        assert_int_equal(rows, now.states[DELIVERY_DELIVERED] + now.states[DELIVERY_DEFERRED]);
        assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM claim"), 0);
        assert_blocks(&fixture);
    }
    for (int i = 1; i <= PEOPLE; i++)
        assert_in_range(acknowledged[i], 0, 1); /* nobody was handed out twice without being flagged */
    /* The rest, retries included: everybody ends delivered, once. */
    deliver_all(&fixture, campaign, DELIVERY_DELIVERED);
    struct storage_claim retries = {.campaign_id = campaign, .lane = STORAGE_LANE_RETRIES, .max = 1000, .now_ms = 1};
    do {
        claim_wait(fixture.storage, &retries);
        for (int i = 0; i < retries.job_count; i++) {
            assert_true(retries.jobs[i].uncertain);
            assert_int_equal(acknowledged[retries.jobs[i].recipient_id], 0);
            struct list records = LIST_INIT(records);
            list_append(&records, &make_outcome(&retries.jobs[i], DELIVERY_DELIVERED, NULL)->node);
            storage_outcomes_post(fixture.storage, &records);
        }
        arena_finish(&retries.arena);
    } while (!retries.lane_done);
    must(storage_campaign_try_finish(fixture.storage, campaign, 9, &err));
    assert_states(&fixture, campaign, "audience=3000 delivered=3000");
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM delivery"), PEOPLE);
    fixture_remove(&fixture);
}

/* A command loads a list while the server delivers: both get through, the books are right. */
static void two_processes_write_at_once(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""};
    fixture_open(&fixture, false);
    int64_t list = make_list(&fixture, "news"), other = make_list(&fixture, "other");
    import_range(&fixture, list, "u", "a.test", 0, 5000);
    int64_t campaign = make_campaign(&fixture, &list, 1, NULL, 0);
    launch(&fixture, campaign);
    fixture_close(&fixture);
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char byte;
        if (read(ready[0], &byte, 1) != 1) /* not before the server runs */
            _exit(2);
        fixture_reopen(&fixture, false);
        struct upsert_counts counts = import_range(&fixture, other, "v", "b.test", 0, 60000);
        bool listed =
            storage_suppression_add(fixture.storage,
                                    &(struct storage_suppression){.email = "x@b.test", .reason = "manual"}, &err) == 0;
        fixture_close(&fixture);
        _exit(counts.created == 60000 && listed ? 0 : 1);
    }
    fixture_reopen(&fixture, true);
    assert_int_equal(write(ready[1], "g", 1), 1);
    assert_int_equal(deliver_all(&fixture, campaign, DELIVERY_DELIVERED), 5000);
    int status;
    int64_t id;
    for (int i = 0; waitpid(child, &status, WNOHANG) == 0; i++) { /* keeps writing until the other is done */
        char name[32];
        (void)snprintf(name, sizeof(name), "list %d", i);
        must(storage_list_create(fixture.storage, name, "", &id, &err));
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_states(&fixture, campaign, "audience=5000 delivered=5000");
    assert_int_equal(sql_int(&fixture, "SELECT sum(n) FROM list_lane"), 65000);
    assert_int_equal(sql_int(&fixture, "SELECT recipients FROM meta"), 65000);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM recipient"), 65000);
    close(ready[0]);
    close(ready[1]);
    fixture_remove(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kill_minus_nine_loses_no_acknowledged_outcome),
        cmocka_unit_test(two_processes_write_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
