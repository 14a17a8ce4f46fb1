/*
 * session_tally.h - TLS sessions counted in memory until they are written down: any thread counts, one writes.
 *
 * Bounded: TALLY_DOMAINS_MAX domains a day, TALLY_DETAILS_MAX kinds of failure of one domain (further ones are added up
 * without hosts), TALLY_ENTRIES_MAX entries that wait to be written. What does not fit is not reported, and counted.
 */
#ifndef POSTHASTE_CAMPAIGN_TLSRPT_SESSION_TALLY_H
#define POSTHASTE_CAMPAIGN_TLSRPT_SESSION_TALLY_H

#include "engine/engine.h"
#include "storage/storage.h"

#define TALLY_DOMAINS_MAX 10000
#define TALLY_DETAILS_MAX 64
#define TALLY_ENTRIES_MAX 20000

struct session_tally;

struct session_tally *session_tally_create(void); /* NULL = no memory */
void session_tally_free(struct session_tally *tally);

/* A domain of the day that is in the database already. */
void session_tally_know(struct session_tally *tally, int64_t day, const char *domain, int64_t rows);
void session_tally_add(struct session_tally *tally, int64_t day, const struct engine_tls_session *session);
/* Writes all of it; what could not be written is kept. Blocks; one thread at a time. */
int session_tally_flush(struct session_tally *tally, struct storage *storage, struct error *err) ATTR_MUSTCHECK;
uint64_t session_tally_lost(const struct session_tally *tally);

#endif
