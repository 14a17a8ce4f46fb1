/*
 * tlsrpt.h - TLS reports (RFC 8460): counts sessions by domain and UTC day, and on the day after sends each domain that
 * asks for it what was counted.
 *
 * Counts are in memory for seconds and then in the table `tls_tally`; what is there of a day that is over has not been
 * reported yet, so a restart goes on where the process stopped, at worst with a report that comes twice under one
 * Report-ID. A report is tried for the day after its own and then forgotten, as is that of a domain whose record says
 * nothing.
 */
#ifndef POSTHASTE_CAMPAIGN_TLSRPT_TLSRPT_H
#define POSTHASTE_CAMPAIGN_TLSRPT_TLSRPT_H

#include "campaign/mailer.h"

struct tlsrpt;

/* Before the engine, which counts; NULL (off) is harmless for all below. */
int tlsrpt_create(struct mailer *mailer, struct tlsrpt **out, struct error *err) ATTR_MUSTCHECK;
void tlsrpt_count(struct tlsrpt *tlsrpt, const struct engine_tls_session *session); /* any thread */
int tlsrpt_start(struct tlsrpt *tlsrpt, struct error *err) ATTR_MUSTCHECK;          /* with the engine there */
void tlsrpt_halt(struct tlsrpt *tlsrpt);                                            /* submits nothing any more */
void tlsrpt_free(struct tlsrpt *tlsrpt); /* every job is back; writes down what was counted last */

#endif
