/*
 * mx.c - the finished set: references, order, matching, and what its failure means to a message.
 */
#include "engine/net/mx.h"

#include <stdlib.h>

#include "base/str.h"

static const struct {
    const char *name;
    enum outcome_class class_;
    uint16_t code; /* RFC 7505 section 4.2 names one for the null MX; elsewhere no server has spoken */
    const char *enhanced;
} statuses[] = {
    [MX_OK] = {"ok", OUTCOME_DELIVERED, 0, ""},
    [MX_NULL] = {"null-mx", OUTCOME_PERMANENT, 556, "5.1.10"},
    [MX_NO_DOMAIN] = {"no-domain", OUTCOME_PERMANENT, 0, "5.1.2"},
    [MX_NO_ADDRESS] = {"no-address", OUTCOME_PERMANENT, 0, "5.4.4"},
    [MX_REFUSED] = {"refused", OUTCOME_PERMANENT, 0, "5.4.4"},
    [MX_LOOP] = {"loop", OUTCOME_PERMANENT, 0, "5.4.6"},
    [MX_TEMPORARY] = {"temporary", OUTCOME_TRANSPORT, 0, "4.4.3"},
};

const char *mx_status_name(enum mx_status status)
{
    assure((size_t)status < countof(statuses));
    return statuses[status].name;
}

static uint32_t system_below(void *context, uint32_t bound)
{
    (void)context;
    return arc4random_uniform(bound);
}

const struct mx_random mx_random_system = {.below = system_below};

struct mx_set *mx_set_hold(struct mx_set *set)
{
    set->references++;
    return set;
}

void mx_set_release(struct mx_set *set)
{
    if (set == NULL)
        return;
    assure(set->references > 0);
    if (--set->references == 0)
        free(set);
}

static uint8_t random_start(const struct mx_random *random, uint8_t count)
{
    return count > 1 ? (uint8_t)random->below(random->context, count) : 0;
}

/* Targets of one host, families in turn; the rest of the longer family follows. */
static size_t order_host(const struct mx_set *set, const struct mx_host *host, const struct mx_random *random,
                         struct mx_target *out)
{
    size_t count = 0;
    const struct mx_address *v6 = set->addresses + host->first;
    const struct mx_address *v4 = v6 + host->v6_count;
    uint8_t v6_start = random_start(random, host->v6_count), v4_start = random_start(random, host->v4_count);
    for (uint8_t i = 0; i < host->v6_count || i < host->v4_count; i++) {
        if (i < host->v6_count)
            out[count++] = (struct mx_target){host, v6 + (v6_start + i) % host->v6_count};
        if (i < host->v4_count)
            out[count++] = (struct mx_target){host, v4 + (v4_start + i) % host->v4_count};
    }
    return count;
}

size_t mx_set_order(const struct mx_set *set, const struct mx_random *random, struct mx_target out[MX_ADDRESSES_MAX])
{
    uint8_t order[MX_HOSTS_MAX];
    assure(set->host_count <= MX_HOSTS_MAX && set->address_count <= MX_ADDRESSES_MAX);
    for (uint8_t i = 0; i < set->host_count; i++)
        order[i] = i;
    /* Fisher-Yates inside each run of equal preference. */
    for (uint8_t from = 0, to; from < set->host_count; from = to) {
        for (to = (uint8_t)(from + 1); to < set->host_count && set->hosts[to].preference == set->hosts[from].preference;
             to++)
            ;
        for (uint8_t left = (uint8_t)(to - from); left > 1; left--) {
            uint8_t pick = (uint8_t)(from + random->below(random->context, left)), last = (uint8_t)(from + left - 1);
            uint8_t swap = order[pick];
            order[pick] = order[last];
            order[last] = swap;
        }
    }
    size_t count = 0;
    for (uint8_t i = 0; i < set->host_count; i++)
        count += order_host(set, &set->hosts[order[i]], random, out + count);
    assure(count == set->address_count);
    return count;
}

bool mx_set_matches(const struct mx_set *set, const char *const *patterns, size_t count)
{
    for (size_t i = 0; i < set->host_count; i++) {
        size_t at = 0;
        while (at < count && !mx_name_matches(set->hosts[i].name, patterns[at]))
            at++;
        if (at == count)
            return false;
    }
    return set->host_count > 0;
}

void mx_set_outcome(const struct mx_set *set, struct outcome *outcome)
{
    assure(set->status != MX_OK);
    outcome_set(outcome, statuses[set->status].class_, STAGE_DNS, "%s", set->text);
    outcome->code = statuses[set->status].code;
    /* A domain that has no host at all is a bad address; one whose hosts have no address is bad routing. */
    const char *enhanced = set->status == MX_NO_ADDRESS && set->implicit ? "5.1.2" : statuses[set->status].enhanced;
    (void)str_copy(outcome->enhanced, sizeof outcome->enhanced, enhanced);
}
