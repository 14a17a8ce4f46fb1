/*
 * draft.h - a campaign as somebody posted it (DESIGN 5), checked field by field; private to the room.
 */
#ifndef POSTHASTE_CAMPAIGN_DRAFT_H
#define POSTHASTE_CAMPAIGN_DRAFT_H

#include "campaign/campaign.h"
#include "campaign/mailer.h"

struct draft {
    struct storage_campaign
        campaign;       /* what storage_campaign_create() takes; name, spec and segment belong to the draft */
    bool launch, force; /* at once; although the preflight check says no */
};

/* -EINVAL with every fault found in `problem`. draft_free() in any case. */
int draft_parse(const json_t *spec, struct storage_reader *reader, const struct config *config, struct draft *out,
                struct problem *problem, struct error *err) ATTR_MUSTCHECK;
/* Compiles the content, and that of each variant of an A/B test: what mailer_check_content() gives. */
int draft_check_content(struct mailer *mailer, struct storage_reader *reader, const json_t *spec,
                        const struct draft *draft, enum signature signature, struct problem *problem,
                        struct error *err) ATTR_MUSTCHECK;
void draft_free(struct draft *draft);

#endif
