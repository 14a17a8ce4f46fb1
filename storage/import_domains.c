/*
 * import_domains.c - the domains of a chunk and the lanes of their new recipients.
 *
 * A domain gets a lane of its own once it has at least 64 recipients and at least 0.1% of all, the whole chunk counted
 * in; the rest share four. Only recipients made from then on lie in it: a recipient keeps its lane for life.
 */
#include <errno.h>
#include <string.h>

#include "storage/import.h"
#include "storage/writer.h"

#define DOMAINS_MAX 262144 /* kept over from chunk to chunk; one chunk can add its own rows' number to it */
#define OWN_LANE_MIN 64
#define OWN_LANE_SHARE 1000 /* one in */
#define TAIL_LANES 4
#define FIRST_OWN_LANE 16

static int load_domain(struct db *db, struct import_domain *domain, struct error *err)
{
    sqlite3_stmt *row = db_query(db, err, "SELECT id, lane, recipients FROM domain WHERE name = ?",
                                 DB_N(domain->name, domain->name_len));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more <= 0)
        return more;
    domain->id = db_int(row, 0);
    domain->lane = db_count(row, 1);
    domain->recipients = db_count(row, 2);
    db_end(row);
    return 0;
}

static struct import_domain *add_domain(struct storage_import *import, const char *name, size_t len, struct error *err)
{
    struct import_domain *domain = arena_alloc(&import->domain_arena, sizeof(*domain) + len);
    if (domain == NULL) {
        (void)error_memory(err);
        return NULL;
    }
    memcpy(domain->name, name, len);
    domain->name_len = len;
    if (hashmap_put(&import->domains, domain->name, len, domain) != 0) {
        (void)error_memory(err);
        return NULL;
    }
    return load_domain(import->db, domain, err) == 0 ? domain : NULL;
}

/* First pass, without the write lock. */
static int assign_domains(struct storage_import *import, struct error *err)
{
    size_t cursor = 0;
    for (struct import_domain *domain; (domain = hashmap_next(&import->domains, &cursor)) != NULL;)
        domain->in_chunk = 0;
    for (size_t i = 0; i < import->chunk.row_count; i++) {
        struct import_row *row = &import->chunk.rows[i];
        const char *name = row->email + row->at + 1;
        size_t len = (size_t)row->email_len - row->at - 1;
        row->domain = hashmap_get(&import->domains, name, len);
        if (row->domain == NULL)
            row->domain = add_domain(import, name, len, err);
        if (row->domain == NULL)
            return -EIO;
        row->domain->in_chunk++;
    }
    return 0;
}

static int store_domain(struct storage_import *import, struct import_domain *domain, bool own, struct error *err)
{
    struct db *db = import->db;
    int failed = 0;
    if (domain->id == 0) {
        failed = db_run(db, err, "INSERT INTO domain (name, lane, recipients) VALUES (?, 0, 0) ON CONFLICT DO NOTHING",
                        DB_N(domain->name, domain->name_len));
        if (!failed && db_changes(db) == 1) {
            domain->id = db_last_id(db);
            domain->lane = domain->id % TAIL_LANES;
            if (!own)
                return db_run(db, err, "UPDATE domain SET lane = ?2 WHERE id = ?1", DB_I(domain->id),
                              DB_I(domain->lane));
        } else if (!failed) { /* another process was first */
            failed = load_domain(db, domain, err);
        }
    }
    if (failed || !own || domain->lane >= FIRST_OWN_LANE)
        return failed;
    domain->lane = FIRST_OWN_LANE + domain->id;
    return db_run(db, err, "UPDATE domain SET lane = ?2 WHERE id = ?1", DB_I(domain->id), DB_I(domain->lane));
}

int import_domains(struct storage_import *import, struct error *err)
{
    int failed = import->domains.count > DOMAINS_MAX ? import_domains_flush(import, err) : 0;
    if (!failed)
        failed = assign_domains(import, err);
    int64_t all;
    if (!failed)
        failed = db_get(import->db, err, &all, "SELECT recipients FROM meta");
    if (failed)
        return failed < 0 ? failed : error_set(err, -EIO, "%s: has no totals", import->db->path);
    all += (int64_t)import->chunk.row_count;
    failed = import_open(import, err);
    size_t cursor = 0;
    for (struct import_domain *domain; !failed && (domain = hashmap_next(&import->domains, &cursor)) != NULL;) {
        int64_t size = domain->recipients + domain->added + domain->in_chunk;
        bool own = size >= OWN_LANE_MIN && size * OWN_LANE_SHARE >= all;
        if (domain->in_chunk == 0 || (domain->id != 0 && (!own || domain->lane >= FIRST_OWN_LANE)))
            continue;
        failed = store_domain(import, domain, own, err);
        if (!failed)
            failed = import_pause(import, err);
    }
    if (failed)
        import_rollback(import);
    return failed;
}

int import_domains_flush(struct storage_import *import, struct error *err)
{
    int failed = import_open(import, err);
    size_t cursor = 0;
    for (struct import_domain *domain; !failed && (domain = hashmap_next(&import->domains, &cursor)) != NULL;) {
        if (domain->added == 0)
            continue;
        failed = db_run(import->db, err, "UPDATE domain SET recipients = recipients + ?2 WHERE id = ?1",
                        DB_I(domain->id), DB_I(domain->added));
        if (!failed)
            failed = import_pause(import, err);
    }
    if (!failed)
        failed = import_commit(import, err);
    if (failed)
        import_rollback(import);
    hashmap_finish(&import->domains);
    arena_finish(&import->domain_arena);
    return failed;
}
