/*
 * target.h - where a webhook may lead. Its URL is written by somebody who may use the API, not by somebody who may use
 * our network: without `webhooks { allow_private = true }` no connection is made to a loopback, private, link-local or
 * otherwise special address (OWASP: server-side request forgery).
 *
 * The address is judged where the socket is made, so it is the one that is connected to: a name that is resolved
 * differently the second time, a number in octal, an IPv4 address inside an IPv6 one gain nothing. Redirects are not
 * followed and proxies of the environment not used.
 */
#ifndef POSTHASTE_API_EVENTS_TARGET_H
#define POSTHASTE_API_EVENTS_TARGET_H

#include <curl/curl.h>
#include <stdbool.h>

#include "base/error.h"

#define TARGET_URL_MAX_BYTES 2000

/* 0, or -EINVAL with the reason: not http(s), a user or a fragment in it, no host, an address that is not allowed.
 * Names are not resolved here. */
int target_check(const char *url, bool allow_private, struct error *err) ATTR_MUSTCHECK;

/* What a transfer may connect to. `refused` becomes true when it was kept from an address; lives as long as the
 * transfer. */
struct target {
    bool allow_private, refused;
};
/* Sets everything of the handle that has to do with where it leads. */
int target_apply(struct target *target, CURL *easy, const char *url) ATTR_MUSTCHECK; /* 0 or -ENOMEM */

#endif
