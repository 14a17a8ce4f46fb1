/*
 * shaping.h - what the loops share about limits: the bounds of scopes that span sites, quotas, measures in force,
 * and the state that outlives the process.
 *
 * One of it for the engine, behind one lock that is held for a moment. A message takes it only when a limit of such a
 * scope is set for it: the pointers to shared bounds are looked up once (for a flow, a source, a site) and are NULL
 * else.
 */
#ifndef POSTHASTE_ENGINE_SITE_SHAPING_H
#define POSTHASTE_ENGINE_SITE_SHAPING_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/config.h"
#include "base/hashmap.h"
#include "engine/engine.h"
#include "engine/site/quota.h"
#include "engine/site/bounds.h"

struct rules;

struct quota_entry {
    struct shaping *shaping;
    struct quota quota;
    struct engine_record record; /* in use while quota.asked, and at the end */
    char *text;                  /* of the record */
    char key[];
};

/* Bounds that many sites share. Whoever finds it closed is given a time of its own to ask again, one interval after
 * the one before, so that ten thousand sites that wait for one limit do not all wake for each message. */
struct shared {
    struct bounds bounds;
    uint64_t version; /* of the configuration that its limits are from */
    enum limit_scope scope;
    int64_t next_slot_us;
    char key[];
};

struct shaping {
    pthread_mutex_t lock;
    const struct engine_callbacks *callbacks;
    struct hashmap states;  /* struct state, by key: what was restored, and what was saved since */
    struct hashmap quotas;  /* struct quota_entry */
    struct hashmap shareds; /* struct shared */
    struct list measures;   /* struct engine_measure.node */
    size_t measure_count;
    uint64_t next_measure_id;
    _Atomic uint64_t generation; /* of the measures; raised by each change */
    int64_t begun_us, begun_wall_ms;
    int64_t changed_us; /* when the last reload came: limits that are new with it keep their distance; under the lock */
    char boot[40];          /* identifies the run of the machine, so that its monotonic clock can be compared */
};

int shaping_init(struct shaping *shaping, const struct engine_callbacks *callbacks, struct error *err) ATTR_MUSTCHECK;
/* For what other threads look at, too; recursive. */
void shaping_lock(struct shaping *shaping);
void shaping_unlock(struct shaping *shaping);
/* The loops have ended: what quotas hold reserved is given back, durably. */
void shaping_close(struct shaping *shaping);
void shaping_finish(struct shaping *shaping);

/* Records. Values are stamped with the clocks, so that `elapsed_us` is right whatever the wall clock did in between,
 * unless the machine was started anew. */
void shaping_save(struct shaping *shaping, const char *key, const char *value); /* locks */
/* The value of a key, copied; NULL = there is none. The caller frees it. Locks. */
char *shaping_restored(struct shaping *shaping, const char *key, int64_t *elapsed_us);
void shaping_saved(struct shaping *shaping, struct engine_record *record);

/* Quotas. The entry lives as long as the shaping; NULL = no memory. period_us 0: see quota.h. All lock. */
struct quota_entry *shaping_quota(struct shaping *shaping, const char *key, uint32_t count, int64_t period_us);
int64_t shaping_quota_wait_us(struct quota_entry *entry, int64_t now_us); /* 0 = open; only shaping_take() takes */
uint32_t shaping_quota_used(struct quota_entry *entry, int64_t now_us);
/* Each of them: its key and how much of it is used. */
void shaping_quotas(struct shaping *shaping, void (*each)(void *context, const char *key, uint32_t used),
                    void *context);
uint32_t shaping_connections(struct shaping *shaping, const struct shared *shared); /* open now */
/* Where the spacing of starts stands after what the quota knows of (GCRA's theoretical arrival time). */
int64_t shaping_quota_next_us(struct shaping *shaping, struct quota_entry *entry, int64_t interval_us);

/*
 * Shared bounds; NULL = nothing of this scope is limited, or no memory (*lacked says that, unless it is NULL). The key
 * is made of scope and name. `version` is the configuration's that the spec is from (dispatch.h): a newer one changes
 * the limits of those that are there, an older one, of a loop that a reload has not reached yet, does not.
 */
struct shared *shaping_shared(struct shaping *shaping, uint64_t version, enum limit_scope scope, const char *name,
                              const struct bounds_spec *spec, bool *lacked);

/* The shared bounds that one message has to pass; NULLs are allowed. */
#define SHARED_MAX 5
struct shared_set {
    struct shared *each[SHARED_MAX]; /* campaign, sender, source, provider, machine */
};
/* The quotas of everything else that it has to pass. Those bounds are the loop's own, but two loops may count by one
 * key: a domain that has sites on both, a source's warm-up for a provider. */
#define QUOTAS_MAX 4
struct quota_set {
    struct quota_entry *each[QUOTAS_MAX];
};
struct holder {            /* who says no */
    struct shared *shared; /* NULL: a quota of the quota_set, the one at this index */
    size_t quota;
    enum limit_what what;
};
/* Asked and taken under one lock, since what was open when it was asked may be used up by another loop a moment later.
 * 0 = all are open and were taken, the quotas of the shared bounds among them; > 0 = when to ask again (INT64_MAX: a
 * quota that is used up for good), and who says so. -ENOMEM: it must not
 * start, and what was taken by then stays taken: limits hold, and a start or a few are lost. */
int64_t shaping_take(struct shaping *shaping, const struct shared_set *set, const struct quota_set *quotas,
                     int64_t now_us, size_t bytes, uint64_t tickets[SHARED_MAX], struct holder *holder);
void shaping_done(struct shaping *shaping, const struct shared_set *set, const uint64_t tickets[SHARED_MAX],
                  int64_t now_us);
int64_t shaping_connect(struct shaping *shaping, const struct shared_set *set, int64_t now_us, struct shared **by,
                        enum limit_what *what); /* 0 = counted */
void shaping_disconnect(struct shaping *shaping, const struct shared_set *set);
/* A connection that is open counts against others from now on. */
void shaping_recount(struct shaping *shaping, struct shared_set *counted, const struct shared_set *now);

/* What the measures in force say about one thing. Fields 0 = nothing. */
struct ruling {
    uint64_t generation;
    int64_t until_us; /* when the first of them ends; INT64_MAX = not by itself */
    int64_t suspended_until_us;
    struct rate rate;
    uint32_t connections, per_connection;
};
/* Brings the ruling up to date; cheap when nothing changed. */
void shaping_rule(struct shaping *shaping, struct ruling *ruling, enum limit_scope scope, const char *target,
                  const char *source, int64_t now_us);
int shaping_measure_set(struct shaping *shaping, struct engine_measure *measure);
int shaping_measure_cancel(struct shaping *shaping, uint64_t id);
/* The measure that decides `what` there, copied; false = none. */
bool shaping_measure_find(struct shaping *shaping, enum limit_scope scope, const char *target, const char *source,
                          enum limit_what what, struct engine_measure *out);
void measures_restore(struct shaping *shaping); /* at the start */
void shaping_measures(struct shaping *shaping, engine_measure_cb *each, void *context);

#endif
