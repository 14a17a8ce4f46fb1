/*
 * ingest.h - takes inbound mail and does what its reports prove; public, included through campaign/campaign.h.
 *
 * Nothing is done on trust. A report acts only through a token of ours that it carries: in the return path it was sent
 * to, or in the Message-ID or return path of the mail that it returns. A token names one delivery and cannot be made by
 * others, so whoever forges a report can at most speak about a mail that he got himself. Without a token: no action,
 * counted. Nothing is ever answered.
 *
 * One thread; beside a running server or without one.
 */
#ifndef POSTHASTE_CAMPAIGN_BOUNCE_INGEST_H
#define POSTHASTE_CAMPAIGN_BOUNCE_INGEST_H

#include "base/config.h"
#include "storage/storage.h"

struct bounce_ingest;

struct bounce_options {
    const char *rules;                  /* NULL = the rules in effect */
    const struct config_bounces *config; /* what follows from what; outlives the intake */
};

struct bounce_summary {
    int64_t mails;
    int64_t bounces, complaints, feedback, auto_replies, unsubscribes, other; /* what they were: adds up to mails */
    int64_t no_token;                  /* reports and unsubscribes without a token of ours: no action */
    int64_t unknown;                   /* a token of ours for a delivery that is not there any more: no action */
    int64_t no_action;                 /* delayed, delivered, feedback that is no complaint */
    int64_t repeated;                  /* told before: no action */
    int64_t hard, soft, other_bounces; /* deliveries' bounces that were new, by consequence */
    int64_t bounced;                   /* deliveries that went from delivered to bounced */
    int64_t complained, unsubscribed, suppressed;
    int64_t unreadable; /* files of a Maildir that could not be read or moved */
};

int bounce_ingest_open(struct storage *storage, struct storage_reader *reader, const struct bounce_options *options,
                       struct bounce_ingest **out, struct error *err) ATTR_MUSTCHECK;
void bounce_ingest_close(struct bounce_ingest *ingest); /* NULL is allowed; what was not flushed is not done */

/* One mail; a "From " line in front of it is skipped. What it asks for is done at the next flush at the latest. 0, or a
 * failure of the database. */
int bounce_ingest_mail(struct bounce_ingest *ingest, const void *mail, size_t len, struct error *err) ATTR_MUSTCHECK;
int bounce_ingest_flush(struct bounce_ingest *ingest, struct error *err) ATTR_MUSTCHECK;

/*
 * All mails of a Maildir that are not marked as seen. Each that was dealt with, whatever came of it, is marked as seen
 * in cur/, or moved to cur/ of the Maildir `move_to` (NULL = stays); none is deleted, none is overwritten. Moved only
 * after what it asks for is durable: a crash repeats a mail, which changes nothing. -ENOTDIR: no Maildir.
 */
int bounce_ingest_maildir(struct bounce_ingest *ingest, const char *path, const char *move_to,
                          struct error *err) ATTR_MUSTCHECK;

/* Up to the last flush. */
const struct bounce_summary *bounce_ingest_summary(const struct bounce_ingest *ingest);

#endif
