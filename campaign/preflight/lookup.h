/*
 * lookup.h - how the evaluators of this folder learn what is published: a question, an answer, and nothing of sockets
 * or clocks. Behind it stands the resolver (lookup.c) or a table of a test; private to the room.
 */
#ifndef POSTHASTE_CAMPAIGN_PREFLIGHT_LOOKUP_H
#define POSTHASTE_CAMPAIGN_PREFLIGHT_LOOKUP_H

#include "campaign/campaign.h"

struct lookup {
    /* Never NULL; lives as long as the lookup, and the same question gets the same answer. One thread. */
    const struct resolve_answer *(*ask)(struct lookup *lookup, const char *name, enum resolve_type type);
};

static inline const struct resolve_answer *lookup_ask(struct lookup *lookup, const char *name, enum resolve_type type)
{
    return lookup->ask(lookup, name, type);
}

/* A name that DNS can hold: labels of 1 to 63 bytes, 253 in all; one final dot is allowed. */
bool lookup_name_valid(const char *name);

/*
 * The real one: asks `resolver` and remembers. All questions together take until `deadline_ms` of the monotonic clock,
 * what is not answered by then counts as failed. lookup_ahead() sends a question without waiting, so that the time is
 * that of the slowest and not the sum.
 */
struct live_lookup;
struct live_lookup *live_lookup_create(struct resolver *resolver,
                                       int64_t deadline_ms) ATTR_MUSTCHECK; /* NULL = no memory */
void live_lookup_free(struct live_lookup *live); /* waits for what is asked; NULL is harmless */
struct lookup *live_lookup(struct live_lookup *live);
void lookup_ahead(struct live_lookup *live, const char *name, enum resolve_type type);

#endif
