/*
 * config_live.h - the configuration in force: immutable snapshots, of which the newest stands in one place.
 *
 * A snapshot (struct config) never changes. Whoever reads one holds it meanwhile, and the last who lets go frees it;
 * so a reload replaces the snapshot under readers that are at work, and none of them sees half of it. A piece of work
 * holds one snapshot from its beginning to its end.
 *
 * Keys that take effect only at a start (config_keys.c marks them `fixed`) have in every later snapshot the value of
 * the first: config_adopt() sees to that, and tells of each that a file would have otherwise. So they may be read from
 * any snapshot, and the one that the process was started with, which lives as long as the process, is as good.
 */
#ifndef POSTHASTE_BASE_CONFIG_LIVE_H
#define POSTHASTE_BASE_CONFIG_LIVE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/config.h"

struct config_live {
    pthread_mutex_t lock;
    const struct config *now;       /* held by us */
    _Atomic uint64_t generation;    /* 1, and one more for each snapshot since */
    _Atomic int64_t loaded_wall_ms; /* when `now` was put here */
};

/* Takes over the caller's hold of `first` (config_load() gives one). */
void config_live_init(struct config_live *live, const struct config *first);
void config_live_finish(struct config_live *live); /* no reader is left */
/* The newest snapshot, held; any thread. */
const struct config *config_live_hold(struct config_live *live) ATTR_MUSTCHECK;
/* Replaces it; takes over the caller's hold of `next`. */
void config_live_set(struct config_live *live, const struct config *next);

/* One more hold of a snapshot that the caller holds; gives it back. Any thread. */
const struct config *config_hold(const struct config *config);
void config_drop(const struct config *config); /* the last one frees; NULL is allowed */

/*
 * What a reload would change. `each` gets a sentence for each difference; beyond CONFIG_CHANGES_MAX only for those that
 * are `fixed`, which take effect at the next start, and one that counts the others. -ENOMEM: `next` is of no use.
 * Returns how many differences there are.
 */
#define CONFIG_CHANGES_MAX 100
typedef void config_change_cb(void *context, bool fixed, const char *sentence);
int config_adopt(const struct config *now, struct config *next, config_change_cb *each, void *context) ATTR_MUSTCHECK;

#endif
