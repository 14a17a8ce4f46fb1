/*
 * tracking.h - what happens when somebody follows a tracked link or loads the pixel; public, included through
 * campaign/campaign.h.
 *
 * A token that is not ours costs a MAC and nothing else: no look-up, no write. A hit is recorded later, in batches, by
 * a thread of its own: whoever clicks does not wait for the disk.
 */
#ifndef POSTHASTE_CAMPAIGN_TRACKING_TRACKING_H
#define POSTHASTE_CAMPAIGN_TRACKING_TRACKING_H

#include "base/buffer.h"
#include "campaign/campaign.h"

/* Where the link leads, appended to `location`: a URL of the table that was stored when the campaign was sent. 0;
 * STORAGE_NOT_FOUND for a token that is not ours, or of a link that is not (any more). `machine`: the request shows
 * that nobody looks at it. */
int tracking_click(struct mailer *mailer, struct storage_reader *reader, const char *token, bool machine,
                   struct buffer *location, struct error *err) ATTR_MUSTCHECK;
/* 0 or STORAGE_NOT_FOUND. */
int tracking_open(struct mailer *mailer, const char *token, bool machine) ATTR_MUSTCHECK;

struct tracking_counts {
    uint64_t recorded, dropped; /* dropped: the database did not keep up, or refused */
};
void tracking_counts(struct mailer *mailer, struct tracking_counts *out);

#endif
