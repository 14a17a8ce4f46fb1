/*
 * messages.c - single messages: posted, and as people read them.
 *
 * Posting is one change for the writer, so a hundred posts that wait together are one commit. What claims, outcomes and
 * reports do with messages stands with them; here is only what is a message's own.
 */
#include "storage/messages.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "storage/writer.h"

#define SCAN_MAX 5000 /* messages looked at for one page */
#define FOR_EVER_MS (INT64_C(100) * 365 * 86400000)
#define TEXT_MAX_BYTES 65536

/* ---- posting ---- */

static int domain_ensure(struct db *db, const char *name, int64_t *id, int64_t *lane, struct error *err)
{
    sqlite3_stmt *row = db_query(db, err, "SELECT id, lane FROM domain WHERE name = ?", DB_T(name));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more < 0)
        return more;
    if (more > 0) {
        *id = db_int(row, 0);
        *lane = db_int(row, 1);
        db_end(row);
        return 0;
    }
    int failed = db_run(db, err, "INSERT INTO domain (name, lane, recipients) VALUES (?, 0, 0)", DB_T(name));
    *id = db_last_id(db);
    *lane = *id % STORAGE_MESSAGE_LANES; /* the shared lanes of the tail are as many (import_domains.c) */
    return failed ? failed : db_run(db, err, "UPDATE domain SET lane = ?2 WHERE id = ?1", DB_I(*id), DB_I(*lane));
}

static int recipient_ensure(struct db *db, const char *email, int64_t now_ms, int64_t *id, int64_t *domain_id,
                            struct error *err)
{
    const char *at = strrchr(email, '@');
    if (at == NULL || strnlen(email, ADDRESS_MAX_BYTES + 1) > ADDRESS_MAX_BYTES)
        return error_set(err, -EINVAL, "\"%.100s\" is not an address", email);
    sqlite3_stmt *row = db_query(db, err, "SELECT id, domain_id FROM recipient WHERE email = ?", DB_T(email));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more < 0)
        return more;
    if (more > 0) {
        *id = db_int(row, 0);
        *domain_id = db_int(row, 1);
        db_end(row);
        return 0;
    }
    int64_t lane;
    int failed = domain_ensure(db, at + 1, domain_id, &lane, err);
    if (!failed)
        failed = db_run(db, err,
                        "INSERT INTO recipient (email, domain_id, lane, attributes, created, updated)"
                        " VALUES (?1, ?2, ?3, '{}', ?4, ?4)",
                        DB_T(email), DB_I(*domain_id), DB_I(lane), DB_I(now_ms));
    *id = db_last_id(db);
    if (!failed)
        failed = db_run(db, err, "UPDATE domain SET recipients = recipients + 1 WHERE id = ?", DB_I(*domain_id));
    return failed ? failed : db_run(db, err, "UPDATE meta SET recipients = recipients + 1");
}

static int content_ensure(struct db *db, const struct storage_message_new *message, int64_t *id, struct error *err)
{
    int missing = db_get(db, err, id, "SELECT id FROM message_content WHERE digest = ?",
                         DB_B(message->digest, sizeof(message->digest)));
    if (missing <= 0)
        return missing;
    int failed = db_run(db, err, "INSERT INTO message_content (digest, content) VALUES (?, ?)",
                        DB_B(message->digest, sizeof(message->digest)), DB_T(message->content));
    *id = db_last_id(db);
    return failed;
}

/* A campaign that has been launched and never ends, with a lane for each class of domains. */
static int stream_make(struct db *db, const struct storage_message_new *message, int64_t *id, struct error *err)
{
    char name[DOMAIN_MAX_BYTES + 32];
    (void)snprintf(name, sizeof(name), "messages from %.*s", DOMAIN_MAX_BYTES, message->sender);
    int failed = db_run(db, err,
                        "INSERT INTO campaign (name, status, created, scheduled, launched, expires_after)"
                        " VALUES (?1, ?2, ?3, 0, ?3, ?4)",
                        DB_T(name), DB_I(CAMPAIGN_RUNNING), DB_I(message->now_ms), DB_I(FOR_EVER_MS));
    *id = db_last_id(db);
    if (!failed)
        failed = db_run(db, err, "INSERT INTO campaign_spec VALUES (?, ?)", DB_I(*id), DB_T(message->stream_spec));
    for (int64_t lane = 0; !failed && lane < STORAGE_MESSAGE_LANES; lane++)
        failed = db_run(db, err, "INSERT INTO campaign_lane VALUES (?, ?, 0, 0)", DB_I(*id), DB_I(lane));
    return failed ? failed
                  : db_run(db, err, "INSERT INTO message_stream VALUES (?, ?)", DB_I(*id), DB_T(message->sender));
}

static int stream_ensure(struct db *db, const struct storage_message_new *message, struct storage_message_made *made,
                         struct error *err)
{
    int missing = db_get(db, err, &made->campaign_id, "SELECT campaign_id FROM message_stream WHERE domain = ?",
                         DB_T(message->sender));
    made->stream_made = missing > 0;
    return missing <= 0 ? missing : stream_make(db, message, &made->campaign_id, err);
}

struct post {
    const struct storage_message_new *message;
    struct storage_message_made *made;
};

static int post_run(struct storage *storage, void *arg, struct error *err)
{
    const struct post *post = arg;
    const struct storage_message_new *message = post->message;
    struct storage_message_made *made = post->made;
    struct db *db = &storage->db;
    int64_t recipient_id = 0, domain_id = 0, content_id = 0;
    int failed = stream_ensure(db, message, made, err);
    if (!failed)
        failed = recipient_ensure(db, message->email, message->now_ms, &recipient_id, &domain_id, err);
    if (!failed)
        failed = content_ensure(db, message, &content_id, err);
    if (failed)
        return failed;
    made->lane = (int)(domain_id % STORAGE_MESSAGE_LANES);
    failed = db_run(db, err,
                    "INSERT INTO message (campaign_id, lane, recipient_id, content_id, transactional, created, expires,"
                    " attributes, labels) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    DB_I(made->campaign_id), DB_I(made->lane), DB_I(recipient_id), DB_I(content_id),
                    DB_I(message->transactional), DB_I(message->now_ms), DB_I(message->expires_ms),
                    DB_T(message->attributes), DB_T(message->labels));
    made->id = db_last_id(db);
    return failed
               ? failed
               : db_run(db, err, "UPDATE campaign SET audience = audience + 1 WHERE id = ?", DB_I(made->campaign_id));
}

int storage_message_post(struct storage *storage, const struct storage_message_new *message,
                         struct storage_message_made *made, struct error *err)
{
    if (strnlen(message->content, STORAGE_MESSAGE_CONTENT_MAX_BYTES + 1) > STORAGE_MESSAGE_CONTENT_MAX_BYTES ||
        strnlen(message->attributes, TEXT_MAX_BYTES + 1) > TEXT_MAX_BYTES ||
        strnlen(message->labels, TEXT_MAX_BYTES + 1) > TEXT_MAX_BYTES)
        return error_set(err, -EINVAL, "the message is too long");
    *made = (struct storage_message_made){0};
    struct post post = {.message = message, .made = made};
    return storage_call(storage, post_run, &post, err);
}

/* ---- reading ---- */

/* In the order of fill(). A message without a delivery is behind its lane's cursor, or being sent. */
#define COLUMNS                                                                                                        \
    "SELECT m.id, m.campaign_id, m.recipient_id, d.id, r.email, m.labels, m.transactional, d.uncertain, coalesce("     \
    "d.state, m.id <= l.cursor), d.attempts, d.code, m.created, m.expires, d.updated, d.next_attempt, d.enhanced,"     \
    " d.reply "
#define JOINED                                                                                                         \
    " LEFT JOIN recipient r ON r.id = m.recipient_id LEFT JOIN delivery d ON d.recipient_id = m.id AND"                \
    " d.campaign_id = m.campaign_id LEFT JOIN campaign_lane l ON l.campaign_id = m.campaign_id AND l.lane = m.lane "

static void fill(sqlite3_stmt *row, struct storage_message *out)
{
    int64_t state = db_int(row, 8);
    *out = (struct storage_message){
        .id = db_int(row, 0),
        .campaign_id = db_int(row, 1),
        .recipient_id = db_int(row, 2),
        .delivery_id = db_int(row, 3),
        .email = db_text(row, 4),
        .labels = db_text(row, 5),
        .transactional = db_int(row, 6) != 0,
        .uncertain = db_int(row, 7) != 0,
        .state = state >= 0 && state < DELIVERY_STATE_COUNT ? (enum delivery_state)state : DELIVERY_FAILED,
        .attempts = (int)MIN_OF(db_count(row, 9), INT32_MAX),
        .code = (int)MIN_OF(db_count(row, 10), 999),
        .created_ms = db_int(row, 11),
        .expires_ms = db_int(row, 12),
        .updated_ms = db_int(row, 13),
        .next_attempt_ms = db_count(row, 14),
        .enhanced = db_text(row, 15),
        .reply = db_text(row, 16),
    };
}

int storage_message_get(struct storage_reader *reader, int64_t id, storage_message_cb *each, void *context,
                        struct error *err)
{
    struct db *db = &reader->db;
    sqlite3_stmt *row = db_query(db, err, COLUMNS "FROM message m" JOINED "WHERE m.id = ?", DB_I(id));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more <= 0)
        return more < 0 ? more : STORAGE_NOT_FOUND;
    struct storage_message message;
    fill(row, &message);
    (void)each(context, &message);
    db_end(row);
    return 0;
}

int storage_message_page(struct storage_reader *reader, int64_t before, int limit, int state, const char *email,
                         storage_message_cb *each, void *context, int64_t *reached, struct error *err)
{
    struct db *db = &reader->db;
    const struct db_value from = DB_I(before > 0 ? before : INT64_MAX), scan = DB_I(SCAN_MAX);
    int64_t recipient_id = 0;
    *reached = 0;
    if (email != NULL) {
        int missing = db_get(db, err, &recipient_id, "SELECT id FROM recipient WHERE email = ?", DB_T(email));
        if (missing)
            return MIN_OF(missing, 0);
    }
    sqlite3_stmt *rows =
        email != NULL
            ? db_query(db, err,
                       COLUMNS "FROM (SELECT * FROM message INDEXED BY message_recipient WHERE recipient_id = ?3"
                               " AND id < ?1 ORDER BY id DESC LIMIT ?2) m" JOINED "ORDER BY m.id DESC",
                       from, scan, DB_I(recipient_id))
            : db_query(db, err,
                       COLUMNS "FROM (SELECT * FROM message WHERE id < ?1 ORDER BY id DESC LIMIT ?2) m" JOINED
                               "ORDER BY m.id DESC",
                       from, scan);
    if (rows == NULL)
        return -EIO;
    int more = 1, looked = 0;
    for (int shown = 0; shown < limit && (more = db_step(db, rows, err)) > 0; looked++) {
        struct storage_message message;
        fill(rows, &message);
        *reached = message.id;
        if (state >= 0 && message.state != (enum delivery_state)state)
            continue;
        shown++;
        if (each(context, &message) != 0)
            break;
    }
    if (more > 0)
        db_end(rows);
    else if (looked < SCAN_MAX)
        *reached = 0;
    return MIN_OF(more, 0);
}

int storage_message_totals(struct storage_reader *reader, int64_t *audience, int64_t states[DELIVERY_STATE_COUNT],
                           struct error *err)
{
    struct db *db = &reader->db;
    sqlite3_stmt *row = db_query(db, err,
                                 "SELECT coalesce(sum(audience), 0), sum(sending), sum(delivered), sum(deferred),"
                                 " sum(bounced), sum(failed), sum(suppressed), sum(cancelled), sum(uncertain)"
                                 " FROM message_stream s CROSS JOIN campaign c ON c.id = s.campaign_id");
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more < 0)
        return more;
    *audience = more > 0 ? db_count(row, 0) : 0;
    states[DELIVERY_PENDING] = *audience;
    for (int i = DELIVERY_SENDING; i < DELIVERY_STATE_COUNT; i++) {
        states[i] = more > 0 ? db_count(row, i) : 0;
        states[DELIVERY_PENDING] -= states[i];
    }
    db_end(more > 0 ? row : NULL);
    return 0;
}

int storage_message_content(struct storage_reader *reader, int64_t content_id, storage_message_content_cb *each,
                            void *context, struct error *err)
{
    struct db *db = &reader->db;
    sqlite3_stmt *row = db_query(db, err, "SELECT content FROM message_content WHERE id = ?", DB_I(content_id));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more <= 0)
        return more < 0 ? more : STORAGE_NOT_FOUND;
    int result = each(context, db_text(row, 0));
    db_end(row);
    return result;
}
