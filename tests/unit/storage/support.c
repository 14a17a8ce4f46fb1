/*
 * support.c - see support.h.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/storage/support.h"

void make_dir(char out[64])
{
    (void)snprintf(out, 64, "/tmp/ph-storage-XXXXXX");
    assert_non_null(mkdtemp(out));
}

void remove_dir(const char *dir)
{
    DIR *entries = opendir(dir);
    if (entries == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        char path[512];
        (void)snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        if (entry->d_name[0] != '.')
            (void)unlink(path);
    }
    closedir(entries);
    (void)rmdir(dir);
}

void fixture_reopen(struct fixture *fixture, bool server)
{
    struct error err = {.text = ""};
    struct storage_options options = {.data_dir = fixture->dir, .server = server};
    must(storage_open(&options, &fixture->storage, &err));
    must(storage_reader_open(fixture->storage, &fixture->reader, &err));
}

void fixture_open(struct fixture *fixture, bool server)
{
    make_dir(fixture->dir);
    fixture_reopen(fixture, server);
}

void fixture_close(struct fixture *fixture)
{
    storage_reader_close(fixture->reader);
    storage_close(fixture->storage);
    fixture->reader = NULL;
    fixture->storage = NULL;
}

void fixture_remove(struct fixture *fixture)
{
    fixture_close(fixture);
    remove_dir(fixture->dir);
}

int64_t make_list(struct fixture *fixture, const char *name)
{
    struct error err = {.text = ""};
    int64_t id;
    must(storage_list_create(fixture->storage, name, "", &id, &err));
    return id;
}

struct upsert_counts import_one(struct fixture *fixture, int64_t list, const char *email, const char *json)
{
    struct error err = {.text = ""};
    struct storage_import *import;
    struct upsert_counts counts;
    must(storage_import_begin(fixture->storage, list, UPSERT_UPDATE, &import, &err));
    must(storage_import_add(import, email, strlen(email), json, strlen(json), &err));
    must(storage_import_finish(import, false, &counts, &err));
    return counts;
}

struct upsert_counts import_range(struct fixture *fixture, int64_t list, const char *prefix, const char *domain,
                                  int from, int to)
{
    struct error err = {.text = ""};
    struct storage_import *import;
    struct upsert_counts counts;
    must(storage_import_begin(fixture->storage, list, UPSERT_UPDATE, &import, &err));
    for (int i = from; i < to; i++) {
        char email[128], json[64];
        int email_len = snprintf(email, sizeof(email), "%s%d@%s", prefix, i, domain);
        int json_len = snprintf(json, sizeof(json), "{\"n\":%d}", i);
        must(storage_import_add(import, email, (size_t)email_len, json, (size_t)json_len, &err));
    }
    must(storage_import_finish(import, false, &counts, &err));
    return counts;
}

static int keep_id(void *context, const struct storage_recipient *recipient)
{
    *(int64_t *)context = recipient->id;
    return 0;
}

int64_t recipient_id(struct fixture *fixture, const char *email)
{
    struct error err = {.text = ""};
    int64_t id = 0;
    must(storage_recipient_find(fixture->reader, email, keep_id, &id, &err));
    return id;
}

int64_t make_campaign(struct fixture *fixture, const int64_t *lists, int list_count, const int64_t *excluded,
                      int excluded_count)
{
    return make_segmented(fixture, lists, list_count, excluded, excluded_count, NULL);
}

int64_t make_segmented(struct fixture *fixture, const int64_t *lists, int list_count, const int64_t *excluded,
                       int excluded_count, const struct buffer *segment)
{
    struct error err = {.text = ""};
    struct storage_campaign campaign = {.name = "test", .spec = "{}", .expires_after_ms = 86400000};
    if (segment != NULL) {
        campaign.segment = segment->data;
        campaign.segment_bytes = segment->len;
    }
    for (int i = 0; i < list_count; i++)
        campaign.lists[campaign.list_count++] = lists[i];
    for (int i = 0; i < excluded_count; i++)
        campaign.excluded[campaign.excluded_count++] = excluded[i];
    int64_t id;
    must(storage_campaign_create(fixture->storage, &campaign, 1000, &id, &err));
    return id;
}

void launch(struct fixture *fixture, int64_t campaign)
{
    struct error err = {.text = ""};
    must(storage_campaign_move(fixture->storage, campaign, CAMPAIGN_RUNNING, 0, 2000, NULL, &err));
}

static int keep_campaign(void *context, const struct storage_campaign *campaign)
{
    struct storage_campaign *out = context;
    *out = *campaign;
    out->name = out->spec = NULL;
    return 0;
}

struct storage_campaign stats(struct fixture *fixture, int64_t campaign)
{
    struct error err = {.text = ""};
    struct storage_campaign out = {0};
    must(storage_campaign_get(fixture->reader, campaign, keep_campaign, &out, &err));
    return out;
}

void wait_exact(struct fixture *fixture, int64_t campaign)
{
    struct timespec begun, now, pause = {.tv_nsec = 1000000};
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (;;) {
        struct storage_campaign found = stats(fixture, campaign);
        assert_adds_up(&found);
        if (found.audience_exact)
            return;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - begun.tv_sec > 60)
            fail_msg("campaign %lld is not counted after a minute", (long long)campaign);
        nanosleep(&pause, NULL);
    }
}

void assert_adds_up(const struct storage_campaign *campaign)
{
    int64_t sum = 0;
    for (int i = 0; i < DELIVERY_STATE_COUNT; i++)
        sum += campaign->states[i];
    assert_int_equal(sum, campaign->audience);
}

void assert_states(struct fixture *fixture, int64_t campaign, const char *expected)
{
    struct storage_campaign found = stats(fixture, campaign);
    char text[512];
    int len = snprintf(text, sizeof(text), "audience=%" PRId64, found.audience);
    for (int i = 0; i < DELIVERY_STATE_COUNT; i++) {
        if (found.states[i] != 0)
            len += snprintf(text + len, sizeof(text) - (size_t)len, " %s=%" PRId64,
                            delivery_state_name((enum delivery_state)i), found.states[i]);
    }
    assert_string_equal(text, expected);
    assert_adds_up(&found);
}

void gate_init(struct gate *gate)
{
    assert_int_equal(pthread_mutex_init(&gate->lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&gate->changed, NULL), 0);
    gate->count = 0;
}

void gate_pass(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->count++;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

bool gate_wait_ms(struct gate *gate, int count, int timeout_ms)
{
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += timeout_ms / 1000;
    deadline.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_sec++;
        deadline.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&gate->lock);
    int code = 0;
    while (gate->count < count && code == 0)
        code = pthread_cond_timedwait(&gate->changed, &gate->lock, &deadline);
    bool reached = gate->count >= count;
    pthread_mutex_unlock(&gate->lock);
    return reached;
}

void gate_wait(struct gate *gate, int count)
{
    if (!gate_wait_ms(gate, count, 60000))
        fail_msg("gate: %d of %d after a minute", gate->count, count);
}

/* The gate of a claim being waited for: claims carry no context, so it lies beside the operation. */
struct waited {
    struct storage_claim claim;
    struct gate gate;
};

static void claim_done(struct storage_claim *claim)
{
    gate_pass(&container_of(claim, struct waited, claim)->gate);
}

void claim_wait(struct storage *storage, struct storage_claim *claim)
{
    struct waited *waited = calloc(1, sizeof(*waited));
    assert_non_null(waited);
    waited->claim = *claim;
    waited->claim.done = claim_done;
    gate_init(&waited->gate);
    storage_claim_post(storage, &waited->claim);
    gate_wait(&waited->gate, 1);
    /* The callback may still hold the lock. */
    pthread_mutex_lock(&waited->gate.lock);
    pthread_mutex_unlock(&waited->gate.lock);
    *claim = waited->claim;
    free(waited);
}

struct lanes {
    int64_t *ids;
    int count, max;
};

static int keep_lane(void *context, const struct storage_lane *lane)
{
    struct lanes *lanes = context;
    if (!lane->done && lanes->count < lanes->max)
        lanes->ids[lanes->count++] = lane->lane;
    return 0;
}

int lanes_of(struct fixture *fixture, int64_t campaign, int64_t *lanes, int max)
{
    struct error err = {.text = ""};
    struct lanes found = {.ids = lanes, .max = max};
    must(storage_campaign_lanes(fixture->reader, campaign, keep_lane, &found, &err));
    return found.count;
}

static void outcome_done(struct list *records)
{
    for (struct list *node; (node = list_take_first(records)) != NULL;) {
        struct storage_outcome *record = list_entry(node, struct storage_outcome, node);
        struct gate *gate = record->context;
        free(record);
        if (gate != NULL)
            gate_pass(gate);
    }
}

struct storage_outcome *make_outcome(const struct storage_job *job, enum delivery_state state, struct gate *gate)
{
    struct storage_outcome *record = calloc(1, sizeof(*record));
    assert_non_null(record);
    list_init(&record->node);
    record->done = outcome_done;
    record->context = gate;
    record->campaign_id = job->campaign_id;
    record->recipient_id = job->recipient_id;
    record->claim_id = job->claim_id;
    record->state = state;
    record->attempts = job->attempts + 1;
    record->tried = true;
    record->next_attempt_ms = state == DELIVERY_DEFERRED ? 10000 : 0;
    record->outcome.code = state == DELIVERY_DELIVERED ? 250 : state == DELIVERY_BOUNCED ? 550 : 451;
    record->outcome.stage = STAGE_CONTENT;
    record->outcome.ended_wall_ms = 60000;
    (void)snprintf(record->outcome.text, sizeof(record->outcome.text), "attempt %d", record->attempts);
    return record;
}

void post_one(struct fixture *fixture, struct storage_outcome *record)
{
    struct gate gate;
    gate_init(&gate);
    record->context = &gate;
    struct list records = LIST_INIT(records);
    list_append(&records, &record->node);
    storage_outcomes_post(fixture->storage, &records);
    assert_true(list_empty(&records));
    gate_wait(&gate, 1);
    pthread_mutex_lock(&gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

int deliver_all(struct fixture *fixture, int64_t campaign, enum delivery_state state)
{
    int64_t lanes[256];
    int lane_count = lanes_of(fixture, campaign, lanes, 256), total = 0;
    struct gate gate;
    gate_init(&gate);
    for (int i = 0; i < lane_count; i++) {
        struct storage_claim claim = {.campaign_id = campaign, .lane = lanes[i], .max = 1000, .now_ms = 5000};
        do {
            claim_wait(fixture->storage, &claim);
            assert_int_equal(claim.status, 0);
            struct list records = LIST_INIT(records);
            for (int n = 0; n < claim.job_count; n++)
                list_append(&records, &make_outcome(&claim.jobs[n], state, &gate)->node);
            total += claim.job_count;
            arena_finish(&claim.arena);
            storage_outcomes_post(fixture->storage, &records);
        } while (!claim.lane_done);
    }
    gate_wait(&gate, total);
    pthread_mutex_lock(&gate.lock);
    pthread_mutex_unlock(&gate.lock);
    return total;
}

int64_t sql_int(const struct fixture *fixture, const char *sql)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/posthaste.db", fixture->dir);
    sqlite3 *db;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    int64_t value = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : -1;
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return value;
}

void assert_blocks(const struct fixture *fixture)
{
    assert_int_equal(sql_int(fixture, "SELECT count(*) FROM (SELECT campaign_id, id >> 8 FROM delivery EXCEPT"
                                      " SELECT campaign_id, block FROM delivery_block)"),
                     0);
    assert_int_equal(sql_int(fixture, "SELECT count(*) FROM (SELECT campaign_id, block FROM delivery_block EXCEPT"
                                      " SELECT campaign_id, id >> 8 FROM delivery)"),
                     0);
}

void sql_exec(const struct fixture *fixture, const char *sql)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/posthaste.db", fixture->dir);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    char *message = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
    sqlite3_close(db);
}
