/*
 * hosts.h - where a site's servers are, which of them is tried next, and what a failure to reach them means.
 *
 * An address that cannot be connected to is left alone for a minute while another one will do; only when none is left
 * the site as a whole waits, longer each time. Loop thread only.
 */
#ifndef POSTHASTE_ENGINE_SITE_HOSTS_H
#define POSTHASTE_ENGINE_SITE_HOSTS_H

#include "engine/site/site.h"

/* Takes over what the answer says (found); false = no memory, and the site waits a little. */
bool hosts_set(struct site *site, const struct nexthop_answer *answer);
void hosts_forget(struct site *site);

/* False while it is not known where to go; asks, if that is the site's own matter (a route). */
bool hosts_known(struct site *site);
/* The host for the next connection: at random among the best that are not known to be down. Needs hosts_known(). `lane`
 * (may be NULL) wants one that may do for it (transport.h), if there is any. */
const struct nexthop_host *hosts_pick(struct site *site, const struct lane *lane);
bool hosts_have_one_for(const struct lane *lane); /* that may do, and is not known to be down */
/* True when the site has an address besides `where` that is not known to be down. */
bool hosts_have_other(const struct site *site, const char *where);

/* A connection to `where` (see stream_address_text()) carried no message; NULL = no address of the site is to blame. */
void hosts_failed(struct site *site, const char *where, const struct outcome *why);
void hosts_pass_over(struct site *site, const char *where); /* it takes no more: for a while others are tried first */
void hosts_answered(struct site *site);                     /* a server of the site answered for a message */

#endif
