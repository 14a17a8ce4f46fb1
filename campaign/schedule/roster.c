/*
 * roster.c - which campaigns the feeder works on.
 *
 * The database decides what runs; a run is only its image in memory. It is made when the campaign is seen running, follows its status, and is dropped
 * when nothing of it is in memory and the campaign is paused, cancelled or over. A campaign that cannot be compiled (its DKIM key is gone) is paused, with the
 * reason in the log; no mail leaves unsigned.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "engine/engine.h"

#include "campaign/schedule/roster.h"

#define CANCEL_SLICE 1000

struct run *roster_find(struct feeder *feeder, int64_t id)
{
    list_for_each(node, &feeder->runs) {
        struct run *run = list_entry(node, struct run, node);
        if (run->id == id)
            return run;
    }
    return NULL;
}

void roster_drop(struct feeder *feeder, struct run *run)
{
    pthread_mutex_lock(&feeder->lock);
    run_free(run);
    pthread_mutex_unlock(&feeder->lock);
}

/* The variants of an A/B test and how far it is: 0, or negative with `err`. */
static int load_split(struct feeder *feeder, struct run *run, const struct storage_campaign *campaign, struct error *err)
{
    int result = storage_split_get(feeder->reader, run->id, &run->split_state, err);
    if (result > 0)
        result = error_set(err, -EIO, "the A/B test of campaign %lld is gone", (long long)run->id);
    return result == 0 ? mailer_compile_variants(feeder->mailer, feeder->reader, campaign, run->split.variants,
                                                 SIGNATURE_REQUIRED, run->contents, NULL, err)
                       : result;
}

static void roster_add(struct feeder *feeder, const struct storage_campaign *campaign)
{
    struct error err = {""};
    struct run *run = NULL;
    struct content *content = NULL;
    int result = campaign->status == CAMPAIGN_RUNNING ? -EINVAL : 0;
    /* Nothing is sent of a stream's own content; each message finds its key when it is composed. */
    enum signature signature = campaign->messages ? SIGNATURE_NONE : SIGNATURE_REQUIRED;
    /* What a person must mend is so the second time, too; want of memory may have been taken for it. */
    for (int tries = 0; result == -EINVAL && tries < 2; tries++)
        result = mailer_compile(feeder->mailer, feeder->reader, campaign, signature, &content, NULL, &err);
    if (result == 0)
        result = run_create(campaign, feeder->reader, content, &feeder->zones, &run, &err);
    if (result != 0)
        content_unref(content);
    else if (content != NULL && run->split.variants > 0)
        result = load_split(feeder, run, campaign, &err);
    if (result < 0 && result != -EINVAL) { /* nobody can mend it, but it passes: memory, I/O */
        run_free(run);
        log_error("campaign", "campaign=%lld cannot run now reason=%s", (long long)campaign->id, LOG_QUOTE(err.text));
        atomic_store(&feeder->look, true);
        return;
    }
    if (result != 0) {
        run_free(run);
        log_error("campaign", "campaign=%lld paused: it cannot run reason=%s", (long long)campaign->id, LOG_QUOTE(err.text));
        struct error ignored;
        if (storage_campaign_move(feeder->mailer->storage, campaign->id, CAMPAIGN_PAUSED, 0, clock_wall_ms(), NULL, &ignored) != 0)
            log_error("campaign", "campaign=%lld cannot be paused reason=%s", (long long)campaign->id, LOG_QUOTE(ignored.text));
        return;
    }
    pthread_mutex_lock(&feeder->lock);
    list_append(&feeder->runs, &run->node);
    pthread_mutex_unlock(&feeder->lock);
    log_info("campaign", "campaign=%lld status=%s lanes=%zu", (long long)run->id, campaign_status_name(campaign->status),
             run->lane_count);
}

static void status_changed(struct feeder *feeder, struct run *run, enum campaign_status status)
{
    int before = atomic_exchange(&run->status, (int)status);
    if (before == (int)status)
        return;
    log_info("campaign", "campaign=%lld status=%s->%s", (long long)run->id,
             campaign_status_name((enum campaign_status)before), campaign_status_name(status));
    if (status != CAMPAIGN_RUNNING && run->out > 0)
        engine_release(feeder->mailer->engine, &(struct engine_release){.group = (uint64_t)run->id});
    if (status == CAMPAIGN_RUNNING)
        run->next_due_ms = 1;
}

struct look {
    struct feeder *feeder;
    struct storage_campaign *found; /* copies; specs duplicated */
    size_t count, capacity;
    bool failed;
};

static int look_at(void *context, const struct storage_campaign *campaign)
{
    struct look *look = context;
    if (look->count == look->capacity) {
        size_t capacity = look->capacity == 0 ? 8 : look->capacity * 2;
        struct storage_campaign *grown = reallocarray(look->found, capacity, sizeof(*grown));
        if (grown == NULL) {
            look->failed = true;
            return 1;
        }
        look->found = grown;
        look->capacity = capacity;
    }
    struct storage_campaign *copy = &look->found[look->count];
    *copy = *campaign;
    copy->name = str_dup(campaign->name);
    copy->spec = str_dup(campaign->spec);
    look->count++;
    if (copy->name == NULL || copy->spec == NULL) {
        look->failed = true;
        return 1;
    }
    return 0;
}

static void look_free(struct look *look)
{
    for (size_t i = 0; i < look->count; i++) {
        free((char *)(uintptr_t)look->found[i].name);
        free((char *)(uintptr_t)look->found[i].spec);
    }
    free(look->found);
    *look = (struct look){.feeder = look->feeder};
}

static void swap(struct content **one, struct content **other)
{
    struct content *kept = *one;
    *one = *other;
    *other = kept;
}

/* The run's contents anew, with the keys that sign now: for what is claimed from now on, and for what is not composed yet. */
static void renew(struct feeder *feeder, struct run *run)
{
    struct content *contents[SPLIT_VARIANTS_MAX] = {NULL}, *content = NULL;
    struct look one = {.feeder = feeder};
    struct error err = {""};
    int result = storage_campaign_get(feeder->reader, run->id, look_at, &one, &err);
    if (result == 0)
        result = one.count == 1 ? mailer_compile(feeder->mailer, feeder->reader, &one.found[0], SIGNATURE_REQUIRED, &content, NULL, &err)
                                : error_memory(&err);
    if (result == 0)
        result = mailer_compile_variants(feeder->mailer, feeder->reader, &one.found[0], run->split.variants,
                                         SIGNATURE_REQUIRED, contents, NULL, &err);
    /* The keys that have changed may be another domain's. */
    bool other = result == 0 && !content_signs_as(run->content, content);
    if (result == 0) {
        content_supersede(run->content, content);
        swap(&run->content, &content);
        for (int i = 0; i < run->split.variants; i++) {
            content_supersede(run->contents[i], contents[i]);
            swap(&run->contents[i], &contents[i]);
        }
        if (other)
            log_info("campaign", "campaign=%lld signs with other keys from now on", (long long)run->id);
    } else {
        log_error("campaign", "campaign=%lld goes on with the keys that it has reason=%s", (long long)run->id, LOG_QUOTE(err.text));
    }
    content_unref(content);
    for (int i = 0; i < SPLIT_VARIANTS_MAX; i++)
        content_unref(contents[i]);
    look_free(&one);
}

void roster_renew_keys(struct feeder *feeder)
{
    int64_t stamp;
    struct error err = {""};
    if (storage_dkim_keys_stamp(feeder->reader, &stamp, &err) != 0 || stamp == feeder->keys_stamp)
        return;
    feeder->keys_stamp = stamp;
    list_for_each(node, &feeder->runs) {
        struct run *run = list_entry(node, struct run, node);
        if (run->content != NULL && !run->stream) /* a stream's messages find theirs */
            renew(feeder, run);
    }
}

/* Everything that is scheduled or running, page by page: newest first, as storage gives it. */
static int look_collect(struct feeder *feeder, struct look *look)
{
    struct error err = {""};
    int64_t before = 0;
    size_t had;
    do {
        had = look->count;
        int result = storage_campaign_page(feeder->reader, before, 100, 1U << CAMPAIGN_SCHEDULED | 1U << CAMPAIGN_RUNNING,
                                           look_at, look, NULL, &err);
        if (result < 0 || look->failed) {
            log_error("campaign", "campaigns cannot be read reason=%s", LOG_QUOTE(look->failed ? "no memory" : err.text));
            return -EIO;
        }
        if (look->count > had)
            before = look->found[look->count - 1].id;
    } while (look->count - had == 100);
    return 0;
}

/* Brings the runs in line with the database. */
void roster_refresh(struct feeder *feeder)
{
    struct look look = {.feeder = feeder};
    if (look_collect(feeder, &look) != 0) {
        look_free(&look);
        atomic_store(&feeder->look, true); /* at the next tick again */
        return;
    }
    for (size_t i = 0; i < look.count; i++) {
        const struct storage_campaign *campaign = &look.found[i];
        struct run *run = roster_find(feeder, campaign->id);
        /* Was scheduled: its lanes are known only from the launch on. */
        if (run != NULL && run->content == NULL && campaign->status != CAMPAIGN_SCHEDULED) {
            roster_drop(feeder, run);
            run = NULL;
        }
        if (run == NULL)
            roster_add(feeder, campaign);
        else
            status_changed(feeder, run, campaign->status);
    }
    list_for_each_safe(node, &feeder->runs) { /* the rest was paused, cancelled or deleted */
        struct run *run = list_entry(node, struct run, node);
        bool listed = false;
        for (size_t i = 0; i < look.count && !listed; i++)
            listed = look.found[i].id == run->id;
        if (listed)
            continue;
        struct look one = {.feeder = feeder};
        struct error err = {""};
        int result = storage_campaign_get(feeder->reader, run->id, look_at, &one, &err);
        status_changed(feeder, run, result == 0 && one.count == 1 ? one.found[0].status : CAMPAIGN_CANCELLED);
        look_free(&one);
    }
    look_free(&look);
}

/* A cancelled campaign's deferred rows, a slice at a time so that nobody waits for them. */
bool roster_cancel_slice(struct feeder *feeder, int64_t id)
{
    struct error err = {""};
    int64_t changed = 0;
    int result = storage_campaign_cancel_deferred(feeder->mailer->storage, id, CANCEL_SLICE, clock_wall_ms(), &changed, &err);
    if (result < 0)
        log_error("campaign", "campaign=%lld deferred cannot be cancelled reason=%s", (long long)id, LOG_QUOTE(err.text));
    return result == 0 && changed == 0;
}

void roster_try_finish(struct feeder *feeder, struct run *run, int64_t now_ms)
{
    struct error err = {""};
    int result = storage_campaign_try_finish(feeder->mailer->storage, run->id, clock_wall_ms(), &err);
    if (result == 0) {
        log_info("campaign", "campaign=%lld finished", (long long)run->id);
        roster_drop(feeder, run);
        return;
    }
    if (result < 0)
        log_error("campaign", "campaign=%lld cannot be finished reason=%s", (long long)run->id, LOG_QUOTE(err.text));
    run->finish_at_ms = now_ms + 1000;
    run->next_due_ms = 1; /* something is deferred that this run has not seen: ask */
}

/* Cancelled campaigns whose deferred rows a crash left behind. */
int roster_resume_cancels(struct feeder *feeder, struct error *err)
{
    struct look look = {.feeder = feeder};
    int result = storage_campaign_page(feeder->reader, 0, 1000, 1U << CAMPAIGN_CANCELLED, look_at, &look, NULL, err);
    for (size_t i = 0; result == 0 && i < look.count; i++) {
        while (look.found[i].states[DELIVERY_DEFERRED] > 0 && !roster_cancel_slice(feeder, look.found[i].id))
            ;
    }
    look_free(&look);
    return result;
}
