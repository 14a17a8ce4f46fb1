/*
 * mx_address.h - an IP address out of the DNS, and whether mail may be sent to it.
 *
 * MX records are written by strangers. One that points to 127.0.0.1 or 10.0.0.1 would have us knock on our own
 * network's doors, one that points to an address of ours would make mail go round in circles (RFC 5321 section 5.1).
 * Only what is dangerous is refused: an address that merely leads nowhere ends as a failed connection.
 */
#ifndef POSTHASTE_ENGINE_NET_MX_ADDRESS_H
#define POSTHASTE_ENGINE_NET_MX_ADDRESS_H

#include "engine/net/stream.h"

struct mx_address {
    bool v6;
    uint8_t bytes[16]; /* network order; IPv4 uses the first four */
};

enum mx_address_kind {
    MX_ADDRESS_PUBLIC,
    MX_ADDRESS_PRIVATE, /* loopback, private, link-local, unspecified, shared (RFC 6598), benchmark; also inside of IPv6
                           forms that carry IPv4 */
    MX_ADDRESS_NEVER,   /* multicast, broadcast and reserved: no TCP connection can be made to it */
};

/* RDATA of an A (4 bytes) or AAAA (16 bytes) record: 0, or -EINVAL for any other length. */
int mx_address_from_rdata(const void *data, int len, bool v6, struct mx_address *out) ATTR_MUSTCHECK;
/* "192.0.2.1" or "2001:db8::1": 0 or -EINVAL. */
int mx_address_parse(const char *text, struct mx_address *out) ATTR_MUSTCHECK;

bool mx_address_equal(const struct mx_address *a, const struct mx_address *b); /* ::ffff:192.0.2.1 is not 192.0.2.1 */
enum mx_address_kind mx_address_kind(const struct mx_address *address);

#define MX_ADDRESS_TEXT_BYTES 46
const char *mx_address_text(const struct mx_address *address, char out[MX_ADDRESS_TEXT_BYTES]);
void mx_address_socket(const struct mx_address *address, uint16_t port, struct stream_address *out);

#endif
