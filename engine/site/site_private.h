/*
 * site_private.h - what site.c and choice.c share; private to them.
 */
#ifndef POSTHASTE_ENGINE_SITE_SITE_PRIVATE_H
#define POSTHASTE_ENGINE_SITE_SITE_PRIVATE_H

#include "engine/site/site.h"

void site_take(struct engine_job *job); /* out of the list in which it waits, and out of the counts */
void site_fail_lane(struct lane *lane, const struct outcome *why); /* everything of it that waits ends so */
bool site_set_has_any(const struct shared_set *set);               /* a limit that is shared is among them */

#endif
