/*
 * tls_tell.h - tells of sessions as TLS reports count them (RFC 8460 section 4.2): once for each connection and domain,
 * however many messages it carries. Nothing is told where nobody listens, nor of routes. Loop thread only.
 */
#ifndef POSTHASTE_ENGINE_SITE_TLS_TELL_H
#define POSTHASTE_ENGINE_SITE_TLS_TELL_H

#include "engine/site/pool.h"

void tls_tell_session(const struct lane *lane, struct conn *conn, enum tls_rule rule, enum tls_result result);
/* A host that mail of the whole site was meant for, and did not get to (`why` says the rest): told for each domain that
 * waits, TLS_TELL_ALL_MAX of them at most. */
#define TLS_TELL_ALL_MAX 256
void tls_tell_all(struct site *site, const struct outcome *why);

#endif
