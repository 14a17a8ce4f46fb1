/*
 * segment.h - reads the segment of a campaign, a filter over its recipients, and makes the program of it that storage
 * asks.
 *
 * {"and": [S, ...]}, {"or": [S, ...]}, {"not": S}, or a test:
 *   {"attribute": "city", OP: VALUE, ...}   dots reach into nested attributes; several operators must all hold
 *   {"field": "email" | "domain" | "created", OP: VALUE, ...}
 *   {"list": NAME or ID, "status": "active" | "unsubscribed" | "removed" | "none"}
 *   {"campaign": ID, "was": "sent" | "delivered" | "bounced" | "opened" | "clicked" | "not_opened" | "not_clicked" |
 * "unsubscribed"} OP: eq, ne, lt, lte, gt, gte (text or number), in (list), contains, starts_with (text), exists (true
 * or false), before, after (a date), within (a duration before the launch). What they mean stands in storage/segment.h.
 */
#ifndef POSTHASTE_CAMPAIGN_AUDIENCE_SEGMENT_H
#define POSTHASTE_CAMPAIGN_AUDIENCE_SEGMENT_H

#include "base/buffer.h"
#include "campaign/campaign.h"

/* Appends the program to `out`. Faults go into `problem`, each with its place ("segment.and[1].gte"). Negative: a
 * failure that is nobody's fault. */
int segment_parse(const json_t *json, struct storage_reader *reader, struct buffer *out, struct problem *problem,
                  struct error *err) ATTR_MUSTCHECK;

#endif
