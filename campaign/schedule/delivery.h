/*
 * delivery.h - one delivery while it is in memory: claimed, and its outcome not yet committed.
 *
 * Made by the feeder, lent to the engine and to the composers, freed by the feeder when its row is durable. One allocation.
 */
#ifndef POSTHASTE_CAMPAIGN_SCHEDULE_DELIVERY_H
#define POSTHASTE_CAMPAIGN_SCHEDULE_DELIVERY_H

#include "base/list.h"
#include "engine/engine.h"
#include "storage/storage.h"

#include "campaign/outcome/policy.h"
#include "campaign/schedule/feeder.h"

struct run;
struct lane;

struct delivery {
    struct engine_job job; /* job.rcpt_to and job.domain point into `strings` */
    struct list node;      /* the composers' queue */
    struct run *run;       /* the running campaign; outlives its deliveries */
    struct lane *lane;     /* where it was claimed from */
    struct content *content; /* of the run when it was claimed, a reference; what is composed is the newest of it. NULL: a message's own, of this id */
    int64_t content_id;
    int64_t claimed_ms;      /* monotonic */
    int64_t deadline_ms;     /* wall clock: no attempt is made from then on */
    int64_t recipient_id, claim_id;
    int attempts;          /* made before */
    bool uncertain;
    bool missing_attributes; /* set by the composer */
    bool compose_later;      /* the same: it could not be composed for want of memory or of a key, and can be at another time */
    const char *attributes;  /* JSON object */
    /* NULL = of a claim. Else it is of none (a test): neither the flight journal nor a row knows it, and its outcome goes here, on a loop's thread. `run`,
     * `lane` and `record` are not used then. */
    void (*ended)(struct delivery *delivery, const struct outcome *outcome);
    /* NULL = the compose pool makes the message; else this gives it (a TLS report; NULL = no memory), on a loop's thread. */
    struct engine_message *(*letter)(struct delivery *delivery);
    const struct message_trial *trial; /* NULL = it goes to the recipient that it shows; else it shows `shown` */
    const char *shown;
    /* Room for the outcome is part of the delivery, so that recording one can never fail for want of memory. */
    struct storage_outcome record;
    struct feeder_mail mail; /* tells the feeder that `record` is durable */
    char strings[];
};

/* A copy of a claimed job; NULL without memory. */
struct delivery *delivery_create(const struct storage_job *job, struct run *run, struct lane *lane);

void delivery_free(struct delivery *delivery);

/* Fills `record` with what the policy makes of `outcome`. Any thread; the delivery is not out any more. */
void delivery_judge(struct delivery *delivery, const struct policy *policy, const struct outcome *outcome, bool stopping);

#endif
