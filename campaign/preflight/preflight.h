/*
 * preflight.h - checks of a running server: kept for a while, asked for at a launch, repeated daily while campaigns
 * run. Private to the room; what others call stands in campaign.h.
 */
#ifndef POSTHASTE_CAMPAIGN_PREFLIGHT_PREFLIGHT_H
#define POSTHASTE_CAMPAIGN_PREFLIGHT_PREFLIGHT_H

#include "campaign/campaign.h"

struct preflight;

int preflight_start(const struct config *config, struct config_live *live, struct storage *storage, struct resolver *resolver,
                    struct preflight **out, struct error *err) ATTR_MUSTCHECK;
void preflight_stop(struct preflight *preflight); /* NULL is harmless */

/* The report on a domain, not older than a few minutes (seconds, when it has errors); a new reference.
 * STORAGE_NOT_FOUND. */
int preflight_report(struct preflight *preflight, struct storage_reader *reader, const char *domain, json_t **out,
                     struct error *err) ATTR_MUSTCHECK;

/* The same for the From domain of a spec, for its effect on a launch soon after. */
void preflight_warm(struct preflight *preflight, struct storage_reader *reader, const json_t *spec);

/* May a campaign with this spec be launched? 0, or CAMPAIGN_NOT_READY with problem->preflight. Failures of the check
 * itself do not hold up a launch. `first`: its first message, to be verified with the keys in DNS; NULL = not yet. */
struct composed;
int preflight_launch(struct preflight *preflight, struct storage_reader *reader, const json_t *spec,
                     const struct composed *first, bool force, struct problem *problem,
                     struct error *err) ATTR_MUSTCHECK;

#endif
