/*
 * shaping.h - brings the state of the engine's limits to the database and back; private to the room.
 *
 * A thread of its own, because a loop must not wait for a disk: it takes what the loops hand it, writes all of it in
 * one transaction, and hands it back. When the disk refuses, it tries again each second: limits whose use cannot be
 * written down then stay closed by themselves.
 */
#ifndef POSTHASTE_CAMPAIGN_SHAPING_H
#define POSTHASTE_CAMPAIGN_SHAPING_H

#include "engine/engine.h"
#include "storage/storage.h"

struct shaping_keeper;

/* Starts the thread and reads what is there. */
int shaping_keeper_start(struct storage *storage, struct shaping_keeper **out, struct error *err) ATTR_MUSTCHECK;
/* What was read; lives as long as the keeper. */
const struct engine_restored *shaping_keeper_restored(const struct shaping_keeper *keeper, size_t *count);
/* The engine is there: from now on records are handed back to it. */
void shaping_keeper_attach(struct shaping_keeper *keeper, struct engine *engine);
void shaping_keeper_save(struct shaping_keeper *keeper, struct engine_record *record); /* any thread */
/* Waits until everything that was handed over up to now is durable: 0 or -ETIMEDOUT. Not from a loop. */
int shaping_keeper_flush(struct shaping_keeper *keeper);
/* After engine_stop(), before engine_free(). NULL is allowed. */
void shaping_keeper_stop(struct shaping_keeper *keeper);

#endif
