/*
 * plan.h - what a campaign's spec says about when and how fast it is sent; private to the room.
 *
 * window (window.h), missed ("send" or "expire": what becomes of a schedule whose time passed while no server ran),
 * rate (of all its messages), priority (its share of a site for which several campaigns have mail).
 */
#ifndef POSTHASTE_CAMPAIGN_SCHEDULE_PLAN_H
#define POSTHASTE_CAMPAIGN_SCHEDULE_PLAN_H

#include "base/rate.h"
#include "campaign/schedule/window.h"

#define PLAN_PRIORITY_DEFAULT 100
#define PLAN_PRIORITY_MAX 1000
#define PLAN_MISSED_MS ((int64_t)60000) /* later than this a schedule counts as missed */

struct plan {
    bool has_window;
    struct window window;
    bool expire_missed;
    struct rate rate; /* count 0 = no limit */
    uint32_t priority;
};

/* Reads the four fields of the spec, where they are; faults go into `problem`. */
void plan_parse(const json_t *spec, struct plan *out, struct problem *problem);

/* Of a recipient (its attributes as JSON text): its own zone, or the window's, into *out (NULL: UTC). Negative: it cannot be told now; with -ENOENT the
 * window's zone is not there. Without attributes it cannot fail once it was found. */
int plan_zone(const struct plan *plan, struct zones *zones, const char *attributes, const struct timezone_data **out) ATTR_MUSTCHECK;

#endif
