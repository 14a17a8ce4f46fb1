/*
 * record.h - where a domain wants its TLS reports: the TXT record of _smtp._tls.DOMAIN (RFC 8460 section 3). Pure.
 */
#ifndef POSTHASTE_CAMPAIGN_TLSRPT_RECORD_H
#define POSTHASTE_CAMPAIGN_TLSRPT_RECORD_H

#include "base/address.h"
#include "engine/engine.h"

#define TLSRPT_PLACES_MAX 4 /* of one record; more are not reported to */
#define TLSRPT_URI_BYTES 512

struct tlsrpt_place {
    bool mail;
    char uri[TLSRPT_URI_BYTES];      /* an address in normal form, or "https://…" */
    char host[DOMAIN_MAX_BYTES + 1]; /* of https */
};
struct tlsrpt_record {
    size_t count; /* 0 = no reports are wanted, or nobody can tell where */
    struct tlsrpt_place places[TLSRPT_PLACES_MAX];
};

/* Of the records at the name, any bytes: exactly one has to begin with "v=TLSRPTv1" (section 3), else there is none. */
void tlsrpt_record_read(const struct resolve_record *records, size_t count, struct tlsrpt_record *out);

#endif
