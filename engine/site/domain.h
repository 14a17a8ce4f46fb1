/*
 * domain.h - the way from a recipient domain to its site: by route, or by MX look-up, whose answer decides on which
 * loop and in which site the jobs go on.
 *
 * A domain belongs to the loop that its name's hash names, a site to the one that its key's hash names; jobs that have
 * to change the loop travel through the other loop's inbox. While a look-up runs the jobs wait here. A look-up that
 * fails is repeated at the cache's pace, once for the whole domain, however many jobs wait, and they wait until it
 * succeeds or they are asked back. An answer that is final (no such domain, null MX) ends them all with what it says.
 *
 * Loop thread only.
 */
#ifndef POSTHASTE_ENGINE_SITE_DOMAIN_H
#define POSTHASTE_ENGINE_SITE_DOMAIN_H

#include "engine/net/mx_lookup.h"
#include "engine/site/site.h"

struct domain {
    struct dispatch *dispatch;
    struct list node; /* of dispatch->domains_all */
    struct list jobs;
    uint32_t job_count;
    struct mx_query *query;            /* asked, not answered */
    struct mx_set *set;                /* found; waits for what MTA-STS says */
    int64_t lifetime_ms;               /* of set */
    struct dns_question *sts_question; /* the TXT record of _mta-sts */
    bool sts_fetching;                 /* the policy is being fetched */
    bool any_tls;                      /* of such jobs (engine.h) */
    bool sts_known;                    /* whatever it is */
    int64_t sts_until_ms;              /* the TXT record is not waited for longer */
    struct loop_timer timer;
    int64_t ask_ms;           /* not before */
    int64_t failing_since_ms; /* 0 = no look-up has failed */
    struct outcome trouble;
    char name[];
};

/* Takes jobs in (engine_job.node; their domains differ). job->taken_ms is set. */
void domain_take(struct dispatch *dispatch, struct engine_job *job);
/* The profile for a domain with these hosts, the best first. */
const struct config_profile *domain_profile(const struct config *config, const char *domain,
                                            const struct nexthop_host *hosts, size_t count);
/* Jobs of a site that is to be found anew go back to where they came in. Empties the list. */
void domain_send_home(struct dispatch *dispatch, struct list *jobs);
void domain_release(struct dispatch *dispatch, const struct site_release *release);
/* Forgets look-ups and domains; no job is left. */
void domain_finish_all(struct dispatch *dispatch);

#endif
