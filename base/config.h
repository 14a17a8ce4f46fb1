/*
 * config.h - the configuration: one struct, its defaults, and the reader (libconfuse) that fills it.
 *
 * Lookup order (DESIGN 5): the file given, else ./posthaste.conf, else /etc/posthaste/posthaste.conf, else defaults. An
 * error names file, line and key: unknown key, wrong type, bad value ("rate = fast"), duplicate section title, a pool
 * naming a source that is not there, missing file when one was given.
 * "${NAME}" and "${NAME:-default}" in a value are replaced from the environment.
 * The struct is immutable after loading and may be read from any thread; config_free() after all threads ended. A
 * server that reloads has several of them, one after the other: config_live.h.
 */
#ifndef POSTHASTE_BASE_CONFIG_H
#define POSTHASTE_BASE_CONFIG_H

#include <stdbool.h>

#include "base/config_bounces.h"
#include "base/error.h"
#include "base/log.h"
#include "base/rate.h"

enum tls_policy { TLS_NONE, TLS_OPPORTUNISTIC, TLS_REQUIRED, TLS_VERIFIED };
enum preflight_mode { PREFLIGHT_ENFORCE, PREFLIGHT_WARN, PREFLIGHT_OFF };
enum on_uncertain { UNCERTAIN_RESEND, UNCERTAIN_HOLD };

struct config_route {    /* an explicit next hop in place of the MX lookup */
    char *pattern;       /* recipient domain, ".suffix" for its subdomains, or "*" = everything */
    char *host;          /* name or address literal without brackets */
    uint16_t port;       /* default 25 */
    enum tls_policy tls; /* default opportunistic */
    bool implicit_tls;   /* TLS from the first byte on (RFC 8314 section 3.3); always so on port 465 */
    char *user;          /* "" = no login */
    char *password_file; /* one line; required with `user` */
    bool auth_clear;     /* the password may go over a connection that is not encrypted */
};
struct config_source {
    char *name, *address, *hostname;              /* hostname "" = the global one */
    uint32_t weight;                              /* share of the connections, default 1 */
    uint32_t connections;                         /* at one time; 0 = no limit */
    struct rate rate, byte_rate, connection_rate; /* of all its messages and connections; count 0 = no limit */
    uint32_t burst;                               /* as in a profile */
};
struct config_warmup { /* the first days of a source: so many messages a day to each profile's sites */
    char *source;
    struct rate start; /* of the first day: N/d */
    double growth;     /* each day so many times as much; default 1.5 */
    uint32_t days;     /* then it is warm; default 30 */
};
struct config_sender { /* a sending domain: the domain of From */
    char *name;        /* as a route's pattern */
    struct rate rate, byte_rate;
    uint32_t burst;
};
struct config_pool {
    char *name;
    char **sources; /* names, `source_count` of them */
    size_t source_count;
};
struct config_profile { /* what a profile leaves out is what "default" says, whose own defaults are these */
    char *name;
    char **mx;
    size_t mx_count; /* MX host suffixes, ".google.com" */
    char **domain;
    size_t domain_count;              /* recipient domain names or ".suffix" */
    uint32_t connections;             /* default 10 */
    uint32_t messages_per_connection; /* default 100 */
    struct rate rate;                 /* default 100/s; messages of the whole site */
    struct rate byte_rate;            /* of their content; default unlimited */
    struct rate connection_rate;      /* connections begun; default unlimited */
    uint32_t burst;                   /* messages at once after a rest; 0 = hardly any */
    struct rate source_rate;          /* of each source at the site; default unlimited */
    uint32_t source_connections;      /* of each source at the site; 0 = no limit */
    struct rate provider_rate;        /* of each source at all sites of the profile together; default unlimited */
    uint32_t provider_connections;    /* the same */
    bool adaptive;                    /* default true: slow down when the site says so */
    uint32_t pipeline_depth;          /* messages outstanding on one connection, default 10 */
    enum tls_policy tls;              /* default opportunistic */
    int64_t idle_timeout_ms;          /* default 5 s: how long an unused connection is kept */
};
struct config_timeouts { /* RFC 5321 section 4.5.3.2 minimums are the defaults; section `timeouts { greeting = "5min" …
                            }` */
    int64_t connect_ms;  /* 60 s */
    int64_t tls_ms;      /* 60 s: the whole handshake */
    int64_t greeting_ms; /* 5 min */
    int64_t ehlo_ms;     /* 5 min */
    int64_t mail_ms;     /* 5 min */
    int64_t rcpt_ms;     /* 5 min */
    int64_t data_ms;     /* 2 min: until the reply to DATA */
    int64_t block_ms;    /* 3 min: until the peer takes more of the content */
    int64_t final_ms;    /* 10 min: until the reply to the end of the content */
    int64_t quit_ms;     /* 5 s */
};
struct config_webhooks {    /* section `webhooks { retry_first = "5s" … }` */
    bool allow_private;     /* receivers on loopback and private addresses */
    int64_t timeout_ms;     /* 15 s: from the connection to the receiver's answer */
    int64_t retry_first_ms; /* 5 s; doubles ... */
    int64_t retry_max_ms;   /* ... up to 1 h */
    int64_t give_up_ms;     /* 1 d: a receiver that took nothing for so long is disabled */
    uint32_t backlog;       /* 10,000,000: one that is further behind than so many events, too */
};
struct config_events {  /* section `events { keep = "3d" … }` */
    int64_t keep_ms;    /* 3 d: how long taken events stay, for replays */
    char *log;          /* a file that gets every event as a line of JSON; "" = none */
    uint32_t log_mb;    /* 100: the file is renamed to FILE.1 when it has so many MiB ... */
    uint32_t log_files; /* 5: ... and so many old ones are kept */
};
struct config_domain { /* per recipient domain, inside its site; 0 / unlimited = no limit of its own */
    char *name;        /* as a route's pattern; each domain that it matches has the limit for itself */
    struct rate rate, byte_rate;
    uint32_t connections, burst;
};
struct config_machine { /* section `limits`: all that this server sends */
    struct rate rate, byte_rate, connection_rate;
    uint32_t connections, burst;
};
struct config_origin {   /* where a value was set */
    const char *section; /* "profile", ...; NULL = the top of the file */
    char *title;         /* "" = none */
    const char *key;     /* "" = the section itself */
    uint32_t file;       /* index in config.files */
    uint32_t line;
};

struct config {
    char *file;               /* where it was read from, "" = defaults */
    char *hostname;           /* EHLO name; default gethostname() */
    char *data_dir;           /* default "./posthaste-data" */
    char *listen_host;        /* "127.0.0.1"; brackets of an IPv6 literal removed */
    uint16_t listen_port;     /* 8025; 0 lets the system choose */
    char *public_url;         /* "http://HOST:PORT" of `listen` when not set; no trailing slash */
    char *bounce_domain;      /* domain of the VERP return path; "" = the domain of the campaign's From */
    char *dns_server;         /* "" = /etc/resolv.conf */
    char *dns_trust_anchor;   /* DS or DNSKEY records; "system" = the distribution's root keys; "" = no DNSSEC */
    char *tls_cert, *tls_key; /* PEM files: HTTPS in place of HTTP; both "" = plain */
    struct rate api_rate;     /* requests of one token, or of one address without; default 20000/s */
    char *tls_ca_file;        /* PEM file of the roots to trust; "" = the system's */
    bool allow_private_mx;    /* MX records may point to loopback and private addresses, and to ourselves */
    bool mta_sts;             /* what recipient domains publish about TLS (RFC 8461) is kept; default true */
    uint16_t https_port;      /* of MTA-STS policy hosts, 443; another one is for test networks */
    uint16_t mx_port;         /* 25; another one is for test networks */
    enum log_level log_level;
    uint32_t loops;           /* engine threads; default max(1, cores / 2) */
    uint32_t compose_threads; /* default: cores */
    enum on_uncertain on_uncertain;
    bool tls_rpt;             /* TLS reports (RFC 8460) are sent to domains that ask for them */
    int64_t tls_rpt_delay_ms; /* 4 h: they are spread over so long behind midnight UTC */
    enum preflight_mode preflight; /* what a launch from a domain that providers would refuse is: refused, or told */
    int64_t preflight_every_ms;    /* 1 d: domains of running campaigns are checked again */
    int64_t retry_first_ms;        /* 5 min; doubles ... */
    int64_t retry_max_ms;          /* ... up to 4 h */
    int64_t expires_after_ms;      /* 3 d */
    int64_t signature_expires_ms;  /* x= of DKIM, so long after a message was signed; 0 = none */
    int64_t keep_links_ms; /* 0 = for ever: of campaigns that ended so long ago, links and pages may be forgotten; of
                              messages that came so long ago, to whom they went */
    int64_t keep_deliveries_ms;    /* 0 = for ever: of campaigns that ended so long ago, only the totals are kept */
    int64_t shutdown_ms;           /* 30 s: how long SIGTERM waits for what is in the air */
    struct config_timeouts timeouts;
    struct config_webhooks webhooks;
    struct config_events events;
    struct config_route *routes;
    size_t route_count;
    struct config_source *sources;
    size_t source_count;
    struct config_pool *pools;
    size_t pool_count;
    struct config_profile *profiles;
    size_t profile_count; /* profiles[0] is always "default" */
    struct config_domain *domains;
    size_t domain_count;
    struct config_bounces bounces;
    struct config_guard guard;
    struct config_warmup *warmups;
    size_t warmup_count;
    struct config_sender *senders;
    size_t sender_count;
    struct config_machine limits;
    char *profiles_file;           /* "" = the usual places, "none" = no profiles but the configuration's own */
    char *files[2];                /* names, for origins: the configuration, the profiles */
    struct config_origin *origins; /* of every value that a file set, and of every section with a title */
    size_t origin_count;
    _Atomic uint32_t more_holders; /* besides the one that config_load() gives: config_live.h */
};

/* `file` NULL = lookup order above. 0, -ENOENT (given file missing), -EINVAL, -errno; *out is NULL unless 0. */
int config_load(const char *file, struct config **out, struct error *err) ATTR_MUSTCHECK;
void config_free(struct config *config);

/* The effective configuration in the file's own syntax, for `config show`; newly allocated, NULL when no memory. */
char *config_format(const struct config *config) ATTR_MALLOC;

/* Most specific match (exact, then longest ".suffix", then "*"); NULL = none. `domain` in normal form. */
const struct config_route *config_route_for(const struct config *config, const char *domain);
const struct config_domain *config_domain_for(const struct config *config, const char *domain);
const struct config_sender *config_sender_for(const struct config *config, const char *domain);
/* "FILE:LINE" of the value in effect, or "built in". A profile's value may come from the profile "default". */
#define CONFIG_WHERE_BYTES 300
const char *config_where(const struct config *config, const char *section, const char *title, const char *key,
                         char out[CONFIG_WHERE_BYTES]);
/* Each thing that is set but can never take effect, one sentence a call; for `config check`. */
void config_warnings(const struct config *config, void (*each)(void *context, const char *sentence), void *context);
/* Profile whose `domain` list matches most specifically, else profiles[0]. (By MX: engine/site.) */
const struct config_profile *config_profile_for_domain(const struct config *config, const char *domain);

#endif
