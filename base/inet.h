/*
 * inet.h - what kind of IP address it is: whether somebody who is not trusted (an MX record, the URL of a webhook) may
 * have us connect to it.
 */
#ifndef POSTHASTE_BASE_INET_H
#define POSTHASTE_BASE_INET_H

#include <stdbool.h>

#include "base/attr.h"

enum inet_kind {
    INET_PUBLIC,
    INET_PRIVATE, /* loopback, private, link-local, unspecified, shared (RFC 6598), benchmark; also inside of IPv6 forms
                     that carry IPv4 */
    INET_NEVER,   /* multicast, broadcast and reserved: no TCP connection can be made to it */
};

/* 4 bytes, or 16 with `v6`, in network order. */
enum inet_kind inet_kind(const void *address, bool v6);

#endif
