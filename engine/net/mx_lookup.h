/*
 * mx_lookup.h - where a domain's mail goes, asked from one event loop, answered later on its thread: cache, MX, then A
 * and AAAA of all hosts at once.
 *
 * Everybody who asks about a domain while it is being looked up waits for that one look-up. A look-up has one deadline
 * for everything, counted from the moment when its first question left; it ends earlier, with what is known, once the
 * best hosts have addresses and `patience_ms` is over, so that a dead backup does not hold up the mail. Addresses are
 * urgent to struct dns: look-ups that have begun end first.
 *
 * The answer is always a set, whose status says whether there is somewhere to go. No callback is made inside a call of
 * this interface.
 */
#ifndef POSTHASTE_ENGINE_NET_MX_LOOKUP_H
#define POSTHASTE_ENGINE_NET_MX_LOOKUP_H

#include "engine/net/mx_cache.h"

struct mx_lookup;
struct mx_query;

struct mx_lookup_options {
    struct mx_policy policy; /* `own` is borrowed for the life of the mx_lookup */
    struct mx_cache_limits limits;
    int64_t deadline_ms; /* default 30 s */
    int64_t patience_ms; /* default 5 s */
    struct mx_random random;
};
#define MX_LOOKUP_OPTIONS_DEFAULT                                                                                      \
    ((struct mx_lookup_options){                                                                                       \
        .limits = MX_CACHE_LIMITS_DEFAULT, .deadline_ms = 30000, .patience_ms = 5000, .random = mx_random_system})

struct mx_lookup_counts {
    uint64_t asked;        /* mx_ask() */
    uint64_t cached;       /* of them, answered from the cache */
    uint64_t looked_up;    /* look-ups begun */
    size_t running;        /* look-ups not ended */
    size_t entries, bytes; /* of the cache */
};

/* `dns` outlives it. 0 or -ENOMEM. */
int mx_lookup_open(struct loop *loop, struct dns *dns, const struct mx_lookup_options *options, struct mx_lookup **out,
                   struct error *err) ATTR_MUSTCHECK;
/* Other addresses are ours now; borrowed like those before. Answers that are kept go
 * by those before until they expire. */
void mx_lookup_own(struct mx_lookup *lookup, const struct mx_address *own, size_t count);
/* Forgets all queries, without callbacks. Not from a callback. Before dns_close(). NULL is harmless. */
void mx_lookup_close(struct mx_lookup *lookup);

/* `set` is borrowed; who wants it longer takes a reference. Ask again after lifetime_ms. The query is dead. */
typedef void mx_answer_cb(void *context, struct mx_set *set, int64_t lifetime_ms);

/* `domain` in normal form of base/address.h; copied. Exactly one answer follows unless mx_cancel() comes before. NULL =
 * no memory. */
struct mx_query *mx_ask(struct mx_lookup *lookup, const char *domain, mx_answer_cb *answer,
                        void *context) ATTR_MUSTCHECK;
void mx_cancel(struct mx_query *query); /* dead after it; the look-up goes on, for the cache. NULL is harmless */

struct mx_lookup_counts mx_lookup_counts(const struct mx_lookup *lookup);

#endif
