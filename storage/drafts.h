/*
 * drafts.h - making a campaign, and changing what it says before its launch; public, included through
 * storage/storage.h.
 */
#ifndef POSTHASTE_STORAGE_DRAFTS_H
#define POSTHASTE_STORAGE_DRAFTS_H

#include "storage/storage.h"

/*
 * Both take name, spec, lists, excluded, segment, split, scheduled_ms and expires_after_ms, all in one transaction; a
 * refusal changes nothing. STORAGE_NOT_FOUND: a list that is not there (`err` says which); -EINVAL: too long, or too
 * many lists.
 */

/* The new one is a DRAFT. */
int storage_campaign_create(struct storage *storage, const struct storage_campaign *campaign, int64_t now_ms,
                            int64_t *id, struct error *err) ATTR_MUSTCHECK;
/* In place of what the draft campaign->id has. STORAGE_NOT_FOUND also: no such campaign; STORAGE_WRONG_STATE: it is no
 * draft any more. */
int storage_campaign_edit(struct storage *storage, const struct storage_campaign *campaign,
                          struct error *err) ATTR_MUSTCHECK;

#endif
