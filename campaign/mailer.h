/*
 * mailer.h - the parts of a running server that the campaign room wires together; private to the room.
 *
 * Everything here is set before the threads start and constant afterwards, but for `pending`, which has its lock, and the policy, which has its own.
 */
#ifndef POSTHASTE_CAMPAIGN_MAILER_H
#define POSTHASTE_CAMPAIGN_MAILER_H

#include <pthread.h>
#include <stdatomic.h>

#include "dkim/dkim.h"

#include "campaign/campaign.h"
#include "campaign/message/message.h"
#include "campaign/message/token_ring.h"
#include "campaign/outcome/policy.h"
#include "campaign/schedule/feeder.h"

struct contents;
struct pool;
struct preflight;
struct tally;
struct shaping_keeper;
struct tracker;
struct tlsrpt;
struct trials;

struct mailer {
    const struct config *config; /* the start's, held: for keys that are fixed (base/config_live.h) */
    struct config_live *live;    /* for all others; read with config_live_hold() */
    struct storage *storage;
    struct journal *journal;  /* storage's */
    struct engine *engine;
    struct contents *contents; /* of single messages */
    struct pool *pool;
    struct feeder *feeder;
    struct shaping_keeper *shaping; /* state of the limits, to the database and back */
    struct tracker *tracker;
    struct tlsrpt *tlsrpt;    /* NULL = off */
    struct trials *trials;    /* tests under way */
    pthread_rwlock_t judging; /* a reload writes the two that follow */
    struct bounce_rules *rules;
    struct policy policy;     /* borrows the rules */
    struct resolver *resolver;
    struct preflight *preflight;
    struct token_ring *ring;  /* Message-IDs, return paths, unsubscribe tokens */
    struct tally *tally;      /* attempts by provider and stage */
    struct storage_recovery recovered;
    atomic_bool stopping;
    pthread_mutex_t lock;
    struct list pending;      /* storage_outcome.node: judged in this loop turn, not yet posted */
};

/* A draft may be looked at before its key is made; nothing is ever sent so. */
enum signature { SIGNATURE_REQUIRED, SIGNATURE_NONE };

/* What follows from the outcome of a delivery's attempt, by the policy and the rules in force. Any thread. */
void mailer_judge(struct mailer *mailer, struct delivery *delivery, const struct outcome *outcome, bool stopping);

/* The texts of all snippets by name; to be released. */
int snippets_load(struct storage_reader *reader, json_t **out, struct error *err) ATTR_MUSTCHECK;
/* Keeps what the contents show and track, as one, with the campaign, a draft, before any of it leaves. As
 * storage_campaign_freeze(); -EINVAL with a problem when they have too many links together. */
int mailer_freeze(struct mailer *mailer, int64_t id, struct content *const contents[], size_t count,
                  struct problem *problem, struct error *err) ATTR_MUSTCHECK;

/*
 * Compiles the campaign's content, with SIGNATURE_REQUIRED for the DKIM key of its From domain, which is then proven to fit its record. What a person can mend
 * (no key, a template that does not parse) gives -EINVAL and goes into `problem`; with problem == NULL it goes into `err`.
 */
int mailer_compile(struct mailer *mailer, struct storage_reader *reader, const struct storage_campaign *campaign,
                   enum signature signature, struct content **out, struct problem *problem, struct error *err) ATTR_MUSTCHECK;

/* The same for the variants of its A/B test, of which there are so many; to be released after a failure, too. */
int mailer_compile_variants(struct mailer *mailer, struct storage_reader *reader,
                            const struct storage_campaign *campaign, int variants, enum signature signature,
                            struct content *contents[SPLIT_VARIANTS_MAX], struct problem *problem,
                            struct error *err) ATTR_MUSTCHECK;

/* The same check of a spec that is not stored yet. */
int mailer_check_content(struct mailer *mailer, struct storage_reader *reader, const json_t *spec, const char *name,
                         enum signature signature, struct problem *problem, struct error *err) ATTR_MUSTCHECK;

#endif
