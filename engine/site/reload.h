/*
 * reload.h - another configuration under a running engine: what one loop does to take it over.
 *
 * Everything that can fail for what the configuration says (addresses, passwords, rules) is made before, on the thread
 * that asks; the loop takes it between two turns, in one go, and closes nothing. What a site, a source, a domain, a
 * sender or the machine may do is changed in place: what was counted stays counted (bounds_change()), what was learnt
 * stays learnt, and a measure or a suspension in force stays in force.
 *
 * Where mail would now go another way, the way is left in order: jobs that wait go back to the door and find their
 * site anew (another route, another profile); connections that would be made otherwise today (another next hop, source,
 * TLS policy), or of which there are now too many, end after what is under way on them.
 */
#ifndef POSTHASTE_ENGINE_SITE_RELOAD_H
#define POSTHASTE_ENGINE_SITE_RELOAD_H

#include "engine/site/dispatch.h"

struct reload_order {
    struct dispatch_order order;
    const struct config *config; /* held */
    struct rules *rules;         /* held */
    struct dispatch_login **logins;
    struct source_pool sources;
    struct source **room; /* for all sources that there ever were */
    size_t room_count;
    struct mx_address *own;
};

/* 0; -EINVAL and others when the configuration cannot be taken over. `sources_ever`: as in struct engine. */
int reload_make(const struct config *config, struct rules *rules, size_t sources_ever, struct reload_order **out,
                struct error *err) ATTR_MUSTCHECK;
void reload_free(struct reload_order *reload); /* one that no loop has got; NULL is allowed */

/* Limits that the loop shares with others: of the machine and the sources. -ENOMEM: not all of them; again later. */
int reshape_shared(struct dispatch *dispatch) ATTR_MUSTCHECK;

#endif
