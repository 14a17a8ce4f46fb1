/*
 * trial.h - tests of campaigns: messages that are on no claim. Private to the room; what others call stands in
 * campaign.h.
 */
#ifndef POSTHASTE_CAMPAIGN_TRIAL_H
#define POSTHASTE_CAMPAIGN_TRIAL_H

#include "campaign/campaign.h"

struct trials;

int trials_create(struct trials **out, struct error *err) ATTR_MUSTCHECK;
void trials_free(struct trials *trials); /* nothing of it is in the engine; NULL is harmless */
/* Once a second, of one thread: takes back what has waited for too long. `trials` may be NULL while the mailer starts.
 */
void trials_tick(struct trials *trials, struct engine *engine);

#endif
