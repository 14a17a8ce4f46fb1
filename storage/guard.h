/*
 * guard.h - where the guard of a campaign begins to count; private to storage/. What it does stands in campaigns.h.
 */
#ifndef POSTHASTE_STORAGE_GUARD_H
#define POSTHASTE_STORAGE_GUARD_H

#include "storage/db.h"

/* A person lets the campaign go on (paused -> running): judged is what comes from here on. */
int guard_begin(struct db *db, int64_t campaign_id, struct error *err) ATTR_MUSTCHECK;

#endif
