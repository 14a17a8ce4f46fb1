/*
 * roster.h - which campaigns the feeder works on, brought in line with the database; and the feeder's own structure. Private to schedule/.
 *
 * All calls on the feeder's thread.
 */
#ifndef POSTHASTE_CAMPAIGN_SCHEDULE_ROSTER_H
#define POSTHASTE_CAMPAIGN_SCHEDULE_ROSTER_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/inbox.h"

#include "campaign/mailer.h"
#include "campaign/schedule/run.h"

struct feeder {
    struct mailer *mailer;
    struct storage_reader *reader;
    struct inbox inbox;
    pthread_t thread;
    pthread_mutex_t lock; /* guards `runs`, their existence, and held_by, against feeder_*view() */
    struct list runs;
    struct zones zones;   /* of the windows */
    bool short_of_memory; /* a delivery could not be made in this turn of the thread: it is tried again soon */
    bool shortage_told;   /* in the log; until a turn without */
    int64_t tick_ms;      /* monotonic: next second */
    int recorded;         /* outcomes since the last second */
    int64_t retain_links_ms; /* the same for links */
    int64_t retain_ms;    /* monotonic: when old deliveries are looked for again */
    int64_t blocked_until_ms;
    int64_t keys_stamp;   /* of the DKIM keys that the runs sign with */
    char held_by[256];
    _Atomic int64_t give_up_ms; /* monotonic: when an ending feeder waits no longer for a database that takes nothing */
    int tail_jobs; /* of `jobs`, from shared lanes */
    atomic_int jobs, claims;
    atomic_bool look, halted, finish;
};

struct run *roster_find(struct feeder *feeder, int64_t id); /* NULL = none; also under feeder->lock from any thread */
/* Reads what is scheduled or running, adds and updates the runs, sees what was paused, cancelled or deleted. */
void roster_refresh(struct feeder *feeder);
/* Once a second: when other DKIM keys sign than before, the running campaigns take them. */
void roster_renew_keys(struct feeder *feeder);
void roster_drop(struct feeder *feeder, struct run *run); /* nothing of it is out */
/* Finishes the campaign if it is over (the run is freed then), or notes when to look again. */
void roster_try_finish(struct feeder *feeder, struct run *run, int64_t now_ms);
/* The next slice of a cancelled campaign's deferred rows; true when none is left. */
bool roster_cancel_slice(struct feeder *feeder, int64_t id);
/* At start: cancelled campaigns whose deferred rows a crash left behind. */
int roster_resume_cancels(struct feeder *feeder, struct error *err) ATTR_MUSTCHECK;

#endif
