/*
 * split.c - the two parts of an A/B campaign, and what its variants came to.
 *
 * `upto` is the highest delivery id when the rest began: the test's rows lie at or below it, so counting them never
 * walks the rows of the rest. What was in flight then has its row behind it and is not counted. Rows of other campaigns
 * lie between them and are passed over, block by block.
 */
#include <errno.h>

#include "storage/delivery_blocks.h"
#include "storage/writer.h"

struct split_change {
    int64_t id, now_ms;
    int variant;
};

/* In SQL as in split_slot(). */
#define SLOT "((d.recipient_id % 65521 * 31337 + d.campaign_id % 65521 * 7919) % 65521)"
_Static_assert(SPLIT_SLOTS == 65521, "SLOT");

int storage_split_get(struct storage_reader *reader, int64_t campaign_id, struct storage_split *out, struct error *err)
{
    sqlite3_stmt *row = db_query(&reader->db, err,
                                 "SELECT share, variants, winner, rest, tested, chosen FROM campaign_split"
                                 " WHERE campaign_id = ?",
                                 DB_I(campaign_id));
    int more = row == NULL ? -EIO : db_step(&reader->db, row, err);
    if (more <= 0)
        return more < 0 ? more : STORAGE_NOT_FOUND;
    *out = (struct storage_split){.share = (int)MIN_OF(db_count(row, 0), SPLIT_SLOTS),
                                  .variants = (int)MAX_OF(MIN_OF(db_count(row, 1), SPLIT_VARIANTS_MAX), 1),
                                  .winner = (int)MIN_OF(MAX_OF(db_int(row, 2), -1), SPLIT_VARIANTS_MAX - 1),
                                  .rest = db_int(row, 3) != 0,
                                  .tested_ms = db_count(row, 4),
                                  .chosen_ms = db_count(row, 5)};
    db_end(row);
    return 0;
}

/* A person looked at it, or followed a link. */
#define OPENED HIT(">= 0")
#define CLICKED HIT("> 0")
#define HIT(link)                                                                                                      \
    "EXISTS (SELECT 1 FROM hit h WHERE h.recipient_id = d.recipient_id AND h.campaign_id = d.campaign_id"              \
    " AND h.link " link " AND h.first > 0)"
#define UPTO "(SELECT upto FROM campaign_split WHERE campaign_id = ?1)"

int storage_split_counts(struct storage_reader *reader, int64_t campaign_id, const struct storage_split *split,
                         struct storage_split_counts counts[SPLIT_VARIANTS_MAX], struct error *err)
{
    for (int i = 0; i < SPLIT_VARIANTS_MAX; i++)
        counts[i] = (struct storage_split_counts){0};
    sqlite3_stmt *rows =
        db_query(&reader->db, err,
                 "SELECT " SLOT " % ?2 AS variant, count(*), sum(d.state = 2), sum(" OPENED "), sum(" CLICKED ")"
                 " FROM " DELIVERIES_OF_BLOCKS
                 " WHERE b.campaign_id = ?1 AND b.block <= " DELIVERY_BLOCK(UPTO) " AND +d.id <= " UPTO " AND " SLOT
                                                                                  " < ?3 GROUP BY 1",
                 DB_I(campaign_id), DB_I(split->variants), DB_I(split->share));
    if (rows == NULL)
        return -EIO;
    int more;
    while ((more = db_step(&reader->db, rows, err)) > 0) {
        int64_t variant = db_int(rows, 0);
        if (variant >= 0 && variant < SPLIT_VARIANTS_MAX)
            counts[variant] = (struct storage_split_counts){.audience = db_count(rows, 1),
                                                            .delivered = db_count(rows, 2),
                                                            .opened = db_count(rows, 3),
                                                            .clicked = db_count(rows, 4)};
    }
    return more;
}

#define SHARE_IS_CLAIMED                                                                                               \
    "NOT EXISTS (SELECT 1 FROM campaign_lane l WHERE l.campaign_id = ?1 AND l.done = 0)"                               \
    " AND EXISTS (SELECT 1 FROM campaign c WHERE c.id = ?1 AND c.status IN (2, 3))"

static int tested_run(struct storage *storage, void *arg, struct error *err)
{
    const struct split_change *change = arg;
    int failed = db_run(&storage->db, err,
                        "UPDATE campaign_split SET tested = iif(tested = 0, ?2, tested) WHERE campaign_id = ?1"
                        " AND rest = 0 AND " SHARE_IS_CLAIMED,
                        DB_I(change->id), DB_I(change->now_ms));
    return failed ? failed : db_changes(&storage->db) == 1 ? 0 : STORAGE_WRONG_STATE;
}

int storage_split_tested(struct storage *storage, int64_t campaign_id, int64_t now_ms, struct error *err)
{
    struct split_change change = {.id = campaign_id, .now_ms = now_ms};
    return storage_call(storage, tested_run, &change, err);
}

static int choose_run(struct storage *storage, void *arg, struct error *err)
{
    const struct split_change *change = arg;
    struct db *db = &storage->db;
    int64_t winner;
    int missing = db_get(db, err, &winner, "SELECT winner FROM campaign_split WHERE campaign_id = ?", DB_I(change->id));
    if (missing)
        return missing;
    if (winner >= 0)
        return winner == change->variant ? 0 : STORAGE_WRONG_STATE;
    return db_run(db, err,
                  "UPDATE campaign_split SET winner = ?2, chosen = ?3 WHERE campaign_id = ?1 AND ?2 < variants",
                  DB_I(change->id), DB_I(change->variant), DB_I(change->now_ms));
}

int storage_split_choose(struct storage *storage, int64_t campaign_id, int variant, int64_t now_ms, struct error *err)
{
    if (variant < 0 || variant >= SPLIT_VARIANTS_MAX)
        return error_set(err, -EINVAL, "there is no variant %d", variant);
    struct split_change change = {.id = campaign_id, .variant = variant, .now_ms = now_ms};
    return storage_call(storage, choose_run, &change, err);
}

static int rest_run(struct storage *storage, void *arg, struct error *err)
{
    const struct split_change *change = arg;
    struct db *db = &storage->db;
    int failed = db_run(db, err,
                        "UPDATE campaign_split SET rest = 1, upto = (SELECT coalesce(max(id), 0) FROM delivery)"
                        " WHERE campaign_id = ?1 AND rest = 0 AND winner >= 0 AND " SHARE_IS_CLAIMED,
                        DB_I(change->id));
    if (!failed && db_changes(db) != 1)
        return STORAGE_WRONG_STATE;
    return failed ? failed
                  : db_run(db, err, "UPDATE campaign_lane SET cursor = 0, done = 0 WHERE campaign_id = ?",
                           DB_I(change->id));
}

int storage_split_rest(struct storage *storage, int64_t campaign_id, struct error *err)
{
    struct split_change change = {.id = campaign_id};
    return storage_call(storage, rest_run, &change, err);
}
