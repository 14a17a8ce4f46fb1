/*
 * explain.h - sites as people see them: a copy of every site's standing, made on the loop thread, read elsewhere.
 */
#ifndef POSTHASTE_ENGINE_SITE_EXPLAIN_H
#define POSTHASTE_ENGINE_SITE_EXPLAIN_H

#include "base/buffer.h"
#include "engine/site/dispatch.h"

/* One loop's sites. Their strings are offsets into `text` until explain_each() turns them into pointers. */
struct explain_site {
    struct engine_site_stats stats;
    size_t site_at, next_hop_at, last_reply_at, explanation_at;
    size_t first_limit, limit_count;
};
struct explain_limit {
    struct engine_limit limit;
    size_t name_at, value_at, now_at, origin_at;
};

struct explain {
    struct buffer text;
    struct explain_site *sites;
    size_t count;
    struct explain_limit *limits;
    size_t limit_count;
    struct engine_limit *shown; /* made by explain_each() */
    struct engine_totals totals;
};

/* `only` "" = all sites; else those of this name or that serve this domain, explained. `group` 0 = of all campaigns;
 * else those where mail of this one waits, and of it alone (engine_group_sites()). Loop thread; 0 or -ENOMEM. */
int explain_take(struct dispatch *dispatch, const char *only, uint64_t group, struct explain *out) ATTR_MUSTCHECK;
void explain_each(struct explain *explain, engine_site_cb *each, void *context);
void explain_finish(struct explain *explain);

/* explain_words.c: sentences about it, one a line, appended. */
struct site;
struct domain;
void explain_site_words(struct site *site, const struct explain *limits, size_t first_limit, struct buffer *out);
void explain_site_limits(struct site *site, struct explain *out); /* explain_limits.c */
void explain_domain_words(const struct domain *domain, struct buffer *out);

#endif
