/*
 * test_journal.c - the flight journal: what a kill at each point leaves, and what is concluded from a file that is
 * torn, old, cut off or somebody else's.
 *
 * A child process plays the server and kills itself at the named point; the parent recovers and looks.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/journal_file.h"
#include "tests/unit/storage/support.h"

enum { PEOPLE = 120, MANY = 3 * JOURNAL_STEP };

/* How far a delivery of the child gets before the kill. */
enum point {
    CLAIMED,
    WITHDRAWN, /* noted as sent, but the bytes were not handed to the kernel after all */
    SENT,
    NOTED_DELIVERED,
    NOTED_DEFERRED,
    NOTED_BOUNCED,
    NOTED_UNCERTAIN,
    COMMITTED_DELIVERED,
    COMMITTED_UNCLEARED, /* the kill came between the commit and the clear */
    POINT_COUNT
};

static const enum delivery_state noted_states[POINT_COUNT] = {
    [NOTED_DELIVERED] = DELIVERY_DELIVERED,     [NOTED_DEFERRED] = DELIVERY_DEFERRED,
    [NOTED_BOUNCED] = DELIVERY_BOUNCED,         [NOTED_UNCERTAIN] = DELIVERY_DEFERRED,
    [COMMITTED_DELIVERED] = DELIVERY_DELIVERED, [COMMITTED_UNCLEARED] = DELIVERY_DELIVERED,
};

static void send_to(struct fixture *fixture, const struct storage_job *job, enum point point)
{
    struct journal *journal = storage_journal(fixture->storage);
    if (point == CLAIMED)
        return;
    uint32_t slot = journal_sent(journal, job->campaign_id, job->recipient_id, job->attempts + 1);
    assert_int_not_equal(slot, 0);
    if (point == WITHDRAWN)
        journal_clear(journal, slot);
    if (point == WITHDRAWN || point == SENT)
        return;
    struct storage_outcome *record = make_outcome(job, noted_states[point], NULL);
    record->journal_slot = slot;
    record->uncertain = point == NOTED_UNCERTAIN;
    (void)snprintf(record->outcome.enhanced, sizeof(record->outcome.enhanced), "5.1.1");
    if (point == NOTED_BOUNCED)
        record->suppress_reason = "hard-bounce";
    journal_outcome(journal, record);
    if (point == COMMITTED_UNCLEARED)
        record->journal_slot = 0;
    if (point == COMMITTED_DELIVERED || point == COMMITTED_UNCLEARED)
        post_one(fixture, record);
    else
        free(record);
}

/* Recovers, begins the journal, claims `lane` of the campaign and brings the n-th job to points[n]; then kill -9. */
static void child_sends(const char *dir, int64_t campaign, int64_t lane, int64_t now_ms, const enum point *points)
{
    struct fixture fixture = {.storage = NULL};
    struct error err = {.text = ""};
    struct storage_recovery found;
    (void)snprintf(fixture.dir, sizeof(fixture.dir), "%s", dir);
    if (storage_open(&(struct storage_options){.data_dir = dir, .server = true}, &fixture.storage, &err) != 0 ||
        storage_recover(fixture.storage, false, now_ms, &found, &err) != 0 ||
        storage_journal_begin(fixture.storage, 100, &err) != 0)
        _exit(4);
    struct storage_claim claim = {.campaign_id = campaign, .lane = lane, .max = 1000, .now_ms = now_ms};
    claim_wait(fixture.storage, &claim);
    if (claim.status != 0)
        _exit(5);
    for (int i = 0; i < claim.job_count; i++)
        send_to(&fixture, &claim.jobs[i], points[claim.jobs[i].recipient_id]);
    (void)kill(getpid(), SIGKILL);
    _exit(6);
}

static void run_child(struct fixture *fixture, int64_t campaign, int64_t lane, int64_t now_ms, const enum point *points)
{
    fixture_close(fixture); /* no thread of ours may run across fork() */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        child_sends(fixture->dir, campaign, lane, now_ms, points);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* A campaign to `people` recipients with the ids 1..people, in one lane. */
static int64_t prepare(struct fixture *fixture, int people, int64_t *lane)
{
    fixture_open(fixture, true);
    int64_t list = make_list(fixture, "news");
    import_range(fixture, list, "u", "a.test", 0, people);
    int64_t campaign = make_campaign(fixture, &list, 1, NULL, 0);
    launch(fixture, campaign);
    assert_int_equal(lanes_of(fixture, campaign, lane, 1), 1);
    return campaign;
}

static struct storage_recovery recover(struct fixture *fixture, bool hold, int64_t now_ms)
{
    struct error err = {.text = ""};
    struct storage_recovery found;
    fixture_reopen(fixture, true);
    must(storage_recover(fixture->storage, hold, now_ms, &found, &err));
    assert_int_equal(found.deliveries, found.unsent + found.uncertain + found.recorded);
    assert_int_equal(sql_int(fixture, "SELECT count(*) FROM claim"), 0);
    assert_int_equal(sql_int(fixture, "SELECT count(*) FROM delivery WHERE state = 1"), 0);
    return found;
}

static int64_t row_int(const struct fixture *fixture, const char *column, int64_t recipient)
{
    char sql[160];
    (void)snprintf(sql, sizeof(sql), "SELECT %s FROM delivery WHERE recipient_id = %lld", column, (long long)recipient);
    return sql_int(fixture, sql);
}

/* The row that recipient number `id` must have after recovery at `now_ms`, `attempts` having been made before. */
static void check_row(const struct fixture *fixture, int64_t id, enum point point, bool hold, int attempts,
                      int64_t now_ms)
{
    enum delivery_state state = DELIVERY_DEFERRED;
    bool uncertain = point == SENT || point == NOTED_UNCERTAIN;
    if (point == SENT && hold)
        state = DELIVERY_UNCERTAIN;
    else if (point >= NOTED_DELIVERED)
        state = noted_states[point];
    assert_int_equal(row_int(fixture, "state", id), state);
    assert_int_equal(row_int(fixture, "uncertain", id), uncertain);
    assert_int_equal(row_int(fixture, "attempts", id), attempts + (point >= NOTED_DELIVERED));
    assert_int_equal(row_int(fixture, "next_attempt", id), state != DELIVERY_DEFERRED ? 0
                                                           : point < NOTED_DELIVERED  ? now_ms
                                                                                      : 10000);
    if (point >= NOTED_DELIVERED) {
        assert_int_equal(row_int(fixture, "stage", id), STAGE_CONTENT);
        assert_int_equal(row_int(fixture, "updated", id), 60000);
        assert_int_equal(row_int(fixture, "enhanced = '5.1.1'", id), 1);
    }
}

static void check_suppressions(const struct fixture *fixture, int64_t expected)
{
    assert_int_equal(sql_int(fixture, "SELECT count(*) FROM suppression WHERE reason = 'hard-bounce'"), expected);
    assert_int_equal(sql_int(fixture, "SELECT suppressions FROM meta"), expected);
}

static void kill_at_each_point(bool hold, bool retry)
{
    struct fixture fixture;
    int64_t lane;
    int64_t campaign = prepare(&fixture, POINT_COUNT, &lane);
    enum point points[POINT_COUNT + 1] = {CLAIMED};
    for (int i = 0; i < POINT_COUNT; i++)
        points[i + 1] = (enum point)i;
    if (retry) {
        deliver_all(&fixture, campaign, DELIVERY_DEFERRED);
        lane = STORAGE_LANE_RETRIES;
    }
    run_child(&fixture, campaign, lane, 20000, points);
    struct storage_recovery found = recover(&fixture, hold, 777);
    assert_int_equal(found.claims, !retry);
    assert_int_equal(found.unsent, 2);
    assert_int_equal(found.uncertain, 1);
    assert_int_equal(found.recorded, 4);
    for (int i = 0; i < POINT_COUNT; i++)
        check_row(&fixture, i + 1, (enum point)i, hold, retry, 777);
    check_suppressions(&fixture, 1);
    assert_states(&fixture, campaign,
                  hold ? "audience=9 delivered=3 deferred=4 bounced=1 uncertain=1"
                       : "audience=9 delivered=3 deferred=5 bounced=1");
    /* What was an attempt is counted in its minute like any other. */
    assert_int_equal(sql_int(&fixture, "SELECT sum(delivered) FROM tally WHERE campaign_id = 0"), 3);
    assert_int_equal(sql_int(&fixture, "SELECT sum(bounced) FROM tally WHERE campaign_id = 0"), 1);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM attempt"), retry ? 6 : 0);
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/" JOURNAL_NAME, fixture.dir);
    assert_int_equal(access(path, F_OK), -1); /* it has said all it knew */
    found = (fixture_close(&fixture), recover(&fixture, hold, 888));
    assert_int_equal(found.deliveries, 0);
    fixture_remove(&fixture);
}

static void first_attempts_after_a_kill(void **state)
{
    (void)state;
    kill_at_each_point(false, false);
}
static void first_attempts_after_a_kill_held(void **state)
{
    (void)state;
    kill_at_each_point(true, false);
}
static void retries_after_a_kill(void **state)
{
    (void)state;
    kill_at_each_point(false, true);
}
static void retries_after_a_kill_held(void **state)
{
    (void)state;
    kill_at_each_point(true, true);
}

/* A cancelled campaign defers nobody; what was out is told all the same. */
static void cancelled_while_in_the_air(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""};
    int64_t lane;
    int64_t campaign = prepare(&fixture, 4, &lane);
    const enum point points[5] = {CLAIMED, CLAIMED, SENT, NOTED_DEFERRED, NOTED_DELIVERED};
    run_child(&fixture, campaign, lane, 20000, points);
    fixture_reopen(&fixture, false);
    must(storage_campaign_move(fixture.storage, campaign, CAMPAIGN_CANCELLED, 0, 30000, NULL, &err));
    fixture_close(&fixture);
    struct storage_recovery found = recover(&fixture, false, 777);
    assert_int_equal(found.deliveries, 4);
    assert_states(&fixture, campaign, "audience=4 delivered=1 cancelled=3");
    fixture_remove(&fixture);
}

/* ---- a file that is not as it was left ---- */

static void patch(const struct fixture *fixture, off_t at, const void *bytes, size_t len)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/" JOURNAL_NAME, fixture->dir);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, len, at), len);
    close(fd);
}

static struct journal_slot read_slot(const struct fixture *fixture, int64_t recipient, off_t *at)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/" JOURNAL_NAME, fixture->dir);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    struct journal_slot slot;
    for (*at = JOURNAL_HEAD_BYTES; pread(fd, &slot, sizeof(slot), *at) == sizeof(slot); *at += (off_t)sizeof(slot)) {
        if (slot.recipient_id == recipient && slot.sent_check != 0)
            break;
    }
    close(fd);
    assert_int_equal(slot.recipient_id, recipient);
    return slot;
}

static void patch_head(const struct fixture *fixture, void (*change)(struct journal_head *head), bool seal)
{
    char path[128];
    struct journal_head head;
    (void)snprintf(path, sizeof(path), "%s/" JOURNAL_NAME, fixture->dir);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &head, sizeof(head), 0), sizeof(head));
    close(fd);
    change(&head);
    if (seal)
        head.check = journal_check(&head, offsetof(struct journal_head, check), 0);
    patch(fixture, 0, &head, sizeof(head));
}

static void of_another_boot(struct journal_head *head)
{
    head->boot[0] = head->boot[0] == '0' ? '1' : '0';
}
static void of_an_unknown_boot(struct journal_head *head)
{
    memset(head->boot, 0, sizeof(head->boot));
}
static void of_another_database(struct journal_head *head)
{
    head->run[3] ^= 1;
}
static void of_a_newer_program(struct journal_head *head)
{
    head->version++;
}
static void of_other_slots(struct journal_head *head)
{
    head->slot_bytes *= 2;
}
static void not_a_journal(struct journal_head *head)
{
    head->magic[0] = 'x';
}

/* Ids: 1 claimed, 2 sent, 3 noted delivered. What each state of the file makes of them. */
static void doubtful_files(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        void (*change)(struct journal_head *head);
        bool seal;
        int unsent, uncertain, recorded;
    } cases[] = {
        {"as it was left", NULL, false, 1, 1, 1},
        {"machine restarted", of_another_boot, true, 0, 2, 1},
        {"boot unknown", of_an_unknown_boot, true, 0, 2, 1},
        {"another database", of_another_database, true, 0, 3, 0},
        {"newer version", of_a_newer_program, true, 0, 3, 0},
        {"other slots", of_other_slots, true, 0, 3, 0},
        {"not a journal", not_a_journal, true, 0, 3, 0},
        {"damaged head", of_another_boot, false, 0, 3, 0},
    };
    const enum point points[4] = {CLAIMED, CLAIMED, SENT, NOTED_DELIVERED};
    for (size_t i = 0; i < countof(cases); i++) {
        struct fixture fixture;
        int64_t lane;
        int64_t campaign = prepare(&fixture, 3, &lane);
        run_child(&fixture, campaign, lane, 20000, points);
        if (cases[i].change != NULL)
            patch_head(&fixture, cases[i].change, cases[i].seal);
        struct storage_recovery found = recover(&fixture, false, 777);
        if (found.unsent != cases[i].unsent || found.uncertain != cases[i].uncertain ||
            found.recorded != cases[i].recorded)
            fail_msg("%s: unsent=%lld uncertain=%lld recorded=%lld", cases[i].name, (long long)found.unsent,
                     (long long)found.uncertain, (long long)found.recorded);
        fixture_remove(&fixture);
    }
}

/* Which bytes are torn, at which recipient's slot. */
static void torn_pages(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t recipient;
        size_t offset;
        int unsent, uncertain, recorded;
    } cases[] = {
        {"sent line", 2, offsetof(struct journal_slot, recipient_id), 0, 2, 1},
        {"sent checksum", 2, offsetof(struct journal_slot, sent_check), 0, 2, 1},
        {"sent line of an answered one", 3, offsetof(struct journal_slot, attempt), 0, 3, 0},
        {"outcome line", 3, offsetof(struct journal_slot, code), 1, 2, 0},
        {"outcome checksum", 3, offsetof(struct journal_slot, outcome_check), 1, 2, 0},
    };
    const enum point points[4] = {CLAIMED, CLAIMED, SENT, NOTED_DELIVERED};
    for (size_t i = 0; i < countof(cases); i++) {
        struct fixture fixture;
        int64_t lane;
        int64_t campaign = prepare(&fixture, 3, &lane);
        run_child(&fixture, campaign, lane, 20000, points);
        off_t at;
        struct journal_slot slot = read_slot(&fixture, cases[i].recipient, &at);
        uint8_t *bytes = (uint8_t *)&slot + cases[i].offset;
        *bytes ^= 0x40;
        patch(&fixture, at, &slot, sizeof(slot));
        struct storage_recovery found = recover(&fixture, false, 777);
        if (found.unsent != cases[i].unsent || found.uncertain != cases[i].uncertain ||
            found.recorded != cases[i].recorded)
            fail_msg("%s: unsent=%lld uncertain=%lld recorded=%lld", cases[i].name, (long long)found.unsent,
                     (long long)found.uncertain, (long long)found.recorded);
        fixture_remove(&fixture);
    }
}

/* The slot of a former message has a sound outcome line; it must not pass for the present one's. */
static void outcome_of_the_slot_s_former_user(void **state)
{
    (void)state;
    struct fixture fixture;
    int64_t lane;
    int64_t campaign = prepare(&fixture, 3, &lane);
    const enum point points[4] = {CLAIMED, CLAIMED, SENT, NOTED_DELIVERED};
    run_child(&fixture, campaign, lane, 20000, points);
    off_t at, from;
    struct journal_slot slot = read_slot(&fixture, 2, &at), former = read_slot(&fixture, 3, &from);
    slot.sequence += 5;
    slot.sent_check = journal_sent_check(&slot);
    memcpy(&slot.next_attempt_ms, &former.next_attempt_ms, sizeof(slot) / 2);
    patch(&fixture, at, &slot, sizeof(slot));
    struct storage_recovery found = recover(&fixture, false, 777);
    assert_int_equal(found.uncertain, 1);
    assert_int_equal(found.recorded, 1);
    check_row(&fixture, 2, SENT, false, 0, 777);
    fixture_remove(&fixture);
}

/* An old page with the outcome of the first attempt, while the second is out. */
static void outcome_of_an_older_attempt(void **state)
{
    (void)state;
    struct fixture fixture;
    int64_t lane;
    int64_t campaign = prepare(&fixture, 1, &lane);
    const enum point points[2] = {CLAIMED, NOTED_DELIVERED};
    deliver_all(&fixture, campaign, DELIVERY_DEFERRED);
    run_child(&fixture, campaign, STORAGE_LANE_RETRIES, 20000, points);
    off_t at;
    struct journal_slot slot = read_slot(&fixture, 1, &at);
    slot.attempt = 1;
    slot.sent_check = journal_sent_check(&slot);
    patch(&fixture, at, &slot, sizeof(slot));
    patch_head(&fixture, of_another_boot, true);
    struct storage_recovery found = recover(&fixture, false, 777);
    assert_int_equal(found.uncertain, 1);
    assert_int_equal(found.recorded, 0);
    fixture_remove(&fixture);
}

static void file_cut_off(void **state)
{
    (void)state;
    static const off_t sizes[] = {0, 100, JOURNAL_HEAD_BYTES, JOURNAL_HEAD_BYTES + 128 * 7 + 5};
    static const int recorded[] = {0, 0, 0, 1};
    const enum point points[4] = {CLAIMED, CLAIMED, SENT, NOTED_DELIVERED};
    for (size_t i = 0; i < countof(sizes); i++) {
        struct fixture fixture;
        int64_t lane;
        int64_t campaign = prepare(&fixture, 3, &lane);
        run_child(&fixture, campaign, lane, 20000, points);
        char path[128];
        (void)snprintf(path, sizeof(path), "%s/" JOURNAL_NAME, fixture.dir);
        assert_int_equal(truncate(path, sizes[i]), 0);
        struct storage_recovery found = recover(&fixture, false, 777);
        assert_int_equal(found.unsent, 0);
        assert_int_equal(found.recorded, recorded[i]);
        assert_int_equal(found.deliveries, 3);
        fixture_remove(&fixture);
    }
}

/* ---- rules of use ---- */

static void begins_only_where_it_may_be_believed(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""};
    struct storage_recovery found;
    int64_t lane;
    int64_t campaign = prepare(&fixture, 3, &lane);
    struct storage_claim claim = {.campaign_id = campaign, .lane = lane, .max = 10, .now_ms = 1};
    claim_wait(fixture.storage, &claim);
    arena_finish(&claim.arena);
    fixture_close(&fixture);
    fixture_reopen(&fixture, true);
    assert_null(storage_journal(fixture.storage));
    assert_int_equal(storage_journal_begin(fixture.storage, 100, &err), STORAGE_WRONG_STATE);
    must(storage_recover(fixture.storage, false, 1, &found, &err));
    assert_int_equal(found.uncertain, 3); /* no journal was kept: nobody can say that they were not sent */
    assert_int_equal(storage_journal_begin(fixture.storage, 0, &err), -EINVAL);
    assert_int_equal(storage_journal_begin(fixture.storage, JOURNAL_SLOTS_MAX + 1, &err), -EINVAL);
    must(storage_journal_begin(fixture.storage, 100, &err));
    assert_non_null(storage_journal(fixture.storage));
    fixture_close(&fixture);
    fixture_reopen(&fixture, false);
    assert_int_equal(storage_journal_begin(fixture.storage, 100, &err), -EINVAL);
    fixture_remove(&fixture);
}

/* A run without a journal after one with: the old file must not vouch for the new claims. */
static void a_run_without_a_journal_is_not_covered_by_the_last_one_s(void **state)
{
    (void)state;
    struct fixture fixture;
    int64_t lane;
    int64_t campaign = prepare(&fixture, 3, &lane);
    const enum point points[4] = {CLAIMED, SENT, SENT, SENT};
    run_child(&fixture, campaign, lane, 20000, points);
    recover(&fixture, false, 777);
    struct storage_claim claim = {.campaign_id = campaign, .lane = STORAGE_LANE_RETRIES, .max = 10, .now_ms = 20000};
    claim_wait(fixture.storage, &claim);
    assert_int_equal(claim.job_count, 3);
    arena_finish(&claim.arena);
    fixture_close(&fixture);
    struct storage_recovery found = recover(&fixture, false, 888);
    assert_int_equal(found.uncertain, 3);
    fixture_remove(&fixture);
}

static void refuses_when_full(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""};
    fixture_open(&fixture, true);
    must(storage_journal_begin(fixture.storage, MANY - 5, &err));
    struct journal *journal = storage_journal(fixture.storage);
    static bool seen[MANY + 1];
    memset(seen, 0, sizeof(seen));
    for (int i = 0; i < MANY; i++) {
        uint32_t slot = journal_sent(journal, 1, i, 1);
        assert_in_range(slot, 1, MANY);
        assert_false(seen[slot]);
        seen[slot] = true;
    }
    assert_int_equal(journal_sent(journal, 1, MANY, 1), 0);
    journal_clear(journal, 77);
    assert_int_equal(journal_sent(journal, 1, MANY, 1), 77);
    journal_clear(journal, 0);
    assert_int_equal(journal_sent(journal, 1, MANY, 1), 0);
    fixture_remove(&fixture);
}

enum { THREADS = 4, TURNS = 3000, HELD = 1100 };

static void *take_and_give_back(void *arg)
{
    struct journal *journal = arg;
    uint32_t held[HELD] = {0};
    for (int turn = 0; turn < TURNS; turn++) {
        uint32_t *slot = &held[turn % HELD];
        journal_clear(journal, *slot);
        *slot = journal_sent(journal, turn, turn, 1);
        assure(*slot != 0);
    }
    for (int i = 0; i < HELD; i++)
        journal_clear(journal, held[i]);
    return NULL;
}

/* Together they hold more than half of it, so that the same slots go round. */
static void threads_never_share_a_slot(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""};
    fixture_open(&fixture, true);
    must(storage_journal_begin(fixture.storage, 2 * JOURNAL_STEP, &err));
    struct journal *journal = storage_journal(fixture.storage);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give_back, journal), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    static bool seen[2 * JOURNAL_STEP + 1];
    memset(seen, 0, sizeof(seen));
    for (uint32_t slot; (slot = journal_sent(journal, 1, 1, 1)) != 0;) { /* all are there again, each once */
        assert_false(seen[slot]);
        seen[slot] = true;
    }
    for (int i = 1; i <= 2 * JOURNAL_STEP; i++)
        assert_true(seen[i]);
    fixture_remove(&fixture);
}

/* ---- random lives ---- */

/* Kill after kill with everybody at a random point; the model is one state and one count per recipient. */
static void random_kills_leave_what_the_model_says(void **state)
{
    (void)state;
    srandom(20261123);
    for (int life = 0; life < 6; life++) {
        struct fixture fixture;
        int64_t lane;
        int64_t campaign = prepare(&fixture, PEOPLE, &lane);
        static int attempts[PEOPLE + 1];
        static bool over[PEOPLE + 1], uncertain[PEOPLE + 1];
        memset(attempts, 0, sizeof(attempts));
        memset(over, 0, sizeof(over));
        memset(uncertain, 0, sizeof(uncertain));
        for (int round = 0; round < 4; round++) {
            enum point points[PEOPLE + 1];
            for (int i = 0; i <= PEOPLE; i++)
                points[i] = (enum point)(random() % POINT_COUNT);
            run_child(&fixture, campaign, round == 0 ? lane : STORAGE_LANE_RETRIES, 20000 + round, points);
            recover(&fixture, false, 777);
            int64_t doubts = 0;
            for (int i = 1; i <= PEOPLE; i++) {
                if (!over[i]) {
                    attempts[i] += points[i] >= NOTED_DELIVERED;
                    uncertain[i] |= points[i] == SENT || points[i] == NOTED_UNCERTAIN;
                    over[i] = points[i] >= NOTED_DELIVERED && noted_states[points[i]] != DELIVERY_DEFERRED;
                }
                doubts += uncertain[i];
                assert_int_equal(row_int(&fixture, "state NOT IN (1, 3)", i), over[i]);
                assert_int_equal(row_int(&fixture, "attempts", i), attempts[i]);
            }
            assert_int_equal(sql_int(&fixture, "SELECT sum(uncertain) FROM delivery"), doubts);
            struct storage_campaign now = stats(&fixture, campaign);
            assert_adds_up(&now);
            assert_int_equal(now.states[DELIVERY_SENDING], 0);
        }
        fixture_remove(&fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_attempts_after_a_kill),
        cmocka_unit_test(first_attempts_after_a_kill_held),
        cmocka_unit_test(retries_after_a_kill),
        cmocka_unit_test(retries_after_a_kill_held),
        cmocka_unit_test(cancelled_while_in_the_air),
        cmocka_unit_test(doubtful_files),
        cmocka_unit_test(torn_pages),
        cmocka_unit_test(outcome_of_the_slot_s_former_user),
        cmocka_unit_test(outcome_of_an_older_attempt),
        cmocka_unit_test(file_cut_off),
        cmocka_unit_test(begins_only_where_it_may_be_believed),
        cmocka_unit_test(a_run_without_a_journal_is_not_covered_by_the_last_one_s),
        cmocka_unit_test(refuses_when_full),
        cmocka_unit_test(threads_never_share_a_slot),
        cmocka_unit_test(random_kills_leave_what_the_model_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
