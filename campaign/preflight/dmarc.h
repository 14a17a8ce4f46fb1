/*
 * dmarc.h - DMARC policies (RFC 7489): the record of a domain or of its organisational domain, and alignment. Pure.
 */
#ifndef POSTHASTE_CAMPAIGN_PREFLIGHT_DMARC_H
#define POSTHASTE_CAMPAIGN_PREFLIGHT_DMARC_H

#include "campaign/preflight/lookup.h"

enum dmarc_status { DMARC_FOUND, DMARC_MISSING, DMARC_SEVERAL, DMARC_BAD, DMARC_UNKNOWN };
enum dmarc_policy { DMARC_NONE, DMARC_QUARANTINE, DMARC_REJECT };

#define DMARC_URIS_MAX 10

struct dmarc {
    enum dmarc_status status;
    char name[300];           /* where it was found, or looked for last */
    char text[400];           /* the record, cut */
    bool inherited;           /* it is the organisational domain's */
    enum dmarc_policy policy; /* for mail from the domain: p=, or sp= when inherited */
    bool strict_dkim, strict_spf;
    bool percent_bad, other_bad;         /* pct= or another tag that cannot be read: receivers pass over it */
    char report_to[DMARC_URIS_MAX][300]; /* mailto addresses of rua= */
    size_t report_count;
    char why[200]; /* BAD, UNKNOWN */
};

void dmarc_look_up(struct lookup *lookup, const char *domain, struct dmarc *out);

/* The registrable domain by the Public Suffix List; the name itself when it has none. */
void organisational_domain(const char *domain, char out[256]);
bool dmarc_aligned(const char *from_domain, const char *other, bool strict);
const char *dmarc_policy_name(enum dmarc_policy policy);

#endif
