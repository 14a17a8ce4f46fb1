/*
 * delivery.c - makes deliveries from claimed jobs and judges their outcomes.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#include "campaign/schedule/delivery.h"
#include "campaign/schedule/run.h"

static char *put(char **at, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *start = memcpy(*at, text, bytes);
    *at += bytes;
    return start;
}

static bool has_utf8(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text > 127)
            return true;
    }
    return false;
}

struct delivery *delivery_create(const struct storage_job *job, struct run *run, struct lane *lane)
{
    size_t bytes = strlen(job->email) + strlen(job->domain) + strlen(job->attributes) + 3;
    struct delivery *delivery = calloc(1, sizeof(*delivery) + bytes);
    if (delivery == NULL)
        return NULL;
    char *at = delivery->strings;
    list_init(&delivery->job.node);
    list_init(&delivery->node);
    delivery->job.rcpt_to = put(&at, job->email);
    delivery->job.domain = put(&at, job->domain);
    delivery->attributes = put(&at, job->attributes);
    delivery->job.group = (uint64_t)run->id;
    delivery->job.campaign = &run->shape;
    delivery->job.shared = lane->shared;
    delivery->job.smtputf8 = has_utf8(delivery->job.rcpt_to);
    delivery->run = run;
    delivery->content = run->stream ? NULL : content_ref(run_content(run, job->recipient_id));
    delivery->content_id = job->content_id;
    delivery->claimed_ms = clock_monotonic_ms();
    delivery->deadline_ms = run->stream ? job->expires_ms : run->deadline_ms;
    delivery->lane = lane;
    delivery->recipient_id = job->recipient_id;
    delivery->claim_id = job->claim_id;
    delivery->attempts = job->attempts;
    delivery->uncertain = job->uncertain;
    return delivery;
}

void delivery_free(struct delivery *delivery)
{
    content_unref(delivery->content);
    free(delivery);
}

void delivery_judge(struct delivery *delivery, const struct policy *policy, const struct outcome *outcome, bool stopping)
{
    int status = atomic_load_explicit(&delivery->run->status, memory_order_relaxed);
    bool closed = atomic_load_explicit(&delivery->run->closed, memory_order_relaxed) ||
                  delivery->claimed_ms <= atomic_load_explicit(&delivery->run->taken_back_ms, memory_order_relaxed);
    struct policy_case the_case = {
        .now_ms = clock_wall_ms(),
        .deadline_ms = delivery->deadline_ms,
        .attempts_before = delivery->attempts,
        .jitter_seed = (uint64_t)delivery->recipient_id,
        .release = status == CAMPAIGN_CANCELLED               ? RELEASE_CANCELLED
                   : stopping || status == CAMPAIGN_PAUSED || closed ? RELEASE_HELD_BACK
                                                                     : RELEASE_WAITED,
    };
    struct storage_outcome *record = &delivery->record;
    record->outcome = *outcome;
    if (outcome->class_ == OUTCOME_COMPOSE && delivery->compose_later)
        record->outcome.class_ = OUTCOME_TRANSPORT; /* ours, and it passes */
    struct verdict verdict = policy_judge(policy, &record->outcome, &the_case);
    record->campaign_id = delivery->run->id;
    record->recipient_id = delivery->recipient_id;
    record->claim_id = delivery->claim_id;
    record->state = verdict.state;
    record->attempts = verdict.attempts;
    record->next_attempt_ms = verdict.next_attempt_ms;
    record->uncertain = delivery->uncertain || verdict.uncertain;
    record->tried = verdict.tried;
    record->suppress_reason = verdict.suppress_reason;
    record->hard_bounce = verdict.hard;
    record->soft_limit = verdict.soft ? policy->soft_limit : 0;
    record->soft_window_ms = policy->soft_window_ms;
    record->missing_attributes = delivery->missing_attributes;
}
