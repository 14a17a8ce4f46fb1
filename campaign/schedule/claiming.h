/*
 * claiming.h - what the feeder claims, and what comes back to it; private to campaign/schedule/, feeder thread only.
 */
#ifndef POSTHASTE_CAMPAIGN_SCHEDULE_CLAIMING_H
#define POSTHASTE_CAMPAIGN_SCHEDULE_CLAIMING_H

#include "campaign/schedule/roster.h"

/* Every hungry lane of every run in turn begins more or claims once, so that no campaign starves another; single messages first. */
void feeder_feed(struct feeder *feeder, int64_t now_ms);
/* Nothing more of the run is to go to the engine now: it is paused, cancelled, outside its window, or the server stops. */
bool feeder_holds(struct feeder *feeder, const struct run *run);
/* What is unbegun of such runs ends untried. With each turn of the thread. */
void feeder_give_back(struct feeder *feeder, int64_t now_ms);

/* A mail of the kind FEEDER_CLAIMED: its deliveries go to the engine. */
void feeder_claimed(struct feeder *feeder, struct feeder_mail *mail, int64_t now_ms);
/* The delivery's outcome is durable; it is freed. */
void feeder_recorded(struct feeder *feeder, struct delivery *delivery, int64_t now_ms);

#endif
