/*
 * views.h - the things of the database and of the engine as JSON, the same in the HTTP API and in `--json` of the CLI.
 *
 * Each function gives a new reference, or NULL when there is no memory (which jansson's setters and response_json()
 * take in stride).
 */
#ifndef POSTHASTE_API_VIEWS_H
#define POSTHASTE_API_VIEWS_H

#include <jansson.h>

#include "campaign/campaign.h"
#include "engine/engine.h"
#include "storage/storage.h"

json_t *view_list(const struct storage_list *list);
json_t *view_member(const struct storage_member *member);     /* a recipient of a list */
json_t *view_membership(const struct storage_member *member); /* a list of a recipient */
json_t *view_recipient(const struct storage_recipient *recipient);
json_t *view_suppression(const struct storage_suppression *suppression);
/* What an intake of reports did, by what they were and what came of them. */
json_t *view_bounce_summary(const struct bounce_summary *summary);
json_t *view_token(const struct storage_token *token);
json_t *view_link_key(const struct storage_link_key *key);
/* With "dns":[{name,type,value}], what to publish, and the lives of its keys. */
json_t *view_domain(const struct storage_domain *domain, struct storage_reader *reader);
json_t *view_delivery(const struct storage_delivery *delivery);
json_t *view_message(const struct storage_message *message);
json_t *view_attempt(const struct storage_delivery *attempt);
json_t *view_link(const struct storage_link *link);
json_t *view_snippet(const struct storage_snippet *snippet, bool with_text);
json_t *view_minute(const struct storage_minute *minute);
json_t *view_limits(const struct engine_site_stats *site); /* of an explained site */
json_t *view_site(const struct engine_site_stats *site);
json_t *view_import_counts(const struct import_counts *counts);
json_t *view_states(const int64_t states[DELIVERY_STATE_COUNT]);

/* `mailer` NULL: no rate, no limit and no time left are known. */
json_t *view_campaign(const struct storage_campaign *campaign, struct mailer *mailer);
json_t *view_campaign_stats(const struct storage_campaign *campaign, struct mailer *mailer);
/* As view_campaign() with the posted "content". */
json_t *view_campaign_detail(const struct storage_campaign *campaign, struct mailer *mailer);

#endif
