/*
 * views.c - shapes rows into JSON. Names and units of the public contract (api/openapi.json) are decided here and
 * nowhere else.
 *
 * Text that came from outside (replies, names, addresses) is made one line of valid UTF-8 on the way.
 */
#include "api/views.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/http/json.h"
#include "api/http/auth.h"

json_t *view_list(const struct storage_list *list)
{
    return json_pack("{s:I, s:o, s:o, s:I, s:o}", "id", (json_int_t)list->id, "name", json_line(list->name),
                     "description", json_line(list->description), "active", (json_int_t)list->active_count,
                     "created_at", json_time(list->created_ms));
}

static const char *member_status_name(enum member_status status)
{
    static const char *const names[] = {"active", "unsubscribed", "removed"};
    return (size_t)status < countof(names) ? names[status] : "unknown";
}

json_t *view_member(const struct storage_member *member)
{
    return json_pack("{s:I, s:o, s:o, s:s, s:o}", "id", (json_int_t)member->recipient_id, "email",
                     json_line(member->email), "attributes", json_attributes(member->attributes), "status",
                     member_status_name(member->status), "joined_at", json_time(member->joined_ms));
}

json_t *view_membership(const struct storage_member *member)
{
    return json_pack("{s:I, s:o, s:s, s:o}", "list_id", (json_int_t)member->list_id, "list",
                     json_line(member->list_name), "status", member_status_name(member->status), "joined_at",
                     json_time(member->joined_ms));
}

json_t *view_recipient(const struct storage_recipient *recipient)
{
    return json_pack("{s:I, s:o, s:o, s:o, s:o}", "id", (json_int_t)recipient->id, "email", json_line(recipient->email),
                     "attributes", json_attributes(recipient->attributes), "created_at",
                     json_time(recipient->created_ms), "updated_at", json_time(recipient->updated_ms));
}

json_t *view_suppression(const struct storage_suppression *suppression)
{
    bool all = suppression->list_id == 0;
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "email", json_line(suppression->email), "reason",
                     json_line(suppression->reason), "origin", json_line(suppression->origin), "created_at",
                     json_time(suppression->created_ms), "expires_at", json_time(suppression->expires_ms), "list_id",
                     all ? json_null() : json_integer((json_int_t)suppression->list_id), "list",
                     all ? json_null() : json_line(suppression->list_name));
}

json_t *view_bounce_summary(const struct bounce_summary *summary)
{
    const struct {
        const char *key;
        int64_t value;
    } rows[] = {
        {"mails", summary->mails},
        {"bounces", summary->bounces},
        {"complaints", summary->complaints},
        {"feedback", summary->feedback},
        {"auto_replies", summary->auto_replies},
        {"unsubscribes", summary->unsubscribes},
        {"other", summary->other},
        {"no_token", summary->no_token},
        {"untrusted", summary->untrusted},
        {"later", summary->later},
        {"unknown", summary->unknown},
        {"no_action", summary->no_action},
        {"repeated", summary->repeated},
        {"hard", summary->hard},
        {"soft", summary->soft},
        {"other_bounces", summary->other_bounces},
        {"bounced", summary->bounced},
        {"complained", summary->complained},
        {"unsubscribed", summary->unsubscribed},
        {"suppressed", summary->suppressed},
        {"unreadable", summary->unreadable},
    };
    json_t *object = json_object();
    for (size_t i = 0; i < countof(rows); i++)
        (void)json_object_set_new(object, rows[i].key, json_integer((json_int_t)rows[i].value));
    return object;
}

json_t *view_token(const struct storage_token *token)
{
    return json_pack("{s:I, s:o, s:s, s:o, s:o, s:o}", "id", (json_int_t)token->id, "name", json_line(token->name),
                     "scope", token_scope_name(token->scope), "created_at", json_time(token->created_ms),
                     "last_used_at", json_time(token->last_used_ms), "revoked_at", json_time(token->revoked_ms));
}

json_t *view_link_key(const struct storage_link_key *key)
{
    const char *state = key->retired_ms != 0 ? "retired" : key->replaced_ms != 0 ? "old" : "newest";
    return json_pack("{s:I, s:s, s:o, s:o, s:o, s:o, s:I}", "id", (json_int_t)key->id, "state", state, "created_at",
                     json_time(key->created_ms), "replaced_at", json_time(key->replaced_ms), "retired_at",
                     json_time(key->retired_ms), "last_used_at", json_time(key->last_used_ms), "campaigns",
                     (json_int_t)key->campaigns);
}

struct domain_keys {
    json_t *dns, *keys;
};

static int add_key(void *context, const struct storage_dkim_key *key)
{
    struct domain_keys *lists = context;
    if (key->state != DKIM_KEY_RETIRED) {
        json_t *name = json_sprintf("%s._domainkey.%s", key->selector, key->domain);
        (void)json_array_append_new(
            lists->dns, json_pack("{s:o, s:s, s:o}", "name", name, "type", "TXT", "value", json_line(key->record)));
    }
    (void)json_array_append_new(lists->keys,
                                json_pack("{s:o, s:o, s:s, s:o}", "selector", json_line(key->selector), "algorithm",
                                          json_line(key->algorithm), "state", dkim_key_state_name(key->state), "since",
                                          json_time(key->changed_ms)));
    return 0;
}

json_t *view_domain(const struct storage_domain *domain, struct storage_reader *reader)
{
    struct domain_keys lists = {json_array(), json_array()};
    struct error err = {""};
    if (storage_dkim_keys_list(reader, domain->name, add_key, &lists, &err) < 0) {
        json_decref(lists.dns);
        json_decref(lists.keys);
        return NULL;
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "domain", json_line(domain->name), "selector",
                     json_line(domain->selector), "key_file", json_line(domain->key_file), "created_at",
                     json_time(domain->created_ms), "dns", lists.dns, "keys", lists.keys);
}

static json_t *reply_code(int code)
{
    return code > 0 ? json_integer(code) : json_null();
}

/* {"mail": 12, "rcpt": 12} */
static json_t *times_json(const uint32_t times_ms[STAGE_COUNT])
{
    json_t *object = json_object();
    for (enum outcome_stage stage = STAGE_NONE; stage < STAGE_COUNT; stage++) {
        if (times_ms[stage] > 0)
            (void)json_object_set_new(object, outcome_stage_name(stage), json_integer(times_ms[stage]));
    }
    return object;
}

static void add_attempt_fields(json_t *object, const struct storage_delivery *delivery)
{
    (void)json_object_set_new(object, "code", reply_code(delivery->code));
    (void)json_object_set_new(object, "enhanced", json_line(delivery->enhanced));
    (void)json_object_set_new(object, "stage", json_line(delivery->stage));
    (void)json_object_set_new(object, "reply", json_line(delivery->reply));
    (void)json_object_set_new(object, "mx_host", json_line(delivery->mx_host));
    (void)json_object_set_new(object, "source", json_line(delivery->source));
    (void)json_object_set_new(object, "address", json_line(delivery->address));
    (void)json_object_set_new(object, "tls", json_boolean(delivery->tls));
    (void)json_object_set_new(object, "tls_version", json_line(delivery->tls_version));
    (void)json_object_set_new(object, "tls_cipher", json_line(delivery->tls_cipher));
    (void)json_object_set_new(object, "tls_policy", json_string(tls_rule_name(delivery->tls_rule)));
    (void)json_object_set_new(object, "tls_result", json_string(tls_result_name(delivery->tls_result)));
    (void)json_object_set_new(object, "times_ms", times_json(delivery->times_ms));
    (void)json_object_set_new(object, "duration_ms", json_integer(delivery->duration_ms));
}

json_t *view_delivery(const struct storage_delivery *delivery)
{
    json_t *object =
        json_pack("{s:I, s:I, s:o, s:I, s:o, s:o, s:s, s:b, s:i, s:o, s:o, s:o, s:o, s:o}", "id",
                  (json_int_t)delivery->id, "campaign_id", (json_int_t)delivery->campaign_id, "campaign",
                  json_line(delivery->campaign_name), "recipient_id", (json_int_t)delivery->recipient_id, "email",
                  json_line(delivery->email), "domain", json_line(delivery->domain), "state",
                  delivery_state_name(delivery->state), "uncertain", delivery->uncertain ? 1 : 0, "attempts",
                  delivery->attempts, "next_attempt_at", json_time(delivery->next_attempt_ms), "updated_at",
                  json_time(delivery->updated_ms), "unsubscribed_at", json_time(delivery->unsubscribed_ms), "opened_at",
                  json_time(delivery->opened_ms), "clicked_at", json_time(delivery->clicked_ms));
    (void)json_object_set_new(object, "message_id",
                              delivery->message_id != 0 ? json_integer(delivery->message_id) : json_null());
    add_attempt_fields(object, delivery);
    return object;
}

/* What it was labelled with stands in it at the top, as it was posted. */
json_t *view_message(const struct storage_message *message)
{
    json_t *labels = json_attributes(message->labels);
    json_t *tags = json_object_get(labels, "tags"), *metadata = json_object_get(labels, "metadata");
    json_t *object = json_pack(
        "{s:I, s:o, s:I, s:I, s:s, s:b, s:b, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id",
        (json_int_t)message->id, "to", json_line(message->email), "campaign_id", (json_int_t)message->campaign_id,
        "recipient_id", (json_int_t)message->recipient_id, "state", delivery_state_name(message->state),
        "transactional", message->transactional ? 1 : 0, "uncertain", message->uncertain ? 1 : 0, "attempts",
        message->attempts, "created_at", json_time(message->created_ms), "expires_at", json_time(message->expires_ms),
        "updated_at", json_time(message->updated_ms), "next_attempt_at", json_time(message->next_attempt_ms), "code",
        message->code > 0 ? json_integer(message->code) : json_null(), "enhanced", json_line(message->enhanced),
        "reply", json_line(message->reply), "tags", tags != NULL ? json_incref(tags) : json_array(), "metadata",
        metadata != NULL ? json_incref(metadata) : json_object());
    json_decref(labels);
    return object;
}

json_t *view_attempt(const struct storage_delivery *attempt)
{
    json_t *object =
        json_pack("{s:i, s:s, s:b, s:o}", "attempt", attempt->attempts, "state", delivery_state_name(attempt->state),
                  "uncertain", attempt->uncertain ? 1 : 0, "at", json_time(attempt->updated_ms));
    add_attempt_fields(object, attempt);
    return object;
}

json_t *view_link(const struct storage_link *link)
{
    return json_pack("{s:i, s:o, s:I, s:I, s:I}", "id", link->number, "url", json_line(link->url), "people",
                     (json_int_t)link->people, "clicks", (json_int_t)link->hits, "machines",
                     (json_int_t)link->machines);
}

/* The text is the author's, line ends and all. */
json_t *view_snippet(const struct storage_snippet *snippet, bool with_text)
{
    json_t *object = json_pack("{s:o, s:I, s:o, s:o}", "name", json_line(snippet->name), "size_bytes",
                               (json_int_t)strlen(snippet->text), "created_at", json_time(snippet->created_ms),
                               "updated_at", json_time(snippet->updated_ms));
    if (with_text)
        (void)json_object_set_new(object, "text", json_string(snippet->text));
    return object;
}

json_t *view_minute(const struct storage_minute *minute)
{
    return json_pack("{s:o, s:I, s:I, s:I, s:I}", "time", json_time(minute->minute_ms), "delivered",
                     (json_int_t)minute->delivered, "deferred", (json_int_t)minute->deferred, "bounced",
                     (json_int_t)minute->bounced, "failed", (json_int_t)minute->failed);
}

/* Two decimals are enough for people, and JSON has no NaN. */
static json_t *rate_json(double per_second)
{
    return json_real(isfinite(per_second) ? round(per_second * 100.0) / 100.0 : 0.0);
}

/* Policies about TLS of the domains there; null where no attempt had one. */
static json_t *site_tls(const struct engine_site_stats *site)
{
    if (site->tls_good + site->tls_bad == 0)
        return json_null();
    return json_pack("{s:s, s:I, s:I, s:s}", "policy", tls_rule_name(site->tls_rule), "good",
                     (json_int_t)site->tls_good, "bad", (json_int_t)site->tls_bad, "last_failure",
                     tls_result_name(site->tls_failure));
}

json_t *view_site(const struct engine_site_stats *site)
{
    char rate[RATE_TEXT_BYTES];
    return json_pack(
        "{s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "site",
        json_line(site->site), "next_hop", json_line(site->next_hop), "profile", json_line(site->profile), "queued",
        (json_int_t)site->queued, "in_flight", (json_int_t)site->in_flight, "connections",
        (json_int_t)site->connections, "connections_max", (json_int_t)site->connections_max, "rate",
        rate_format(site->rate, rate), "rate_now", rate_json(site->rate_now), "delivered", (json_int_t)site->delivered,
        "temporary", (json_int_t)site->temporary, "permanent", (json_int_t)site->permanent, "transport",
        (json_int_t)site->transport, "p50_ms", (json_int_t)site->p50_ms, "p95_ms", (json_int_t)site->p95_ms,
        "limited_by", json_line(site->limited_by), "backoff_until", json_time(site->backoff_until_wall_ms),
        "last_reply", json_line(site->last_reply), "adaptive_rate",
        site->adaptive_rate > 0 ? rate_json(site->adaptive_rate) : json_null(), "tls_policy", site_tls(site));
}

json_t *view_limits(const struct engine_site_stats *site)
{
    json_t *array = json_array();
    for (size_t i = 0; i < site->limit_count; i++) {
        const struct engine_limit *limit = &site->limits[i];
        json_t *row = json_pack("{s:s, s:o, s:s, s:o, s:o, s:o, s:b, s:o}", "scope", limit_scope_name(limit->scope),
                                "name", json_line(limit->name), "what", limit_what_name(limit->what), "value",
                                json_line(limit->value), "now", json_line(limit->now), "origin",
                                json_line(limit->origin), "binding", limit->binding ? 1 : 0, "next_s",
                                limit->next_ms >= 0 ? json_real((double)limit->next_ms / 1000) : json_null());
        (void)json_array_append_new(array, row);
    }
    return array;
}

json_t *view_import_counts(const struct import_counts *counts)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "read", (json_int_t)counts->read, "new", (json_int_t)counts->created,
                     "updated", (json_int_t)counts->updated, "unchanged", (json_int_t)counts->unchanged, "rejected",
                     (json_int_t)counts->rejected);
}

json_t *view_states(const int64_t states[DELIVERY_STATE_COUNT])
{
    json_t *object = json_object();
    for (int i = 0; i < DELIVERY_STATE_COUNT; i++)
        (void)json_object_set_new(object, delivery_state_name((enum delivery_state)i), json_integer(states[i]));
    return object;
}

/* What waits for a time is sent then, and not at the rate that fades since there is nothing to send. */
static bool waits_for_a_time(const struct storage_campaign *campaign, const char *limited_by)
{
    static const char *const times[] = {"retries", "winner", "window"};
    for (size_t i = 0; i < countof(times); i++) {
        if (strcmp(limited_by, times[i]) == 0)
            return true;
    }
    return campaign->states[DELIVERY_PENDING] + campaign->states[DELIVERY_SENDING] == 0;
}

static json_t *time_left(const struct storage_campaign *campaign, const char *limited_by, double rate_now)
{
    int64_t left =
        campaign->states[DELIVERY_PENDING] + campaign->states[DELIVERY_SENDING] + campaign->states[DELIVERY_DEFERRED];
    bool ended = campaign->status == CAMPAIGN_FINISHED || campaign->status == CAMPAIGN_CANCELLED;
    if (ended || (left == 0 && campaign->status == CAMPAIGN_RUNNING))
        return json_integer(0);
    if (campaign->status != CAMPAIGN_RUNNING || waits_for_a_time(campaign, limited_by) || !(rate_now > 0.01))
        return json_null();
    return json_integer((json_int_t)ceil((double)left / rate_now));
}

static const char *limit_of(const struct storage_campaign *campaign, struct mailer *mailer, double *rate_now)
{
    *rate_now = 0;
    switch (campaign->status) {
    case CAMPAIGN_RUNNING:
        return mailer != NULL ? mailer_campaign_limit(mailer, campaign->id, rate_now) : "nothing";
    case CAMPAIGN_PAUSED:
        return campaign->pause_reason[0] != '\0' ? "guard" : "paused";
    case CAMPAIGN_FINISHED:
    case CAMPAIGN_CANCELLED:
        return "finished";
    case CAMPAIGN_DRAFT:
    case CAMPAIGN_SCHEDULED:
    case CAMPAIGN_STATUS_COUNT:
    default:
        return "nothing";
    }
}

json_t *view_campaign_stats(const struct storage_campaign *campaign, struct mailer *mailer)
{
    double rate_now;
    const char *limited_by = limit_of(campaign, mailer, &rate_now);
    json_t *stats = json_pack("{s:s, s:I}", "status", campaign_status_name(campaign->status), "audience",
                              (json_int_t)campaign->audience);
    json_t *states = view_states(campaign->states);
    (void)json_object_update(stats, states);
    json_decref(states);
    json_t *rest = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:s, s:o}", "opened", (json_int_t)campaign->opened, "clicked",
        (json_int_t)campaign->clicked, "unsubscribed", (json_int_t)campaign->unsubscribed, "complained",
        (json_int_t)campaign->complained, "hard_bounced", (json_int_t)campaign->hard_bounced, "pause_reason",
        campaign->status == CAMPAIGN_PAUSED && campaign->pause_reason[0] != '\0' ? json_line(campaign->pause_reason)
                                                                                 : json_null(),
        "rate_now", rate_json(rate_now), "limited_by", limited_by, "eta_s", time_left(campaign, limited_by, rate_now));
    (void)json_object_update(stats, rest);
    json_decref(rest);
    return stats;
}

static json_t *id_array(const int64_t *ids, int count)
{
    json_t *array = json_array();
    for (int i = 0; i < count && i < CAMPAIGN_LISTS_MAX; i++)
        (void)json_array_append_new(array, json_integer(ids[i]));
    return array;
}

json_t *view_campaign(const struct storage_campaign *campaign, struct mailer *mailer)
{
    return json_pack(
        "{s:I, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:o, s:o, s:o}", "id", (json_int_t)campaign->id,
        "name", json_line(campaign->name), "kind", campaign->messages ? "messages" : "campaign", "status",
        campaign_status_name(campaign->status), "lists", id_array(campaign->lists, campaign->list_count),
        "exclude_lists", id_array(campaign->excluded, campaign->excluded_count), "created_at",
        json_time(campaign->created_ms), "scheduled_at", json_time(campaign->scheduled_ms), "launched_at",
        json_time(campaign->launched_ms), "finished_at", json_time(campaign->finished_ms), "expires_after_s",
        (json_int_t)(campaign->expires_after_ms / 1000), "missing_attributes", (json_int_t)campaign->missing_attributes,
        "first_delivery_at", json_time(campaign->first_delivery_ms), "last_delivery_at",
        json_time(campaign->last_delivery_ms), "stats", view_campaign_stats(campaign, mailer));
}

json_t *view_campaign_detail(const struct storage_campaign *campaign, struct mailer *mailer)
{
    json_t *object = view_campaign(campaign, mailer);
    (void)json_object_set_new(object, "content", json_attributes(campaign->spec));
    return object;
}
