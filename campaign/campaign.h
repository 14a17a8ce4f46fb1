/*
 * campaign.h - the door of the campaign room: what is sent to whom and when, how it reads, and what follows from each outcome.
 *
 * `struct mailer` is the running heart of a server: the feeder thread (claims members lane by lane and feeds the engine), the
 * compose pool (renders and signs) and the outcome policy. It implements the engine's message source and outcome sink. The functions
 * without a mailer work on the database alone and serve the CLI with or without a running server.
 *
 * Return values: 0; positive STORAGE_* conditions; -EINVAL with `problem` filled in where the caller's input is at fault; other negatives are failures.
 */
#ifndef POSTHASTE_CAMPAIGN_CAMPAIGN_H
#define POSTHASTE_CAMPAIGN_CAMPAIGN_H

#include <jansson.h>

#include "base/buffer.h"
#include "base/config_live.h"
#include "campaign/json_text.h"
#include "engine/engine.h"
#include "storage/storage.h"

/* What is wrong with an input, field by field: becomes errors:[{field,message}] of RFC 9457. */
#define PROBLEM_FIELDS_MAX 16
struct problem {
    struct { char field[64]; char message[192]; } fields[PROBLEM_FIELDS_MAX];
    size_t count; /* more than PROBLEM_FIELDS_MAX are counted, not kept */
    json_t *preflight; /* CAMPAIGN_NOT_READY: the report on the From domain, the receiver's; else NULL */
};
void problem_add(struct problem *problem, const char *field, const char *format, ...) ATTR_PRINTF(3, 4);

/* Positive, as STORAGE_*: a launch that the preflight check does not let through (problem->preflight says why). */
enum { CAMPAIGN_NOT_READY = 100 };

struct mailer;
int mailer_start(struct config_live *live, struct storage *storage, struct mailer **out, struct error *err) ATTR_MUSTCHECK;
/* Takes over a configuration that config_adopt() has passed, with the rules files as they are now; to be put into `live` afterwards. 0; else nothing has
 * changed, as engine_reload(). One call at a time, before mailer_stop(). */
int mailer_reload(struct mailer *mailer, const struct config *config, struct error *err) ATTR_MUSTCHECK;
/* Stops feeding, the engine (up to config->shutdown_ms), the pool; everything is recorded when it returns. Frees. */
void mailer_stop(struct mailer *mailer);
struct engine *mailer_engine(struct mailer *mailer);
struct resolver *mailer_resolver(struct mailer *mailer); /* for DNS questions of any thread */
/* Waits until what the engine was told about its limits (engine/limit.h) is durable: 0 or -ETIMEDOUT. */
int mailer_keep_limits(struct mailer *mailer);
struct mailer_status {
    double rate_now;        /* delivered/s */
    uint32_t jobs;          /* deliveries in memory */
    char held_by[256];      /* "" or why nothing is claimed now */
    struct storage_recovery recovered; /* what the start found of deliveries that a former process left open */
};
void mailer_status(struct mailer *mailer, struct mailer_status *out);
struct tally_view; /* outcome/tally.h */
void mailer_tally(struct mailer *mailer, struct tally_view *out);
/* What limits the campaign now: "nothing", "paused", "window", "winner", "retries", "storage", "finished", or the engine's word for what holds up most of
 * its mail (engine_site_stats.limited_by: "rate", "campaign rate", "suspended", …); and its deliveries/s. */
const char *mailer_campaign_limit(struct mailer *mailer, int64_t campaign_id, double *rate_now);

/*
 * A campaign from its JSON as posted (DESIGN 5). Checks every field: unknown ones, types, lists (name or id) that exist, from address, templates (line and
 * column), header names, times. Nothing is stored when a problem is found.
 * With `"launch": true` it is launched too; when that is refused, no draft is left.
 */
int campaign_create(struct mailer *mailer, struct storage_reader *reader, const json_t *spec, int64_t *id, struct problem *problem, struct error *err);
/* Changes a draft by a merge patch (RFC 7396), checked as a new one is. STORAGE_NOT_FOUND, STORAGE_WRONG_STATE (`err` says which), -EINVAL with a problem. */
int campaign_edit(struct mailer *mailer, struct storage_reader *reader, int64_t id, const json_t *patch, struct problem *problem, struct error *err);
/* Brings the check of the campaign's From domain up to date, so that a launch soon after does not wait for it. Up to some seconds. */
void campaign_preflight(struct mailer *mailer, struct storage_reader *reader, int64_t id);
/* Launch (scheduled when schedule_at is ahead). CAMPAIGN_NOT_READY unless `force`. -EINVAL with a problem when it cannot be sent: no DKIM key for the From domain, empty audience list gone, a schedule that is over with "missed": "expire". STORAGE_WRONG_STATE. */
int campaign_launch(struct mailer *mailer, struct storage_reader *reader, int64_t id, bool force, struct problem *problem, struct error *err);
int campaign_pause(struct mailer *mailer, int64_t id, struct error *err);
int campaign_resume(struct mailer *mailer, struct storage_reader *reader, int64_t id, struct error *err);
int campaign_cancel(struct mailer *mailer, int64_t id, struct error *err);
/* Says which variant (from 0) of an A/B test the rest gets. STORAGE_WRONG_STATE (`err` says why), -EINVAL: there is no such variant. */
int campaign_winner(struct mailer *mailer, struct storage_reader *reader, int64_t id, int variant, struct error *err);
/* A new draft with the same content; name gets " (copy)". */
int campaign_clone(struct mailer *mailer, struct storage_reader *reader, int64_t id, int64_t *new_id, struct error *err);
/* The whole message as it would go to `recipient` (an address; NULL = a sample member): {"recipient","subject","html","text","message","size_bytes","headers","warnings"}. */
int campaign_preview(struct mailer *mailer, struct storage_reader *reader, int64_t id, const char *recipient, json_t **out, struct problem *problem, struct error *err);

/* A test of the campaign: one message to each address of `to`, composed, signed and sent as the campaign's are, but counted nowhere: no delivery, no counter,
 * no event, no suppression, one attempt. A draft's links are frozen for it. */
#define CAMPAIGN_TEST_MAX 10
#define CAMPAIGN_TEST_BUSY 101
struct campaign_test {
    const char *const *to;
    size_t count;               /* 1 to CAMPAIGN_TEST_MAX */
    const char *recipient;      /* whom the messages show; NULL = a sample */
    const char *subject_prefix; /* NULL = none */
    int variant;                /* of an A/B test; -1 = the campaign's own content */
};
/* Begins it; *number names it. STORAGE_NOT_FOUND, -EINVAL with a problem ("recipients[0]": is not an address, is suppressed; "recipient"; a template, a missing
 * DKIM key), CAMPAIGN_TEST_BUSY: too many are under way. */
int campaign_test(struct mailer *mailer, struct storage_reader *reader, int64_t id, const struct campaign_test *test, int64_t *number, struct problem *problem, struct error *err) ATTR_MUSTCHECK;
/* {"id","campaign_id","started_at","done","results":[{"recipient","state","code","enhanced","text","stage",…}]}; the last hundred tests since the start are
 * known. STORAGE_NOT_FOUND. */
int campaign_test_get(struct mailer *mailer, int64_t id, int64_t number, json_t **out, struct error *err) ATTR_MUSTCHECK;

/*
 * A single message from its JSON as posted (docs/single-messages.md): one recipient; content as a campaign's, or that of a campaign as template; durable when it returns 0.
 * -EINVAL with a problem. It goes out before the mail of campaigns.
 */
int message_post(struct mailer *mailer, struct storage_reader *reader, const json_t *body, int64_t *id, struct problem *problem, struct error *err);

/* Sending domains: makes an RSA-2048 and an Ed25519 key (mode 0600 in data_dir/dkim) and registers them. STORAGE_EXISTS when there. `selector` NULL = "ph1". */
int sending_domain_add(struct storage *storage, const struct config *config, const char *domain, const char *selector, struct problem *problem, struct error *err);

/* Everything that receivers will look up about mail from the domain: {"domain","status","checked_at","took_ms","findings":[…]} (docs/preflight.md). Asks the
 * network, up to about 12 s. STORAGE_NOT_FOUND: no sending domain of ours. */
int sending_domain_check(const struct config *config, struct storage_reader *reader, struct resolver *resolver, const char *domain, json_t **out, struct error *err) ATTR_MUSTCHECK;
/* Appends the records besides the keys that a sending domain wants, as {"name","type","value"}: SPF, DMARC, MX of the bounce domain, host of the links. */
int sending_domain_records(const struct config *config, const char *domain, json_t *dns, struct error *err) ATTR_MUSTCHECK;

/* The message as a page, for the token of {{view_url}}: its HTML (0), or its text where it has none (CAMPAIGN_VIEW_TEXT), appended. STORAGE_NOT_FOUND. */
#define CAMPAIGN_VIEW_TEXT 100
int campaign_view(struct mailer *mailer, struct storage_reader *reader, const char *token, struct buffer *html, struct error *err);
/* The recipient that the token of {{preferences_url}} names; 0 or STORAGE_NOT_FOUND. */
int preferences_token_parse(struct mailer *mailer, const char *token, int64_t *campaign_id, int64_t *recipient_id);

/* Stored partials, {{>name}}. -EINVAL with a problem: the name, or the text with line and column; a partial that it calls must be there, or be itself. */
int snippet_set(struct storage *storage, struct storage_reader *reader, const char *name, const char *text, bool *created, struct problem *problem, struct error *err);

/* The next step of a rotation of the domain's keys; the step before it is durable. STORAGE_NOT_FOUND: no such domain. */
#define SENDING_DOMAIN_KEEP_MS (INT64_C(15) * 86400000) /* a signature is good for 14 days */
struct domain_rotation {
    enum { ROTATION_MADE, ROTATION_WAITS, ROTATION_SWITCHED, ROTATION_RETIRED } step;
    char why[320];         /* WAITS: the record that is not in DNS yet, and what is there; "" = the old keys' time is not over */
    int64_t wait_until_ms; /* then it is */
};
int sending_domain_rotate(struct storage *storage, struct storage_reader *reader, const struct config *config, const char *domain, struct domain_rotation *out, struct error *err);

/* Keys of tokens (storage/link_keys.h). How long after its end a campaign's links must work; INT64_MAX = for ever. */
int64_t links_keep_ms(const struct config *config);
/* As storage_link_key_retire(), with that time; `force`: at once. */
int link_key_retire(struct storage *storage, const struct config *config, int64_t id, bool force, struct error *err) ATTR_MUSTCHECK;
/* Takes notice of a change at once; without it a running mailer does within two seconds. */
int mailer_refresh_keys(struct mailer *mailer, struct storage_reader *reader, struct error *err) ATTR_MUSTCHECK;

/* Unsubscribe token from a URL or return path: 0 and the pair, or STORAGE_NOT_FOUND for anything not made by us. Constant time. */
int unsubscribe_token_parse(struct mailer *mailer, const char *token, int64_t *campaign_id, int64_t *recipient_id);

#include "campaign/audience/import.h"
#include "campaign/bounce/classify.h"
#include "campaign/bounce/ingest.h"
#include "campaign/bounce/intake.h"
#include "campaign/outcome/tally.h"
#include "campaign/tracking/tracking.h"

#endif
