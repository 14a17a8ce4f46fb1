/*
 * transport.c - policies of others about how their mail travels.
 */
#include "engine/site/transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "engine/net/sts.h"
#include "engine/site/dane.h"
#include "engine/site/hosts.h"
#include "engine/site/pool.h"
#include "engine/site/tls_tell.h"

/* How long a server is passed over for what its TLS did not prove, while another may do. Shorter than the first retry
 * of the usual schedule, so that each attempt looks anew. */
#define UNPROVED_MS ((int64_t)200000)

static enum tls_rule rule_of(const struct lane *lane)
{
    if (lane->sts == NULL || lane->sts->mode == STS_NONE)
        return TLS_RULE_NONE;
    return lane->sts->mode == STS_ENFORCE ? TLS_RULE_STS_ENFORCE : TLS_RULE_STS_TESTING;
}

/* A certificate is a name's: what one host of an address does not prove another may. */
#define PROOF_BYTES (sizeof(((struct conn *)0)->host) + 1 + STREAM_ADDRESS_TEXT_BYTES)
static const char *proof_of(const char *host, const char *where, char out[PROOF_BYTES])
{
    (void)snprintf(out, PROOF_BYTES, "%s %s", host, where);
    return out;
}

/* Why a connection is in clear text: its server offers no TLS, or none that works. */
static enum tls_result lacks_tls(const struct conn *conn)
{
    const struct dispatch *dispatch = conn->dispatch;
    bool tried = conn->tls_skipped ||
                 memory_knows(&dispatch->memory, conn->where, MEMORY_NO_TLS, dispatch->loop.now_ms);
    return tried ? TLS_RESULT_VALIDATION : TLS_RESULT_NO_STARTTLS;
}

/* The lane's mail over this connection, which takes messages: the rule and how it goes. `reason` is for people. */
static enum tls_result judge(const struct lane *lane, const struct conn *conn, enum tls_rule *rule, const char **reason)
{
    *rule = rule_of(lane);
    *reason = "";
    if (conn->dane_proved || (conn->dane_wanted && *rule == TLS_RULE_NONE)) {
        *rule = TLS_RULE_DANE;
        /* TLSA records of which none is of use demand no more than TLS, but their owner should know. */
        return conn->dane_proved ? TLS_RESULT_OK : TLS_RESULT_TLSA_INVALID;
    }
    if (*rule == TLS_RULE_NONE)
        return lane->sts_fault;
    if (!sts_policy_matches(lane->sts, conn->host)) {
        *reason = "is not a mail host that the policy names";
        return TLS_RESULT_VALIDATION;
    }
    if (conn->verified)
        return TLS_RESULT_OK;
    if (conn->unverified != TLS_RESULT_NONE) {
        *reason = conn->unverified_why;
        return conn->unverified;
    }
    *reason = "TLS is not to be had";
    return lacks_tls(conn);
}

static bool is_satisfied(const struct lane *lane, const struct conn *conn, enum tls_rule *rule, enum tls_result *result,
                         const char **reason)
{
    if (rule_of(lane) != TLS_RULE_STS_ENFORCE)
        return true;
    *result = judge(lane, conn, rule, reason);
    return *rule != TLS_RULE_STS_ENFORCE || *result == TLS_RESULT_OK;
}

bool transport_may_do(const struct lane *lane, const char *host, const char *where)
{
    const struct dispatch *dispatch = lane->site->dispatch;
    char proof[PROOF_BYTES];
    return rule_of(lane) != TLS_RULE_STS_ENFORCE ||
           (sts_policy_matches(lane->sts, host) &&
            !memory_knows(&dispatch->memory, proof_of(host, where, proof), MEMORY_UNPROVED, dispatch->loop.now_ms));
}

bool transport_promises(const struct lane *lane, const struct conn *conn)
{
    enum tls_rule rule;
    enum tls_result result;
    const char *reason;
    if (conn->quitting || conn->tls_skipped)
        return false;
    return conn->ready ? is_satisfied(lane, conn, &rule, &result, &reason)
                       : conn->starting && transport_may_do(lane, conn->host, conn->where);
}

void transport_unproved(struct conn *conn)
{
    struct dispatch *dispatch = conn->dispatch;
    char proof[PROOF_BYTES];
    memory_note(&dispatch->memory, proof_of(conn->host, conn->where, proof), MEMORY_UNPROVED,
                dispatch->loop.now_ms + UNPROVED_MS);
}

bool transport_allows(const struct lane *lane, struct conn *conn, struct outcome *why)
{
    enum tls_rule rule;
    enum tls_result result;
    const char *reason;
    if (is_satisfied(lane, conn, &rule, &result, &reason))
        return true;
    if (!conn->tls_skipped && sts_policy_matches(lane->sts, conn->host))
        transport_unproved(conn);
    tls_tell_session(lane, conn, rule, result);
    outcome_set(why, OUTCOME_TRANSPORT, STAGE_TLS, "MTA-STS policy of %s (enforce) does not let mail go to %s: %s",
                lane->name, conn->host, reason);
    why->tls_rule = rule;
    why->tls_result = result;
    (void)str_copy(why->enhanced, sizeof why->enhanced, "4.7.10");
    (void)str_copy(why->mx_host, sizeof why->mx_host, conn->host);
    (void)str_copy(why->address, sizeof why->address, conn->where);
    (void)str_copy(why->source, sizeof why->source, conn->source->name);
    return false;
}

void transport_used(const struct lane *lane, struct conn *conn, struct engine_job *job)
{
    const char *reason;
    job->tls_result = judge(lane, conn, &job->tls_rule, &reason);
    if (conn->dispatch->callbacks.tls_session == NULL)
        return;
    enum tls_rule rule = job->tls_rule;
    enum tls_result result = job->tls_result;
    if (rule == TLS_RULE_NONE && result == TLS_RESULT_NONE)
        result = conn->wire.tls != NULL ? TLS_RESULT_OK : lacks_tls(conn);
    if (rule != TLS_RULE_NONE || conn->tls != TLS_NONE)
        tls_tell_session(lane, conn, rule, result);
}

void transport_stamp(const struct engine_job *job, const struct conn *conn, struct outcome *outcome)
{
    if (conn != NULL) { /* whatever the last message of this connection left there */
        outcome->tls_rule = job->tls_rule;
        outcome->tls_result = job->tls_result;
    } else if (outcome->tls_rule == TLS_RULE_NONE) {
        outcome->tls_rule = rule_of(job->owner); /* it never came to a handshake */
    }
}

void transport_stamp_failure(const struct conn *conn, enum session_end end, struct outcome *why)
{
    if (!conn->dane_wanted)
        return;
    why->tls_rule = TLS_RULE_DANE;
    if (why->stage != STAGE_TLS)
        return;
    if (end == SESSION_END_REFUSED)
        why->tls_result = TLS_RESULT_NO_STARTTLS;
    else
        why->tls_result = conn->wire.tls != NULL ? tls_fault_result(conn->wire.tls) : TLS_RESULT_VALIDATION;
    tls_tell_all(conn->site, why);
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
    outcome_set(&why, OUTCOME_TRANSPORT, STAGE_DNS, "look-up of the TLSA records of %s failed: %s", host->name, reason);
    why.tls_rule = TLS_RULE_DANE;
    why.tls_result = TLS_RESULT_DNSSEC_INVALID;
    (void)str_copy(why.enhanced, sizeof why.enhanced, "4.7.5");
    (void)str_copy(why.mx_host, sizeof why.mx_host, host->name);
    (void)str_copy(why.address, sizeof why.address, stream_address_text(&host->address, where));
    tls_tell_all(site, &why);
    hosts_failed(site, where, &why);
    return false;
}

bool transport_prepare(struct conn *conn, const struct nexthop_host *host)
{
    const char *reason = "";
    if (conn->site->route != NULL || conn->site->any_tls)
        return true;
    switch (dane_look(conn->dispatch, host, &conn->dane, &reason)) {
    case DANE_NONE:
        return true;
    case DANE_ASKING:
    case DANE_FAILED:
        return false;
    case DANE_USABLE:
    case DANE_ANY:
        break;
    }
    conn->dane_wanted = true;
    if (conn->tls == TLS_NONE || conn->tls == TLS_OPPORTUNISTIC)
        conn->tls = TLS_REQUIRED;
    return true;
}

void transport_forget(struct conn *conn)
{
    dane_release(conn->dane);
    free(conn->told);
}

void transport_secured(struct conn *conn, const struct tls_info *info)
{
    struct memory *memory = &conn->dispatch->memory;
    char proof[PROOF_BYTES];
    conn->verified = info->verified && !info->dane;
    memory_forget(memory, conn->where, MEMORY_NO_TLS);
    if (conn->verified)
        memory_forget(memory, proof_of(conn->host, conn->where, proof), MEMORY_UNPROVED);
    conn->dane_proved = info->dane;
    conn->unverified = info->verified ? TLS_RESULT_NONE : info->result;
    (void)str_copy(conn->unverified_why, sizeof conn->unverified_why, info->why_not);
}
