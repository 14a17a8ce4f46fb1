/*
 * intake.h - the listener and what it leads to: reports by SMTP, judged and recorded before they are taken; public,
 * included through campaign/campaign.h.
 *
 * Taken at RCPT, at the domain of `bounces` (or bounce_domain): return paths and unsubscribe addresses with a token
 * that we made, the feedback address, postmaster (also without a domain). Nothing else, and nothing is relayed.
 *
 * A 250 means: its consequence is committed, or it was none of ours to act on; a mail for postmaster that is no report
 * lies in DATA_DIR/postmaster, a Maildir. Else 451, and the sender keeps it. Two threads work on what comes.
 */
#ifndef POSTHASTE_CAMPAIGN_BOUNCE_INTAKE_H
#define POSTHASTE_CAMPAIGN_BOUNCE_INTAKE_H

#include "base/config_live.h"
#include "campaign/bounce/ingest.h"
#include "storage/storage.h"

struct intake;

/* Starts listening; `config` outlives it. As listener_start(), and failures of the database. */
int intake_start(struct config_live *live, struct storage *storage, struct intake **out,
                 struct error *err) ATTR_MUSTCHECK;
void intake_stop(struct intake *intake); /* NULL is harmless; what was accepted is answered */
/* As listener_check() and listener_reload(). NULL is harmless. */
int intake_check(const struct intake *intake, struct error *err) ATTR_MUSTCHECK;
void intake_reload(struct intake *intake);
uint16_t intake_port(const struct intake *intake);

struct intake_stats {
    uint64_t connections, refused_connections, open_connections, mails;
    struct bounce_summary summary; /* of all that was taken since the start */
};
void intake_stats(struct intake *intake, struct intake_stats *out); /* any thread */

#endif
