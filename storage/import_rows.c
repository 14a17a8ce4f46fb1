/*
 * import_rows.c - the sorted rows of a chunk into recipient and member.
 *
 * Whether a row is new is guessed from the one before: in a fresh list every INSERT succeeds and a SELECT in front of it would be a second walk
 * down the same tree; in a re-import the SELECT finds everything and a refused INSERT would be the waste. A wrong guess costs one statement.
 */
#include <errno.h>
#include <string.h>

#include "storage/import.h"
#include "storage/members.h"
#include "storage/writer.h"

struct known {
    int64_t id, lane;
    bool attributes_changed;
};

/* 1 = inserted, 0 = there is such an address. */
static int insert_recipient(struct storage_import *import, const struct import_row *row, int64_t *id,
                            struct error *err)
{
    struct db *db = import->db;
    sqlite3_stmt *statement = db_prepare(db,
                                         "INSERT INTO recipient (email, domain_id, lane, attributes, created, updated)"
                                         " VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT DO NOTHING",
                                         err);
    if (statement == NULL)
        return -EIO;
    int failed = sqlite3_bind_text(statement, 1, row->email, (int)row->email_len, SQLITE_STATIC) |
                 sqlite3_bind_int64(statement, 2, row->domain->id) |
                 sqlite3_bind_int64(statement, 3, row->domain->lane) |
                 sqlite3_bind_text(statement, 4, row->attributes, (int)row->attributes_len, SQLITE_STATIC) |
                 sqlite3_bind_int64(statement, 5, import->now_ms);
    assure(failed == 0);
    failed = db_step(db, statement, err);
    if (failed || db_changes(db) == 0)
        return failed;
    *id = db_last_id(db);
    row->domain->added++;
    import->new_recipients++;
    return 1;
}

/* Merges the row's attributes over the stored ones; stored text that is no JSON (a file somebody else wrote) gives way. */
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

/* 1 = found, and its attributes brought up to date; 0 = no such address. */
static int update_recipient(struct storage_import *import, const struct import_row *row, struct known *known,
                            struct error *err)
{
    struct db *db = import->db;
    sqlite3_stmt *found = db_query(db, err, "SELECT id, lane, attributes FROM recipient WHERE email = ?",
                                   DB_N(row->email, row->email_len));
    int more = found == NULL ? -EIO : db_step(db, found, err);
    if (more <= 0)
        return more;
    *known = (struct known){.id = db_int(found, 0), .lane = db_int(found, 1)};
    const char *stored = db_text(found, 2);
    bool same = import->mode == UPSERT_SKIP || (strlen(stored) == row->attributes_len &&
                                                memcmp(stored, row->attributes, row->attributes_len) == 0);
    db_end(found);
    int failed = same ? 0 : merge_stored(db, row, known, import->now_ms, err);
    return failed ? failed : 1;
}

static int insert_member(struct storage_import *import, int64_t lane, int64_t recipient_id, struct error *err)
{
    sqlite3_stmt *statement =
        db_prepare(import->db, "INSERT INTO member VALUES (?1, ?2, ?3, 0, ?4, ?4, ?5)", err);
    if (statement == NULL)
        return -EIO;
    int failed = sqlite3_bind_int64(statement, 1, import->list_id) | sqlite3_bind_int64(statement, 2, lane) |
                 sqlite3_bind_int64(statement, 3, recipient_id) | sqlite3_bind_int64(statement, 4, import->epoch) |
                 sqlite3_bind_int64(statement, 5, import->now_ms);
    assure(failed == 0);
    failed = db_step(import->db, statement, err);
    return failed ? failed : import_lane_add(import, lane, 1, 1, err);
}

/* 1 = the membership is new, or again; 0 = it is as it was: a member, or one who left and stays away. */
static int join_known(struct storage_import *import, const struct known *known, struct error *err)
{
    struct member_row row = {.list_id = import->list_id, .lane = known->lane, .recipient_id = known->id};
    int found = member_read(import->db, &row, err);
    if (found < 0)
        return found;
    if (found == 0) {
        int failed = insert_member(import, known->lane, known->id, err);
        return failed ? failed : 1;
    }
    if (row.status != MEMBER_REMOVED) /* taken off by us, not by the recipient: may come back */
        return 0;
    struct member_change change = member_transition(&row, MEMBER_ACTIVE, import->epoch, import->now_ms);
    int failed = member_update(import->db, &row, err);
    if (!failed)
        failed = import_lane_add(import, row.lane, change.active, change.total, err);
    return failed ? failed : 1;
}

static int write_row(struct storage_import *import, const struct import_row *row, struct error *err)
{
    int64_t id = 0;
    int inserted = import->expect_known ? 0 : insert_recipient(import, row, &id, err);
    struct known known = {0};
    int found = inserted != 0 ? 0 : update_recipient(import, row, &known, err);
    if (inserted == 0 && found == 0) {
        inserted = insert_recipient(import, row, &id, err);
        if (inserted == 0) /* neither there nor insertable: the index and the table disagree */
            return error_set(err, -EIO, "%s: the index of addresses is damaged", import->db->path);
    }
    if (inserted < 0 || found < 0)
        return MIN_OF(inserted, found);
    import->expect_known = inserted == 0;
    if (inserted > 0) {
        import->slice.created++;
        return insert_member(import, row->domain->lane, id, err);
    }
    int joined = join_known(import, &known, err);
    if (joined < 0)
        return joined;
    if (joined > 0 || known.attributes_changed)
        import->slice.updated++;
    else
        import->slice.unchanged++;
    return 0;
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
    sqlite3_stmt *merged = db_query(db, err, "SELECT json_patch(?1, ?2) AS merged, json_patch(?1, ?2) <> json(?1)",
                                    DB_N(earlier->attributes, earlier->attributes_len),
                                    DB_N(later->attributes, later->attributes_len));
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

/* Rows start..end have the same address: folds them into one, which ends up in rows[end - 1]. */
static int merge_group(struct storage_import *import, size_t start, size_t end, struct error *err)
{
    struct import_row *rows = import->rows;
    if (import->mode == UPSERT_SKIP) { /* the first makes it known, the others are skipped */
        rows[end - 1] = rows[start];
        import->slice.unchanged += (int64_t)(end - start) - 1;
        return 0;
    }
    for (size_t i = start + 1; i < end; i++) {
        bool changed;
        int failed = merge_rows(import, &rows[i - 1], &rows[i], &changed, err);
        if (failed)
            return failed;
        if (changed)
            import->slice.updated++;
        else
            import->slice.unchanged++;
    }
    return 0;
}

static bool same_address(const struct import_row *a, const struct import_row *b)
{
    return a->email_len == b->email_len && memcmp(a->email, b->email, a->email_len) == 0;
}

int import_rows(struct storage_import *import, struct error *err)
{
    int failed = import_begin(import, err);
    for (size_t start = 0; !failed && start < import->row_count;) {
        size_t end = start + 1;
        while (end < import->row_count && same_address(&import->rows[start], &import->rows[end]))
            end++;
        if (end - start > 1)
            failed = merge_group(import, start, end, err);
        if (!failed)
            failed = write_row(import, &import->rows[end - 1], err);
        if (!failed)
            failed = import_pause(import, err);
        start = end;
    }
    if (!failed)
        failed = import_commit(import, err);
    if (failed)
        import_rollback(import);
    return failed;
}
