/*
 * delivery_blocks.h - in which blocks of ids a campaign has deliveries (schema/017.sql); private to storage/.
 *
 * Whoever inserts a delivery notes its block in the same transaction. A block may outlive its rows by a moment, and a
 * walk over it then finds nothing; rows without their block would not be found.
 */
#ifndef POSTHASTE_STORAGE_DELIVERY_BLOCKS_H
#define POSTHASTE_STORAGE_DELIVERY_BLOCKS_H

#include "storage/db.h"

static inline int64_t delivery_block(int64_t delivery_id)
{
    return delivery_id >> 8; /* as in the schema */
}
/* The same in SQL, and the ids of a block. */
#define DELIVERY_BLOCK(id) id " >> 8"
#define IDS_OF_BLOCK(block) " BETWEEN " block " << 8 AND (" block " << 8) + 255 "

/* SQL: the deliveries `d` of a block `b`, and the order in which a walk over blocks finds them without a sort. Further
 * bounds on the id are written +d.id, lest the planner take them in place of the block's. */
#define DELIVERIES_OF_BLOCKS                                                                                           \
    "delivery_block b CROSS JOIN delivery d ON d.id" IDS_OF_BLOCK("b.block") "AND d.campaign_id = b.campaign_id"
#define IN_ORDER_OF_BLOCKS "ORDER BY b.block, d.id"

/* Which blocks have been noted last: spares most inserts the question. */
#define DELIVERY_BLOCKS_KNOWN 8
struct delivery_blocks {
    struct {
        int64_t campaign_id, block; /* 0: none; campaigns count from 1 */
    } known[DELIVERY_BLOCKS_KNOWN];
};

/* The writer's: the delivery has been inserted. */
int delivery_blocks_note(struct delivery_blocks *blocks, struct db *db, int64_t campaign_id, int64_t delivery_id,
                         struct error *err) ATTR_MUSTCHECK;
/* When others have written, rows were removed, or something was rolled back. */
void delivery_blocks_forget(struct delivery_blocks *blocks);
/* Deliveries of the block have been deleted: it goes too when nothing of the campaign is left in it. */
int delivery_blocks_leave(struct db *db, int64_t campaign_id, int64_t block, struct error *err) ATTR_MUSTCHECK;

#endif
