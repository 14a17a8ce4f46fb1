/*
 * rules.h - automation rules: what follows when a server says that it has had enough (share/shaping-rules.conf, whose
 * head is the format's description).
 *
 * Immutable; rules_match() may be called from any thread. A reload puts others in their place, loop by loop: each holds
 * what it uses. Counting how often a rule's replies came is the
 * tally's matter, one a loop.
 */
#ifndef POSTHASTE_ENGINE_SITE_RULES_H
#define POSTHASTE_ENGINE_SITE_RULES_H

#include "base/error.h"
#include "base/hashmap.h"
#include "base/list.h"
#include "base/outcome.h"
#include "engine/limit.h"

struct rules;
struct rule;

enum rule_action { RULE_SLOW, RULE_SUSPEND, RULE_RATE, RULE_CONNECTIONS, RULE_PER_CONNECTION };

#define RULE_DOS_MAX 4
#define RULE_TIMES_MAX 100
struct rule_do {
    uint32_t times; /* at the n-th reply ... */
    int64_t within_ms;
    enum rule_action action;
    struct rate rate;
    uint32_t number;
    enum limit_scope scope; /* SITE, SITE_SOURCE, CAMPAIGN, SENDER; NONE for RULE_SLOW */
    int64_t for_ms;
};

/* NULL: /etc/posthaste/shaping-rules.conf, else the installed file, else the copy that is compiled in. 0; -EINVAL with
 * file and line, -errno, -ENOMEM; *out is NULL then. */
int rules_load(const char *path, struct rules **out, struct error *err) ATTR_MUSTCHECK;
struct rules *rules_hold(struct rules *rules); /* one more holder */
void rules_free(struct rules *rules);          /* lets go, the last one frees; NULL is allowed */
const char *rules_file(const struct rules *rules);
/* Text of a file, for tests. */
int rules_parse(const char *file, const char *text, struct rules **out, struct error *err) ATTR_MUSTCHECK;

/* The first rule that fits, or NULL. */
const struct rule *rules_match(const struct rules *rules, const char *mx, uint16_t code, const char *enhanced,
                               const char *text);
const struct rule_do *rule_dos(const struct rule *rule, size_t *count);
int rule_line(const struct rule *rule);
const char *rule_name(const struct rule *rule);

/* Each sample and, with sample NULL, each rule that has none. */
typedef void rules_sample_cb(void *context, const struct rule *rule, const char *mx, const char *sample);
void rules_samples(const struct rules *rules, rules_sample_cb *each, void *context);

/* What in them can never decide; see engine_rules_check(). 0 or -ENOMEM. */
int rules_check(const struct rules *rules, engine_rules_cb *each, void *context);

/* How often: true when this was the n-th within the time, and the count begins anew. Bounded: what was counted the
 * longest ago is forgotten. */
struct tally {
    struct hashmap map;
    struct list order;
    size_t count;
};
void tally_init(struct tally *tally);
void tally_finish(struct tally *tally);
bool tally_count(struct tally *tally, const char *key, uint32_t times, int64_t within_ms, int64_t now_ms);

#endif
