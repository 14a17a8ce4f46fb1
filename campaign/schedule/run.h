/*
 * run.h - one campaign while the feeder works on it, and its lanes.
 *
 * Owned by the feeder thread. Composers and engine loops read only what is marked so; it does not change while a delivery of the run is out.
 */
#ifndef POSTHASTE_CAMPAIGN_SCHEDULE_RUN_H
#define POSTHASTE_CAMPAIGN_SCHEDULE_RUN_H

#include <stdatomic.h>

#include "base/address.h"
#include "base/config.h"
#include "base/hashmap.h"
#include "base/list.h"
#include "engine/engine.h"
#include "storage/storage.h"

#include "campaign/message/message.h"
#include "campaign/schedule/plan.h"
#include "campaign/schedule/split.h"

#define LANE_WINDOW_MIN 64   /* deliveries of a lane in memory, to begin with */
#define LANE_WINDOW_MAX 2000 /* enough for 10,000/s at 200 ms from claim to commit */
#define LANE_HOLD_MAX 5000   /* a lane of the tail, while some of its sites are slow */
#define LANE_BULK_MAX 192    /* with the smallest window a claim of 256; not more, for a power cut makes all of it uncertain */

/*
 * A lane, or the retries of the campaign. `out` deliveries of it are in memory. The engine has all but the `unbegun` of them; when what it has falls to half
 * the window it is given more, and when nothing would be left to give the next claim is due. The window doubles whenever a claim came back too late (nearly
 * nothing was left), and halves when a claim lasted for seconds.
 *
 * To the database a claim has its price, whatever it brings; so one brings `bulk` more than the window has room for, as many as make it last for a second or
 * some.
 */
struct lane {
    struct list hungry; /* in run.hungry while it is to begin more, or to claim */
    int64_t id;         /* storage's number, or STORAGE_LANE_RETRIES */
    bool shared;        /* many domains: some may be slow while others wait */
    bool done;          /* nothing left behind the cursor (retries: nothing due) */
    bool claiming;      /* a claim is under way */
    bool more;          /* a message was posted meanwhile, which it may not have seen */
    bool stretched;     /* its window has just become larger because it was stuck: it may claim, due or not */
    int out, unbegun, window, bulk;
    struct list orders;           /* what claims brought and is unbegun (claiming.c) */
    int64_t claimed_ms, began_ms; /* monotonic: the last claim came back, some were last begun */
};

/* The window is open (or closed) in `zone` from one moment to the other, wall clock; INT64_MAX: for longer than it is looked ahead. */
struct zone_hours {
    const struct timezone_data *zone; /* the key */
    bool open;
    int64_t from_ms, until_ms;
};

struct run {
    struct list node;
    int64_t id; /* constant, read by all threads */
    int64_t deadline_ms; /* wall clock; constant, read by all threads */
    bool stream;         /* of single messages: it never ends; constant */
    _Atomic uint32_t posted; /* a stream: bit set of lanes to which messages were posted; any thread */
    int64_t expire_ms;   /* a stream: when the first of what is in memory expires, wall clock; INT64_MAX = nothing */
    struct engine_campaign shape; /* what the engine is to know of it: its weight against other campaigns */
    char sender[DOMAIN_MAX_BYTES + 1]; /* the shape's: the content that it is taken from may be made anew */
    struct content *contents[SPLIT_VARIANTS_MAX]; /* of an A/B test's variants, as `content` */
    struct content *content; /* compiled; the feeder's, deliveries have references; made anew when the domain's keys change; NULL while scheduled */
    _Atomic int status;  /* enum campaign_status as last read; read by the loops */
    int64_t scheduled_ms;
    struct plan plan;      /* of its spec; the feeder's */
    struct split split;    /* of its spec: the A/B test */
    struct storage_split split_state; /* as last read; the feeder's */
    int64_t split_at_ms;   /* monotonic: not before this it is looked at again */
    _Atomic bool testing;  /* the share is claimed, and the rest waits for the winner */
    _Atomic bool closed;   /* its window is; read by the loops */
    int64_t window_until_ms; /* wall clock: when `closed` may change */
    int64_t own_close_ms;    /* wall clock: when the first recipient's own window closes of those that went to the engine; INT64_MAX = none */
    _Atomic int64_t taken_back_ms; /* monotonic: what was claimed by then came back because one has; read by the loops */
    struct hashmap hours; /* struct zone_hours: of the zones of recipients met so far */
    struct lane *lanes; /* lane_count of them; the last one is the retries */
    size_t lane_count, lanes_done;
    struct list hungry;
    int out, unbegun;     /* deliveries in memory; of them, not given to the engine yet */
    int claims;           /* under way */
    int unjudged;         /* outcomes since the guard looked */
    int64_t next_due_ms;  /* wall clock: when the next deferred row falls due; 0 = there is none */
    _Atomic bool only_retries; /* for run_view */
    int64_t finish_at_ms; /* monotonic: not before this is the finish tried again */
    _Atomic uint32_t delivered[8]; /* per second, a ring: rate_now */
};

/* Loads lanes and content of the campaign, and its window's zone into `zones`. 0 or negative with `err` (-EINVAL: a person must mend it); *out only on 0. */
int run_create(const struct storage_campaign *campaign, struct storage_reader *reader, struct content *content,
               struct zones *zones, struct run **out, struct error *err) ATTR_MUSTCHECK;
void run_free(struct run *run); /* nothing is out */
/* The content for a recipient: the campaign's, or its variant's. */
struct content *run_content(const struct run *run, int64_t recipient_id);
/* The lanes begin anew: the rest of an A/B campaign. */
void run_restart_lanes(struct run *run);
/* A stream: the lanes to which something was posted are looked at again. */
void run_take_posted(struct run *run);
/* Looks at the window again when that is due; true when it has just closed, or a recipient's own has, and what has not begun should come back. */
bool run_window(struct run *run, struct zones *zones, int64_t wall_ms);
/* The window in a recipient's own zone. */
struct zone_hours run_hours(struct run *run, const struct timezone_data *zone, int64_t wall_ms);
void run_forget_hours(struct run *run); /* before the zones are gone */
/* A delivery goes to the engine in whose recipient's zone it is open. */
void run_window_open(struct run *run, const struct zone_hours *hours);

static inline struct lane *run_retries(struct run *run)
{
    return &run->lanes[run->lane_count - 1];
}

/* Deliveries that the engine has, or has had and are not durable yet. */
static inline int lane_begun(const struct lane *lane)
{
    return lane->out - lane->unbegun;
}

/* With a bulk the claim is due before the half is reached: what it brings should be there by then. */
static inline bool lane_claims(const struct lane *lane)
{
    int ahead = MIN_OF(lane->bulk, lane->window / 2);
    return !lane->done && !lane->claiming && lane->out <= lane->window / 2 + ahead;
}

/* Puts the lane among the hungry when it is to begin more, or to claim. */
void lane_check(struct run *run, struct lane *lane);
/* A claim of `count` deliveries came back. None of them is begun. */
void lane_claimed(struct run *run, struct lane *lane, int count, int64_t now_ms);
/* `count` of the unbegun are given to the engine, or end untried. */
void lane_began(struct run *run, struct lane *lane, int count, int64_t now_ms);
/* One delivery of the lane is durable. */
void lane_credit(struct run *run, struct lane *lane);
/* One delivery of the lane came back untried: it was given more than its site could take. */
void lane_shrink(struct run *run, struct lane *lane);
/* Once a second: lets a stuck lane of the tail hold more; true when it holds all it may, and waits still. */
bool lane_stuck(struct run *run, struct lane *lane, int64_t now_ms);

/* The ring: `second` is monotonic. */
void run_count_delivered(struct run *run, int64_t second);
double run_rate(struct run *run, int64_t second); /* deliveries a second over the last five whole seconds */

#endif
