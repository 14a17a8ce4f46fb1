/*
 * stored.h - a campaign as it is stored, and a recipient to show it for, as copies that outlive the reader's row.
 * Private to the room.
 */
#ifndef POSTHASTE_CAMPAIGN_STORED_H
#define POSTHASTE_CAMPAIGN_STORED_H

#include "campaign/campaign.h"
#include "campaign/message/message.h"

struct stored {
    struct storage_campaign campaign; /* name and spec are copies; the segment is not there */
    bool failed;
};
/* 0, STORAGE_NOT_FOUND or negative; stored_free() in any case. */
int stored_load(struct storage_reader *reader, int64_t id, struct stored *out, struct error *err) ATTR_MUSTCHECK;
void stored_free(struct stored *stored);

/* The recipient of this address (NULL = a member of the campaign's first list that has one), untracked. -EINVAL with a
 * problem at "recipient" when there is none. shown_free() in any case; `out` is zeroed before. */
int shown_find(struct storage_reader *reader, const struct storage_campaign *campaign, const char *email,
               struct message_recipient *out, struct problem *problem, struct error *err) ATTR_MUSTCHECK;
/* 0 or STORAGE_NOT_FOUND, or negative. */
int shown_get(struct storage_reader *reader, int64_t recipient_id, struct message_recipient *out,
              struct error *err) ATTR_MUSTCHECK;
void shown_free(struct message_recipient *recipient);

#endif
