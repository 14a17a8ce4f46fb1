/*
 * tracker.h - the running part of tracking: tables in memory, hits on their way to the database; private to the room.
 */
#ifndef POSTHASTE_CAMPAIGN_TRACKING_TRACKER_H
#define POSTHASTE_CAMPAIGN_TRACKING_TRACKER_H

#include "campaign/campaign.h"

struct tracker;

int tracker_start(struct storage *storage, struct tracker **out, struct error *err) ATTR_MUSTCHECK;
void tracker_stop(
    struct tracker *tracker); /* records what waits (tries once when the database refuses); NULL is allowed */

/* Never blocks. When TRACKER_WAITING_MAX wait it is dropped and counted. */
#define TRACKER_WAITING_MAX 100000
void tracker_post(struct tracker *tracker, const struct storage_hit *hit);
void tracker_counts(struct tracker *tracker, struct tracking_counts *out);

/* The URL of a link as it stands in the table, appended. 0, STORAGE_NOT_FOUND, negative. */
int tracker_url(struct tracker *tracker, struct storage_reader *reader, int64_t campaign_id, unsigned number,
                struct buffer *out, struct error *err) ATTR_MUSTCHECK;

#endif
