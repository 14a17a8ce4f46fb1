/*
 * mx_plan.c - a set in the making.
 *
 * Hosts are taken from the MX records before any address is known, and the site's key is made of all names that are
 * published, not of those that could be looked up today: it must not change when one of the provider's hosts is missing
 * for an hour.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "engine/net/mx.h"

#define SITE_KEY_MAX_BYTES ((size_t)MX_HOSTS_MAX * MX_NAME_BYTES + MX_NAME_BYTES + 64)
#define NO_PREFERENCE 65536u

struct family {
    enum { FAMILY_OPEN, FAMILY_DONE, FAMILY_FAILED } state; /* OPEN: no answer yet */
    bool secure;
    size_t count; /* usable addresses */
    struct mx_address addresses[MX_HOST_ADDRESSES_MAX];
};

struct plan_host {
    char name[MX_NAME_BYTES];
    uint16_t preference;
    struct family families[2]; /* [0] IPv6, [1] IPv4 */
};

struct mx_plan {
    const struct mx_policy *policy;
    enum mx_status verdict; /* MX_OK while the hosts decide */
    bool implicit, secure;
    bool more; /* hosts were left out: others are drawn next time */
    uint32_t ttl_s;
    size_t host_count;
    uint32_t own_preference; /* best preference at which a host is ourselves, or NO_PREFERENCE */
    char own_host[MX_NAME_BYTES];
    char refused_host[MX_NAME_BYTES], refused_address[MX_ADDRESS_TEXT_BYTES];
    char failed[MX_NAME_BYTES + 8]; /* "MX of example.com": the first look-up that failed ... */
    char reason[160];               /* ... and why */
    struct buffer site_key;
    char domain[MX_NAME_BYTES];
    struct plan_host hosts[MX_HOSTS_MAX];
};

struct record {
    uint32_t order; /* random, among equal preference */
    uint16_t preference;
    char name[MX_NAME_BYTES];
};

struct mx_plan *mx_plan_create(const char *domain, const struct mx_policy *policy)
{
    struct mx_plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL)
        return NULL;
    plan->policy = policy;
    plan->ttl_s = UINT32_MAX;
    plan->own_preference = NO_PREFERENCE;
    plan->site_key = BUFFER_INIT(SITE_KEY_MAX_BYTES);
    (void)str_copy(plan->domain, sizeof plan->domain, domain);
    str_make_line(plan->domain);
    return plan;
}

void mx_plan_free(struct mx_plan *plan)
{
    if (plan == NULL)
        return;
    buffer_finish(&plan->site_key);
    free(plan);
}

static void note_failure(struct mx_plan *plan, const char *type, const char *name, const char *reason)
{
    if (plan->failed[0] != '\0')
        return;
    (void)snprintf(plan->failed, sizeof plan->failed, "%s of %s", type, name);
    (void)str_copy(plan->reason, sizeof plan->reason, reason);
}

static int by_name(const void *a, const void *b)
{
    const struct record *x = a, *y = b;
    int r = strcmp(x->name, y->name);
    return r != 0 ? r : (int)x->preference - (int)y->preference;
}

static int by_preference(const void *a, const void *b)
{
    const struct record *x = a, *y = b;
    if (x->preference != y->preference)
        return (int)x->preference - (int)y->preference;
    return (x->order > y->order) - (x->order < y->order);
}

/* Records whose host is a name; `null_mx` tells of "." as the only record. Others are passed over: RFC 7505 section 3
 * wants "." to stand alone. */
static size_t read_records(const struct dns_answer *answer, struct record *out, bool *null_mx)
{
    size_t used = 0, count = MIN_OF(answer->count, (size_t)MX_RECORDS_MAX);
    *null_mx = false;
    for (size_t i = 0; i < count; i++) {
        const unsigned char *data = (const unsigned char *)answer->data[i];
        if (answer->lens[i] < 3)
            continue;
        enum mx_name_result result = mx_name_from_wire(data + 2, (size_t)answer->lens[i] - 2, out[used].name);
        if (result == MX_NAME_OK)
            out[used++].preference = (uint16_t)(data[0] << 8 | data[1]);
        else if (result == MX_NAME_ROOT && answer->count == 1)
            *null_mx = true;
    }
    return used;
}

/* Sorts by name and drops doubles; the better preference stays. */
static size_t drop_doubles(struct record *records, size_t count)
{
    size_t used = 0;
    qsort(records, count, sizeof *records, by_name);
    for (size_t i = 0; i < count; i++) {
        if (used > 0 && strcmp(records[used - 1].name, records[i].name) == 0)
            continue;
        if (used != i)
            records[used] = records[i];
        used++;
    }
    return used;
}

static int make_key(struct mx_plan *plan, const struct record *records, size_t count)
{
    const char **names = calloc(count, sizeof *names);
    if (names == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        names[i] = records[i].name;
    mx_site_key(names, count, MX_HOSTS_MAX, &plan->site_key);
    free(names);
    return plan->site_key.failed ? -ENOMEM : 0;
}

static int take_hosts(struct mx_plan *plan, struct record *records, size_t count, const struct mx_random *random)
{
    int r = make_key(plan, records, count);
    if (r < 0)
        return r;
    /* Random keys may tie, which qsort then decides: among 1,024 records that is one case in thousands and harms
     * nobody. */
    for (size_t i = 0; i < count; i++)
        records[i].order = random->below(random->context, UINT32_MAX);
    qsort(records, count, sizeof *records, by_preference);
    plan->host_count = MIN_OF(count, (size_t)MX_HOSTS_MAX);
    plan->more = count > MX_HOSTS_MAX;
    for (size_t i = 0; i < plan->host_count; i++) {
        (void)str_copy(plan->hosts[i].name, sizeof plan->hosts[i].name, records[i].name);
        plan->hosts[i].preference = records[i].preference;
    }
    return 0;
}

static int take_records(struct mx_plan *plan, const struct dns_answer *answer, const struct mx_random *random)
{
    struct record *records = calloc(MIN_OF(answer->count, (size_t)MX_RECORDS_MAX) + 1, sizeof *records);
    if (records == NULL)
        return -ENOMEM;
    bool null_mx;
    int r = 0;
    size_t count = drop_doubles(records, read_records(answer, records, &null_mx));
    if (null_mx)
        plan->verdict = MX_NULL;
    else if (count == 0)
        plan->verdict = MX_NO_ADDRESS;
    else
        r = take_hosts(plan, records, count, random);
    free(records);
    return r;
}

int mx_plan_records(struct mx_plan *plan, const struct dns_answer *answer, const struct mx_random *random)
{
    assure(plan->host_count == 0);
    plan->ttl_s = answer->ttl_s;
    plan->secure = answer->secure;
    switch (answer->status) {
    case DNS_FOUND:
        return take_records(plan, answer, random);
    case DNS_NO_DATA:
        plan->implicit = true;
        plan->host_count = 1;
        (void)str_copy(plan->hosts[0].name, sizeof plan->hosts[0].name, plan->domain);
        buffer_append_str(&plan->site_key, plan->domain);
        return plan->site_key.failed ? -ENOMEM : 0;
    case DNS_NO_NAME:
        plan->verdict = MX_NO_DOMAIN;
        return 0;
    case DNS_FAILED:
        plan->verdict = MX_TEMPORARY;
        note_failure(plan, "MX", plan->domain, answer->text);
        return 0;
    }
    return 0;
}

size_t mx_plan_host_count(const struct mx_plan *plan)
{
    return plan->host_count;
}

const char *mx_plan_host(const struct mx_plan *plan, size_t host)
{
    assure(host < plan->host_count);
    return plan->hosts[host].name;
}

static bool is_own(const struct mx_policy *policy, const struct mx_address *address)
{
    for (size_t i = 0; i < policy->own_count; i++)
        if (mx_address_equal(&policy->own[i], address))
            return true;
    return false;
}

/* True when mail may be sent there; notes why not. */
static bool admit(struct mx_plan *plan, const struct plan_host *host, const struct mx_address *address)
{
    enum mx_address_kind kind = mx_address_kind(address);
    if (is_own(plan->policy, address) && !plan->policy->allow_private) {
        if (host->preference < plan->own_preference) {
            plan->own_preference = host->preference;
            (void)str_copy(plan->own_host, sizeof plan->own_host, host->name);
        }
        return false;
    }
    if (kind == MX_ADDRESS_PUBLIC || (kind == MX_ADDRESS_PRIVATE && plan->policy->allow_private))
        return true;
    if (plan->refused_host[0] == '\0') {
        (void)str_copy(plan->refused_host, sizeof plan->refused_host, host->name);
        (void)mx_address_text(address, plan->refused_address);
    }
    return false;
}

static bool has_address(const struct family *family, const struct mx_address *address)
{
    for (size_t i = 0; i < family->count; i++)
        if (mx_address_equal(&family->addresses[i], address))
            return true;
    return false;
}

void mx_plan_addresses(struct mx_plan *plan, size_t index, bool v6, const struct dns_answer *answer)
{
    assure(index < plan->host_count);
    struct plan_host *host = &plan->hosts[index];
    struct family *family = &host->families[v6 ? 0 : 1];
    assure(family->state == FAMILY_OPEN);
    if (answer->status == DNS_FAILED) {
        family->state = FAMILY_FAILED;
        note_failure(plan, v6 ? "AAAA" : "A", host->name, answer->text);
        return;
    }
    family->state = FAMILY_DONE;
    family->secure = answer->secure;
    plan->ttl_s = MIN_OF(plan->ttl_s, answer->ttl_s);
    for (size_t i = 0; i < answer->count && i < MX_RECORDS_MAX; i++) {
        struct mx_address address;
        if (mx_address_from_rdata(answer->data[i], answer->lens[i], v6, &address) < 0 || !admit(plan, host, &address))
            continue;
        if (family->count < MX_HOST_ADDRESSES_MAX && !has_address(family, &address))
            family->addresses[family->count++] = address;
    }
}

/* RFC 5321 section 5.1: a host that is ourselves, and all that are no better, are discarded. */
static bool passed_over(const struct mx_plan *plan, const struct plan_host *host)
{
    return host->preference >= plan->own_preference;
}

bool mx_plan_good_enough(const struct mx_plan *plan)
{
    bool usable = false;
    for (size_t i = 0; i < plan->host_count && plan->hosts[i].preference == plan->hosts[0].preference; i++) {
        const struct plan_host *host = &plan->hosts[i];
        const struct family *v6 = &host->families[0], *v4 = &host->families[1];
        if (passed_over(plan, host))
            continue;
        if (v6->count + v4->count > 0)
            usable = true;
        else if (v6->state == FAMILY_OPEN || v4->state == FAMILY_OPEN)
            return false;
    }
    return usable;
}

/* What will be in the set, before there is memory for it. */
struct draft {
    enum mx_status status;
    bool partial;
    size_t host_count, address_count, name_bytes;
    const struct plan_host *from[MX_HOSTS_MAX];
    struct mx_host hosts[MX_HOSTS_MAX];
    struct mx_address addresses[MX_ADDRESSES_MAX];
    char text[700];
};

/* Of a family that failed, or was not answered in time, no address is used, so it proves nothing and spoils nothing: an
 * AAAA look-up that somebody makes fail must not lead past the TLSA records (RFC 7672 section 2.1). */
static bool spoils_security(const struct family *family)
{
    return family->state == FAMILY_DONE && !family->secure;
}

static void add_host(struct draft *draft, const struct plan_host *host)
{
    const struct family *v6 = &host->families[0], *v4 = &host->families[1];
    size_t room = MIN_OF((size_t)MX_ADDRESSES_MAX - draft->address_count, (size_t)MX_HOST_ADDRESSES_MAX);
    size_t take6 = 0, take4 = 0;
    /* In turn, as they will be tried, so that neither family pushes the other out. */
    while (take6 + take4 < room && (take6 < v6->count || take4 < v4->count)) {
        if (take6 < v6->count && (take6 <= take4 || take4 == v4->count))
            take6++;
        else
            take4++;
    }
    if (take6 + take4 == 0)
        return;
    draft->from[draft->host_count] = host;
    draft->hosts[draft->host_count++] = (struct mx_host){
        .preference = host->preference,
        .first = (uint8_t)draft->address_count,
        .v6_count = (uint8_t)take6,
        .v4_count = (uint8_t)take4,
        .secure = !spoils_security(v6) && !spoils_security(v4), /* one is done: it has an address */
    };
    memcpy(draft->addresses + draft->address_count, v6->addresses, take6 * sizeof *v6->addresses);
    memcpy(draft->addresses + draft->address_count + take6, v4->addresses, take4 * sizeof *v4->addresses);
    draft->address_count += take6 + take4;
    draft->name_bytes += strlen(host->name) + 1;
}

static void write_text(const struct mx_plan *plan, struct draft *draft)
{
    char *out = draft->text;
    size_t size = sizeof draft->text;
    switch (draft->status) {
    case MX_OK:
        break;
    case MX_NULL:
        (void)snprintf(out, size, "domain %s accepts no mail (null MX)", plan->domain);
        break;
    case MX_NO_DOMAIN:
        (void)snprintf(out, size, "domain %s does not exist", plan->domain);
        break;
    case MX_NO_ADDRESS:
        if (plan->implicit)
            (void)snprintf(out, size, "domain %s has no mail server: neither MX nor address", plan->domain);
        else
            (void)snprintf(out, size, "none of the MX hosts of domain %s has an address", plan->domain);
        break;
    case MX_REFUSED:
        (void)snprintf(out, size, "mail host %s of domain %s has address %s, which is not a public one",
                       plan->refused_host, plan->domain, plan->refused_address);
        break;
    case MX_LOOP:
        (void)snprintf(out, size, "mail host %s of domain %s is this machine: mail would loop", plan->own_host,
                       plan->domain);
        break;
    case MX_TEMPORARY:
        if (plan->more && plan->failed[0] == '\0')
            (void)snprintf(out, size, "none of %d of the MX hosts of domain %s has a usable address", MX_HOSTS_MAX,
                           plan->domain);
        else
            (void)snprintf(out, size, "look-up of %s failed: %s", plan->failed[0] != '\0' ? plan->failed : plan->domain,
                           plan->reason[0] != '\0' ? plan->reason : "no answer in time");
        break;
    }
}

static void make_draft(const struct mx_plan *plan, struct draft *draft)
{
    draft->status = plan->verdict;
    for (size_t i = 0; i < plan->host_count; i++) {
        const struct plan_host *host = &plan->hosts[i];
        if (passed_over(plan, host))
            continue;
        if (host->families[0].state != FAMILY_DONE || host->families[1].state != FAMILY_DONE)
            draft->partial = true;
        add_host(draft, host);
    }
    if (plan->host_count > 0 && draft->host_count == 0) {
        if (draft->partial)
            draft->status = MX_TEMPORARY;
        else if (plan->own_preference != NO_PREFERENCE)
            draft->status = MX_LOOP;
        else
            draft->status = plan->refused_host[0] != '\0' ? MX_REFUSED : MX_NO_ADDRESS;
        if (plan->more && draft->status != MX_LOOP)
            draft->status = MX_TEMPORARY;
    }
    assure(draft->status != MX_OK || draft->host_count > 0);
    write_text(plan, draft);
}

struct mx_set *mx_plan_finish(const struct mx_plan *plan)
{
    struct draft draft = {0};
    make_draft(plan, &draft);
    const char *key = draft.status == MX_OK ? buffer_text(&plan->site_key) : "";
    size_t hosts_bytes = draft.host_count * sizeof *draft.hosts,
           addresses_bytes = draft.address_count * sizeof *draft.addresses;
    size_t bytes = sizeof(struct mx_set) + hosts_bytes + addresses_bytes + draft.name_bytes + strlen(key) + 1 +
                   strlen(draft.text) + 1;
    struct mx_set *set = malloc(bytes);
    if (set == NULL)
        return NULL;
    /* One block: the struct, hosts, addresses (of bytes, so without alignment), texts. */
    struct mx_host *hosts = (struct mx_host *)(void *)(set + 1);
    struct mx_address *addresses = (struct mx_address *)(void *)((char *)hosts + hosts_bytes);
    char *text = (char *)addresses + addresses_bytes;
    memcpy(hosts, draft.hosts, hosts_bytes);
    memcpy(addresses, draft.addresses, addresses_bytes);
    for (size_t i = 0; i < draft.host_count; i++) {
        hosts[i].name = text;
        text = stpcpy(text, draft.from[i]->name) + 1;
    }
    *set = (struct mx_set){
        .status = draft.status,
        .implicit = plan->implicit,
        .secure = plan->secure,
        .partial = draft.partial,
        .ttl_s = plan->ttl_s,
        .host_count = (uint8_t)draft.host_count,
        .address_count = (uint8_t)draft.address_count,
        .hosts = hosts,
        .addresses = addresses,
        .site_key = text,
        .bytes = bytes,
        .references = 1,
    };
    text = stpcpy(text, key) + 1;
    set->text = strcpy(text, draft.text);
    return set;
}
