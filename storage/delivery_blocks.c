/*
 * delivery_blocks.c - the blocks as they are written (see delivery_blocks.h).
 */
#include "storage/delivery_blocks.h"

int delivery_blocks_note(struct delivery_blocks *blocks, struct db *db, int64_t campaign_id, int64_t delivery_id,
                         struct error *err)
{
    size_t slot = (uint64_t)campaign_id % DELIVERY_BLOCKS_KNOWN;
    int64_t block = delivery_block(delivery_id);
    if (blocks->known[slot].campaign_id == campaign_id && blocks->known[slot].block == block)
        return 0;
    int failed = db_run(db, err, "INSERT OR IGNORE INTO delivery_block VALUES (?, ?)", DB_I(campaign_id), DB_I(block));
    if (failed)
        return failed;
    blocks->known[slot].campaign_id = campaign_id;
    blocks->known[slot].block = block;
    return 0;
}

void delivery_blocks_forget(struct delivery_blocks *blocks)
{
    *blocks = (struct delivery_blocks){0};
}

int delivery_blocks_leave(struct db *db, int64_t campaign_id, int64_t block, struct error *err)
{
    return db_run(db, err,
                  "DELETE FROM delivery_block WHERE campaign_id = ?1 AND block = ?2 AND NOT EXISTS (SELECT 1 FROM"
                  " delivery WHERE id" IDS_OF_BLOCK("?2") "AND campaign_id = ?1)",
                  DB_I(campaign_id), DB_I(block));
}
