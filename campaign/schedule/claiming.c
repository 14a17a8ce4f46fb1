/*
 * claiming.c - the way of a delivery through the feeder's thread.
 *
 * Claimed here -> engine -> outcome (loop thread) -> writer -> back here, where its place in the lane's window is free again. Nothing is
 * forgotten between: run->out counts what is in memory, and a run is freed only when that is zero. What a claim brings beyond the window stays with its order, and
 * is begun as places become free.
 *
 * When the database cannot take a claim (disk full), claiming rests for a second at a time; outcomes wait in the writer. So sending stops before it cannot be recorded.
 */
#include "campaign/schedule/claiming.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/inbox.h"
#include "base/log.h"
#include "base/str.h"
#include "campaign/mailer.h"
#include "campaign/schedule/delivery.h"
#include "campaign/schedule/run.h"
#include "engine/engine.h"

#define CLAIM_MAX 1000 /* rows of one claim (storage's bound) */
/* A lane whose site is away holds what is unbegun until it is back; so claims bring more than is begun only while less than this is in memory. */
#define FEEDER_BULK_MAX (FEEDER_JOBS_MAX / 4)

/* A claim under way, or what it brought. */
struct order {
    struct feeder_mail mail;
    struct storage_claim claim;
    struct feeder *feeder;
    struct run *run;
    struct lane *lane;
    int started; /* of its jobs */
};

/* ---- claiming ---- */

static void claim_done(struct storage_claim *claim) /* writer thread */
{
    struct order *order = container_of(claim, struct order, claim);
    feeder_send(order->feeder, &order->mail);
}

/* Deliveries that are in memory, or will be when their claim is back. */
static void count_jobs(struct feeder *feeder, const struct lane *lane, int by)
{
    atomic_fetch_add(&feeder->jobs, by);
    if (lane->shared)
        feeder->tail_jobs += by;
}

/* Puts one claim on its way; false when there is no room for it, or no memory now. */
static bool claim_start(struct feeder *feeder, struct run *run, struct lane *lane)
{
    int room = FEEDER_JOBS_MAX - (run->stream ? 0 : FEEDER_MESSAGES_MIN) - atomic_load(&feeder->jobs);
    if (lane->shared && !run->stream)
        room = MIN_OF(room, FEEDER_TAIL_MAX - feeder->tail_jobs);
    int want = MIN_OF(MIN_OF(MAX_OF(lane->window - lane->out, 0) + lane->bulk, room), CLAIM_MAX);
    if (want <= 0)
        return false;
    struct order *order = calloc(1, sizeof(*order));
    if (order == NULL)
        return false;
    list_init(&order->mail.node);
    order->mail.kind = FEEDER_CLAIMED;
    order->feeder = feeder;
    order->run = run;
    order->lane = lane;
    list_init(&order->claim.node);
    order->claim.done = claim_done;
    order->claim.campaign_id = run->id;
    order->claim.lane = lane->id;
    order->claim.max = want;
    order->claim.now_ms = clock_wall_ms();
    lane->claiming = true;
    run->claims++;
    atomic_fetch_add(&feeder->claims, 1);
    count_jobs(feeder, lane, want); /* reserved; corrected when the claim is back */
    lane_check(run, lane);
    storage_claim_post(feeder->mailer->storage, &order->claim);
    return true;
}

/* ---- deliveries that never reach the engine ---- */

static void records_done(struct list *records) /* writer thread */
{
    struct feeder *feeder = list_entry(records->next, struct storage_outcome, node)->context;
    struct list mails = LIST_INIT(mails);
    for (struct list *node; (node = list_take_first(records)) != NULL;) {
        struct storage_outcome *record = list_entry(node, struct storage_outcome, node);
        list_append(&mails, &container_of(record, struct delivery, record)->mail.node);
    }
    int result = inbox_send_all(&feeder->inbox, &mails);
    assure(result == 0); /* closed only after everything came back */
}

/* Fills what every record carries, judged or not. */
void feeder_prepare(struct feeder *feeder, struct delivery *delivery)
{
    list_init(&delivery->record.node);
    delivery->record.done = records_done;
    delivery->record.context = feeder;
    list_init(&delivery->mail.node);
    delivery->mail.kind = FEEDER_RECORDED;
}

/* A delivery that ends before it was tried: expired while it waited, or claimed just when the campaign was stopped. */
static void end_untried(struct feeder *feeder, struct delivery *delivery, struct list *records, bool expired)
{
    struct outcome outcome;
    outcome_set(&outcome, expired ? OUTCOME_EXPIRED : OUTCOME_RELEASED, STAGE_NONE,
                expired ? "expired before it could be sent" : "held back");
    mailer_judge(feeder->mailer, delivery, &outcome, atomic_load(&feeder->halted));
    list_append(records, &delivery->record.node);
}

/* Outside the recipient's own window: a row that is due when that opens. Positive when it was put among `records`; negative
 * when its zone cannot be read now. */
static int wait_for_window(struct feeder *feeder, struct delivery *delivery, struct list *records, int64_t wall_ms)
{
    struct run *run = delivery->run;
    const struct window *window = &run->plan.window;
    if (!run->plan.has_window || window->attribute[0] == '\0')
        return 0;
    const struct timezone_data *zone;
    int result = plan_zone(&run->plan, &feeder->zones, delivery->attributes, &zone);
    if (result != 0)
        return result;
    const struct zone_hours hours = run_hours(run, zone, wall_ms);
    if (hours.open) {
        run_window_open(run, &hours);
        return 0;
    }
    end_untried(feeder, delivery, records, false);
    if (delivery->record.state == DELIVERY_DEFERRED)
        delivery->record.next_attempt_ms = MIN_OF(hours.until_ms, run->deadline_ms);
    return 1;
}

/* ---- begun ---- */

bool feeder_holds(struct feeder *feeder, const struct run *run)
{
    return atomic_load(&run->status) != CAMPAIGN_RUNNING || atomic_load(&feeder->halted) || atomic_load(&run->closed);
}

/* Makes deliveries of the next jobs; how many. Fewer than `most`: there is no memory (or descriptor) for the next one now. Nobody is dropped for that. */
static int start_deliveries(struct feeder *feeder, struct order *order, int most)
{
    struct run *run = order->run;
    struct list jobs = LIST_INIT(jobs), records = LIST_INIT(records);
    bool held = feeder_holds(feeder, run);
    int64_t wall_ms = clock_wall_ms();
    int count = 0;

    for (; count < most; count++) {
        struct delivery *delivery = delivery_create(&order->claim.jobs[order->started], run, order->lane);
        if (delivery == NULL)
            break;
        feeder_prepare(feeder, delivery);
        bool expired = wall_ms >= delivery->deadline_ms, untried = held || (expired && delivery->attempts == 0);
        int waits = untried ? 0 : wait_for_window(feeder, delivery, &records, wall_ms);
        if (waits < 0) {
            delivery_free(delivery);
            break;
        }
        order->started++;
        run->expire_ms = MIN_OF(run->expire_ms, delivery->deadline_ms);
        if (untried)
            end_untried(feeder, delivery, &records, !held);
        else if (waits == 0)
            list_append(&jobs, &delivery->job.node);
    }
    if (!list_empty(&jobs))
        engine_submit(feeder->mailer->engine, &jobs);
    if (!list_empty(&records))
        storage_outcomes_post(feeder->mailer->storage, &records);
    return count;
}

static void order_free(struct order *order)
{
    arena_finish(&order->claim.arena);
    free(order);
}

/* Begins what the lane's window lets out of its orders; all of it when nothing goes to the engine. False for want of memory. */
static bool lane_begin(struct feeder *feeder, struct run *run, struct lane *lane, int64_t now_ms)
{
    int room = feeder_holds(feeder, run) ? lane->unbegun : MAX_OF(lane->window - lane_begun(lane), 0);
    bool memory = true;
    while (memory && room > 0 && !list_empty(&lane->orders)) {
        struct order *order = container_of(list_entry(lane->orders.next, struct feeder_mail, node), struct order, mail);
        int most = MIN_OF(room, order->claim.job_count - order->started);
        int count = start_deliveries(feeder, order, most);
        lane_began(run, lane, count, now_ms);
        room -= count;
        memory = count == most;
        if (order->started == order->claim.job_count) {
            list_remove(&order->mail.node);
            order_free(order);
        }
    }
    if (!memory && !feeder->shortage_told)
        log_error("campaign", "out of memory or file descriptors, claimed deliveries wait for them");
    feeder->shortage_told |= !memory;
    feeder->short_of_memory |= !memory;
    return memory;
}

void feeder_give_back(struct feeder *feeder, int64_t now_ms)
{
    list_for_each(node, &feeder->runs) {
        struct run *run = list_entry(node, struct run, node);
        if (run->unbegun == 0 || !feeder_holds(feeder, run))
            continue;
        for (size_t i = 0; i < run->lane_count; i++) {
            if (run->lanes[i].unbegun > 0 && !lane_begin(feeder, run, &run->lanes[i], now_ms))
                return;
        }
    }
}

/* ---- who next ---- */

/* Begins or claims for a hungry lane; false: something lacks, and it stays hungry. */
static bool lane_feed(struct feeder *feeder, struct run *run, struct lane *lane, int64_t now_ms)
{
    bool testing = run->split.variants > 0 && !run->split_state.rest, stretched = lane->stretched;
    /* Where there is no room for a bulk the claim is not due before the half is reached, or it would bring next to nothing. The share of an A/B test is over
     * when it is claimed: little should be unbegun then. */
    lane->bulk = testing ? 0 : MIN_OF(lane->bulk, MAX_OF(FEEDER_BULK_MAX - atomic_load(&feeder->jobs), 0));
    lane->stretched = false;
    if (lane->unbegun > 0 && !lane_begin(feeder, run, lane, now_ms))
        return false;
    bool claims = lane_claims(lane) || (stretched && lane->unbegun == 0 && !lane->done && !lane->claiming);
    return claims ? claim_start(feeder, run, lane) : true;
}

static void feed_runs(struct feeder *feeder, bool streams, int64_t now_ms)
{
    list_for_each(node, &feeder->runs) {
        struct run *run = list_entry(node, struct run, node);
        if (run->stream != streams || atomic_load(&run->status) != CAMPAIGN_RUNNING || run->content == NULL ||
            atomic_load(&run->closed))
            continue;
        struct list waiting = LIST_INIT(waiting), *first;
        while ((first = list_take_first(&run->hungry)) != NULL) { /* what succeeds takes a lane off the hungry */
            struct lane *lane = list_entry(first, struct lane, hungry);
            if (lane_feed(feeder, run, lane, now_ms))
                continue;
            list_remove(first);
            list_append(&waiting, first);
        }
        list_splice(&run->hungry, &waiting);
    }
}

void feeder_feed(struct feeder *feeder, int64_t now_ms)
{
    if (atomic_load(&feeder->halted) || now_ms < feeder->blocked_until_ms)
        return;
    feed_runs(feeder, true, now_ms);
    feed_runs(feeder, false, now_ms);
    /* The first in the list had the first choice; next time it is another's turn. */
    pthread_mutex_lock(&feeder->lock);
    struct list *front = list_take_first(&feeder->runs);
    if (front != NULL)
        list_append(&feeder->runs, front);
    pthread_mutex_unlock(&feeder->lock);
}

/* ---- what comes back ---- */

static void claim_failed(struct feeder *feeder, const struct storage_claim *claim, int64_t now_ms)
{
    struct error why = {""};
    (void)storage_healthy(feeder->mailer->storage, &why);
    feeder->blocked_until_ms = now_ms + 1000;
    pthread_mutex_lock(&feeder->lock);
    if (feeder->held_by[0] == '\0')
        log_error("campaign", "feeder blocked campaign=%lld status=%d reason=%s", (long long)claim->campaign_id,
                  claim->status, LOG_QUOTE(why.text));
    (void)str_copy(feeder->held_by, sizeof(feeder->held_by), why.text[0] != '\0' ? why.text : "the database refuses claims");
    pthread_mutex_unlock(&feeder->lock);
}

static void claim_unblocked(struct feeder *feeder)
{
    if (feeder->held_by[0] == '\0')
        return;
    log_info("campaign", "feeder unblocked");
    pthread_mutex_lock(&feeder->lock);
    feeder->held_by[0] = '\0';
    pthread_mutex_unlock(&feeder->lock);
}

/* What was due is claimed now; what a record told of later than that still stands, for it may be newer than the claim's own view. */
static void retries_claimed(struct run *run, const struct storage_claim *claim)
{
    int64_t due_ms = claim->lane_done ? claim->next_due_ms : claim->now_ms;
    bool newer = run->next_due_ms > claim->now_ms;
    if (!newer || (due_ms != 0 && due_ms < run->next_due_ms))
        run->next_due_ms = due_ms;
}

void feeder_claimed(struct feeder *feeder, struct feeder_mail *mail, int64_t now_ms)
{
    struct order *order = container_of(mail, struct order, mail);
    struct run *run = order->run;
    struct lane *lane = order->lane;
    const struct storage_claim *claim = &order->claim;

    run->claims--;
    atomic_fetch_sub(&feeder->claims, 1);
    count_jobs(feeder, lane, claim->job_count - claim->max);
    if (claim->status < 0) {
        claim_failed(feeder, claim, now_ms);
    } else if (claim->status == STORAGE_WRONG_STATE) {
        atomic_store(&feeder->look, true);
    } else {
        claim_unblocked(feeder);
        if (claim->lane_done && !lane->done && !lane->more) {
            lane->done = true;
            run->lanes_done++;
        }
        if (lane == run_retries(run))
            retries_claimed(run, claim);
    }
    lane->more = false;
    lane_claimed(run, lane, claim->job_count, now_ms);
    if (claim->job_count == 0) {
        order_free(order);
        return;
    }
    list_append(&lane->orders, &order->mail.node);
    (void)lane_begin(feeder, run, lane, now_ms); /* what waits for memory is tried again */
}

void feeder_recorded(struct feeder *feeder, struct delivery *delivery, int64_t now_ms)
{
    struct run *run = delivery->run;
    const struct storage_outcome *record = &delivery->record;
    if (record->state == DELIVERY_DELIVERED)
        run_count_delivered(run, now_ms / 1000);
    if (record->state == DELIVERY_DEFERRED && (run->next_due_ms == 0 || record->next_attempt_ms < run->next_due_ms))
        run->next_due_ms = record->next_attempt_ms;
    lane_credit(run, delivery->lane);
    if (record->outcome.class_ == OUTCOME_RELEASED)
        lane_shrink(run, delivery->lane);
    run->unjudged++;
    feeder->recorded++;
    count_jobs(feeder, delivery->lane, -1);
    delivery_free(delivery);
}
