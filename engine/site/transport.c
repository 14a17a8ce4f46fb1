/*
 * transport.c - policies of others about how their mail travels.
 */
#include "engine/site/transport.h"

#include <string.h>

#include "base/str.h"
#include "engine/net/sts.h"
#include "engine/site/dane.h"
#include "engine/site/hosts.h"
#include "engine/site/pool.h"

bool transport_allows(const struct lane *lane, const struct conn *conn, struct outcome *why)
{
    const struct sts_policy *policy = lane->sts;
    struct dispatch *dispatch = conn->dispatch;
    if (policy == NULL || policy->mode == STS_NONE || conn->dane_proved)
        return true;
    bool matches = sts_policy_matches(policy, conn->host);
    if (matches && conn->verified) {
        dispatch->policies.sts_good++;
        return true;
    }
    if (policy->mode == STS_TESTING) {
        dispatch->policies.sts_testing_bad++;
        return true;
    }
    dispatch->policies.sts_bad++;
    const char *reason = !matches                          ? "is not a mail host that the policy names"
                         : conn->unverified_why[0] != '\0' ? conn->unverified_why
                                                           : "TLS is not to be had";
    outcome_set(why, OUTCOME_TRANSPORT, STAGE_TLS, "MTA-STS policy of %s (enforce) does not let mail go to %s: %s",
                lane->name, conn->host, reason);
    (void)str_copy(why->enhanced, sizeof why->enhanced, "4.7.10");
    (void)str_copy(why->mx_host, sizeof why->mx_host, conn->host);
    (void)str_copy(why->address, sizeof why->address, conn->where);
    (void)str_copy(why->source, sizeof why->source, conn->source->name);
    return false;
}

bool transport_host_usable(struct site *site, const struct nexthop_host *host, bool *wait)
{
    const char *reason = "";
    struct outcome why;
    char where[STREAM_ADDRESS_TEXT_BYTES];
    enum dane_state state = dane_look(site->dispatch, host, NULL, &reason);
    *wait = state == DANE_ASKING;
    if (state != DANE_FAILED)
        return !*wait;
    site->dispatch->policies.dane_unknown++;
    outcome_set(&why, OUTCOME_TRANSPORT, STAGE_DNS, "look-up of the TLSA records of %s failed: %s", host->name, reason);
    (void)str_copy(why.enhanced, sizeof why.enhanced, "4.7.5");
    (void)str_copy(why.mx_host, sizeof why.mx_host, host->name);
    hosts_failed(site, stream_address_text(&host->address, where), &why);
    return false;
}

bool transport_prepare(struct conn *conn, const struct nexthop_host *host)
{
    const struct tls_dane *records = NULL;
    const char *reason = "";
    if (conn->site->route != NULL)
        return true;
    switch (dane_look(conn->dispatch, host, &records, &reason)) {
    case DANE_NONE:
        return true;
    case DANE_ASKING:
    case DANE_FAILED:
        return false;
    case DANE_USABLE:
        conn->dane = *records;
        break;
    case DANE_ANY:
        break;
    }
    conn->dane_wanted = true;
    if (conn->tls == TLS_NONE || conn->tls == TLS_OPPORTUNISTIC)
        conn->tls = TLS_REQUIRED;
    return true;
}

void transport_secured(struct conn *conn, const struct tls_info *info)
{
    conn->verified = info->verified && !info->dane;
    conn->dane_proved = info->dane;
    (void)str_copy(conn->unverified_why, sizeof conn->unverified_why, info->why_not);
    if (conn->dane_wanted)
        conn->dispatch->policies.dane_good++;
}

void transport_note_failure(struct conn *conn)
{
    if (conn->dane_wanted)
        conn->dispatch->policies.dane_bad++;
}
