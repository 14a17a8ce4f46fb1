/*
 * policy.c - from one outcome to one state, in one place.
 *
 *   2xx                          delivered
 *   4xx, senseless replies       deferred, until the deadline, then failed
 *   connection, TLS, DNS         the same: they say nothing about the recipient
 *   5xx                          bounced; suppressed too when the address itself is dead
 *   end-of-data without reply    uncertain: deferred and flagged, or held for a person (on_uncertain)
 *   could not be composed        failed: trying again would fail again
 *   expired before its attempt   failed; the record says so, but no attempt is counted
 *   released untried             as the reason of the release says; never an attempt
 *
 * The delay doubles from retry_first to retry_max. Jitter only shortens it (by up to a fifth), so the maximum is a maximum, and is a function of recipient and attempt: a
 * provider that deferred ten thousand mails in one minute does not get them all back in one other minute.
 * An attempt that would fall behind the deadline is moved to it: the last try is made as late as allowed.
 *
 * A hard bounce is claimed only where the rules (campaign/bounce) say that the mailbox or the domain does not exist. Everything else that is permanent bounces
 * this delivery; what tells of the mailbox (full, inactive) is counted against the address, a block never is.
 */
#include "base/hashmap.h"

#include "campaign/outcome/policy.h"

int64_t policy_retry_delay_ms(const struct policy *policy, int attempts, uint64_t jitter_seed)
{
    int64_t delay_ms = policy->retry_first_ms;
    for (int i = 1; i < attempts && delay_ms < policy->retry_max_ms; i++)
        delay_ms *= 2;
    if (delay_ms > policy->retry_max_ms)
        delay_ms = policy->retry_max_ms;
    const uint64_t mix[2] = {jitter_seed, (uint64_t)attempts};
    static const uint8_t fixed_key[16] = "retry jitter key"; /* spreads load; nothing to keep secret */
    int64_t fifth_ms = delay_ms / 5;
    if (fifth_ms > 0)
        delay_ms -= (int64_t)(siphash24(fixed_key, mix, sizeof(mix)) % (uint64_t)fifth_ms);
    return delay_ms;
}

static struct bounce_class classify(const struct policy *policy, const struct outcome *outcome)
{
    struct bounce_class found = {.kind = BOUNCE_UNKNOWN};
    if (outcome->class_ != OUTCOME_PERMANENT)
        return found;
    const struct bounce_reply reply = {
        .code = outcome->code,
        .enhanced = outcome->enhanced,
        .text = outcome->text,
        .stage = outcome->stage,
        .mx = outcome->mx_host,
    };
    bounce_classify(policy->rules, &reply, &found);
    return found;
}

bool policy_is_hard_bounce(const struct policy *policy, const struct outcome *outcome)
{
    struct bounce_class found = classify(policy, outcome);
    return bounce_is_dead(&found);
}

static void bounce(struct verdict *verdict, const struct policy *policy, const struct outcome *outcome)
{
    struct bounce_class found = classify(policy, outcome);
    verdict->state = DELIVERY_BOUNCED;
    verdict->hard = bounce_is_dead(&found);
    verdict->soft = !verdict->hard && bounce_counts(&found);
    if (verdict->hard && policy->suppress_hard)
        verdict->suppress_reason = "hard-bounce";
}

static void defer(struct verdict *verdict, const struct policy *policy, const struct policy_case *the_case)
{
    if (the_case->now_ms >= the_case->deadline_ms) {
        verdict->state = DELIVERY_FAILED;
        return;
    }
    verdict->state = DELIVERY_DEFERRED;
    verdict->next_attempt_ms =
        the_case->now_ms + policy_retry_delay_ms(policy, MAX_OF(verdict->attempts, 1), the_case->jitter_seed);
    if (verdict->next_attempt_ms > the_case->deadline_ms)
        verdict->next_attempt_ms = the_case->deadline_ms;
}

/* Untried jobs keep their place in time: at once after a pause, spread over a minute when their site was too slow, later where nothing can be tried sooner. */
static void release(struct verdict *verdict, uint32_t wait_ms, const struct policy_case *the_case)
{
    if (the_case->release == RELEASE_CANCELLED) {
        verdict->state = DELIVERY_CANCELLED;
        return;
    }
    if (the_case->release == RELEASE_WAITED && the_case->now_ms >= the_case->deadline_ms) {
        verdict->state = DELIVERY_FAILED; /* its time is over, and it was never tried */
        verdict->tried = true;
        return;
    }
    verdict->state = DELIVERY_DEFERRED;
    verdict->next_attempt_ms = the_case->now_ms;
    if (the_case->release != RELEASE_WAITED)
        return;
    verdict->next_attempt_ms += MAX_OF((int64_t)wait_ms, 30000) + (int64_t)(the_case->jitter_seed % 60000);
    verdict->next_attempt_ms = MIN_OF(verdict->next_attempt_ms, the_case->deadline_ms);
}

struct verdict policy_judge(const struct policy *policy, const struct outcome *outcome, const struct policy_case *the_case)
{
    struct verdict verdict = {.attempts = the_case->attempts_before + 1, .tried = true};

    switch (outcome->class_) {
    case OUTCOME_DELIVERED:
        verdict.state = DELIVERY_DELIVERED;
        break;
    case OUTCOME_TEMPORARY:
    case OUTCOME_TRANSPORT:
        defer(&verdict, policy, the_case);
        break;
    case OUTCOME_PERMANENT:
        bounce(&verdict, policy, outcome);
        break;
    case OUTCOME_UNCERTAIN:
        verdict.uncertain = true;
        if (policy->on_uncertain == UNCERTAIN_HOLD)
            verdict.state = DELIVERY_UNCERTAIN;
        else
            defer(&verdict, policy, the_case);
        break;
    case OUTCOME_COMPOSE:
        verdict.state = DELIVERY_FAILED;
        break;
    case OUTCOME_EXPIRED:
        verdict.attempts = the_case->attempts_before;
        verdict.state = DELIVERY_FAILED;
        break;
    case OUTCOME_RELEASED:
        verdict.attempts = the_case->attempts_before;
        verdict.tried = false;
        release(&verdict, outcome->wait_ms, the_case);
        break;
    }
    return verdict;
}
