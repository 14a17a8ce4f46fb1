/*
 * mx.h - from DNS answers to the ordered hosts that take a domain's mail (RFC 5321 section 5.1, RFC 7505). No I/O and
 * no clock.
 *
 * A plan is filled with answers: first the one for MX, which says which hosts' addresses are to be looked up, then
 * those for A and AAAA. Finished, it becomes a set: small, immutable, shared by reference. Each delivery attempt then
 * takes its own order from the set.
 *
 * What becomes of a domain (tables in tests/unit/engine/test_mx.c and tests/e2e/test_dns.py):
 *
 *   MX look-up says NXDOMAIN                   MX_NO_DOMAIN   permanent, 5.1.2
 *   the only MX record is "."                  MX_NULL        permanent, 556 5.1.10 (RFC 7505)
 *   MX look-up failed                          MX_TEMPORARY
 *   no MX record, domain has an address        MX_OK          the domain is the host (implicit MX)
 *   no MX record, domain has no address        MX_NO_ADDRESS  permanent, 5.1.2
 *   MX records, some host can be used          MX_OK          those hosts only, never the domain's own address
 *   MX records, no host has an address         MX_NO_ADDRESS  permanent, 5.4.4
 *   only refused addresses (mx_address.h)      MX_REFUSED     permanent, 5.4.4
 *   a host is ourselves, and none is better    MX_LOOP        permanent, 5.4.6
 *   no host can be used, a look-up failed      MX_TEMPORARY
 *   no host of those drawn from too many       MX_TEMPORARY   others are drawn next time
 *
 * A host that is ourselves is passed over, and so are those of its preference and worse (RFC 5321 section 5.1).
 * Refused addresses are permanent: their owner published them, and until he changes them another try finds the same.
 */
#ifndef POSTHASTE_ENGINE_NET_MX_H
#define POSTHASTE_ENGINE_NET_MX_H

#include "base/outcome.h"
#include "engine/net/dns.h"
#include "engine/net/mx_address.h"
#include "engine/net/mx_name.h"

#define MX_RECORDS_MAX 1024     /* records of an answer that are looked at */
#define MX_HOSTS_MAX 10         /* hosts of a set */
#define MX_ADDRESSES_MAX 20     /* addresses of a set */
#define MX_HOST_ADDRESSES_MAX 8 /* of one host, so that the next host has its turn */

enum mx_status { MX_OK, MX_NULL, MX_NO_DOMAIN, MX_NO_ADDRESS, MX_REFUSED, MX_LOOP, MX_TEMPORARY };
const char *
mx_status_name(enum mx_status status); /* "ok", "null-mx", "no-domain", "no-address", "refused", "loop", "temporary" */

/* A number in 0..bound-1, all equally likely; bound >= 1. Tests bring their own. */
struct mx_random {
    uint32_t (*below)(void *context, uint32_t bound);
    void *context;
};
extern const struct mx_random mx_random_system;

struct mx_policy {
    bool allow_private;           /* also lets our own addresses through: for tests and private networks */
    const struct mx_address *own; /* addresses that are ours (the sources) */
    size_t own_count;
};

struct mx_host {
    const char *name;
    uint16_t preference;
    uint8_t first, v6_count, v4_count; /* of addresses[]: IPv6 first */
    bool secure;                       /* its addresses too are proved by DNSSEC */
};

struct mx_set {
    enum mx_status status;
    bool implicit;  /* no MX record: the host is the domain */
    bool secure;    /* the MX records, or that there are none, are proved by DNSSEC */
    bool partial;   /* some look-up failed, the set may lack hosts or addresses */
    uint32_t ttl_s; /* smallest of all answers in it */
    uint8_t host_count, address_count;
    const struct mx_host *hosts; /* MX_OK: by preference */
    const struct mx_address *addresses;
    const char *site_key; /* MX_OK: equal for all domains that publish the same hosts; "" else */
    const char *text;     /* not MX_OK: one sentence for people, names the domain; "" else */
    size_t bytes;         /* memory of the set */
    unsigned references;  /* one thread */
};

struct mx_plan;
/* `policy` is borrowed. NULL = no memory. */
struct mx_plan *mx_plan_create(const char *domain, const struct mx_policy *policy) ATTR_MALLOC;
void mx_plan_free(struct mx_plan *plan);

/* The answer for MX. Which hosts of equal preference come into a set that has more than MX_HOSTS_MAX is random. 0, or
 * -ENOMEM. */
int mx_plan_records(struct mx_plan *plan, const struct dns_answer *answer,
                    const struct mx_random *random) ATTR_MUSTCHECK;
/* Hosts whose A and AAAA are wanted; 0 = there is nothing more to look up. */
size_t mx_plan_host_count(const struct mx_plan *plan);
const char *mx_plan_host(const struct mx_plan *plan, size_t host);
/* The answer for AAAA (v6) or A of a host, once each. */
void mx_plan_addresses(struct mx_plan *plan, size_t host, bool v6, const struct dns_answer *answer);
/* True when there is an address to begin with in every host of the best preference that has not ended without one. */
bool mx_plan_good_enough(const struct mx_plan *plan);
/* The set, with one reference; NULL = no memory. What has not been answered counts as failed. */
struct mx_set *mx_plan_finish(const struct mx_plan *plan) ATTR_MUSTCHECK;

struct mx_set *mx_set_hold(struct mx_set *set); /* one more reference; returns `set` */
void mx_set_release(struct mx_set *set);        /* NULL is harmless */

/*
 * The order for one attempt: hosts by preference, in random order where it is equal; of a host IPv6 and IPv4 in turn
 * (RFC 8305 section 4), beginning with IPv6, each family rotated at random. Returns the number of targets; pointers
 * live as long as the set.
 */
struct mx_target {
    const struct mx_host *host;
    const struct mx_address *address;
};
size_t mx_set_order(const struct mx_set *set, const struct mx_random *random, struct mx_target out[MX_ADDRESSES_MAX]);

/* True when every host of the set matches some pattern (mx_name_matches): then the site is a provider's. */
bool mx_set_matches(const struct mx_set *set, const char *const *patterns, size_t count);

/* The outcome of messages that wanted to go there. Not for MX_OK. */
void mx_set_outcome(const struct mx_set *set, struct outcome *outcome);

#endif
