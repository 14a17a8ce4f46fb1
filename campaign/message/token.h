/*
 * token.h - unforgeable names for (campaign, recipient): the unsubscribe link, the return path, the Message-ID, the
 * pages and the pixel; and for (campaign, recipient, link): a tracked link. Private to the room.
 *
 * A token is lower-case base32 (RFC 4648 section 6, no padding) of: one byte (format, widths of the two ids), the ids
 * big-endian without leading zeros, and 128 bits of HMAC-SHA-256 over purpose and ids. It is safe in a URL, a local
 * part and a message id, and survives relays that fold the case of a local part. A token of one purpose is nothing for
 * another.
 */
#ifndef POSTHASTE_CAMPAIGN_MESSAGE_TOKEN_H
#define POSTHASTE_CAMPAIGN_MESSAGE_TOKEN_H

#include "base/attr.h"
#include "dkim/digest.h"

enum token_purpose {
    TOKEN_UNSUBSCRIBE,
    TOKEN_RETURN_PATH,
    TOKEN_MESSAGE_ID,
    TOKEN_CLICK, /* token_make_link() only */
    TOKEN_OPEN,
    TOKEN_VIEW,
    TOKEN_PREFERENCES,
    TOKEN_PURPOSE_COUNT
};

#define TOKEN_MAX_BYTES 53 /* characters; leaves room for "bounce+" in a local part of 64 octets */

/* 0, or -EIO. Ids are not negative. */
int token_make(const struct mac_key *mac, enum token_purpose purpose, int64_t campaign_id, int64_t recipient_id,
               char out[TOKEN_MAX_BYTES + 1]) ATTR_MUSTCHECK;

/* 0 and the ids; 1 = not made by us for this purpose (the MAC is compared in constant time); -EIO. `text` need not be
 * terminated. */
int token_parse(const struct mac_key *mac, enum token_purpose purpose, const char *text, size_t len,
                int64_t *campaign_id, int64_t *recipient_id) ATTR_MUSTCHECK;

/* The same for a link of the campaign: its number in the campaign's table, 1 to 65535, is in the token and under the
 * MAC. Such a token has a format of its own: it is never one of a pair. */
#define TOKEN_LINK_MAX_BYTES 56
int token_make_link(const struct mac_key *mac, int64_t campaign_id, int64_t recipient_id, uint16_t link,
                    char out[TOKEN_LINK_MAX_BYTES + 1]) ATTR_MUSTCHECK;
int token_parse_link(const struct mac_key *mac, const char *text, size_t len, int64_t *campaign_id,
                     int64_t *recipient_id, uint16_t *link) ATTR_MUSTCHECK;

#endif
