/*
 * tls_tell.c - what was told of a connection is kept as hashes of domains: two domains that share one would be counted
 * as one, in a report that is a statistic anyway. A connection that serves more domains than TOLD_MAX has told enough.
 */
#include "engine/site/tls_tell.h"

#include <stdlib.h>
#include <string.h>

#include "engine/net/sts.h"

#define TOLD_MAX 1024u
#define TOLD_STEP 16u
#define POLICY_BYTES ((size_t)20 << 10) /* STS_MX_MAX names of 253 bytes */
#define RECORD_SHOWN_BYTES 64           /* of a TLSA record's data: a digest whole, the beginning of a certificate */

static uint64_t hash_of(const char *domain)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (; *domain != '\0'; domain++)
        hash = (hash ^ (unsigned char)*domain) * 0x100000001b3u;
    return hash;
}

static bool is_new(struct conn *conn, const char *domain)
{
    uint64_t hash = hash_of(domain);
    for (uint32_t i = 0; i < conn->told_count; i++)
        if (conn->told[i] == hash)
            return false;
    if (conn->told_count == TOLD_MAX)
        return false;
    if (conn->told_count % TOLD_STEP == 0) {
        uint64_t *more = reallocarray(conn->told, conn->told_count + TOLD_STEP, sizeof *more);
        if (more == NULL)
            return false;
        conn->told = more;
    }
    conn->told[conn->told_count++] = hash;
    return true;
}

static void write_sts(const struct sts_policy *policy, struct buffer *out)
{
    buffer_printf(out, "version: STSv1\nmode: %s\n", policy->mode == STS_ENFORCE ? "enforce" : "testing");
    for (size_t i = 0; i < policy->mx_count; i++)
        buffer_printf(out, "mx: %s\n", policy->mx[i]);
    buffer_printf(out, "max_age: %lld\n", (long long)policy->max_age_s);
}

static void write_dane(const struct tls_dane *dane, struct buffer *out)
{
    for (size_t i = 0; dane != NULL && i < dane->count; i++) {
        const struct tls_dane_record *record = &dane->records[i];
        buffer_printf(out, "%u %u %u ", record->usage, record->selector, record->matching);
        for (size_t at = 0; at < record->len && at < RECORD_SHOWN_BYTES; at++)
            buffer_printf(out, "%02x", record->data[at]);
        buffer_append_str(out, record->len > RECORD_SHOWN_BYTES ? "...\n" : "\n");
    }
}

static bool is_listened_to(const struct site *site)
{
    return site->dispatch->callbacks.tls_session != NULL && site->route == NULL && !site->any_tls;
}

void tls_tell_session(const struct lane *lane, struct conn *conn, enum tls_rule rule, enum tls_result result)
{
    char local[STREAM_ADDRESS_TEXT_BYTES] = "";
    if (!is_listened_to(conn->site) || !is_new(conn, lane->name))
        return;
    struct buffer policy = BUFFER_INIT(POLICY_BYTES);
    if (rule == TLS_RULE_DANE)
        write_dane(conn->dane, &policy);
    else if (rule != TLS_RULE_NONE)
        write_sts(lane->sts, &policy);
    if (conn->source->address.len > 0)
        (void)stream_address_text(&conn->source->address, local);
    const struct engine_tls_session session = {.domain = lane->name,
                                               .rule = rule,
                                               .result = result,
                                               .mx_host = conn->host,
                                               .address = conn->where,
                                               .source = local,
                                               .policy = buffer_text(&policy)};
    conn->dispatch->callbacks.tls_session(conn->dispatch->callbacks.context, &session);
    buffer_finish(&policy);
}

void tls_tell_all(struct site *site, const struct outcome *why)
{
    size_t told = 0;
    if (!is_listened_to(site))
        return;
    list_for_each(node, &site->lanes_all)
    {
        const struct lane *lane = list_entry(node, struct lane, node);
        if (lane_jobs(lane) == 0)
            continue;
        const struct engine_tls_session session = {.domain = lane->name,
                                                   .rule = why->tls_rule,
                                                   .result = why->tls_result,
                                                   .mx_host = why->mx_host,
                                                   .address = why->address,
                                                   .source = "",
                                                   .policy = ""};
        site->dispatch->callbacks.tls_session(site->dispatch->callbacks.context, &session);
        if (++told == TLS_TELL_ALL_MAX)
            return;
    }
}
