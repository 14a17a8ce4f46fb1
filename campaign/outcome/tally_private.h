/*
 * tally_private.h - the counting side of tally.h; private to the room. Any thread.
 */
#ifndef POSTHASTE_CAMPAIGN_OUTCOME_TALLY_PRIVATE_H
#define POSTHASTE_CAMPAIGN_OUTCOME_TALLY_PRIVATE_H

#include "base/error.h"
#include "campaign/outcome/tally.h"

struct tally;
int tally_create(struct tally **out, struct error *err) ATTR_MUSTCHECK;
void tally_free(struct tally *tally); /* NULL is allowed */
/* One attempt; `waited_ms`: from the claim to now. Outcomes of what never reached a server are passed over. */
void tally_note(struct tally *tally, const struct outcome *outcome, int64_t waited_ms);
void tally_read(struct tally *tally, struct tally_view *out);

/* "mx1.google.com" -> "google.com", "mx.example.co.uk" -> "example.co.uk"; an address stays, without its port. */
void tally_provider_name(const char *mx_host, char out[TALLY_NAME_BYTES]);

#endif
