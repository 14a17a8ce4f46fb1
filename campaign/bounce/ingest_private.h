/*
 * ingest_private.h - the state of an intake; private to campaign/bounce.
 */
#ifndef POSTHASTE_CAMPAIGN_BOUNCE_INGEST_PRIVATE_H
#define POSTHASTE_CAMPAIGN_BOUNCE_INGEST_PRIVATE_H

#include "dkim/digest.h"

#include "engine/engine.h"

#include "campaign/bounce/ingest.h"
#include "campaign/bounce/report.h"

#define INGEST_BATCH 500 /* changes in one transaction */

struct bounce_ingest {
    struct storage *storage;
    struct storage_reader *reader;
    struct bounce_rules *rules;
    struct token_ring *ring, *own_ring; /* brought up to date with each mail; the second to be freed */
    const struct config *whole;
    const struct config_bounces *config;
    struct resolver *resolver, *own_resolver;
    struct bounce_summary summary;
    struct report report;
    size_t pending_count;
    struct storage_feedback pending[INGEST_BATCH];
};

/* Is the source of an abuse report proven? 1 = yes, 0 = no, -EAGAIN = not to be known now. */
int ingest_source(struct bounce_ingest *ingest, const void *mail, size_t len);

#endif
