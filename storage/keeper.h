/*
 * keeper.h - the thread for work that must not stand in the writer's way; private to storage/.
 *
 * It starts with the first work it is given and ends with storage_close(). It has a connection of its own and reads in
 * slices, so that no snapshot of its holds the WAL for long; what it finds out goes into the database as a call to the
 * writer.
 */
#ifndef POSTHASTE_STORAGE_KEEPER_H
#define POSTHASTE_STORAGE_KEEPER_H

#include <pthread.h>

#include "storage/db.h"
#include "storage/storage.h"

enum {
    KEEPER_COUNT = 1,      /* an audience is not exact yet */
    KEEPER_CHECKPOINT = 2, /* the WAL has grown by KEEPER_CHECKPOINT_PAGES */
};
#define KEEPER_CHECKPOINT_PAGES 2000
/* From here on who commits carries over what the keeper has not, so that the WAL can begin again at its start; not more
 * than so many pages, for a commit waits for it. */
#define KEEPER_WAL_PAGES 8000
#define KEEPER_REST_PAGES (2 * KEEPER_CHECKPOINT_PAGES)
/* And from here on a load, which can write faster than any disk, waits for the keeper. */
#define KEEPER_LOAD_PAGES (3 * KEEPER_WAL_PAGES)
/* A keeper that does not get to it (it could not be started, it has no descriptor) is not asked for ever. */
#define KEEPER_ASKED_MAX 4

struct keeper {
    pthread_cond_t wake;   /* with storage->lock; on CLOCK_MONOTONIC */
    pthread_cond_t rested; /* with storage->lock: a checkpoint is over */
    pthread_t thread;
    bool started, closing, checkpointing;
    int carried_pages; /* of the WAL, when the keeper last looked */
    int left_to;       /* how often the writer left a long log to it, since it last carried something over */
    unsigned wanted;
    struct db db; /* the keeper thread's own */
};

/* Any thread, storage->lock not held. */
void keeper_wake(struct storage *storage, unsigned what);
void keeper_stop(struct storage *storage); /* before writer_stop(); nothing starts it again */
/* The thread that has the connection (the writer's, a load's), after each of its commits: sees that the WAL is carried
 * over. */
void keeper_after_commit(struct storage *storage, struct db *db);
/* The same for who can wait: not in a transaction, and not the writer's thread. */
void keeper_after_load_commit(struct storage *storage, struct db *db);

/* Puts the true number in place of the upper bound (campaigns.c). 0 or negative. */
int campaign_set_audience(struct storage *storage, int64_t id, int64_t audience, struct error *err) ATTR_MUSTCHECK;

#endif
