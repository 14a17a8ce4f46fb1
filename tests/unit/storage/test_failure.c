/*
 * test_failure.c - full disks and failing ones: callers hear of it, outcomes wait, nothing is lost. And the group
 * commit itself.
 */
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "storage/writer.h"
#include "tests/unit/storage/faulty_vfs.h"
#include "tests/unit/storage/support.h"

#define RETRY_MS 20

struct campaign {
    struct fixture fixture;
    int64_t list, id, lane;
    struct storage_claim claim;
    struct gate gate;
};

/* `count` recipients, none claimed. */
static void campaign_launch(struct campaign *campaign, int count)
{
    struct fixture *fixture = &campaign->fixture;
    fixture_open(fixture, true);
    fixture->storage->retry_ms = RETRY_MS;
    campaign->list = make_list(fixture, "news");
    import_range(fixture, campaign->list, "u", "a.test", 0, count);
    campaign->id = make_campaign(fixture, &campaign->list, 1, NULL, 0);
    launch(fixture, campaign->id);
    assert_int_equal(lanes_of(fixture, campaign->id, &campaign->lane, 1), 1);
    gate_init(&campaign->gate);
}

/* What became of the claim: 0, or negative. */
static int campaign_claim(struct campaign *campaign, int count)
{
    campaign->claim = (struct storage_claim){.campaign_id = campaign->id, .lane = campaign->lane, .max = count};
    claim_wait(campaign->fixture.storage, &campaign->claim);
    if (campaign->claim.status == 0)
        assert_int_equal(campaign->claim.job_count, count);
    return campaign->claim.status;
}

/* `count` recipients, all claimed. */
static void campaign_open(struct campaign *campaign, int count)
{
    campaign_launch(campaign, count);
    assert_int_equal(campaign_claim(campaign, count), 0);
}

static void post(struct campaign *campaign, int from, int to)
{
    struct list records = LIST_INIT(records);
    for (int i = from; i < to; i++)
        list_append(&records, &make_outcome(&campaign->claim.jobs[i], DELIVERY_DELIVERED, &campaign->gate)->node);
    storage_outcomes_post(campaign->fixture.storage, &records);
}

static void campaign_close(struct campaign *campaign)
{
    arena_finish(&campaign->claim.arena);
    fixture_remove(&campaign->fixture);
}

static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    struct campaign campaign;
    campaign_open(&campaign, 100);
    struct storage *storage = campaign.fixture.storage;
    struct error err = {.text = ""}, why = {.text = ""};
    assert_true(storage_healthy(storage, NULL));
    faulty_vfs_fail(1, -1, SQLITE_FULL);
    post(&campaign, 0, 60);
    int64_t id;
    assert_int_equal(storage_list_create(storage, "refused", "", &id, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "disk is full"));
    assert_false(storage_healthy(storage, &why));
    assert_non_null(strstr(why.text, "disk is full"));
    struct storage_claim claim = {.campaign_id = campaign.id, .lane = campaign.lane, .max = 10};
    claim_wait(storage, &claim);
    assert_int_equal(claim.status, -ENOSPC);
    assert_int_equal(claim.job_count, 0);
    post(&campaign, 60, 100);
    assert_int_equal(storage_list_create(storage, "refused", "", &id, &err), -ENOSPC);
    assert_int_equal(campaign.gate.count, 0);
    assert_states(&campaign.fixture, campaign.id, "audience=100 sending=100"); /* readers go on */
    faulty_vfs_heal();
    gate_wait(&campaign.gate, 100);
    must(storage_list_create(storage, "accepted", "", &id, &err));
    assert_true(storage_healthy(storage, &why));
    assert_string_equal(why.text, "");
    assert_states(&campaign.fixture, campaign.id, "audience=100 delivered=100");
    assert_int_equal(sql_int(&campaign.fixture, "SELECT count(*) FROM list WHERE name = 'refused'"), 0);
    assert_int_equal(sql_int(&campaign.fixture, "SELECT count(*) FROM claim"), 0);
    campaign_close(&campaign);
}

/* A disk gets room again, a damaged file does not mend by itself: writing on could only make it worse. */
static void a_damaged_database_is_not_written_again(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""}, why = {.text = ""};
    int64_t id;
    fixture_open(&fixture, true);
    fixture.storage->retry_ms = RETRY_MS;
    faulty_vfs_fail(1, -1, SQLITE_CORRUPT);
    assert_int_equal(storage_list_create(fixture.storage, "first", "", &id, &err), -EIO);
    assert_non_null(strstr(err.text, "damaged"));
    faulty_vfs_heal();
    assert_int_equal(storage_list_create(fixture.storage, "second", "", &id, &err), -EIO);
    struct storage_claim claim = {.campaign_id = 1, .lane = 1, .max = 10};
    claim_wait(fixture.storage, &claim);
    assert_int_equal(claim.status, -EIO);
    assert_false(storage_healthy(fixture.storage, &why));
    assert_non_null(strstr(why.text, "before a restart"));
    fixture_close(&fixture);
    fixture_reopen(&fixture, true);
    must(storage_list_create(fixture.storage, "third", "", &id, &err));
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM list"), 1);
    fixture_remove(&fixture);
}

/* The n-th write or sync fails, once; for n = 1 up to where nothing fails any more. As SQLite tests itself. */
static void every_single_fault_is_survived(void **state)
{
    (void)state;
    static const int codes[] = {SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC};
    for (size_t c = 0; c < countof(codes); c++) {
        int n = 1;
        for (; n < 500; n++) {
            struct campaign campaign;
            campaign_open(&campaign, 30);
            struct error err = {.text = ""};
            int64_t id;
            faulty_vfs_fail(n, 1, codes[c]);
            post(&campaign, 0, 30);
            int result = storage_list_create(campaign.fixture.storage, "other", "", &id, &err);
            gate_wait(&campaign.gate, 30);
            bool hit = atomic_load(&faulty_vfs.failed) > 0;
            faulty_vfs_heal();
            assert_int_equal(sql_int(&campaign.fixture, "SELECT count(*) FROM list WHERE name = 'other'"), result == 0);
            if (result != 0)
                must(storage_list_create(campaign.fixture.storage, "other", "", &id, &err));
            assert_states(&campaign.fixture, campaign.id, "audience=30 delivered=30");
            assert_int_equal(sql_int(&campaign.fixture, "SELECT count(*) FROM delivery"), 30);
            campaign_close(&campaign);
            if (!hit)
                break;
        }
        assert_in_range(n, 2, 499);
    }
}

/* The n-th read fails, once, from opening on. Who asked is told so, and gets it when he asks again. */
static void every_single_read_fault_is_survived(void **state)
{
    (void)state;
    bool hit = true;
    int n = 0;
    while (hit) {
        struct campaign campaign;
        struct storage **storage = &campaign.fixture.storage;
        struct error err = {.text = ""};
        int64_t id;
        campaign_launch(&campaign, 30);
        fixture_close(&campaign.fixture);
        struct storage_options options = {.data_dir = campaign.fixture.dir, .server = true};
        faulty_vfs_fail(++n, 1, SQLITE_IOERR_READ);
        if (storage_open(&options, storage, &err) != 0) {
            assert_non_null(strstr(err.text, campaign.fixture.dir));
            must(storage_open(&options, storage, &err));
        }
        (*storage)->retry_ms = RETRY_MS;
        if (campaign_claim(&campaign, 30) != 0)
            assert_int_equal(campaign_claim(&campaign, 30), 0);
        post(&campaign, 0, 30);
        if (storage_list_create(*storage, "other", "", &id, &err) != 0)
            must(storage_list_create(*storage, "other", "", &id, &err));
        gate_wait(&campaign.gate, 30);
        hit = atomic_load(&faulty_vfs.failed) > 0;
        faulty_vfs_heal();
        must(storage_reader_open(*storage, &campaign.fixture.reader, &err));
        assert_states(&campaign.fixture, campaign.id, "audience=30 delivered=30");
        campaign_close(&campaign);
    }
    assert_in_range(n, 20, 2000);
}

static void order_note(struct list *records)
{
    for (struct list *node; (node = list_take_first(records)) != NULL;) {
        struct storage_outcome *record = list_entry(node, struct storage_outcome, node);
        int64_t *last = record->context;
        assure(record->recipient_id > *last);
        *last = record->recipient_id;
        free(record);
    }
}

static void waiting_outcomes_keep_their_order(void **state)
{
    (void)state;
    struct campaign campaign;
    campaign_open(&campaign, 1000);
    struct error err = {.text = ""};
    int64_t last = 0, id;
    faulty_vfs_fail(1, 3, SQLITE_IOERR_WRITE);
    for (int i = 0; i < 1000; i++) {
        struct list records = LIST_INIT(records);
        struct storage_outcome *record = make_outcome(&campaign.claim.jobs[i], DELIVERY_DELIVERED, NULL);
        record->done = order_note;
        record->context = &last;
        list_append(&records, &record->node);
        storage_outcomes_post(campaign.fixture.storage, &records);
    }
    /* A call posted after them sees them all, once one gets through. */
    while (storage_list_create(campaign.fixture.storage, "after", "", &id, &err) < 0)
        ;
    assert_int_equal(last, campaign.claim.jobs[999].recipient_id);
    assert_states(&campaign.fixture, campaign.id, "audience=1000 delivered=1000");
    faulty_vfs_heal();
    campaign_close(&campaign);
}

/* Closing while the disk refuses: comes to an end, acknowledges nothing, and the next start finds the deliveries. */
static void closing_on_a_dead_disk_ends(void **state)
{
    (void)state;
    struct campaign campaign;
    campaign_open(&campaign, 10);
    struct error err = {.text = ""};
    faulty_vfs_fail(1, -1, SQLITE_FULL);
    struct storage_outcome *records[10];
    struct list list = LIST_INIT(list);
    for (int i = 0; i < 10; i++) {
        records[i] = make_outcome(&campaign.claim.jobs[i], DELIVERY_DELIVERED, &campaign.gate);
        list_append(&list, &records[i]->node);
    }
    storage_outcomes_post(campaign.fixture.storage, &list);
    fixture_close(&campaign.fixture);
    assert_int_equal(campaign.gate.count, 0);
    for (int i = 0; i < 10; i++)
        free(records[i]); /* never called back: still ours */
    faulty_vfs_heal();
    fixture_reopen(&campaign.fixture, true);
    struct storage_recovery found;
    must(storage_recover(campaign.fixture.storage, false, 5, &found, &err));
    assert_int_equal(found.deliveries, 10);
    assert_states(&campaign.fixture, campaign.id, "audience=10 deferred=10");
    campaign_close(&campaign);
}

static void an_import_on_a_full_disk_says_so(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    int64_t list = make_list(&fixture, "news");
    struct storage_import *import;
    must(storage_import_begin(fixture.storage, list, UPSERT_UPDATE, &import, &err));
    for (int i = 0; i < 5000; i++) {
        char email[64];
        int len = snprintf(email, sizeof(email), "u%d@a.test", i);
        must(storage_import_add(import, email, (size_t)len, "{}", 2, &err));
    }
    faulty_vfs_fail(1, -1, SQLITE_FULL);
    struct upsert_counts counts;
    assert_int_equal(storage_import_finish(import, false, &counts, &err), -ENOSPC);
    assert_int_equal(counts.created, 0);
    faulty_vfs_heal();
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM recipient"), 0);
    assert_int_equal(import_range(&fixture, list, "u", "a.test", 0, 5000).created, 5000);
    fixture_remove(&fixture);
}

/* Whoever reads keeps the log from being carried over, which is what else would have synced it. */
static void a_load_lasts_before_it_is_told(void **state)
{
    (void)state;
    for (int count = 100; count <= 30000; count += 29900) {
        struct fixture fixture;
        fixture_open(&fixture, false);
        int64_t list = make_list(&fixture, "news");
        char path[128];
        (void)snprintf(path, sizeof(path), "%s/posthaste.db", fixture.dir);
        sqlite3 *reader;
        assert_int_equal(sqlite3_open(path, &reader), SQLITE_OK);
        const char *begin = "PRAGMA wal_checkpoint; BEGIN; SELECT count(*) FROM meta";
        assert_int_equal(sqlite3_exec(reader, begin, NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(import_range(&fixture, list, "u", "a.test", 0, count).created, count);
        assert_int_equal(atomic_load(&faulty_vfs.wal_unsynced), 0);
        assert_int_equal(sqlite3_close(reader), SQLITE_OK);
        fixture_remove(&fixture);
    }
}

/* The keeper waits for the disk, and the load for the keeper: what is not carried over is bounded. */
static void a_slow_disk_bounds_the_log_of_a_load(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error err = {.text = ""};
    struct storage_import *import;
    static char json[1200];
    memset(json, ' ', sizeof(json));
    json[0] = '{';
    json[sizeof(json) - 1] = '}';
    fixture_open(&fixture, false);
    must(storage_import_begin(fixture.storage, make_list(&fixture, "news"), UPSERT_UPDATE, &import, &err));
    atomic_store(&faulty_vfs.wal_bytes, 0);
    atomic_store(&faulty_vfs.slow_s, 1);
    for (int i = 0; i < 150000; i++) { /* 200 MB: three chunks */
        char email[64];
        int len = snprintf(email, sizeof(email), "u%d@a.test", i);
        must(storage_import_add(import, email, (size_t)len, json, sizeof(json), &err));
    }
    must(storage_import_finish(import, false, NULL, &err));
    atomic_store(&faulty_vfs.slow_s, 0);
    assert_in_range(atomic_load(&faulty_vfs.wal_bytes), 1, (int64_t)KEEPER_LOAD_PAGES * 4096 * 3 / 2);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM recipient"), 150000);
    fixture_remove(&fixture);
}

/* The kernel's own limit: writes past it fail with EFBIG. */
static void a_file_size_limit_is_a_full_disk(void **state)
{
    (void)state;
    struct campaign campaign;
    campaign_open(&campaign, 1000);
    struct error err = {.text = ""};
    int64_t database, wal, id;
    struct rlimit before, tight;
    assert_int_equal(storage_sizes(campaign.fixture.storage, &database, &wal), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    tight = (struct rlimit){.rlim_cur = (rlim_t)wal + 8192, .rlim_max = before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    post(&campaign, 0, 1000);
    assert_true(storage_list_create(campaign.fixture.storage, "refused", "", &id, &err) < 0);
    assert_false(storage_healthy(campaign.fixture.storage, NULL));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    gate_wait(&campaign.gate, 1000);
    signal(SIGXFSZ, handler);
    assert_states(&campaign.fixture, campaign.id, "audience=1000 delivered=1000");
    campaign_close(&campaign);
}

static void outcomes_share_their_syncs(void **state)
{
    (void)state;
    struct campaign campaign;
    campaign_open(&campaign, 1000);
    int before = atomic_load(&faulty_vfs.wal_syncs);
    for (int i = 0; i < 1000; i++)
        post(&campaign, i, i + 1); /* one by one, as connections finish */
    gate_wait(&campaign.gate, 1000);
    assert_in_range(atomic_load(&faulty_vfs.wal_syncs) - before, 1, 200);
    assert_states(&campaign.fixture, campaign.id, "audience=1000 delivered=1000");
    campaign_close(&campaign);
}

/* SQLite's own would be two for each page. Behind the sync others see the commit whole. */
static void a_commit_is_one_write(void **state)
{
    (void)state;
    struct campaign campaign;
    campaign_open(&campaign, 1000);
    int writes = atomic_load(&faulty_vfs.wal_writes), syncs = atomic_load(&faulty_vfs.wal_syncs);
    for (int i = 0; i < 50; i++) {
        struct error err = {.text = ""};
        char name[32];
        int64_t id;
        (void)snprintf(name, sizeof(name), "list %d", i);
        must(storage_list_create(campaign.fixture.storage, name, "", &id, &err));
        assert_int_equal(sql_int(&campaign.fixture, "SELECT max(id) FROM list"), id);
    }
    syncs = atomic_load(&faulty_vfs.wal_syncs) - syncs;
    assert_in_range(syncs, 50, 60);
    assert_in_range(atomic_load(&faulty_vfs.wal_writes) - writes, 50, syncs + 5);
    campaign_close(&campaign);
}

/* What the writer could not write is not written later over what another program has committed meanwhile: neither for
 * readers of now, nor for who finds the files after a crash. */
static void a_failed_write_leaves_others_alone(void **state)
{
    (void)state;
    struct campaign campaign;
    struct error err = {.text = ""};
    struct fixture crashed = {.dir = ""};
    char command[256];
    int64_t id;
    campaign_open(&campaign, 100);
    campaign.fixture.storage->retry_ms = 2000; /* until the other one is done */
    faulty_vfs_fail(1, 1, SQLITE_FULL);
    post(&campaign, 0, 60);
    assert_int_equal(storage_list_create(campaign.fixture.storage, "refused", "", &id, &err), -ENOSPC);
    sql_exec(&campaign.fixture, "CREATE TABLE other (x); INSERT INTO other WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL"
                                " SELECT i + 1 FROM n WHERE i < 2000) SELECT hex(randomblob(20)) FROM n");
    assert_int_equal(campaign.gate.count, 0);
    gate_wait(&campaign.gate, 60);
    make_dir(crashed.dir);
    (void)snprintf(command, sizeof(command), "cp %s/posthaste.db %s/posthaste.db-wal %s", campaign.fixture.dir,
                   campaign.fixture.dir, crashed.dir);
    assert_int_equal(system(command), 0);
    const struct fixture *const both[] = {&campaign.fixture, &crashed};
    for (size_t i = 0; i < countof(both); i++) {
        assert_int_equal(sql_int(both[i], "SELECT count(*) FROM other WHERE length(x) = 40"), 2000);
        assert_int_equal(sql_int(both[i], "SELECT count(*) FROM delivery WHERE state = 2"), 60);
        assert_int_equal(sql_int(both[i], "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"),
                         1);
    }
    remove_dir(crashed.dir);
    campaign_close(&campaign);
}

struct caller {
    struct fixture *fixture;
    int number, failed;
};

static void *call_many(void *arg)
{
    struct caller *caller = arg;
    for (int i = 0; i < 50; i++) {
        struct error err = {.text = ""};
        char name[32];
        int64_t id;
        uint8_t hash[32] = {7}; /* the same for all: refused by the database itself */
        (void)snprintf(name, sizeof(name), "list %d.%d", caller->number, i);
        caller->failed += storage_list_create(caller->fixture->storage, name, "", &id, &err) != 0;
        caller->failed += storage_token_add(caller->fixture->storage, "twin", TOKEN_READ, hash, 1, &id, &err) >= 0;
    }
    return NULL;
}

/* One that breaks a constraint is undone alone; the others of its transaction stay. */
static void a_refused_call_spares_its_batch(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    struct error err = {.text = ""};
    uint8_t hash[32] = {7};
    int64_t id;
    must(storage_token_add(fixture.storage, "first", TOKEN_READ, hash, 1, &id, &err));
    pthread_t threads[8];
    struct caller callers[8];
    for (int i = 0; i < 8; i++) {
        callers[i] = (struct caller){.fixture = &fixture, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, call_many, &callers[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(callers[i].failed, 0);
    }
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM list"), 400);
    assert_int_equal(sql_int(&fixture, "SELECT count(*) FROM token"), 1);
    assert_true(storage_healthy(fixture.storage, NULL));
    fixture_remove(&fixture);
}

static atomic_int answered, claimed;

static void note_claim(struct storage_claim *claim)
{
    assure(claim->status == 0 || (claim->status == -ECANCELED && claim->job_count == 0));
    atomic_fetch_add(&answered, 1);
    atomic_fetch_add(&claimed, claim->job_count);
    arena_finish(&claim->arena);
}

/* Whatever was posted has its answer when storage_close() returns, and only what was answered with jobs is in flight.
 */
static void closing_answers_claims(void **state)
{
    (void)state;
    struct campaign campaign;
    campaign_open(&campaign, 1000);
    struct error err = {.text = ""};
    struct fixture *fixture = &campaign.fixture;
    arena_finish(&campaign.claim.arena);
    import_range(fixture, campaign.list, "u", "b.test", 0, 1000);
    int64_t second = make_campaign(fixture, &campaign.list, 1, NULL, 0), lanes[8];
    launch(fixture, second);
    int lane_count = lanes_of(fixture, second, lanes, 8);
    static struct storage_claim claims[100];
    for (int i = 0; i < 100; i++) {
        claims[i] = (struct storage_claim){
            .done = note_claim, .campaign_id = second, .lane = lanes[i % lane_count], .max = 10, .now_ms = 1};
        storage_claim_post(fixture->storage, &claims[i]);
    }
    fixture_close(fixture);
    assert_int_equal(atomic_load(&answered), 100);
    fixture_reopen(fixture, true);
    assert_int_equal(stats(fixture, second).states[DELIVERY_SENDING], atomic_load(&claimed));
    struct storage_recovery found;
    must(storage_recover(fixture->storage, false, 5, &found, &err));
    assert_int_equal(found.deliveries, 1000 + atomic_load(&claimed));
    storage_close(NULL);
    fixture_remove(fixture);
}

int main(void)
{
    faulty_vfs_install();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_loses_nothing),
        cmocka_unit_test(a_damaged_database_is_not_written_again),
        cmocka_unit_test(every_single_fault_is_survived),
        cmocka_unit_test(every_single_read_fault_is_survived),
        cmocka_unit_test(waiting_outcomes_keep_their_order),
        cmocka_unit_test(closing_on_a_dead_disk_ends),
        cmocka_unit_test(an_import_on_a_full_disk_says_so),
        cmocka_unit_test(a_load_lasts_before_it_is_told),
        cmocka_unit_test(a_slow_disk_bounds_the_log_of_a_load),
        cmocka_unit_test(a_file_size_limit_is_a_full_disk),
        cmocka_unit_test(outcomes_share_their_syncs),
        cmocka_unit_test(a_commit_is_one_write),
        cmocka_unit_test(a_failed_write_leaves_others_alone),
        cmocka_unit_test(a_refused_call_spares_its_batch),
        cmocka_unit_test(closing_answers_claims),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
