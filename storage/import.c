/*
 * import.c - a bulk load, its door and its transactions: each chunk of rows (import_chunk.c) is written in a row of them.
 *
 * While a server runs on the database a transaction lasts at most about 40 ms and is followed by a gap, in which the
 * server's writer takes its turn. Commits of a long load are not synced one by one, but the log is before the load is
 * told to be done. The keeper carries it over beside the load (keeper.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/address.h"
#include "base/clock.h"
#include "storage/import.h"
#include "storage/members.h"
#include "storage/writer.h"

#define MERGED_BYTES ((size_t)64 << 20)
#define DOMAIN_BYTES ((size_t)256 << 20)
#define ATTRIBUTES_MAX_BYTES ((size_t)65536)
#define GENTLE_US 40000   /* of a transaction when a server runs */
#define GENTLE_GAP_NS 4000000
#define GENTLE_CHECK 4 /* batches of rows, or domains, between looks at the clock */

/* The connection is kept by the storage from one import to the next: opening one reads the schema anew. */
static int take_connection(struct storage_import *import, struct error *err)
{
    struct storage *storage = import->storage;
    pthread_mutex_lock(&storage->lock);
    import->db = storage->spare;
    storage->spare = NULL;
    pthread_mutex_unlock(&storage->lock);
    if (import->db != NULL)
        return 0;
    import->db = calloc(1, sizeof(*import->db));
    if (import->db == NULL)
        return error_memory(err);
    int failed = db_open(import->db, storage->database_path, DB_IMPORT, err);
    if (failed) {
        free(import->db);
        import->db = NULL;
    } else {
        db_watch_wal(import->db);
    }
    return failed;
}

static void give_connection_back(struct storage_import *import)
{
    struct storage *storage = import->storage;
    if (import->db == NULL)
        return;
    pthread_mutex_lock(&storage->lock);
    bool kept = storage->spare == NULL && !import->failed;
    if (kept)
        storage->spare = import->db;
    pthread_mutex_unlock(&storage->lock);
    if (!kept) {
        db_close(import->db);
        free(import->db);
    }
}

static void import_free(struct storage_import *import)
{
    give_connection_back(import);
    hashmap_finish(&import->domains);
    arena_finish(&import->domain_arena);
    arena_finish(&import->merged);
    import_chunks_free(import);
    (void)pthread_mutex_destroy(&import->total_lock);
    free(import);
}

int storage_import_begin(struct storage *storage, int64_t list_id, enum upsert_mode mode, struct storage_import **out,
                         struct error *err)
{
    *out = NULL;
    struct storage_import *import = calloc(1, sizeof(*import));
    if (import == NULL)
        return error_memory(err);
    import->storage = storage;
    import->list_id = list_id;
    import->mode = mode;
    import_chunks_init(import);
    (void)pthread_mutex_init(&import->total_lock, NULL); /* cannot fail: a plain one */
    import->merged = ARENA_INIT(MERGED_BYTES);
    import->domain_arena = ARENA_INIT(DOMAIN_BYTES);
    int64_t id;
    int failed = take_connection(import, err);
    if (!failed)
        failed = db_get(import->db, err, &id, "SELECT id FROM list WHERE id = ?", DB_I(list_id));
    if (failed) {
        import_free(import);
        return failed; /* STORAGE_NOT_FOUND among them */
    }
    *out = import;
    return 0;
}

static int begin_transaction(struct storage_import *import, struct error *err)
{
    int failed = db_begin(import->db, err);
    if (failed)
        return failed;
    import->begun_us = clock_monotonic_us();
    import->now_ms = clock_wall_ms();
    int64_t id;
    failed = db_get(import->db, err, &import->epoch, "SELECT epoch FROM meta");
    if (!failed)
        failed = db_get(import->db, err, &id, "SELECT id FROM list WHERE id = ?", DB_I(import->list_id));
    return failed > 0 ? error_set(err, -ENOENT, "list %lld was deleted", (long long)import->list_id) : failed;
}

int import_open(struct storage_import *import, struct error *err)
{
    if (!sqlite3_get_autocommit(import->db->handle))
        return 0; /* goes on in the one that is open */
    import->gentle = import->storage->server || storage_server_running(import->storage->data_dir) != 0;
    return begin_transaction(import, err);
}

void import_rollback(struct storage_import *import)
{
    db_rollback(import->db);
    memset(import->lanes, 0, sizeof(import->lanes));
    import->lane_count = 0;
    import->new_recipients = 0;
    import->slice = import->folded = (struct upsert_counts){0};
}

static int flush_lanes(struct storage_import *import, struct error *err)
{
    for (size_t i = 0; i < IMPORT_LANES && import->lane_count > 0; i++) {
        struct import_lane *sum = &import->lanes[i];
        if (sum->active == 0 && sum->total == 0)
            continue;
        int failed = member_count(import->db, import->list_id, sum->lane, sum->active, sum->total, err);
        if (failed)
            return failed;
        *sum = (struct import_lane){0};
    }
    import->lane_count = 0;
    return 0;
}

int import_lane_add(struct storage_import *import, int64_t lane, int active, int total, struct error *err)
{
    if (import->lane_count >= IMPORT_LANES / 2) {
        int failed = flush_lanes(import, err);
        if (failed)
            return failed;
    }
    /* Sums only grow here (a member joins or comes back), so an empty slot is one with a total of zero. */
    size_t slot = (uint64_t)lane * 0x9E3779B97F4A7C15u >> 54;
    while (import->lanes[slot].total != 0 && import->lanes[slot].lane != lane)
        slot = (slot + 1) % IMPORT_LANES;
    struct import_lane *sum = &import->lanes[slot];
    import->lane_count += sum->total == 0;
    sum->lane = lane;
    sum->active += active;
    sum->total += total;
    return 0;
}

int import_commit(struct storage_import *import, struct error *err)
{
    int failed = flush_lanes(import, err);
    if (!failed && import->new_recipients > 0)
        failed = db_run(import->db, err, "UPDATE meta SET recipients = recipients + ?", DB_I(import->new_recipients));
    if (!failed)
        failed = db_commit(import->db, err);
    if (failed)
        return failed;
    pthread_mutex_lock(&import->total_lock);
    import->total.created += import->slice.created;
    import->total.updated += import->slice.updated;
    import->total.unchanged += import->slice.unchanged;
    pthread_mutex_unlock(&import->total_lock);
    import->slice = (struct upsert_counts){0};
    import->new_recipients = 0;
    keeper_after_load_commit(import->storage, import->db);
    return 0;
}

static int64_t slice_rows(const struct storage_import *import)
{
    return import->slice.created + import->slice.updated + import->slice.unchanged;
}

int import_pause(struct storage_import *import, struct error *err)
{
    if (import->gentle) {
        if (import->pause_check++ % GENTLE_CHECK != 0 || clock_monotonic_us() - import->begun_us < GENTLE_US)
            return 0;
    } else if (slice_rows(import) < IMPORT_SLICE_ROWS) {
        return 0;
    }
    int failed = import_commit(import, err);
    if (failed)
        return failed;
    if (import->gentle) {
        struct timespec gap = {.tv_nsec = GENTLE_GAP_NS};
        nanosleep(&gap, NULL);
    }
    import->gentle = import->storage->server || storage_server_running(import->storage->data_dir) != 0;
    return begin_transaction(import, err);
}

static int check_row(const char *email, size_t email_len, const char *json, size_t json_len, size_t *at_out,
                     struct error *err)
{
    if (email_len < 3 || email_len > ADDRESS_MAX_BYTES || memchr(email, '\0', email_len) != NULL)
        return error_set(err, -EINVAL, "an address has 3 to %d bytes", ADDRESS_MAX_BYTES);
    const char *at = memrchr(email, '@', email_len);
    if (at == NULL || at == email || at == email + email_len - 1)
        return error_set(err, -EINVAL, "an address has a local part and a domain");
    *at_out = (size_t)(at - email);
    if (json_len > ATTRIBUTES_MAX_BYTES)
        return error_set(err, -EINVAL, "attributes have at most %zu bytes", ATTRIBUTES_MAX_BYTES);
    if (json_len < 2 || json[0] != '{' || json[json_len - 1] != '}' || memchr(json, '\0', json_len) != NULL)
        return error_set(err, -EINVAL, "attributes are one JSON object");
    return 0;
}

int storage_import_add(struct storage_import *import, const char *email, size_t email_len, const char *attributes_json,
                       size_t json_len, struct error *err)
{
    if (import->failed)
        return error_set(err, -EIO, "the import has failed before");
    size_t at = 0;
    int failed = check_row(email, email_len, attributes_json, json_len, &at, err);
    if (failed)
        return failed;
    return import_chunk_add(import,
                            &(struct import_row){.email = email,
                                                 .email_len = (uint16_t)email_len,
                                                 .at = (uint16_t)at,
                                                 .attributes = attributes_json,
                                                 .attributes_len = (uint32_t)json_len},
                            err);
}

static int make_durable(struct storage_import *import, struct error *err)
{
    int failed = db_sync(import->db, err);
    return failed ? failed : import_set_sync(import, true, err);
}

int storage_import_finish(struct storage_import *import, bool abandon, struct upsert_counts *counts, struct error *err)
{
    if (import == NULL)
        return 0;
    int failed = import_chunks_end(import, abandon, err);
    if (import->unsynced) { /* what was written counts as written, whatever came after it */
        int lost = make_durable(import, failed ? NULL : err);
        import->failed |= lost != 0; /* the connection is not kept, either */
        failed = failed ? failed : lost;
    }
    if (counts != NULL)
        *counts = import->total;
    import_free(import);
    return failed;
}

void storage_import_counts(struct storage_import *import, struct upsert_counts *counts)
{
    pthread_mutex_lock(&import->total_lock);
    *counts = import->total;
    pthread_mutex_unlock(&import->total_lock);
}
