/*
 * campaigns.h - campaigns, their counters and their deliveries as people read them; public, included through storage/storage.h.
 *
 * Counters live in the campaign's row and change in the same transaction as the state that they count. Always:
 * audience = pending + sending + deferred + delivered + bounced + failed + suppressed + cancelled + uncertain; `pending` is the difference, never stored.
 */
#ifndef POSTHASTE_STORAGE_CAMPAIGNS_H
#define POSTHASTE_STORAGE_CAMPAIGNS_H

#include "base/outcome.h"
#include "base/tls_result.h"
#include "storage/storage.h"

enum campaign_status { CAMPAIGN_DRAFT, CAMPAIGN_SCHEDULED, CAMPAIGN_RUNNING, CAMPAIGN_PAUSED, CAMPAIGN_FINISHED, CAMPAIGN_CANCELLED, CAMPAIGN_STATUS_COUNT };
const char *campaign_status_name(enum campaign_status status); /* "draft", "scheduled", … */

enum delivery_state { DELIVERY_PENDING, DELIVERY_SENDING, DELIVERY_DELIVERED, DELIVERY_DEFERRED, DELIVERY_BOUNCED, DELIVERY_FAILED, DELIVERY_SUPPRESSED, DELIVERY_CANCELLED, DELIVERY_UNCERTAIN, DELIVERY_STATE_COUNT };
const char *delivery_state_name(enum delivery_state state); /* "pending", … */
int delivery_state_parse(const char *name, enum delivery_state *out) ATTR_MUSTCHECK; /* 0 or -EINVAL */

#define CAMPAIGN_LISTS_MAX 64

struct storage_campaign {
    int64_t id;
    const char *name;
    const char *spec; /* JSON object: the campaign as it was posted; campaign/ alone reads it */
    enum campaign_status status;
    int64_t lists[CAMPAIGN_LISTS_MAX], excluded[CAMPAIGN_LISTS_MAX];
    int list_count, excluded_count;
    int64_t created_ms, scheduled_ms, launched_ms, finished_ms; /* 0 = not (yet) */
    int64_t expires_after_ms;                                  /* from the launch */
    const void *segment; /* a program (segment.h), written by create and edit, not read back; NULL = everybody */
    size_t segment_bytes;
    int split_share, split_variants; /* A/B (split.h), as above; variants 0 = none */
    int64_t audience, states[DELIVERY_STATE_COUNT];            /* states[PENDING] is derived */
    bool messages; /* a stream of single messages (messages.h): it does not end */
    bool audience_exact; /* false: `audience` is an upper bound, and `pending` (of a cancelled one: `cancelled`) with it; it is being counted */
    int64_t opened, clicked, unsubscribed, complained;
    int64_t hard_bounced;      /* of `bounced`, those whose address is dead */
    const char *pause_reason;  /* why it paused by itself (storage_campaign_guard); "" = it did not */
    int64_t missing_attributes; /* renderings in which a template named an attribute that the recipient lacks */
    int64_t first_delivery_ms, last_delivery_ms;
};
typedef int storage_campaign_cb(void *context, const struct storage_campaign *campaign);

int storage_campaign_get(struct storage_reader *reader, int64_t id, storage_campaign_cb *each, void *context, struct error *err);
/* Its name alone, to be freed; 0 or NOT_FOUND. */
int storage_campaign_name(struct storage_reader *reader, int64_t id, char **name, struct error *err) ATTR_MUSTCHECK;
/* Newest first: ids < before (0 = from the newest); `statuses` is a bit set of 1 << status (0 = all). */
int storage_campaign_page(struct storage_reader *reader, int64_t before, int limit, unsigned statuses, storage_campaign_cb *each, void *context, int64_t *total, struct error *err);

/*
 * Moves the status. The legal moves: draft -> scheduled|running|cancelled; scheduled -> draft|running|cancelled; running -> paused|finished|cancelled;
 * paused -> running|cancelled. To the status it already has: 0, nothing changes. Any other move: STORAGE_WRONG_STATE. `was` (may be NULL) gets the status before.
 * -> running from draft or scheduled is the launch: freezes the audience (epoch), in one transaction, instant for any size. Over several or excluded lists a large audience
 * starts as an upper bound and is counted beside the writer (audience_exact).
 * -> cancelled: pending becomes cancelled at once; deferred rows follow in slices (storage_campaign_cancel_deferred).
 */
int storage_campaign_move(struct storage *storage, int64_t id, enum campaign_status to, int64_t scheduled_ms, int64_t now_ms, enum campaign_status *was, struct error *err);
int storage_campaign_cancel_deferred(struct storage *storage, int64_t id, int limit, int64_t now_ms, int64_t *changed, struct error *err);
/* running -> finished when every lane is done, nothing is sending and nothing deferred; audience is set to the sum of the states. 0 = finished, STORAGE_WRONG_STATE = not yet. */
/* A stream of messages is never finished or cancelled: STORAGE_WRONG_STATE. */
int storage_campaign_try_finish(struct storage *storage, int64_t id, int64_t now_ms, struct error *err);
/* When a campaign pauses by itself: shares in millionths (0 = never), of what came since its launch or the last resume, once that is at least `after`. */
struct storage_guard { uint32_t hard_bounces_ppm, complaints_ppm, after; };
#define STORAGE_GUARD_REASON_BYTES 160
/* 0 = nothing to stop (not running, or within its limits); 1 = it ought to pause, for `reason`. Reads only. */
int storage_campaign_judge(struct storage_reader *reader, int64_t id, const struct storage_guard *guard, char reason[STORAGE_GUARD_REASON_BYTES], struct error *err);
/* The same, and it is paused, with the reason, in one transaction: 1 = by this call. */
int storage_campaign_guard(struct storage *storage, int64_t id, const struct storage_guard *guard, char reason[STORAGE_GUARD_REASON_BYTES], struct error *err);
int storage_campaign_delete(struct storage *storage, int64_t id, struct error *err); /* drafts only, else WRONG_STATE */
int storage_campaign_add_missing(struct storage *storage, int64_t id, int64_t renderings, struct error *err);

struct storage_delivery {
    int64_t id, campaign_id, recipient_id;
    int64_t message_id; /* of a single message (messages.h); else 0 */
    const char *campaign_name, *email, *domain;
    enum delivery_state state;
    bool uncertain; /* at some time its end-of-data was out without a reply */
    int attempts;
    int64_t next_attempt_ms, updated_ms, unsubscribed_ms;
    int64_t opened_ms, clicked_ms; /* when a person did first; 0 = never */
    int code;
    const char *enhanced, *stage, *reply, *mx_host, *source; /* of the last attempt; "" when none */
    const char *address, *tls_version, *tls_cipher; /* "" when not known */
    uint32_t times_ms[STAGE_COUNT]; /* as in struct outcome */
    bool tls;
    enum tls_rule tls_rule;
    enum tls_result tls_result;
    int duration_ms;
};
typedef int storage_delivery_cb(void *context, const struct storage_delivery *delivery);
/* Rows of a campaign, id > after; state -1 = any; domain NULL = any. A page costs its rows, never a sort of the campaign. */
int storage_delivery_page(struct storage_reader *reader, int64_t campaign_id, int state, const char *domain, int64_t after, int limit, storage_delivery_cb *each, void *context, struct error *err);
/* Newest campaign first; behind them single messages, newest first. */
int storage_delivery_by_recipient(struct storage_reader *reader, int64_t recipient_id, storage_delivery_cb *each, void *context, struct error *err);
/* Attempts of a delivery, oldest first, the last one (in the row itself) included; the same callback, state = what the attempt led to. */
int storage_delivery_attempts(struct storage_reader *reader, int64_t delivery_id, storage_delivery_cb *each, void *context, struct error *err);

/* Minute totals: campaign_id 0 = all campaigns. */
struct storage_minute { int64_t minute_ms; int64_t delivered, deferred, bounced, failed; };
typedef int storage_minute_cb(void *context, const struct storage_minute *minute);
int storage_timeseries(struct storage_reader *reader, int64_t campaign_id, int64_t from_ms, int64_t to_ms, storage_minute_cb *each, void *context, struct error *err);
/* Sums over all campaigns, for the dashboard: states[] as in storage_campaign (pending and sending of running and paused campaigns). */
int storage_totals(struct storage_reader *reader, int64_t states[DELIVERY_STATE_COUNT], int64_t *recipients, int64_t *lists, int64_t *suppressions, struct error *err);

#endif
