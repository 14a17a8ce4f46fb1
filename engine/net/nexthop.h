/*
 * nexthop.h - where mail goes: hosts with an address each, best first, and how long that may be believed.
 *
 * Here the answer comes from the configured routes (`route "example.test" { host port }`); a host name in a route is
 * looked up by the system's resolver in libuv's thread pool. Domains without a route are answered by MX
 * (site/domain.h). Success means only that there are addresses to try.
 */
#ifndef POSTHASTE_ENGINE_NET_NEXTHOP_H
#define POSTHASTE_ENGINE_NET_NEXTHOP_H

#include "base/config.h"
#include "base/outcome.h"
#include "engine/net/stream.h"

#define NEXTHOP_HOSTS_MAX 20

struct nexthop_host {
    struct stream_address address;
    uint16_t preference; /* those of the best (smallest) one are tried first, in random order */
    bool secure;         /* its addresses are proved by DNSSEC */
    char name[256];      /* as outcomes show it: the name (or literal) of the host */
};

struct nexthop_answer {
    bool found;
    size_t host_count; /* 1..NEXTHOP_HOSTS_MAX when found */
    struct nexthop_host hosts[NEXTHOP_HOSTS_MAX];
    char text[300];         /* "host:port" as people know it */
    struct outcome failure; /* !found: class, stage and text for the messages that wanted to go there */
    int64_t lifetime_ms;    /* ask again after it */
};

struct nexthop_query;
typedef void nexthop_cb(void *context, const struct nexthop_answer *answer); /* `answer` lives during the call */

/*
 * Asks. Exactly one `answer` follows, later, on the loop's thread, unless nexthop_cancel() comes before. `domain` is
 * copied. NULL = no memory.
 */
struct nexthop_query *nexthop_ask(struct loop *loop, const struct config *config, const char *domain,
                                  nexthop_cb *answer, void *context) ATTR_MUSTCHECK;
/* The query is dead after it or after its answer. Queries under way are handles of the loop: it ends only when they
 * have ended. Look-ups that no thread has begun end at once, so no more are waited for than the pool has threads. */
void nexthop_cancel(struct nexthop_query *query);

#endif
