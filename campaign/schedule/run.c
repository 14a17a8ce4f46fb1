/*
 * run.c - the books of one running campaign: how much of each lane is in memory and how much may be.
 *
 * The window is feedback, nothing else: a lane that drains its window before the next claim can answer gets a larger one, a lane that
 * lives on one claim for seconds a smaller one. So a fast provider is never starved by the round trip to the disk, and a slow one never fills the memory. How much one
 * claim brings is another matter, which only the database feels: what the window does not let out waits here, unbegun. A lane of
 * the tail serves many sites; when one of them is slow, its deliveries stay in the window and would starve the others, so a shared lane that stands still may hold more, up to
 * LANE_HOLD_MAX; beyond that the feeder asks the engine to give back those that have waited longest, and they become deferred rows. A lane of one domain waits with what it has:
 * the rest stays behind its cursor, and no row is written while its site is away.
 */
#include <errno.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

#include "campaign/schedule/run.h"
#include "campaign/json_text.h"

/* Lanes of one campaign share this many places before each gets its full minimum. */
#define RUN_WINDOW_TOTAL 6000
#define DAY_MS ((int64_t)86400000)

struct lane_loader {
    struct run *run;
    size_t capacity;
    bool failed;
};

static struct lane *lane_add(struct lane_loader *loader)
{
    struct run *run = loader->run;
    if (run->lane_count == loader->capacity) {
        size_t capacity = loader->capacity == 0 ? 16 : loader->capacity * 2;
        struct lane *lanes = reallocarray(run->lanes, capacity, sizeof(*lanes));
        if (lanes == NULL)
            return NULL;
        run->lanes = lanes;
        loader->capacity = capacity;
    }
    struct lane *lane = &run->lanes[run->lane_count++];
    *lane = (struct lane){0};
    return lane;
}

static int load_lane(void *context, const struct storage_lane *stored)
{
    struct lane_loader *loader = context;
    struct lane *lane = lane_add(loader);
    if (lane == NULL) {
        loader->failed = true;
        return 1;
    }
    lane->id = stored->lane;
    lane->shared = stored->domain == NULL;
    lane->done = stored->done;
    if (lane->done)
        loader->run->lanes_done++;
    return 0;
}

static int load_lanes(struct run *run, struct storage_reader *reader, struct error *err)
{
    struct lane_loader loader = {.run = run};
    int result = storage_campaign_lanes(reader, run->id, load_lane, &loader, err);
    if (result < 0)
        return result;
    struct lane *retries = loader.failed ? NULL : lane_add(&loader);
    if (retries == NULL)
        return error_memory(err);
    retries->id = STORAGE_LANE_RETRIES;
    retries->shared = true;

    int64_t now_ms = clock_monotonic_ms();
    int fair = (int)(RUN_WINDOW_TOTAL / run->lane_count);
    for (size_t i = 0; i < run->lane_count; i++) {
        struct lane *lane = &run->lanes[i];
        list_init(&lane->hungry);
        list_init(&lane->orders);
        lane->window = fair < 8 ? 8 : MIN_OF(fair, LANE_WINDOW_MIN);
        lane->claimed_ms = lane->began_ms = now_ms;
    }
    return 0;
}

/* An accepted window is never read as another, or as none: what was there when it was checked can be out of reach now. */
static int load_window(const struct run *run, const json_t *spec, struct zones *zones, struct error *err)
{
    const json_t *window = json_object_get(spec, "window");
    const char *name = json_string_value(json_object_get(window, "time_zone"));
    const struct timezone_data *zone;
    zones_look_again(zones);
    int result = json_is_object(window) && name != NULL && strcmp(name, "UTC") != 0 ? zones_find(zones, name, &zone) : 0;
    if (result == -ENOENT)
        return error_set(err, -EINVAL, "its window's time zone %s is not in the system's database (package tzdata)", LOG_QUOTE(name));
    if (result != 0)
        return error_errno(err, result, "its window's time zone");
    if (json_is_object(window) && !run->plan.has_window)
        return error_set(err, -EAGAIN, "its window cannot be read");
    return 0;
}

int run_create(const struct storage_campaign *campaign, struct storage_reader *reader, struct content *content,
               struct zones *zones, struct run **out, struct error *err)
{
    struct run *run = calloc(1, sizeof(*run));
    if (run == NULL)
        return error_memory(err);
    list_init(&run->node);
    list_init(&run->hungry);
    run->id = campaign->id;
    run->stream = campaign->messages;
    run->expire_ms = run->own_close_ms = INT64_MAX;
    json_t *spec = json_text_reads(campaign->spec, 0, NULL);
    if (spec == NULL) { /* of the run's rate and window nothing would be known */
        free(run);
        return error_memory(err);
    }
    struct problem ignored = {.count = 0}; /* it was checked when it was stored */
    plan_parse(spec, &run->plan, &ignored);
    split_parse(spec, &run->split, &ignored);
    int result = campaign->status == CAMPAIGN_RUNNING ? load_window(run, spec, zones, err) : 0;
    json_decref(spec);
    if (result != 0) {
        free(run);
        return result;
    }
    run->shape.rate = run->plan.rate;
    run->shape.urgent = run->stream;
    atomic_init(&run->shape.weight, run->plan.priority);
    atomic_init(&run->closed, run->plan.has_window); /* until it is looked at */
    run->deadline_ms = campaign->launched_ms + campaign->expires_after_ms;
    run->scheduled_ms = campaign->scheduled_ms;
    run->next_due_ms = 1; /* unknown: ask at once */
    atomic_init(&run->status, (int)campaign->status);
    result = content != NULL ? load_lanes(run, reader, err) : 0;
    if (result != 0) {
        run_free(run);
        return result;
    }
    run->content = content;
    if (content != NULL && str_copy(run->sender, sizeof(run->sender), content_from_domain(content)))
        run->shape.sender = run->sender;
    for (size_t i = 0; i < run->lane_count; i++)
        lane_check(run, &run->lanes[i]);
    *out = run;
    return 0;
}

void run_forget_hours(struct run *run)
{
    size_t cursor = 0;
    struct zone_hours *hours;
    while ((hours = hashmap_next(&run->hours, &cursor)) != NULL)
        free(hours);
    hashmap_finish(&run->hours);
    run->hours = HASHMAP_INIT;
}

void run_free(struct run *run)
{
    if (run == NULL)
        return;
    assure(run->out == 0 && run->claims == 0);
    list_remove(&run->node);
    content_unref(run->content);
    for (int i = 0; i < SPLIT_VARIANTS_MAX; i++)
        content_unref(run->contents[i]);
    free(run->lanes);
    run_forget_hours(run);
    free(run);
}

struct content *run_content(const struct run *run, int64_t recipient_id)
{
    if (run->split.variants == 0)
        return run->content;
    return run->contents[split_choice(&run->split, run->id, recipient_id, run->split_state.winner)];
}

void run_restart_lanes(struct run *run)
{
    for (size_t i = 0; i + 1 < run->lane_count; i++) {
        struct lane *lane = &run->lanes[i];
        run->lanes_done -= lane->done;
        lane->done = false;
        lane_check(run, lane);
    }
}

void run_take_posted(struct run *run)
{
    uint32_t posted = atomic_exchange(&run->posted, 0);
    for (size_t i = 0; posted != 0 && i + 1 < run->lane_count; i++) {
        struct lane *lane = &run->lanes[i];
        if ((posted >> lane->id & 1U) == 0)
            continue;
        lane->more = lane->claiming;
        run->lanes_done -= lane->done;
        lane->done = false;
        lane_check(run, lane);
    }
}

static struct zone_hours hours_now(const struct run *run, const struct timezone_data *zone, int64_t wall_ms)
{
    const struct window *window = &run->plan.window;
    bool open = window_is_open(window, zone, wall_ms);
    return (struct zone_hours){.zone = zone,
                               .open = open,
                               .from_ms = wall_ms,
                               .until_ms = open ? window_next_close_ms(window, zone, wall_ms)
                                                : window_next_open_ms(window, zone, wall_ms)};
}

static struct zone_hours *hours_add(struct run *run, const struct timezone_data *zone)
{
    struct zone_hours *hours = calloc(1, sizeof(*hours));
    if (hours == NULL)
        return NULL;
    hours->zone = zone;
    if (hashmap_put(&run->hours, &hours->zone, sizeof(hours->zone), hours) == 0)
        return hours;
    free(hours);
    return NULL;
}

/* To find the end costs hundreds of questions, so it is found once for each zone; without memory for that, each time. */
struct zone_hours run_hours(struct run *run, const struct timezone_data *zone, int64_t wall_ms)
{
    struct zone_hours *known = hashmap_get(&run->hours, &zone, sizeof(zone));
    if (known == NULL)
        known = hours_add(run, zone);
    if (known != NULL && wall_ms >= known->from_ms && wall_ms < MIN_OF(known->until_ms, known->from_ms + DAY_MS))
        return *known;
    const struct zone_hours hours = hours_now(run, zone, wall_ms);
    if (known != NULL)
        *known = hours;
    return hours;
}

void run_window_open(struct run *run, const struct zone_hours *hours)
{
    run->own_close_ms = MIN_OF(run->own_close_ms, hours->until_ms);
}

/* A window in the recipients' own zones is never closed for all: each is asked when it is claimed. What the engine has by the end of the first of them comes
 * back, to be claimed and asked again. Behind the deadline it does not matter any more. */
bool run_window(struct run *run, struct zones *zones, int64_t wall_ms)
{
    const struct window *window = &run->plan.window;
    if (wall_ms >= run->own_close_ms) {
        run->own_close_ms = INT64_MAX;
        atomic_store(&run->taken_back_ms, clock_monotonic_ms());
        return true;
    }
    if (!run->plan.has_window || wall_ms < run->window_until_ms)
        return false;
    const struct timezone_data *zone;
    if (plan_zone(&run->plan, zones, NULL, &zone) != 0)
        return false; /* it was found when the run was made, and is kept */
    bool own = window->attribute[0] != '\0' || wall_ms >= run->deadline_ms;
    bool open = own || window_is_open(window, zone, wall_ms);
    int64_t until_ms = own    ? INT64_MAX
                       : open ? window_next_close_ms(window, zone, wall_ms)
                              : window_next_open_ms(window, zone, wall_ms);
    run->window_until_ms = MIN_OF(until_ms, wall_ms < run->deadline_ms ? run->deadline_ms : INT64_MAX);
    return !atomic_exchange(&run->closed, !open) && !open;
}

void lane_check(struct run *run, struct lane *lane)
{
    bool begins = lane->unbegun > 0 && lane_begun(lane) <= lane->window / 2;
    bool due = begins || lane_claims(lane);
    if (due && list_empty(&lane->hungry))
        list_append(&run->hungry, &lane->hungry);
    else if (!due)
        list_remove(&lane->hungry);
}

void lane_claimed(struct run *run, struct lane *lane, int count, int64_t now_ms)
{
    bool starved = lane->out <= lane->window / 8;
    bool often = now_ms - lane->claimed_ms < 1000;
    bool slow = now_ms - lane->claimed_ms > 4000;
    lane->claiming = false;
    lane->out += count;
    lane->unbegun += count;
    run->out += count;
    run->unbegun += count;
    if (often && count > 0)
        lane->bulk = MIN_OF(lane->bulk * 2 + LANE_WINDOW_MIN / 2, LANE_BULK_MAX);
    else if (slow)
        lane->bulk /= 2;
    if (starved && count > 0 && lane->window < LANE_WINDOW_MAX)
        lane->window = MIN_OF(lane->window * 2, LANE_WINDOW_MAX);
    else if (slow && lane->window > LANE_WINDOW_MIN)
        lane->window = MAX_OF(lane->window / 2, LANE_WINDOW_MIN);
    lane->claimed_ms = now_ms;
    lane_check(run, lane);
}

void lane_began(struct run *run, struct lane *lane, int count, int64_t now_ms)
{
    assure(count <= lane->unbegun && count <= run->unbegun);
    lane->began_ms = now_ms;
    lane->unbegun -= count;
    run->unbegun -= count;
    lane_check(run, lane);
}

void lane_credit(struct run *run, struct lane *lane)
{
    assure(lane_begun(lane) > 0 && run->out > 0);
    lane->out--;
    run->out--;
    lane_check(run, lane);
}

/* What a lane of the tail holds for slow sites says nothing of the others that it serves. */
void lane_shrink(struct run *run, struct lane *lane)
{
    if (lane->shared || lane->window <= LANE_WINDOW_MIN)
        return;
    lane->window = LANE_WINDOW_MIN;
    lane_check(run, lane);
}

bool lane_stuck(struct run *run, struct lane *lane, int64_t now_ms)
{
    bool over = lane->done && lane->unbegun == 0;
    if (!lane->shared || over || lane->claiming || lane_begun(lane) <= lane->window / 2 || now_ms - lane->began_ms < 1000)
        return false;
    if (lane_begun(lane) >= LANE_HOLD_MAX)
        return true;
    lane->window = MIN_OF(lane->window * 2, LANE_HOLD_MAX);
    lane->bulk = 0;
    lane->stretched = true;
    if (lane_begun(lane) < lane->window && list_empty(&lane->hungry))
        list_append(&run->hungry, &lane->hungry); /* at once: more than half of it may be taken */
    return false;
}

/* Each slot holds the count of one second, tagged by its low bits so that a stale slot is known: 12 bits of second, 20 of count. */
#define RING_COUNT_BITS 20
#define RING_TAG(second) ((uint32_t)((uint64_t)(second) & 0xfffU) << RING_COUNT_BITS)
#define RING_COUNT_MASK ((1U << RING_COUNT_BITS) - 1)

void run_count_delivered(struct run *run, int64_t second)
{
    _Atomic uint32_t *slot = &run->delivered[(uint64_t)second % countof(run->delivered)];
    uint32_t value = atomic_load_explicit(slot, memory_order_relaxed);
    if ((value & ~RING_COUNT_MASK) != RING_TAG(second))
        value = RING_TAG(second);
    if ((value & RING_COUNT_MASK) < RING_COUNT_MASK)
        value++;
    atomic_store_explicit(slot, value, memory_order_relaxed); /* the feeder is the only writer */
}

double run_rate(struct run *run, int64_t second)
{
    uint32_t sum = 0;
    for (int64_t past = second - 5; past < second; past++) {
        uint32_t value = atomic_load_explicit(&run->delivered[(uint64_t)past % countof(run->delivered)], memory_order_relaxed);
        if ((value & ~RING_COUNT_MASK) == RING_TAG(past))
            sum += value & RING_COUNT_MASK;
    }
    return (double)sum / 5.0;
}
