/*
 * migrate.c - from whatever version the file has to this program's, one numbered step at a time.
 *
 * The version is SQLite's user_version, which is part of the transaction. There is no way back: a newer file is
 * refused, not read with half an understanding.
 */
#include <errno.h>
#include <stdio.h>

#include "storage/migrate.h"

#define APPLICATION_ID 0x70686173 /* "phas" */

static int check_owner(struct db *db, int64_t version, struct error *err)
{
    int64_t tables, application;
    int failed = db_get(db, err, &tables, "SELECT count(*) FROM sqlite_schema");
    if (failed)
        return failed;
    failed = db_get(db, err, &application, "PRAGMA application_id");
    if (failed)
        return failed;
    if (tables == 0 && version == 0)
        return 0;
    if (application != APPLICATION_ID || version <= 0)
        return error_set(err, -EINVAL, "%s: is a database of another program", db->path);
    return 0;
}

static int read_version(struct db *db, int64_t *version, struct error *err)
{
    int failed = db_get(db, err, version, "PRAGMA user_version");
    if (failed)
        return failed;
    failed = check_owner(db, *version, err);
    if (failed)
        return failed;
    if (*version > storage_schema_version)
        return error_set(err, -EINVAL,
                         "%s: has version %lld, made by a newer posthaste; this one knows versions up to %d", db->path,
                         (long long)*version, storage_schema_version);
    return 0;
}

/* The next step, inside a transaction; *version tells what is there after it. */
static int apply_step(struct db *db, int64_t *version, struct error *err)
{
    int failed = read_version(db, version, err); /* again, now that nobody else can change it */
    if (failed || *version == storage_schema_version)
        return failed;
    char mark[96];
    (void)snprintf(mark, sizeof(mark), "PRAGMA application_id=%d; PRAGMA user_version=%d;", APPLICATION_ID,
                   (int)*version + 1);
    int code = sqlite3_exec(db->handle, storage_schema[*version], NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_exec(db->handle, mark, NULL, NULL, NULL);
    if (code != SQLITE_OK)
        return error_prefix(err, db_failure(db, code, err), "migration %d", (int)*version + 1);
    ++*version;
    return 0;
}

int migrate(struct db *db, bool served, struct error *err)
{
    int64_t version;
    int failed = read_version(db, &version, err);
    if (!failed && served && version < storage_schema_version)
        return error_set(err, -EBUSY, "%s: an older posthaste serves it; restart the server first", db->path);
    while (!failed && version < storage_schema_version) {
        failed = db_begin(db, err);
        if (failed)
            return failed;
        failed = apply_step(db, &version, err);
        if (!failed)
            failed = db_commit(db, err);
        if (failed)
            db_rollback(db);
    }
    return failed;
}
