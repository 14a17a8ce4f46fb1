/*
 * spf.h - what a receiver that follows RFC 7208 makes of mail from one address of ours: check_host() of section 4, all
 * mechanisms, macros, the limits of section 4.6.4. Pure: answers in, verdict out.
 *
 * Explanations (exp=) are checked for their syntax and never fetched: nobody is refused here.
 */
#ifndef POSTHASTE_CAMPAIGN_PREFLIGHT_SPF_H
#define POSTHASTE_CAMPAIGN_PREFLIGHT_SPF_H

#include "campaign/preflight/lookup.h"

enum spf_result { SPF_NONE, SPF_NEUTRAL, SPF_PASS, SPF_FAIL, SPF_SOFTFAIL, SPF_TEMPERROR, SPF_PERMERROR };
const char *spf_result_name(enum spf_result result); /* "none", … "permerror" */

#define SPF_LOOKUPS_MAX 10 /* terms that ask the DNS; RFC 7208 section 4.6.4 */
#define SPF_VOID_MAX 2     /* of them, without an answer */

struct spf_query {
    const char *ip;     /* address literal of the client; ::ffff:192.0.2.1 is 192.0.2.1 */
    const char *domain; /* of the return path, or the EHLO name */
    const char *sender; /* return path; without a local part it is postmaster's */
    const char *helo;
    bool exhaust; /* go on as if no mechanism matched: what the record costs at most. The result is neutral or an error
                   */
    bool read; /* only whether there is one record that can be read, whoever the client is: neutral, none or an error */
};

struct spf_verdict {
    enum spf_result result;
    unsigned lookups; /* terms that asked */
    unsigned voids;
    char term[128]; /* the one that decided, as written; "" = none did */
    char why[256];  /* TEMPERROR, PERMERROR: one sentence; else "" */
};

void spf_check(struct lookup *lookup, const struct spf_query *query, struct spf_verdict *out);

/* The one SPF record among the TXT records of the name: its index, -1 = none, -2 = several. */
int spf_find_record(const struct resolve_answer *answer);

#endif
