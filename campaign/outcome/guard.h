/*
 * guard.h - stops a campaign that bounces or annoys too much; private to the room.
 */
#ifndef POSTHASTE_CAMPAIGN_OUTCOME_GUARD_H
#define POSTHASTE_CAMPAIGN_OUTCOME_GUARD_H

#include "base/config.h"
#include "storage/storage.h"

#define GUARD_EVERY 100 /* outcomes between two looks, besides the one of each second */

/* True when the campaign was paused by this call. A failure of the database is logged and pauses nothing. */
bool guard_look(const struct config_guard *limits, struct storage *storage, struct storage_reader *reader,
                int64_t campaign_id);

#endif
