/*
 * feeder.c - the feeder thread.
 *
 * It owns the running campaigns (struct run) and is the only one who claims. It wakes for three reasons: a claim came back from the
 * writer, deliveries became durable, or somebody changed a campaign (feeder_look); and once a second for what falls due.
 *
 * The database decides what runs. The feeder never changes a status on its own but for two moves: scheduled -> running when the time has come, and running
 * -> finished when all lanes are done and nothing is left in memory or deferred (roster.c).
 *
 * What it claims, and what comes back, is in claiming.c.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/inbox.h"
#include "base/log.h"
#include "base/str.h"
#include "engine/engine.h"

#include "campaign/mailer.h"
#include "campaign/outcome/guard.h"
#include "campaign/schedule/claiming.h"
#include "campaign/schedule/delivery.h"
#include "campaign/schedule/roster.h"
#include "campaign/schedule/run.h"
#include "campaign/trial.h"

#define STUCK_RELEASE_MS 30000
#define FULL_ROOM (FEEDER_JOBS_MAX / 10)
#define FULL_PROGRESS (FEEDER_JOBS_MAX / 100) /* outcomes of a second */
#define RETAIN_SLICE 1000 /* some 10 ms of the writer */
#define RETAIN_EVERY_MS ((int64_t)600000)

void feeder_send(struct feeder *feeder, struct feeder_mail *mail)
{
    int result = inbox_send(&feeder->inbox, &mail->node);
    assure(result == 0); /* closed only after everything came back */
}

/* ---- the life of a run ---- */

/* 0 = the rest has begun; positive = it waits still. */
static int split_step(struct feeder *feeder, struct run *run, int64_t wall_ms, struct error *err)
{
    struct storage *storage = feeder->mailer->storage;
    struct storage_split *state = &run->split_state;
    struct storage_split_counts counts[SPLIT_VARIANTS_MAX];
    int result = storage_split_tested(storage, run->id, wall_ms, err);
    if (result == 0)
        result = storage_split_get(feeder->reader, run->id, state, err);
    if (result != 0)
        return result;
    bool due = run->split.by != SPLIT_MANUAL && wall_ms >= state->tested_ms + run->split.after_ms;
    if (state->winner < 0 && !due && wall_ms < run->deadline_ms)
        return STORAGE_WRONG_STATE;
    if (state->winner < 0) {
        result = storage_split_counts(feeder->reader, run->id, state, counts, err);
        int best = split_best(&run->split, counts);
        if (result == 0) {
            log_info("campaign", "campaign=%lld winner=%d delivered=%lld opened=%lld clicked=%lld", (long long)run->id, best,
                     (long long)counts[best].delivered, (long long)counts[best].opened, (long long)counts[best].clicked);
            result = storage_split_choose(storage, run->id, best, wall_ms, err);
        }
        if (result == 0)
            state->winner = best;
    }
    return result == 0 ? storage_split_rest(storage, run->id, err) : result;
}

/* An A/B test whose share is claimed: finds the winner, and the lanes begin anew for the rest. */
static void tend_split(struct feeder *feeder, struct run *run, int64_t now_ms, int64_t wall_ms)
{
    struct error err = {""};
    bool claimed = run->claims == 0 && run->lanes_done - run_retries(run)->done == run->lane_count - 1;
    atomic_store(&run->testing, claimed && !run->split_state.rest);
    if (!claimed || run->split_state.rest || now_ms < run->split_at_ms)
        return;
    run->split_at_ms = now_ms + 1000;
    int result = split_step(feeder, run, wall_ms, &err);
    if (result < 0)
        log_error("campaign", "campaign=%lld its A/B test cannot go on reason=%s", (long long)run->id, LOG_QUOTE(err.text));
    if (result != 0)
        return;
    run->split_state.rest = true;
    atomic_store(&run->testing, false);
    run_restart_lanes(run);
}

/* What a run needs besides claims: due retries, its launch, its end. May free the run. */
static void tend(struct feeder *feeder, struct run *run, int64_t now_ms, int64_t wall_ms)
{
    int status = atomic_load(&run->status);
    bool lanes_done = run->content != NULL && run->lanes_done == run->lane_count - 1 + run_retries(run)->done;
    atomic_store(&run->only_retries, lanes_done && run->out == 0 && (!run->stream || run->next_due_ms != 0));
    run_take_posted(run);
    if (status == CAMPAIGN_SCHEDULED) {
        struct error err = {""};
        if (wall_ms < run->scheduled_ms)
            return;
        bool missed = run->plan.expire_missed && wall_ms - run->scheduled_ms > PLAN_MISSED_MS;
        if (missed)
            log_warn("campaign", "campaign=%lld cancelled: its schedule was missed late_s=%lld", (long long)run->id,
                     (long long)((wall_ms - run->scheduled_ms) / 1000));
        if (storage_campaign_move(feeder->mailer->storage, run->id, missed ? CAMPAIGN_CANCELLED : CAMPAIGN_RUNNING, 0, wall_ms, NULL, &err) < 0)
            log_error("campaign", "campaign=%lld cannot be launched reason=%s", (long long)run->id, LOG_QUOTE(err.text));
        atomic_store(&feeder->look, true);
        return;
    }
    if (status == CAMPAIGN_RUNNING && run_window(run, &feeder->zones, wall_ms) && run->out > 0)
        engine_release(feeder->mailer->engine, &(struct engine_release){.group = (uint64_t)run->id});
    bool testing = run->content != NULL && run->split.variants > 0 && !run->split_state.rest;
    if (status == CAMPAIGN_RUNNING && testing)
        tend_split(feeder, run, now_ms, wall_ms);
    if (run->out > 0 || run->claims > 0) {
        /* still busy */
    } else if (status == CAMPAIGN_CANCELLED) {
        if (roster_cancel_slice(feeder, run->id))
            roster_drop(feeder, run);
        return;
    } else if (status != CAMPAIGN_RUNNING) {
        roster_drop(feeder, run);
        return;
    } else if (lanes_done && !run->stream && !testing && run->next_due_ms == 0 && now_ms >= run->finish_at_ms) {
        roster_try_finish(feeder, run, now_ms);
        return;
    }
    struct lane *retries = run_retries(run);
    if (status == CAMPAIGN_RUNNING && retries->done && run->next_due_ms != 0 && run->next_due_ms <= wall_ms) {
        retries->done = false;
        run->lanes_done--;
        lane_check(run, retries);
    }
}

/* Nearly all places are taken, and hardly one becomes free: sites that are away, suspended or slow hold them, and would hold up everybody. Then what has waited
 * long gives way, whatever lane it is of. */
static void make_room(struct feeder *feeder)
{
    if (atomic_load(&feeder->jobs) >= FEEDER_JOBS_MAX - FULL_ROOM && feeder->recorded < FULL_PROGRESS)
        engine_release(feeder->mailer->engine, &(struct engine_release){.waiting_ms = STUCK_RELEASE_MS});
    feeder->recorded = 0;
}

static void second_tick(struct feeder *feeder, int64_t now_ms)
{
    make_room(feeder);
    bool full = feeder->tail_jobs >= FEEDER_TAIL_MAX;
    list_for_each(node, &feeder->runs) {
        struct run *run = list_entry(node, struct run, node);
        bool stuck = full;
        if (atomic_load(&run->status) != CAMPAIGN_RUNNING)
            continue;
        for (size_t i = 0; i < run->lane_count; i++)
            stuck |= lane_stuck(run, &run->lanes[i], now_ms);
        if (stuck)
            engine_release(feeder->mailer->engine, &(struct engine_release){.group = (uint64_t)run->id, .waiting_ms = STUCK_RELEASE_MS, .shared = true});
        /* What waits for a suspended or throttled site does not outlive its campaign, or itself. */
        int64_t wall_ms = clock_wall_ms();
        if (run->out > 0 && wall_ms >= (run->stream ? run->expire_ms : run->deadline_ms)) {
            engine_release(feeder->mailer->engine, &(struct engine_release){.group = (uint64_t)run->id});
            run->expire_ms = INT64_MAX;
        }
    }
}

/* `due`: whatever has happened, for reports come by other ways too. */
static void judge_runs(struct feeder *feeder, bool due)
{
    const struct mailer *mailer = feeder->mailer;
    const struct config *config = config_live_hold(mailer->live);
    list_for_each(node, &feeder->runs) {
        struct run *run = list_entry(node, struct run, node);
        if (run->stream || atomic_load(&run->status) != CAMPAIGN_RUNNING || (!due && run->unjudged < GUARD_EVERY))
            continue;
        run->unjudged = 0;
        if (guard_look(&config->guard, mailer->storage, feeder->reader, run->id))
            atomic_store(&feeder->look, true);
    }
    config_drop(config);
}

/* Another process may have made or retired keys. */
static void refresh_keys(struct feeder *feeder)
{
    struct error err = {""};
    if (token_ring_refresh(feeder->mailer->ring, feeder->reader, &err) != 0)
        log_error("campaign", "link keys cannot be read reason=%s", LOG_QUOTE(err.text));
}

/* Links that nobody can be expected to follow any more, a campaign at a time. */
static void retain_links(struct feeder *feeder, int64_t now_ms)
{
    const struct config *config = config_live_hold(feeder->mailer->live);
    int64_t keep_ms = links_keep_ms(config), removed = 0;
    config_drop(config);
    struct error err = {""};
    if (keep_ms == INT64_MAX || now_ms < feeder->retain_links_ms)
        return;
    if (storage_retain_links(feeder->mailer->storage, keep_ms, clock_wall_ms(), &removed, &err) != 0)
        log_error("campaign", "old links cannot be removed reason=%s", LOG_QUOTE(err.text));
    if (removed == 0)
        feeder->retain_links_ms = now_ms + MIN_OF(RETAIN_EVERY_MS, MAX_OF(keep_ms, (int64_t)1000));
}

/* Old deliveries become totals, a slice a second so that no commit waits for them. */
static void retain(struct feeder *feeder, int64_t now_ms)
{
    const struct config *config = config_live_hold(feeder->mailer->live);
    int64_t keep_ms = config->keep_deliveries_ms, removed = 0;
    config_drop(config);
    struct error err = {""};
    if (keep_ms == 0 || now_ms < feeder->retain_ms)
        return;
    int result = storage_retain(feeder->mailer->storage, keep_ms, RETAIN_SLICE, clock_wall_ms(), &removed, &err);
    if (result != 0)
        log_error("campaign", "old deliveries cannot be removed reason=%s", LOG_QUOTE(err.text));
    if (result != 0 || removed < RETAIN_SLICE)
        feeder->retain_ms = now_ms + MIN_OF(RETAIN_EVERY_MS, MAX_OF(keep_ms, (int64_t)1000));
    if (removed > 0)
        log_debug("campaign", "old deliveries removed rows=%lld", (long long)removed);
}

/* ---- the thread ---- */

static void handle(struct feeder *feeder, struct list *mails)
{
    struct list *node;
    while ((node = list_take_first(mails)) != NULL) {
        struct feeder_mail *mail = list_entry(node, struct feeder_mail, node);
        int64_t now_ms = clock_monotonic_ms();
        if (mail->kind == FEEDER_CLAIMED)
            feeder_claimed(feeder, mail, now_ms);
        else
            feeder_recorded(feeder, container_of(mail, struct delivery, mail), now_ms);
    }
}

/* Milliseconds until something falls due, at most until the next tick. */
static int wait_ms(struct feeder *feeder, int64_t now_ms, int64_t wall_ms)
{
    int64_t wait = feeder->short_of_memory ? 20 : feeder->tick_ms - now_ms;
    list_for_each(node, &feeder->runs) {
        const struct run *run = list_entry(node, struct run, node);
        int status = atomic_load(&run->status);
        int64_t due_ms = status == CAMPAIGN_SCHEDULED ? run->scheduled_ms : run->next_due_ms;
        if (status == CAMPAIGN_CANCELLED && run->out == 0 && run->claims == 0)
            return 0; /* the next slice */
        if (run->unbegun > 0 && feeder_holds(feeder, run) && !feeder->short_of_memory)
            return 0; /* to be given back */
        if ((status == CAMPAIGN_SCHEDULED || status == CAMPAIGN_RUNNING) && due_ms > wall_ms)
            wait = MIN_OF(wait, due_ms - wall_ms);
    }
    return wait < 0 ? 0 : (int)MIN_OF(wait, 1000);
}

static void *feeder_main(void *context)
{
    struct feeder *feeder = context;
    struct list mails = LIST_INIT(mails);
    pthread_setname_np(pthread_self(), "feeder");
    for (;;) {
        int64_t now_ms = clock_monotonic_ms();
        bool halted = atomic_load(&feeder->halted);
        (void)inbox_wait(&feeder->inbox, &mails, halted ? 100 : wait_ms(feeder, now_ms, clock_wall_ms()));
        feeder->shortage_told &= feeder->short_of_memory;
        feeder->short_of_memory = false;
        handle(feeder, &mails);
        now_ms = clock_monotonic_ms();
        feeder_give_back(feeder, now_ms);
        judge_runs(feeder, now_ms >= feeder->tick_ms);
        if (atomic_load(&feeder->halted)) {
            if (atomic_load(&feeder->finish) && atomic_load(&feeder->claims) == 0 && atomic_load(&feeder->jobs) == 0)
                return NULL;
            if (atomic_load(&feeder->finish) && now_ms >= atomic_load(&feeder->give_up_ms) &&
                !storage_healthy(feeder->mailer->storage, NULL))
                return NULL;
            continue;
        }
        if (atomic_exchange(&feeder->look, false))
            roster_refresh(feeder);
        int64_t wall_ms = clock_wall_ms();
        list_for_each_safe(node, &feeder->runs)
            tend(feeder, list_entry(node, struct run, node), now_ms, wall_ms);
        if (now_ms >= feeder->tick_ms) {
            feeder->tick_ms = now_ms + 1000;
            second_tick(feeder, now_ms);
            trials_tick(feeder->mailer->trials, feeder->mailer->engine);
            refresh_keys(feeder);
            roster_renew_keys(feeder);
            retain(feeder, now_ms);
            retain_links(feeder, now_ms);
        }
        feeder_feed(feeder, now_ms);
    }
}

int feeder_start(struct mailer *mailer, struct feeder **out, struct error *err)
{
    struct feeder *feeder = calloc(1, sizeof(*feeder));
    if (feeder == NULL)
        return error_memory(err);
    feeder->mailer = mailer;
    feeder->zones = ZONES_INIT;
    list_init(&feeder->runs);
    atomic_init(&feeder->look, true);
    int result = inbox_init(&feeder->inbox, NULL, NULL);
    if (result != 0) {
        free(feeder);
        return error_errno(err, result, "feeder's inbox");
    }
    pthread_mutex_init(&feeder->lock, NULL);
    result = storage_reader_open(mailer->storage, &feeder->reader, err);
    if (result == 0)
        result = storage_dkim_keys_stamp(feeder->reader, &feeder->keys_stamp, err);
    if (result == 0)
        result = roster_resume_cancels(feeder, err);
    if (result == 0) {
        *out = feeder;
        result = -pthread_create(&feeder->thread, NULL, feeder_main, feeder);
        if (result == 0)
            return 0;
        *out = NULL;
        (void)error_errno(err, result, "feeder thread");
    }
    storage_reader_close(feeder->reader);
    pthread_mutex_destroy(&feeder->lock);
    inbox_finish(&feeder->inbox);
    free(feeder);
    return result;
}

void feeder_look(struct feeder *feeder)
{
    atomic_store(&feeder->look, true);
    inbox_nudge(&feeder->inbox);
}

/* A stream that is not there yet, or is paused, is looked for; its lanes are claimed from when it comes. */
void feeder_posted(struct feeder *feeder, int64_t campaign_id, int lane)
{
    pthread_mutex_lock(&feeder->lock);
    struct run *run = roster_find(feeder, campaign_id);
    if (run != NULL)
        atomic_fetch_or(&run->posted, 1U << lane);
    else
        atomic_store(&feeder->look, true);
    pthread_mutex_unlock(&feeder->lock);
    inbox_nudge(&feeder->inbox);
}

void feeder_halt(struct feeder *feeder)
{
    atomic_store(&feeder->halted, true);
    inbox_nudge(&feeder->inbox);
}

void feeder_finish(struct feeder *feeder, int64_t patience_ms)
{
    if (feeder == NULL)
        return;
    atomic_store(&feeder->give_up_ms, clock_monotonic_ms() + patience_ms);
    atomic_store(&feeder->finish, true);
    inbox_nudge(&feeder->inbox);
    pthread_join(feeder->thread, NULL);
    int unrecorded = atomic_load(&feeder->jobs);
    if (unrecorded > 0) {
        /* They are in the writer's hands and lead back to here: all this stays until the process ends, which is now. */
        static struct feeder *kept;
        kept = feeder;
        log_error("campaign", "ended deliveries_not_recorded=%d journal=kept", unrecorded);
        (void)kept;
        return;
    }
    list_for_each_safe(node, &feeder->runs)
        run_free(list_entry(node, struct run, node));
    zones_finish(&feeder->zones);
    inbox_close(&feeder->inbox);
    inbox_finish(&feeder->inbox);
    storage_reader_close(feeder->reader);
    pthread_mutex_destroy(&feeder->lock);
    free(feeder);
}

void feeder_view(struct feeder *feeder, struct feeder_view *out)
{
    out->jobs = (uint32_t)MAX_OF(atomic_load(&feeder->jobs), 0);
    pthread_mutex_lock(&feeder->lock);
    (void)str_copy(out->held_by, sizeof(out->held_by), feeder->held_by);
    pthread_mutex_unlock(&feeder->lock);
}

bool feeder_run_view(struct feeder *feeder, int64_t campaign_id, struct run_view *out)
{
    int64_t second = clock_monotonic_ms() / 1000;
    pthread_mutex_lock(&feeder->lock);
    struct run *run = roster_find(feeder, campaign_id);
    if (run != NULL)
        *out = (struct run_view){
            .status = (enum campaign_status)atomic_load(&run->status),
            .rate_now = run_rate(run, second),
            .closed = atomic_load(&run->closed),
            .testing = atomic_load(&run->testing),
            .only_retries = atomic_load(&run->only_retries),
        };
    pthread_mutex_unlock(&feeder->lock);
    return run != NULL;
}
