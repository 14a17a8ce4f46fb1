/*
 * claiming.h - what the feeder claims, and what comes back to it; private to campaign/schedule/, feeder thread only.
 */
#ifndef POSTHASTE_CAMPAIGN_SCHEDULE_CLAIMING_H
#define POSTHASTE_CAMPAIGN_SCHEDULE_CLAIMING_H

#include "campaign/schedule/roster.h"

/* One claim for every hungry lane of every run in turn, so that no campaign starves another; single messages first. */
void feeder_feed(struct feeder *feeder, int64_t now_ms);
/* What had to wait for memory: tried again with each turn of the thread. */
void feeder_start_short(struct feeder *feeder);

/* A mail of the kind FEEDER_CLAIMED: its deliveries go to the engine. */
void feeder_claimed(struct feeder *feeder, struct feeder_mail *mail, int64_t now_ms);
/* The delivery's outcome is durable; it is freed. */
void feeder_recorded(struct feeder *feeder, struct delivery *delivery, int64_t now_ms);

#endif
