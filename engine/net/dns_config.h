/*
 * dns_config.h - the settings of a resolver out of the configuration: the server, and where trust in DNSSEC begins.
 */
#ifndef POSTHASTE_ENGINE_NET_DNS_CONFIG_H
#define POSTHASTE_ENGINE_NET_DNS_CONFIG_H

#include "base/config.h"
#include "engine/net/dns.h"

struct dns_settings {
    struct dns_options options; /* its strings are the settings' own */
    char *server, *trust_anchor;
};

/* 0; -ENOENT: `trust_anchor = "system"` and the system has none, or no such file; -ENOMEM. */
int dns_settings_make(const struct config *config, struct dns_settings *out, struct error *err) ATTR_MUSTCHECK;
void dns_settings_finish(struct dns_settings *settings); /* harmless on a zeroed one */
/* Whether a trust anchor, if there is to be one, can be read and is one. 0; -errno as above, -EINVAL. */
int dns_settings_check(const struct config *config, struct error *err) ATTR_MUSTCHECK;

#endif
