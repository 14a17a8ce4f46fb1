/*
 * edit.h - changing what a draft campaign says; public, included through storage/storage.h.
 */
#ifndef POSTHASTE_STORAGE_EDIT_H
#define POSTHASTE_STORAGE_EDIT_H

#include "storage/storage.h"

/*
 * Puts name, spec, lists, excluded, scheduled_ms and expires_after_ms in place of those of the draft campaign->id, all
 * in one transaction. STORAGE_NOT_FOUND: no such campaign, or a list that is not there (`err` says which);
 * STORAGE_WRONG_STATE: it is no draft any more. A refusal changes nothing.
 */
int storage_campaign_edit(struct storage *storage, const struct storage_campaign *campaign,
                          struct error *err) ATTR_MUSTCHECK;

#endif
