/*
 * import_rows.c - the sorted rows of a chunk into recipient and member, a batch at a time.
 *
 * Half of what a one-row statement costs is starting and ending it, so new rows go in 64 a statement. Whether rows are
 * new is guessed from the batch before: in a fresh list every INSERT succeeds and a SELECT in front of it would be a
 * second walk down the same tree; in a re-import the SELECT finds everything and a refused INSERT would be the waste. A
 * wrong guess costs one look-up a row. OR FAIL, because whatever refuses a statement ends the transaction: to be able
 * to take back the statement alone, SQLite would copy each page that its rows touch, a tenth of the whole load.
 *
 * Rows come sorted by address, but go in a few thousand at a time by lane: what a claim takes together then lies
 * together (a lane's members were a dozen ids apart, each on another cache line of a page that other lanes share), and
 * the index of addresses still sees each of its pages once.
 */
#include <errno.h>
#include <string.h>

#include "storage/import.h"
#include "storage/members.h"
#include "storage/writer.h"

#define BATCH 64   /* rows of one statement; VALUES_64 below goes with it */
#define GROUP 4096 /* addresses that go in by lane; the pages of the index that they touch fit into the cache */
#define AHEAD 8    /* rows asked of the memory before they are looked at */

struct known {
    int64_t id; /* 0: not in the database */
    bool fresh; /* made by this batch */
    bool attributes_changed;
    bool member;
    struct member_row membership; /* lane and ids always, the rest when `member` */
};

#define VALUES_4(row) row "," row "," row "," row
#define VALUES_16(row) VALUES_4(row) "," VALUES_4(row) "," VALUES_4(row) "," VALUES_4(row)
#define VALUES_64(row) VALUES_16(row) "," VALUES_16(row) "," VALUES_16(row) "," VALUES_16(row)
#define RECIPIENT "INSERT OR FAIL INTO recipient (created, updated, email, domain_id, lane, attributes) VALUES "
#define RECIPIENT_ROW "(?1, ?1, ?, ?, ?, ?)"
#define DO_NOTHING " ON CONFLICT DO NOTHING"
#define MEMBER "INSERT OR FAIL INTO member (list_id, status, epoch, since, joined, lane, recipient_id) VALUES "
#define MEMBER_ROW "(?1, 0, ?2, ?2, ?3, ?, ?)"

static const char insert_one[] = RECIPIENT RECIPIENT_ROW DO_NOTHING;
static const char insert_batch[] = RECIPIENT VALUES_64(RECIPIENT_ROW) DO_NOTHING;
static const char member_one[] = MEMBER MEMBER_ROW;
static const char member_batch[] = MEMBER VALUES_64(MEMBER_ROW);

/* Inserts the rows (1 or BATCH of them) whose addresses are not there; how many those were, or negative. */
static int insert_recipients(struct storage_import *import, const struct import_row *const *rows, size_t count,
                             struct error *err)
{
    struct db *db = import->db;
    assure(count == 1 || count == BATCH);
    sqlite3_stmt *statement = db_prepare(db, count == 1 ? insert_one : insert_batch, err);
    if (statement == NULL)
        return -EIO;
    int failed = sqlite3_bind_int64(statement, 1, import->now_ms), at = 2;
    for (size_t i = 0; i < count; i++) {
        const struct import_row *row = rows[i];
        failed |= sqlite3_bind_text(statement, at++, row->email, row->email_len, SQLITE_STATIC);
        failed |= sqlite3_bind_int64(statement, at++, row->domain->id);
        failed |= sqlite3_bind_int64(statement, at++, row->domain->lane);
        failed |= sqlite3_bind_text(statement, at++, row->attributes, (int)row->attributes_len, SQLITE_STATIC);
    }
    assure(failed == 0);
    failed = db_step(db, statement, err);
    return failed ? failed : (int)db_changes(db);
}

/* Members (1 or BATCH of them) that are known not to be there. */
static int insert_members(struct storage_import *import, const struct member_row *members, size_t count,
                          struct error *err)
{
    assure(count == 1 || count == BATCH);
    sqlite3_stmt *statement = db_prepare(import->db, count == 1 ? member_one : member_batch, err);
    if (statement == NULL)
        return -EIO;
    int failed = sqlite3_bind_int64(statement, 1, import->list_id) | sqlite3_bind_int64(statement, 2, import->epoch) |
                 sqlite3_bind_int64(statement, 3, import->now_ms);
    for (size_t i = 0; i < count; i++) {
        failed |= sqlite3_bind_int64(statement, (int)(i * 2 + 4), members[i].lane);
        failed |= sqlite3_bind_int64(statement, (int)(i * 2 + 5), members[i].recipient_id);
    }
    assure(failed == 0);
    failed = db_step(import->db, statement, err);
    for (size_t i = 0; !failed && i < count; i++)
        failed = import_lane_add(import, members[i].lane, 1, 1, err);
    return failed;
}

/* Merges the row's attributes over the stored ones; stored text that is no JSON (a file somebody else wrote) gives way.
 */
static int merge_stored(struct db *db, const struct import_row *row, struct known *known, int64_t now_ms,
                        struct error *err)
{
    int failed = db_run(db, err,
                        "UPDATE recipient SET updated = ?3, attributes ="
                        " iif(json_valid(attributes), json_patch(attributes, ?2), ?2) WHERE id = ?1"
                        " AND NOT (json_valid(attributes) AND json(attributes) = json_patch(attributes, ?2))",
                        DB_I(known->id), DB_N(row->attributes, row->attributes_len), DB_I(now_ms));
    known->attributes_changed = !failed && db_changes(db) > 0;
    return failed;
}

/* Who is it? Brings its attributes up to date. `before`: the highest id before this batch. */
static int look_up(struct storage_import *import, const struct import_row *row, int64_t before, struct known *known,
                   struct error *err)
{
    struct db *db = import->db;
    *known = (struct known){0};
    sqlite3_stmt *found = db_query(db, err,
                                   "SELECT r.id, r.lane, r.attributes, m.status, m.epoch, m.since, m.joined"
                                   " FROM recipient r LEFT JOIN member m ON m.list_id = ?2 AND m.lane = r.lane"
                                   " AND m.recipient_id = r.id WHERE r.email = ?1",
                                   DB_N(row->email, row->email_len), DB_I(import->list_id));
    int more = found == NULL ? -EIO : db_step(db, found, err);
    if (more <= 0)
        return more;
    known->id = db_int(found, 0);
    known->fresh = known->id > before;
    known->member = sqlite3_column_type(found, 3) != SQLITE_NULL;
    known->membership = (struct member_row){.list_id = import->list_id,
                                            .lane = db_int(found, 1),
                                            .recipient_id = known->id,
                                            .status = db_int(found, 3),
                                            .epoch = db_int(found, 4),
                                            .since = db_int(found, 5),
                                            .joined_ms = db_int(found, 6)};
    const char *stored = db_text(found, 2);
    bool same = import->mode == UPSERT_SKIP ||
                (strlen(stored) == row->attributes_len && memcmp(stored, row->attributes, row->attributes_len) == 0);
    db_end(found);
    return same ? 0 : merge_stored(db, row, known, import->now_ms, err);
}

/* 1 = the membership is new, or again; 0 = it is as it was: a member, or one who left and stays away. */
static int join(struct storage_import *import, struct known *known, struct error *err)
{
    struct member_row *row = &known->membership;
    if (!known->member) {
        int failed = insert_members(import, row, 1, err);
        return failed ? failed : 1;
    }
    if (row->status != MEMBER_REMOVED) /* taken off by us, not by the recipient: may come back */
        return 0;
    struct member_change change = member_transition(row, MEMBER_ACTIVE, import->epoch, import->now_ms);
    int failed = member_update(import->db, row, err);
    if (!failed)
        failed = import_lane_add(import, row->lane, change.active, change.total, err);
    return failed ? failed : 1;
}

static void count_new(struct storage_import *import, const struct import_row *row)
{
    row->domain->added++;
    import->new_recipients++;
    import->slice.created++;
}

static int write_row(struct storage_import *import, const struct import_row *row, int64_t before, int *known_count,
                     struct error *err)
{
    struct known known;
    int failed = look_up(import, row, before, &known, err);
    if (!failed && known.id == 0) {
        failed = MIN_OF(insert_recipients(import, &row, 1, err), 0);
        if (!failed)
            failed = look_up(import, row, before, &known, err);
    }
    if (!failed && known.id == 0) /* neither there nor insertable: the index and the table disagree */
        return error_set(err, -EIO, "%s: the index of addresses is damaged", import->db->path);
    if (failed)
        return failed;
    *known_count += !known.fresh;
    int joined = join(import, &known, err);
    if (joined < 0)
        return joined;
    if (known.fresh)
        count_new(import, row);
    else if (joined > 0 || known.attributes_changed)
        import->slice.updated++;
    else
        import->slice.unchanged++;
    return 0;
}

/* 1 = all were new and are stored; 0 = some were not: each must be looked at. */
static int write_new(struct storage_import *import, const struct import_row *const *rows, int64_t before,
                     struct error *err)
{
    int inserted = insert_recipients(import, rows, BATCH, err);
    if (inserted < BATCH)
        return MIN_OF(inserted, 0);
    int64_t last = db_last_id(import->db);
    if (last != before + BATCH) /* ids go up one by one, unless somebody has used the highest there is */
        return error_set(err, -EIO, "%s: the ids of recipients are damaged", import->db->path);
    struct member_row members[BATCH];
    for (int i = 0; i < BATCH; i++) {
        members[i] = (struct member_row){.lane = rows[i]->domain->lane, .recipient_id = before + 1 + i};
        count_new(import, rows[i]);
    }
    int failed = insert_members(import, members, BATCH, err);
    return failed ? failed : 1;
}

static int write_batch(struct storage_import *import, const struct import_row *const *rows, size_t count,
                       struct error *err)
{
    int64_t before;
    int failed = db_get(import->db, err, &before, "SELECT max(id) FROM recipient");
    if (failed)
        return failed;
    if (!import->expect_known && count == BATCH) {
        int done = write_new(import, rows, before, err);
        if (done != 0)
            return MIN_OF(done, 0);
    }
    int known = 0;
    for (size_t i = 0; !failed && i < count; i++)
        failed = write_row(import, rows[i], before, &known, err);
    import->expect_known = (size_t)known * 2 > count;
    return failed;
}

/* The later row's attributes over the earlier one's, into `later`; *changed tells whether that made a difference. */
static int merge_rows(struct storage_import *import, const struct import_row *earlier, struct import_row *later,
                      bool *changed, struct error *err)
{
    *changed = false;
    if (earlier->attributes_len == later->attributes_len &&
        memcmp(earlier->attributes, later->attributes, later->attributes_len) == 0)
        return 0;
    struct db *db = import->db;
    sqlite3_stmt *merged =
        db_query(db, err, "SELECT json_patch(?1, ?2) AS merged, json_patch(?1, ?2) <> json(?1)",
                 DB_N(earlier->attributes, earlier->attributes_len), DB_N(later->attributes, later->attributes_len));
    int more = merged == NULL ? -EIO : db_step(db, merged, err);
    if (more <= 0)
        return more < 0 ? more : error_set(err, -EIO, "%s: json_patch gave nothing", db->path);
    const char *text = db_text(merged, 0);
    size_t len = strlen(text);
    *changed = db_int(merged, 1) != 0;
    later->attributes = arena_dup_len(&import->merged, text, len);
    later->attributes_len = (uint32_t)len;
    db_end(merged);
    return later->attributes != NULL ? 0 : error_memory(err);
}

static bool same_address(const struct import_row *a, const struct import_row *b)
{
    return a->email_len == b->email_len && memcmp(a->email, b->email, a->email_len) == 0;
}

/* The next address's rows, from key `start` on, folded into one: *out. Returns where the one after it starts. */
static int take_group(struct storage_import *import, size_t *start, const struct import_row **out, struct error *err)
{
    struct import_row *row = &import->chunk.rows[import->chunk.keys[*start].row];
    size_t next = *start + 1;
    for (; next < import->chunk.row_count; next++) {
        struct import_row *later = &import->chunk.rows[import->chunk.keys[next].row];
        if (!same_address(row, later))
            break;
        bool changed = false;
        if (import->mode == UPSERT_UPDATE) { /* else the first makes it known, the others are skipped */
            int failed = merge_rows(import, row, later, &changed, err);
            if (!failed)
                failed = import_pause(import, err); /* it may be the address of every row */
            if (failed)
                return failed;
            row = later;
        }
        import->folded.updated += changed;
        import->folded.unchanged += !changed;
    }
    *start = next;
    *out = row;
    return 0;
}

/* Rows lie in the order of the file and are taken in another: without this each would be waited for. */
static void expect_row(const struct import_chunk *chunk, size_t key)
{
    if (key + 2 * AHEAD < chunk->row_count)
        __builtin_prefetch(&chunk->rows[chunk->keys[key + 2 * AHEAD].row]);
    if (key + AHEAD < chunk->row_count)
        __builtin_prefetch(chunk->rows[chunk->keys[key + AHEAD].row].email);
}

/* The next addresses, by lane. `keys` has their rows; it may lie over the keys that named them, which are done with. */
static int take_some(struct storage_import *import, size_t *next, struct import_key *keys, size_t *count,
                     struct error *err)
{
    const struct import_chunk *chunk = &import->chunk;
    for (*count = 0; *count < GROUP && *next < chunk->row_count; ++*count) {
        const struct import_row *row;
        expect_row(chunk, *next);
        int failed = take_group(import, next, &row, err);
        if (failed)
            return failed;
        keys[*count] =
            (struct import_key){.bytes = (uint64_t)row->domain->lane, .row = (uint32_t)(row - chunk->rows)};
    }
    import_sort_keys(keys, chunk->keys + chunk->row_count, *count);
    return 0;
}

static int write_some(struct storage_import *import, const struct import_key *keys, size_t count, struct error *err)
{
    const struct import_row *batch[BATCH];
    int failed = 0;
    for (size_t at = 0; !failed && at < count; at += BATCH) {
        size_t rows = MIN_OF(count - at, (size_t)BATCH);
        for (size_t i = 0; i < rows; i++) {
            batch[i] = &import->chunk.rows[keys[at + i].row];
            __builtin_prefetch(batch[i]->email);
            __builtin_prefetch(batch[i]->attributes);
        }
        failed = write_batch(import, batch, rows, err);
        if (!failed)
            failed = import_pause(import, err);
    }
    import->slice.updated += import->folded.updated;
    import->slice.unchanged += import->folded.unchanged;
    import->folded = (struct upsert_counts){0};
    return failed;
}

int import_rows(struct storage_import *import, struct error *err)
{
    int failed = import_open(import, err);
    for (size_t next = 0; !failed && next < import->chunk.row_count;) {
        struct import_key *keys = &import->chunk.keys[next];
        size_t count;
        failed = take_some(import, &next, keys, &count, err);
        if (!failed)
            failed = write_some(import, keys, count, err);
    }
    if (failed)
        import_rollback(import);
    return failed;
}
