/*
 * dane.h - the TLSA records of mail hosts (RFC 7672), looked up before the first connection to each, kept while they
 * live.
 *
 * Only for hosts whose addresses are proved by DNSSEC (section 2.2.2). A look-up that fails, or whose answer is forged,
 * makes the host unusable for a while: mail waits, and never goes with less protection than its owner asks for. Records
 * that prove nothing here (PKIX usages, unknown digests) still ask for TLS, with any certificate. Loop thread only.
 */
#ifndef POSTHASTE_ENGINE_SITE_DANE_H
#define POSTHASTE_ENGINE_SITE_DANE_H

#include "engine/net/nexthop.h"
#include "engine/site/dispatch.h"

enum dane_state {
    DANE_NONE,   /* the host has none */
    DANE_ASKING, /* not known yet; all sites are marked dirty when it is */
    DANE_USABLE, /* the certificate has to fit one of the records */
    DANE_ANY,    /* records, none of which we can use: TLS is demanded */
    DANE_FAILED, /* not to be connected to */
};

/* `records` (may be NULL) gets those of DANE_USABLE, held: dane_release() them. `why`: the reason of DANE_FAILED.
 */
enum dane_state dane_look(struct dispatch *dispatch, const struct nexthop_host *host, struct tls_dane **records,
                          const char **why);
/* The records that are of use among TLSA data in wire format: DANE_USABLE, DANE_ANY (none is), DANE_FAILED (no memory).
 */
enum dane_state dane_read(const char *const *data, const int *lens, size_t count, struct tls_dane **out);
void dane_release(struct tls_dane *records); /* NULL is harmless */
void dane_finish(struct dispatch *dispatch); /* forgets all, on the loop thread, before the resolver is closed */

#endif
