/*
 * ingest.h - takes inbound mail and does what its reports prove; public, included through campaign/campaign.h.
 *
 * Nothing is done on trust. A report acts only through a token of ours that it carries: in the return path it was sent
 * to, or in the Message-ID or return path of the mail that it returns. A token names one delivery and cannot be made by
 * others, so whoever forges a report can at most speak about a mail that he got himself. Without a token: no action,
 * counted. Nothing is ever answered.
 *
 * Abuse reports are forged more than any, so of them only what they return counts, not where they were sent, and their
 * source has to prove itself by DKIM (`complaint_dkim`, `complaint_sources`).
 *
 * One thread an intake; beside a running server or without one.
 */
#ifndef POSTHASTE_CAMPAIGN_BOUNCE_INGEST_H
#define POSTHASTE_CAMPAIGN_BOUNCE_INGEST_H

#include "base/config.h"
#include "storage/storage.h"

struct bounce_ingest;
struct token_ring;

struct bounce_options {
    const char *rules;           /* NULL = the rules in effect */
    const struct config *config; /* what follows from what, and how to ask the DNS; outlives the intake */
    struct resolver *resolver;   /* shared, outlives the intake; NULL = one of its own, once it is needed */
    struct token_ring *ring;     /* shared, outlives the intake; NULL = one of its own */
};

struct bounce_summary {
    int64_t mails;
    int64_t bounces, complaints, feedback, auto_replies, unsubscribes, other; /* what they were: adds up to mails */
    int64_t no_token;                  /* reports and unsubscribes without a token of ours: no action */
    int64_t untrusted;                 /* complaints whose source is not proven, or not one of ours: no action */
    int64_t later;                     /* whose source cannot be looked up now: left where they are */
    int64_t unknown;                   /* a token of ours for who, or what, is not there any more: no action */
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

/*
 * One mail; a "From " line in front of it is skipped. `to`: the envelope's recipients, `to_count` of them; 0 = not
 * known, its header tells. What it asks for is done at the next flush at the latest. 0; BOUNCE_LATER: nothing was done,
 * for the DNS does not answer; negative: a failure of the database.
 */
#define BOUNCE_LATER 1
int bounce_ingest_mail(struct bounce_ingest *ingest, const void *mail, size_t len, const char *const *to,
                       size_t to_count, struct error *err) ATTR_MUSTCHECK;
/* True when the last mail was none of what is worked on here: no report, no unsubscribe, no robot's. */
bool bounce_ingest_was_other(const struct bounce_ingest *ingest);
int bounce_ingest_flush(struct bounce_ingest *ingest, struct error *err) ATTR_MUSTCHECK;

/*
 * All mails of a Maildir that are not marked as seen. Each that was dealt with, whatever came of it, is marked as seen
 * in cur/, or moved to cur/ of the Maildir `move_to` (NULL = stays); none is deleted, none is overwritten. Moved only
 * after what it asks for is durable: a crash repeats a mail, which changes nothing. -ENOTDIR: no Maildir.
 */
int bounce_ingest_maildir(struct bounce_ingest *ingest, const char *path, const char *move_to,
                          struct error *err) ATTR_MUSTCHECK;

/* The local part of an address at our domain. OURS: "bounce+TOKEN" or "unsubscribe+TOKEN" with a token that a key of
 * the ring made; UNPROVED: of that form, but made by none of them. Any thread. */
enum bounce_local { BOUNCE_LOCAL_OTHER, BOUNCE_LOCAL_UNPROVED, BOUNCE_LOCAL_OURS };
enum bounce_local bounce_local_kind(const struct token_ring *ring, const char *local, size_t len);

/* Up to the last flush. */
const struct bounce_summary *bounce_ingest_summary(const struct bounce_ingest *ingest);

#endif
