/*
 * suppress.c - whether somebody may be mailed, and how he comes to be on the list by what servers say.
 *
 * A stricter entry wins: one that lasts longer replaces one that would end earlier, never the other way round; so a
 * bounce on top of a holiday of two weeks is not over with it.
 *
 * Soft bounces decay: those older than the window do not count, and a mail that was delivered in the meantime, and has
 * stayed delivered, wipes out what was before it. That is looked up when a soft bounce comes, which is rare, and not
 * written at each delivery, which is not. The rows stay, so that a report told again is known as told.
 */
#include <errno.h>
#include <string.h>

#include "base/address.h"
#include "base/str.h"
#include "storage/suppress.h"

#define ORIGIN_MAX_BYTES 1000

void storage_set_digest(struct storage *storage, storage_digest_fn *sha256)
{
    storage->sha256 = sha256;
}

int storage_suppression_hash(storage_digest_fn *sha256, const char *email, char out[SUPPRESSION_HASH_BYTES + 1])
{
    static const char hex[] = "0123456789abcdef";
    char lower[ADDRESS_MAX_BYTES + 1];
    uint8_t digest[32];
    size_t len = strnlen(email, sizeof(lower)), used = sizeof(SUPPRESSION_HASH_PREFIX) - 1;
    if (len == sizeof(lower))
        return -EINVAL;
    memcpy(lower, email, len + 1);
    str_lower(lower);
    if (sha256(lower, len, digest) < 0)
        return -EIO;
    memcpy(out, SUPPRESSION_HASH_PREFIX, used);
    for (size_t i = 0; i < sizeof(digest); i++) {
        out[used++] = hex[digest[i] >> 4];
        out[used++] = hex[digest[i] & 15];
    }
    out[used] = '\0';
    return 0;
}

int suppress_kinds(struct db *db, struct suppress_kinds *out, struct error *err)
{
    int64_t found;
    int rc = db_get(db, err, &found, "SELECT 1 FROM list_suppression LIMIT 1");
    if (rc < 0)
        return rc;
    out->lists = rc == 0;
    rc = db_get(db, err, &found,
                "SELECT 1 FROM suppression WHERE email > 'sha256:' AND email < 'sha256;' UNION ALL"
                " SELECT 1 FROM list_suppression WHERE email > 'sha256:' AND email < 'sha256;' LIMIT 1");
    out->digests = rc == 0;
    return MIN_OF(rc, 0);
}

static int find_reason(struct db *db, sqlite3_stmt *row, char reason[65], struct error *err)
{
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more <= 0)
        return more;
    (void)str_copy(reason, 65, db_text(row, 0));
    db_end(row);
    return 1;
}

static int find_plain(struct db *db, const struct suppress_kinds *kinds, const char *text, int64_t now_ms,
                      char reason[65], struct error *err)
{
    return find_reason(db,
                       db_query(db, err,
                                "SELECT reason FROM suppression WHERE email = ? AND (expires = 0 OR expires > ?)"
                                " AND NOT (? AND reason = 'unsubscribe')",
                                DB_T(text), DB_I(now_ms), DB_I(kinds->spare_unsubscribed)),
                       reason, err);
}

static int find_for_list(struct db *db, int64_t campaign_id, const char *text, int64_t now_ms, char reason[65],
                         struct error *err)
{
    return find_reason(db,
                       db_query(db, err,
                                "SELECT s.reason FROM list_suppression s JOIN campaign_list c ON c.list_id = s.list_id"
                                " WHERE s.email = ? AND (s.expires = 0 OR s.expires > ?) AND c.campaign_id = ?"
                                " AND c.excluded = 0 LIMIT 1",
                                DB_T(text), DB_I(now_ms), DB_I(campaign_id)),
                       reason, err);
}

int suppress_find_rare(struct storage *storage, const struct suppress_kinds *kinds, int64_t campaign_id,
                       const char *email, int64_t now_ms, char reason[65], struct error *err)
{
    struct db *db = &storage->db;
    char hash[SUPPRESSION_HASH_BYTES + 1];
    int rc = kinds->lists ? find_for_list(db, campaign_id, email, now_ms, reason, err) : 0;
    if (rc != 0 || !kinds->digests)
        return rc;
    if (storage->sha256 == NULL)
        return error_set(err, -EINVAL, "there are suppressions by digest, which this program cannot compare");
    rc = storage_suppression_hash(storage->sha256, email, hash);
    if (rc == -EINVAL)
        return 0; /* longer than an address: refused elsewhere */
    if (rc < 0)
        return error_set(err, rc, "a digest could not be made");
    rc = find_plain(db, kinds, hash, now_ms, reason, err);
    return rc == 0 && kinds->lists ? find_for_list(db, campaign_id, hash, now_ms, reason, err) : rc;
}

int suppress_find(struct storage *storage, const struct suppress_kinds *kinds, int64_t campaign_id, const char *email,
                  int64_t now_ms, char reason[65], struct error *err)
{
    int rc = find_plain(&storage->db, kinds, email, now_ms, reason, err);
    return rc == 0 ? suppress_find_rare(storage, kinds, campaign_id, email, now_ms, reason, err) : rc;
}

struct entry {
    int64_t expires_ms, unsubscribed_ms;
    bool spares; /* messages */
};

/* 1 = the address has an entry of this kind; 0 = none; negative. */
static int find_entry(struct db *db, const struct storage_suppression *item, struct entry *out, struct error *err)
{
    sqlite3_stmt *row =
        item->list_id == 0
            ? db_query(db, err,
                       "SELECT expires, reason = 'unsubscribe', iif(reason = 'unsubscribe', created, unsubscribed)"
                       " FROM suppression WHERE email = ?",
                       DB_T(item->email))
            : db_query(db, err, "SELECT expires, 0, 0 FROM list_suppression WHERE email = ? AND list_id = ?",
                       DB_T(item->email), DB_I(item->list_id));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more <= 0)
        return more;
    *out = (struct entry){
        .expires_ms = db_int(row, 0), .spares = db_int(row, 1) != 0, .unsubscribed_ms = db_int(row, 2)};
    db_end(row);
    return 1;
}

static int put_global(struct db *db, const struct storage_suppression *item, struct db_value origin,
                      int64_t unsubscribed_ms, struct error *err)
{
    return db_run(db, err,
                  "INSERT OR REPLACE INTO suppression (email, reason, origin, created, expires, unsubscribed)"
                  " VALUES (?, ?, ?, ?, ?, ?)",
                  DB_T(item->email), DB_T(item->reason), origin, DB_I(item->created_ms), DB_I(item->expires_ms),
                  DB_I(unsubscribed_ms));
}

int suppress_put(struct db *db, const struct storage_suppression *item, struct error *err)
{
    const char *origin = item->origin != NULL ? item->origin : "";
    const struct db_value cut = DB_N(origin, strnlen(origin, ORIGIN_MAX_BYTES));
    struct entry had = {.spares = false};
    int there = find_entry(db, item, &had, err);
    if (there < 0)
        return there;
    bool leaves = item->list_id == 0 && strcmp(item->reason, "unsubscribe") == 0;
    bool longer = had.expires_ms != 0 && (item->expires_ms == 0 || item->expires_ms > had.expires_ms);
    /* Who has unsubscribed still gets transactional messages: a dead address, or one that complains, must not. */
    bool graver = had.spares && !leaves && (item->expires_ms == had.expires_ms || longer);
    if (there > 0 && !longer && !graver)
        return leaves && had.unsubscribed_ms == 0
                   ? db_run(db, err, "UPDATE suppression SET unsubscribed = ? WHERE email = ?", DB_I(item->created_ms),
                            DB_T(item->email))
                   : 0;
    int failed =
        item->list_id == 0
            ? put_global(db, item, cut, leaves ? 0 : had.unsubscribed_ms, err)
            : db_run(db, err,
                     "INSERT OR REPLACE INTO list_suppression (email, list_id, reason, origin, created, expires)"
                     " VALUES (?, ?, ?, ?, ?, ?)",
                     DB_T(item->email), DB_I(item->list_id), DB_T(item->reason), cut, DB_I(item->created_ms),
                     DB_I(item->expires_ms));
    return failed ? failed : there == 0;
}

int suppress_recipient(struct db *db, int64_t recipient_id, const char *reason, const char *origin, int64_t at_ms,
                       struct error *err)
{
    char email[ADDRESS_MAX_BYTES + 1];
    sqlite3_stmt *row =
        db_query(db, err, "SELECT email FROM recipient WHERE id = " RECIPIENT_OF("?1"), DB_I(recipient_id));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more <= 0)
        return more;
    bool whole = str_copy(email, sizeof(email), db_text(row, 0));
    db_end(row);
    const struct storage_suppression item = {.email = email, .reason = reason, .origin = origin, .created_ms = at_ms};
    return whole ? suppress_put(db, &item, err) : 0;
}

int suppress_soft(struct db *db, const struct suppress_soft *soft, bool *suppressed, struct error *err)
{
    int64_t count, person = soft->recipient_id, mail = soft->campaign_id;
    int failed = 0;
    *suppressed = false;
    if (storage_is_message(soft->recipient_id)) { /* each message counts once, against him to whom it went */
        mail = soft->recipient_id;
        failed = db_get(db, err, &person, "SELECT id FROM recipient WHERE id = " RECIPIENT_OF("?1"),
                        DB_I(soft->recipient_id));
    }
    if (!failed)
        failed = db_run(db, err, "INSERT INTO soft_bounce VALUES (?, ?, ?) ON CONFLICT DO NOTHING", DB_I(mail),
                        DB_I(person), DB_I(soft->at_ms));
    if (failed || db_changes(db) == 0)
        return MIN_OF(failed, 0);
    failed =
        db_get(db, err, &count,
               "SELECT count(*) FROM soft_bounce WHERE recipient_id = ?1 AND at >= ?2 AND at >= coalesce("
               "(SELECT max(updated) FROM delivery WHERE recipient_id IN (SELECT ?1 UNION ALL SELECT id FROM message"
               " WHERE recipient_id = ?1) AND state = ?3), 0)",
               DB_I(person), DB_I(soft->at_ms - soft->window_ms), DB_I(DELIVERY_DELIVERED));
    if (failed)
        return failed < 0 ? failed : -EIO;
    if (soft->limit == 0 || count < soft->limit)
        return 1;
    int rc = suppress_recipient(db, soft->recipient_id, "soft-bounce", soft->origin, soft->at_ms, err);
    *suppressed = rc > 0;
    return rc < 0 ? rc : 1;
}
