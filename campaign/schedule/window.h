/*
 * window.h - when a campaign may send: days and hours of a time zone, or of each recipient's own. Private to the room.
 *
 * {"days": ["mon", ...], "from": "09:00", "to": "18:00", "time_zone": "Europe/Berlin", "time_zone_attribute": "tz"},
 * all optional. `to` is exclusive, "24:00" or "00:00" the end of the day; from > to goes over midnight and belongs to
 * the day on which it begins. An hour that the clock skips is not there, one that it repeats is there twice. With an
 * attribute, a recipient without it (or with a zone that is not known) has `time_zone`.
 */
#ifndef POSTHASTE_CAMPAIGN_SCHEDULE_WINDOW_H
#define POSTHASTE_CAMPAIGN_SCHEDULE_WINDOW_H

#include "base/hashmap.h"
#include "base/timezone.h"

#include "campaign/campaign.h"

struct window {
    unsigned days;        /* 1 << weekday, Sunday = 0 */
    int from_min, to_min; /* of local time, 0..1440 */
    char time_zone[TIMEZONE_NAME_MAX + 1];
    char attribute[129]; /* "" = one zone for all */
};

/* Zones that were asked for; one thread. */
struct zones {
    struct hashmap by_name;
    struct hashmap unknown; /* names of none, forgotten now and then */
};
#define ZONES_INIT ((struct zones){.by_name = HASHMAP_INIT, .unknown = HASHMAP_INIT})
void zones_finish(struct zones *zones);
/* 0: *out is good until zones_finish(), and found again whatever happens. -ENOENT: there is none of this name, or its file cannot be read. -ENOMEM, -EMFILE,
 * -ENFILE: not now, and nothing is said of whether there is one. */
int zones_find(struct zones *zones, const char *name, const struct timezone_data **out) ATTR_MUSTCHECK;
void zones_look_again(struct zones *zones); /* for those that were not there: somebody may have brought them */

/* False, with faults in `problem` ("window.from" ...), when it is no window. */
bool window_parse(const json_t *json, struct window *out, struct problem *problem);

bool window_is_open(const struct window *window, const struct timezone_data *zone, int64_t wall_ms);
/* When it next opens (now, if it is open), or closes; to the minute. INT64_MAX: not within WINDOW_AHEAD_DAYS. */
#define WINDOW_AHEAD_DAYS 9
int64_t window_next_open_ms(const struct window *window, const struct timezone_data *zone, int64_t wall_ms);
int64_t window_next_close_ms(const struct window *window, const struct timezone_data *zone, int64_t wall_ms);

#endif
