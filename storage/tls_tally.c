/*
 * tls_tally.c - the table `tls_tally`. Its writers bound it: so many domains a day, so many rows a domain
 * (campaign/tlsrpt).
 */
#include <errno.h>

#include "storage/writer.h"

struct add {
    const struct storage_tls_tally *tallies;
    size_t count;
};

static int add_run(struct storage *storage, void *arg, struct error *err)
{
    const struct add *add = arg;
    int failed = 0;
    for (size_t i = 0; i < add->count && !failed; i++) {
        const struct storage_tls_tally *tally = &add->tallies[i];
        failed =
            db_run(&storage->db, err,
                   "INSERT INTO tls_tally VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                   " sessions = sessions + excluded.sessions,"
                   " policy = iif(excluded.policy = '', policy, excluded.policy)",
                   DB_I(tally->day), DB_T(tally->domain), DB_I(tally->kind), DB_I(tally->result), DB_T(tally->mx_host),
                   DB_T(tally->address), DB_T(tally->source), DB_I(tally->sessions), DB_T(tally->policy));
    }
    return failed;
}

int storage_tls_add(struct storage *storage, const struct storage_tls_tally *tallies, size_t count, struct error *err)
{
    struct add add = {.tallies = tallies, .count = count};
    return storage_call(storage, add_run, &add, err);
}

int storage_tls_domains(struct storage_reader *reader, storage_tls_domain_cb *each, void *context, struct error *err)
{
    sqlite3_stmt *row = db_query(
        &reader->db, err, "SELECT day, domain, count(*) FROM tls_tally GROUP BY day, domain ORDER BY day, domain");
    int more = row == NULL ? -EIO : 0;
    while (row != NULL && (more = db_step(&reader->db, row, err)) == 1) {
        int stop = each(context, db_int(row, 0), db_text(row, 1), db_count(row, 2));
        if (stop != 0) {
            db_end(row);
            return stop;
        }
    }
    return more;
}

int storage_tls_tallies(struct storage_reader *reader, int64_t day, const char *domain, storage_tls_tally_cb *each,
                        void *context, struct error *err)
{
    sqlite3_stmt *row =
        db_query(&reader->db, err,
                 "SELECT day, domain, kind, result, mx_host, address, source, sessions, policy FROM"
                 " tls_tally WHERE day = ? AND domain = ? ORDER BY kind, result, mx_host, address, source",
                 DB_I(day), DB_T(domain));
    int more = row == NULL ? -EIO : 0;
    while (row != NULL && (more = db_step(&reader->db, row, err)) == 1) {
        int64_t kind = db_int(row, 2), result = db_int(row, 3);
        const struct storage_tls_tally tally = {
            .day = db_int(row, 0),
            .domain = db_text(row, 1),
            .kind = kind >= 0 && kind < TLS_KIND_COUNT ? (enum tls_kind)kind : TLS_KIND_NONE,
            .result = result >= 0 && result < TLS_RESULT_COUNT ? (enum tls_result)result : TLS_RESULT_NONE,
            .mx_host = db_text(row, 4),
            .address = db_text(row, 5),
            .source = db_text(row, 6),
            .sessions = db_count(row, 7),
            .policy = db_text(row, 8)};
        int stop = each(context, &tally);
        if (stop != 0) {
            db_end(row);
            return stop;
        }
    }
    return more;
}

struct forget {
    int64_t day;
    const char *domain;
};

static int forget_run(struct storage *storage, void *arg, struct error *err)
{
    const struct forget *forget = arg;
    if (forget->domain == NULL)
        return db_run(&storage->db, err, "DELETE FROM tls_tally WHERE day < ?", DB_I(forget->day));
    return db_run(&storage->db, err, "DELETE FROM tls_tally WHERE day = ? AND domain = ?", DB_I(forget->day),
                  DB_T(forget->domain));
}

int storage_tls_forget(struct storage *storage, int64_t day, const char *domain, struct error *err)
{
    struct forget forget = {.day = day, .domain = domain};
    return storage_call(storage, forget_run, &forget, err);
}
