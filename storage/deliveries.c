/*
 * deliveries.c - deliveries and attempts, as people read them.
 *
 * A page must cost its own rows. The planner, left to itself, would find a campaign's rows through an index that does
 * not end in the row's id and sort them all, so each query names its index or walks the campaign's blocks (a test looks
 * at the plans). Two pages can cost more: `delivered` rows where nearly everything bounced, and one small domain in a
 * huge campaign; both walk the campaign in order until the page is full.
 */
#include <errno.h>
#include <string.h>

#include "base/outcome.h"
#include "storage/delivery_blocks.h"
#include "storage/stage_times.h"
#include "storage/writer.h"

#define PAGE_MAX 10000

/* `d` is the row of the delivery or of the attempt, `k` the delivery itself. In the order of fill(). */
#define HIT(k, link)                                                                                                   \
    "(SELECT min(h.first) FROM hit h WHERE h.recipient_id = " k ".recipient_id AND h.campaign_id = " k                 \
    ".campaign_id AND h.link " link " AND h.first > 0)"
#define COLUMNS(d, k)                                                                                                  \
    "SELECT " k ".id, " k ".campaign_id, " k ".recipient_id, c.name, r.email, " d ".state, " d ".uncertain, " d        \
    ".attempts, " d ".next_attempt, " d ".updated, " d ".code, " d ".stage, " d ".tls, " d ".duration, " d             \
    ".enhanced, " d ".reply, " d ".mx_host, " d ".source, (SELECT u.at FROM unsubscribe u WHERE u.recipient_id = " k   \
    ".recipient_id AND u.campaign_id = " k ".campaign_id), p.address, p.tls_version, p.tls_cipher, " d                 \
    ".times, " HIT(k, "= 0") ", " HIT(k, "> 0") ", m.recipient_id "
/* `m` is the single message, where the delivery is one's. */
#define PERSON "coalesce(m.recipient_id, d.recipient_id)"
#define BY_PATH(d) " LEFT JOIN path p ON p.id = " d ".path_id "
#define JOINED                                                                                                         \
    " LEFT JOIN message m ON m.id = d.recipient_id LEFT JOIN recipient r ON r.id = " PERSON                            \
    " LEFT JOIN campaign c ON c.id = d.campaign_id "
#define OF_DOMAIN                                                                                                      \
    " LEFT JOIN message m ON m.id = d.recipient_id CROSS JOIN recipient r ON r.id = " PERSON                           \
    " LEFT JOIN campaign c ON c.id = d.campaign_id "
#define BY_CAMPAIGN COLUMNS("d", "d") "FROM " DELIVERIES_OF_BLOCKS
#define BY_STATE COLUMNS("d", "d") "FROM delivery d INDEXED BY delivery_state"
#define RANGE_OF_BLOCKS BY_PATH("d") "WHERE b.campaign_id = ?1 AND b.block >= " DELIVERY_BLOCK("?2") " AND +d.id > ?2 "
#define END_OF_BLOCKS IN_ORDER_OF_BLOCKS " LIMIT ?3"
#define RANGE BY_PATH("d") "WHERE d.campaign_id = ?1 AND d.id > ?2 "
#define END "ORDER BY d.id LIMIT ?3"
/* Spelt as in the index, for the planner to see that the index holds the row. */
#define NOT_DELIVERED "AND d.state = ?4 AND d.state <> 2 "

static const char *stage_text(sqlite3_stmt *row, int column)
{
    if (sqlite3_column_type(row, column) != SQLITE_INTEGER)
        return "";
    int64_t stage = db_int(row, column);
    return stage > STAGE_NONE && stage < STAGE_COUNT ? outcome_stage_name((enum outcome_stage)stage) : "";
}

static void fill(sqlite3_stmt *row, struct storage_delivery *out)
{
    int64_t state = db_int(row, 5);
    *out = (struct storage_delivery){
        .id = db_int(row, 0),
        .campaign_id = db_int(row, 1),
        .recipient_id = db_int(row, 2),
        .campaign_name = db_text(row, 3),
        .email = db_text(row, 4),
        .state = state > 0 && state < DELIVERY_STATE_COUNT ? (enum delivery_state)state : DELIVERY_FAILED,
        .uncertain = db_int(row, 6) != 0,
        .attempts = (int)MIN_OF(db_count(row, 7), INT32_MAX),
        .next_attempt_ms = db_count(row, 8),
        .updated_ms = db_int(row, 9),
        .code = (int)MIN_OF(db_count(row, 10), 999),
        .stage = stage_text(row, 11),
        .duration_ms = (int)MIN_OF(db_count(row, 13), INT32_MAX),
        .enhanced = db_text(row, 14),
        .reply = db_text(row, 15),
        .mx_host = db_text(row, 16),
        .source = db_text(row, 17),
        .unsubscribed_ms = db_count(row, 18),
        .address = db_text(row, 19),
        .tls_version = db_text(row, 20),
        .tls_cipher = db_text(row, 21),
        .opened_ms = db_count(row, 23),
        .clicked_ms = db_count(row, 24),
    };
    stage_times_read(db_text(row, 22), out->times_ms);
    tls_unpack(db_int(row, 12), &out->tls, &out->tls_rule, &out->tls_result);
    if (storage_is_message(out->recipient_id)) {
        out->message_id = out->recipient_id;
        out->recipient_id = db_count(row, 25);
    }
    const char *at = strrchr(out->email, '@');
    out->domain = at != NULL ? at + 1 : "";
}

static int walk(struct db *db, sqlite3_stmt *rows, storage_delivery_cb *each, void *context, struct error *err)
{
    if (rows == NULL)
        return -EIO;
    int more;
    while ((more = db_step(db, rows, err)) > 0) {
        struct storage_delivery delivery;
        fill(rows, &delivery);
        if (each(context, &delivery) != 0) {
            db_end(rows);
            return 0;
        }
    }
    return more;
}

int storage_delivery_page(struct storage_reader *reader, int64_t campaign_id, int state, const char *domain,
                          int64_t after, int limit, storage_delivery_cb *each, void *context, struct error *err)
{
    struct db *db = &reader->db;
    const struct db_value id = DB_I(campaign_id), from = DB_I(after), count = DB_I(MAX_OF(MIN_OF(limit, PAGE_MAX), 0));
    const struct db_value wanted = DB_I(state);
    sqlite3_stmt *rows;
    if (domain == NULL) {
        if (state < 0)
            rows = db_query(db, err, BY_CAMPAIGN JOINED RANGE_OF_BLOCKS END_OF_BLOCKS, id, from, count);
        else if (state == DELIVERY_DELIVERED)
            rows =
                db_query(db, err, BY_CAMPAIGN JOINED RANGE_OF_BLOCKS "AND d.state = 2 " END_OF_BLOCKS, id, from, count);
        else
            rows = db_query(db, err, BY_STATE JOINED RANGE NOT_DELIVERED END, id, from, count, wanted);
        return walk(db, rows, each, context, err);
    }
    int64_t domain_id;
    int missing = db_get(db, err, &domain_id, "SELECT id FROM domain WHERE name = ?", DB_T(domain));
    if (missing)
        return missing < 0 ? missing : 0;
    const struct db_value of = DB_I(domain_id);
    if (state < 0)
        rows = db_query(db, err, BY_CAMPAIGN OF_DOMAIN RANGE_OF_BLOCKS "AND r.domain_id = ?4 " END_OF_BLOCKS, id, from,
                        count, of);
    else if (state == DELIVERY_DELIVERED)
        rows = db_query(db, err,
                        BY_CAMPAIGN OF_DOMAIN RANGE_OF_BLOCKS "AND r.domain_id = ?4 AND d.state = 2 " END_OF_BLOCKS, id,
                        from, count, of);
    else
        rows = db_query(db, err, BY_STATE OF_DOMAIN RANGE "AND r.domain_id = ?5 " NOT_DELIVERED END, id, from, count,
                        wanted, of);
    return walk(db, rows, each, context, err);
}

int storage_delivery_by_recipient(struct storage_reader *reader, int64_t recipient_id, storage_delivery_cb *each,
                                  void *context, struct error *err)
{
    struct db *db = &reader->db;
    sqlite3_stmt *rows = db_query(db, err,
                                  COLUMNS("d", "d") "FROM delivery d" JOINED BY_PATH(
                                      "d") "WHERE d.recipient_id = ? ORDER BY d.campaign_id DESC LIMIT ?",
                                  DB_I(recipient_id), DB_I(PAGE_MAX));
    int failed = walk(db, rows, each, context, err);
    if (failed)
        return failed;
    rows =
        db_query(db, err,
                 COLUMNS("d", "d") "FROM message m INDEXED BY message_recipient CROSS JOIN delivery d ON"
                                   " d.recipient_id = m.id AND d.campaign_id = m.campaign_id LEFT JOIN recipient r ON"
                                   " r.id = m.recipient_id LEFT JOIN campaign c ON c.id = d.campaign_id" BY_PATH(
                                       "d") "WHERE m.recipient_id = ? ORDER BY m.id DESC LIMIT ?",
                 DB_I(recipient_id), DB_I(PAGE_MAX));
    return walk(db, rows, each, context, err);
}

int storage_delivery_attempts(struct storage_reader *reader, int64_t delivery_id, storage_delivery_cb *each,
                              void *context, struct error *err)
{
    sqlite3_stmt *rows = db_query(
        &reader->db, err,
        COLUMNS("a", "d") "FROM (SELECT 0 AS newest, id AS n, state, uncertain, attempts,"
                          " next_attempt, updated, code, stage, tls, duration, enhanced,"
                          " reply, mx_host, source, path_id, times FROM attempt WHERE delivery_id = ?1"
                          " UNION ALL SELECT 1, 0, state, uncertain, attempts, next_attempt,"
                          " updated, code, stage, tls, duration, enhanced, reply, mx_host,"
                          " source, path_id, times FROM delivery WHERE id = ?1 AND stage IS NOT NULL) a"
                          " JOIN delivery d ON d.id = ?1" JOINED BY_PATH("a") "ORDER BY a.newest, a.n LIMIT ?2",
        DB_I(delivery_id), DB_I(PAGE_MAX));
    return walk(&reader->db, rows, each, context, err);
}
