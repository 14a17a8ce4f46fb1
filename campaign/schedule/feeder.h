/*
 * feeder.h - "who next": the thread that claims members of running campaigns and feeds them to the engine.
 */
#ifndef POSTHASTE_CAMPAIGN_SCHEDULE_FEEDER_H
#define POSTHASTE_CAMPAIGN_SCHEDULE_FEEDER_H

#include "base/list.h"
#include "storage/storage.h"

struct mailer;
struct feeder;

#define FEEDER_JOBS_MAX 20000 /* deliveries in memory, all campaigns together */
#define FEEDER_MESSAGES_MIN 1000 /* of these, kept free by campaigns for single messages */
#define FEEDER_TAIL_MAX 8000  /* of them from lanes that many domains share: slow sites must not take the place of the quick */

/* What lies in the feeder's inbox. */
struct feeder_mail {
    struct list node;
    enum { FEEDER_CLAIMED, FEEDER_RECORDED } kind;
};

int feeder_start(struct mailer *mailer, struct feeder **out, struct error *err) ATTR_MUSTCHECK;
/* A campaign's status changed in the database: look at it now. Any thread, cannot fail. */
void feeder_look(struct feeder *feeder);
/* A message was posted to a stream, durably. Any thread, cannot fail. */
void feeder_posted(struct feeder *feeder, int64_t campaign_id, int lane);
/* No more claims from now on; jobs of claims under way are handed back untried. Any thread. */
void feeder_halt(struct feeder *feeder);
/* Waits until every delivery in memory is durable, ends the thread, frees. After feeder_halt() and engine_stop(). When the
 * database takes nothing it is waited for no longer than patience_ms; then the deliveries stay the writer's, for its last
 * try, and what that refuses stands in the flight journal. */
void feeder_finish(struct feeder *feeder, int64_t patience_ms);
/* Readies the record that a delivery carries: its way back to the feeder. Called once, before the delivery goes anywhere. */
struct delivery;
void feeder_prepare(struct feeder *feeder, struct delivery *delivery);
void feeder_send(struct feeder *feeder, struct feeder_mail *mail); /* any thread */

struct feeder_view {
    uint32_t jobs;      /* deliveries in memory */
    char held_by[256];  /* "" or why nothing is claimed now */
};
void feeder_view(struct feeder *feeder, struct feeder_view *out); /* any thread */

/* A running campaign as seen by the feeder: false when it has none of this id. Any thread. */
struct run_view {
    enum campaign_status status;
    double rate_now;
    bool closed;       /* outside its window */
    bool testing;      /* an A/B test waits for its winner */
    bool only_retries; /* every lane is done and nothing is in memory: what is left waits for its next attempt */
};
bool feeder_run_view(struct feeder *feeder, int64_t campaign_id, struct run_view *out);

#endif
