/*
 * transport.h - may mail of this domain go over this connection? What MTA-STS (RFC 8461) and DANE (RFC 7672) demand of
 * it.
 *
 * DANE is a matter of the host and is settled before a connection is made (dane.h); a connection that it has proved
 * satisfies every policy. MTA-STS is a matter of the recipient domain: its mail may ride only with a server that its
 * policy names and whose certificate is good, while other domains of the site go on. A lane that may not use one
 * connection steps aside until there is one to another server; its mail ends only when no server is left that could do
 * (RFC 8461 section 5.1: the next MX is tried). Loop thread only.
 */
#ifndef POSTHASTE_ENGINE_SITE_TRANSPORT_H
#define POSTHASTE_ENGINE_SITE_TRANSPORT_H

#include "engine/site/site.h"
#include "engine/smtp/session.h"

/* False: `why` (OUTCOME_TRANSPORT, stage TLS) is what becomes of the lane's mail. */
bool transport_allows(const struct lane *lane, struct conn *conn, struct outcome *why);
/* As far as is known without asking it: could this server do for the lane's mail? */
bool transport_may_do(const struct lane *lane, const char *host, const char *where);
/* Mail of the lane may wait for this connection, or for what comes of it. */
bool transport_promises(const struct lane *lane, const struct conn *conn);
void transport_unproved(struct conn *conn); /* for a while its server will not do for a policy that is enforced */
/* The job, one of the lane's, goes over it: what holds for it now is noted in the job. */
void transport_used(const struct lane *lane, struct conn *conn, struct engine_job *job);
/* Settles how the connection is to be secured; false: the host must not be used now. *wait: ask again when the site is
 * served next. */
bool transport_prepare(struct conn *conn, const struct nexthop_host *host);
bool transport_host_usable(struct site *site, const struct nexthop_host *host, bool *wait);
void transport_forget(struct conn *conn); /* its end */
/* The handshake is done. */
void transport_secured(struct conn *conn, const struct tls_info *info);
/* Writes the rule that held for the attempt, and how it went: the policy may be another one by now. `conn`: that the
 * message was given to; NULL = none, and what `outcome` says of it already stands. */
void transport_stamp(const struct engine_job *job, const struct conn *conn, struct outcome *outcome);
/* The same of a connection that ended: only DANE is a matter of the connection, whatever mail it was meant for. */
void transport_stamp_failure(const struct conn *conn, enum session_end end, struct outcome *why);

#endif
