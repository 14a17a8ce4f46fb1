/*
 * address.h - an e-mail address as RFC 5321 section 4.1.2 Mailbox, with RFC 6531 (UTF-8) local parts and IDNA domains.
 *
 * Normal form: domain as lower-case A-labels (libidn2, UTS #46 non-transitional), local part kept byte by byte except
 * that A-Z become a-z: no large provider tells them apart and lists are full of both; quoted local parts whose quotes
 * are not needed lose them, others are refused, as are address literals, domains without a dot, source routes,
 * comments, control bytes, local parts with "=?", and lengths over 64 (local), 255 (domain), 254 (whole) octets.
 */
#ifndef POSTHASTE_BASE_ADDRESS_H
#define POSTHASTE_BASE_ADDRESS_H

#include <stdbool.h>

#include "base/error.h"

#define ADDRESS_MAX_BYTES 254
#define ADDRESS_LOCAL_MAX_BYTES 64
#define DOMAIN_MAX_BYTES 253

struct address {
    char text[ADDRESS_MAX_BYTES + 1]; /* normal form, "local@domain" */
    uint16_t at;                      /* index of the '@' */
    bool utf8;                        /* local part has non-ASCII: needs SMTPUTF8 */
};

static inline const char *address_domain(const struct address *address)
{
    return address->text + address->at + 1;
}

/* `text` need not be terminated; surrounding white space is dropped. 0, or -EINVAL with a reason for the person who
 * reads the reject file. */
int address_parse(const char *text, size_t len, struct address *out, struct error *err) ATTR_MUSTCHECK;
/* The same, but takes "=?", which older versions stored: for finding, removing and suppressing, never for mailing. */
int address_parse_stored(const char *text, size_t len, struct address *out, struct error *err) ATTR_MUSTCHECK;

/* A domain alone into its normal form; `out` holds DOMAIN_MAX_BYTES + 1. */
int domain_normalise(const char *text, size_t len, char out[DOMAIN_MAX_BYTES + 1], struct error *err) ATTR_MUSTCHECK;

#endif
