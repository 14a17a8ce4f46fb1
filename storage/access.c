/*
 * access.c - tokens, sending domains and secrets. A token is found by the hash of its text, so how long the look-up
 * takes tells nothing that helps to guess one.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "storage/writer.h"

#define HASH_BYTES 32
#define NAME_MAX_BYTES 255

struct token_add {
    const char *name;
    enum token_scope scope;
    const uint8_t *sha256;
    int64_t now_ms, id;
};

static int token_add_run(struct storage *storage, void *arg, struct error *err)
{
    struct token_add *token = arg;
    int failed = db_run(&storage->db, err, "INSERT INTO token (name, scope, sha256, created) VALUES (?, ?, ?, ?)",
                        DB_T(token->name), DB_I(token->scope), DB_B(token->sha256, HASH_BYTES), DB_I(token->now_ms));
    token->id = failed ? 0 : db_last_id(&storage->db);
    return failed;
}

int storage_token_add(struct storage *storage, const char *name, enum token_scope scope, const uint8_t sha256[32],
                      int64_t now_ms, int64_t *id, struct error *err)
{
    *id = 0;
    if (name == NULL || strnlen(name, NAME_MAX_BYTES + 1) > NAME_MAX_BYTES || (unsigned)scope > TOKEN_ADMIN)
        return error_set(err, -EINVAL, "a token's name has at most %d bytes", NAME_MAX_BYTES);
    struct token_add token = {.name = name, .scope = scope, .sha256 = sha256, .now_ms = now_ms};
    int failed = storage_call(storage, token_add_run, &token, err);
    if (!failed)
        *id = token.id;
    return failed;
}

struct token_stamp {
    int64_t id, now_ms;
};

static int one_row(struct db *db, int failed)
{
    return failed ? failed : db_changes(db) == 1 ? 0 : STORAGE_NOT_FOUND;
}

static int revoke_run(struct storage *storage, void *arg, struct error *err)
{
    const struct token_stamp *stamp = arg;
    struct db *db = &storage->db;
    return one_row(db, db_run(db, err, "UPDATE token SET revoked = ?2 WHERE id = ?1 AND revoked = 0", DB_I(stamp->id),
                              DB_I(MAX_OF(stamp->now_ms, 1))));
}

int storage_token_revoke(struct storage *storage, int64_t id, int64_t now_ms, struct error *err)
{
    struct token_stamp stamp = {.id = id, .now_ms = now_ms};
    return storage_call(storage, revoke_run, &stamp, err);
}

static int used_run(struct storage *storage, void *arg, struct error *err)
{
    const struct token_stamp *stamp = arg;
    struct db *db = &storage->db;
    return one_row(db, db_run(db, err, "UPDATE token SET last_used = max(last_used, ?2) WHERE id = ?1", DB_I(stamp->id),
                              DB_I(stamp->now_ms)));
}

int storage_token_used(struct storage *storage, int64_t id, int64_t now_ms, struct error *err)
{
    struct token_stamp stamp = {.id = id, .now_ms = now_ms};
    return storage_call(storage, used_run, &stamp, err);
}

/* How many there were, or negative. A scope that is not one of ours grants the least. */
static int walk_tokens(struct db *db, sqlite3_stmt *rows, storage_token_cb *each, void *context, struct error *err)
{
    if (rows == NULL)
        return -EIO;
    int count = 0, more;
    while ((more = db_step(db, rows, err)) > 0) {
        int64_t scope = db_int(rows, 2);
        struct storage_token token = {.id = db_int(rows, 0),
                                      .name = db_text(rows, 1),
                                      .scope = scope == TOKEN_ADMIN  ? TOKEN_ADMIN
                                               : scope == TOKEN_SEND ? TOKEN_SEND
                                                                     : TOKEN_READ,
                                      .created_ms = db_int(rows, 3),
                                      .last_used_ms = db_int(rows, 4),
                                      .revoked_ms = db_int(rows, 5)};
        count++;
        if (each(context, &token) != 0) {
            db_end(rows);
            return count;
        }
    }
    return more < 0 ? more : count;
}

#define TOKEN_COLUMNS "SELECT id, name, scope, created, last_used, revoked FROM token "

int storage_token_check(struct storage_reader *reader, const uint8_t sha256[32], storage_token_cb *each, void *context,
                        struct error *err)
{
    struct db *db = &reader->db;
    int count =
        walk_tokens(db, db_query(db, err, TOKEN_COLUMNS "WHERE sha256 = ? AND revoked = 0", DB_B(sha256, HASH_BYTES)),
                    each, context, err);
    return count < 0 ? count : count == 0 ? STORAGE_NOT_FOUND : 0;
}

int storage_token_list(struct storage_reader *reader, storage_token_cb *each, void *context, struct error *err)
{
    struct db *db = &reader->db;
    int count = walk_tokens(db, db_query(db, err, TOKEN_COLUMNS "ORDER BY id"), each, context, err);
    return count < 0 ? count : 0;
}

static int domain_add_run(struct storage *storage, void *arg, struct error *err)
{
    const struct storage_domain *domain = arg;
    struct db *db = &storage->db;
    int failed =
        db_run(db, err, "INSERT INTO sending_domain VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", DB_T(domain->name),
               DB_T(domain->selector), DB_T(domain->key_file), DB_T(domain->dkim_record), DB_I(domain->created_ms));
    return failed ? failed : db_changes(db) == 1 ? 0 : STORAGE_EXISTS;
}

int storage_domain_add(struct storage *storage, const struct storage_domain *domain, struct error *err)
{
    if (domain->name == NULL || domain->selector == NULL || domain->key_file == NULL || domain->dkim_record == NULL)
        return error_set(err, -EINVAL, "a sending domain needs name, selector, key file and record");
    struct storage_domain copy = *domain;
    return storage_call(storage, domain_add_run, &copy, err);
}

static int walk_domains(struct db *db, sqlite3_stmt *rows, storage_domain_cb *each, void *context, struct error *err)
{
    if (rows == NULL)
        return -EIO;
    int count = 0, more;
    while ((more = db_step(db, rows, err)) > 0) {
        struct storage_domain domain = {.name = db_text(rows, 0),
                                        .selector = db_text(rows, 1),
                                        .key_file = db_text(rows, 2),
                                        .dkim_record = db_text(rows, 3),
                                        .created_ms = db_int(rows, 4)};
        count++;
        if (each(context, &domain) != 0) {
            db_end(rows);
            return count;
        }
    }
    return more < 0 ? more : count;
}

#define DOMAIN_COLUMNS "SELECT name, selector, key_file, dkim_record, created FROM sending_domain "

int storage_domain_get(struct storage_reader *reader, const char *name, storage_domain_cb *each, void *context,
                       struct error *err)
{
    struct db *db = &reader->db;
    int count = walk_domains(db, db_query(db, err, DOMAIN_COLUMNS "WHERE name = ?", DB_T(name)), each, context, err);
    return count < 0 ? count : count == 0 ? STORAGE_NOT_FOUND : 0;
}

int storage_domain_list(struct storage_reader *reader, storage_domain_cb *each, void *context, struct error *err)
{
    struct db *db = &reader->db;
    int count = walk_domains(db, db_query(db, err, DOMAIN_COLUMNS "ORDER BY name"), each, context, err);
    return count < 0 ? count : 0;
}

struct secret {
    const char *name;
    uint8_t *out;
};

static int secret_run(struct storage *storage, void *arg, struct error *err)
{
    const struct secret *secret = arg;
    struct db *db = &storage->db;
    sqlite3_stmt *row = db_query(db, err, "SELECT value FROM secret WHERE name = ?", DB_T(secret->name));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more < 0)
        return more;
    if (more > 0) {
        const void *value = sqlite3_column_blob(row, 0);
        bool whole = value != NULL && sqlite3_column_bytes(row, 0) == HASH_BYTES;
        if (whole)
            memcpy(secret->out, value, HASH_BYTES);
        db_end(row);
        return whole ? 0 : error_set(err, -EIO, "%s: the secret \"%s\" is damaged", db->path, secret->name);
    }
    if (getrandom(secret->out, HASH_BYTES, 0) != HASH_BYTES)
        return error_set(err, -EIO, "the system has no random bytes");
    return db_run(db, err, "INSERT INTO secret VALUES (?, ?)", DB_T(secret->name), DB_B(secret->out, HASH_BYTES));
}

int storage_secret(struct storage *storage, const char *name, uint8_t out[32], struct error *err)
{
    struct secret secret = {.name = name, .out = out};
    int failed = storage_call(storage, secret_run, &secret, err);
    if (failed)
        memset(out, 0, HASH_BYTES); /* never a key that is not stored */
    return failed;
}
