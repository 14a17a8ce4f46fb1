/*
 * guard.c - looks at a running campaign's counters, and pauses it through storage when they are above the limits.
 *
 * The look is a read of one row; only where that says "too much" is the writer asked, which judges again, for itself.
 * What reports and other processes add to the counters is seen the same way.
 */
#include "campaign/outcome/guard.h"

#include "base/log.h"

bool guard_look(const struct config_guard *limits, struct storage *storage, struct storage_reader *reader,
                int64_t campaign_id)
{
    const struct storage_guard guard = {
        .hard_bounces_ppm = limits->hard_bounces_ppm, .complaints_ppm = limits->complaints_ppm, .after = limits->after};
    char reason[STORAGE_GUARD_REASON_BYTES];
    struct error err = {""};
    if (guard.hard_bounces_ppm == 0 && guard.complaints_ppm == 0)
        return false;
    int rc = storage_campaign_judge(reader, campaign_id, &guard, reason, &err);
    if (rc > 0)
        rc = storage_campaign_guard(storage, campaign_id, &guard, reason, &err);
    if (rc < 0)
        log_warn("campaign", "campaign=%lld guard failed reason=%s", (long long)campaign_id, LOG_QUOTE(err.text));
    else if (rc > 0)
        log_warn("campaign", "campaign=%lld paused_by=guard reason=%s", (long long)campaign_id, LOG_QUOTE(reason));
    return rc > 0;
}
