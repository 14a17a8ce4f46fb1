/*
 * tally.h - what the attempts since the start came to, by provider and by stage: what /metrics shows. Public, included
 * through campaign/campaign.h.
 *
 * A provider is the domain of the server that was talked to ("google.com"), or its address where a route names one. The
 * first TALLY_PROVIDERS that are met keep a row of their own until the end, so that no counter ever falls; all that
 * come later are "other".
 */
#ifndef POSTHASTE_CAMPAIGN_OUTCOME_TALLY_H
#define POSTHASTE_CAMPAIGN_OUTCOME_TALLY_H

#include <stdint.h>

#include "base/outcome.h"

#define TALLY_PROVIDERS 30
#define TALLY_NAME_BYTES 64
#define TALLY_BOUNDS 13
extern const uint32_t tally_bounds_ms[TALLY_BOUNDS];

enum tally_stage {
    TALLY_QUEUE,    /* from the claim to MAIL */
    TALLY_CONNECT,  /* of a connection that was begun for the message */
    TALLY_TLS,      /* from its greeting to the end of the handshake */
    TALLY_ENVELOPE, /* from MAIL to the reply to RCPT */
    TALLY_CONTENT,  /* from there to the final reply */
    TALLY_STAGES
};
extern const char *const tally_stage_names[TALLY_STAGES];

struct tally_stage_times {
    uint64_t buckets[TALLY_BOUNDS + 1]; /* of those up to each bound, and longer ones; not added up */
    uint64_t count, total_ms;
};
struct tally_provider {
    char name[TALLY_NAME_BYTES];
    uint64_t outcomes[OUTCOME_UNCERTAIN + 1]; /* by class; the others never reach a server */
};
struct tally_view {
    struct tally_stage_times stages[TALLY_STAGES];
    struct tally_provider providers[TALLY_PROVIDERS + 1]; /* the last one is "other" */
    int provider_count;
};

#endif
