/*
 * suppression.h - what the API and the command line both know of an entry of the suppression list: how it is written.
 */
#ifndef POSTHASTE_API_SUPPRESSION_H
#define POSTHASTE_API_SUPPRESSION_H

#include "base/address.h"
#include "storage/storage.h"

#define SUPPRESSION_REASONS "manual, unsubscribe, complaint, hard-bounce, soft-bounce or invalid"

bool suppression_reason_known(const char *reason);

/* An address as address_parse_stored() takes it, in normal form: who is on a list can be kept from it. Or "sha256:" and
 * 64 hex digits, or these alone: the digest of one. 0 or -EINVAL. */
int suppression_email(const char *text, char out[ADDRESS_MAX_BYTES + 1], struct error *err) ATTR_MUSTCHECK;
/* RFC 3339 and ahead, or a duration from now ("30d"). 0 or -EINVAL. */
int suppression_expiry(const char *text, int64_t now_ms, int64_t *out_ms) ATTR_MUSTCHECK;
/* A list by name or number: 0, STORAGE_NOT_FOUND or negative. "" = 0, every list. */
int suppression_list(struct storage_reader *reader, const char *text, int64_t *id, struct error *err) ATTR_MUSTCHECK;

#endif
