/*
 * config_bounces.h - what the configuration says of mail that comes back, and of when a campaign is to pause by itself;
 * part of base/config.h.
 */
#ifndef POSTHASTE_BASE_CONFIG_BOUNCES_H
#define POSTHASTE_BASE_CONFIG_BOUNCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config_bounces { /* section `bounces { … }` */
    char *listen_host;  /* where mail servers hand reports to us; "" = nowhere */
    uint16_t listen_port;
    char *domain;             /* of its recipients, and of the return path unless bounce_domain names another */
    char *tls_cert, *tls_key; /* PEM files for STARTTLS; both "" = none */
    char *feedback;           /* local part that takes abuse reports; default "fbl" */
    uint32_t connections, connections_per_address; /* default 100, 10 */
    uint32_t message_bytes;                        /* largest mail; default 10 MB */
    int64_t timeout_ms;                            /* for a client's next bytes; default 5 min */
    bool suppress_hard, suppress_complaints;       /* default true */
    uint32_t soft_bounces;                         /* so many suppress; 0 = never; default 5 ... */
    int64_t soft_window_ms;                        /* ... within this, with no delivery in between; default 30 d */
    bool complaint_dkim;                           /* abuse reports need a valid signature of their source; true */
    char **complaint_sources;                      /* domains whose abuse reports count; none = every one */
    size_t complaint_source_count;
};

struct config_guard {          /* section `guard { … }`: shares in millionths, 0 = off */
    uint32_t hard_bounces_ppm; /* of what was delivered or bounced; default 5% */
    uint32_t complaints_ppm;   /* of what was delivered; default 0.1% */
    uint32_t after;            /* judged once so many are known; default 1000 */
};

#endif
