/*
 * check.h - everything that receivers will look up about mail from one domain of ours, looked up first: a list of
 * findings, each with what was seen, what is wanted, the record to publish, and who refuses mail without it. Private to
 * the room.
 *
 * The evaluators take a `struct lookup`, so that tests answer for the DNS; only check_web() talks to anybody else.
 */
#ifndef POSTHASTE_CAMPAIGN_PREFLIGHT_CHECK_H
#define POSTHASTE_CAMPAIGN_PREFLIGHT_CHECK_H

#include "campaign/preflight/lookup.h"
#include "dkim/dkim.h"

enum finding_status { FINDING_OK, FINDING_WARNING, FINDING_ERROR };
const char *finding_status_name(enum finding_status status); /* "ok", "warning", "error" */

/* A finding under construction. `code` names what was found ("spf-missing") and is part of the public contract. */
struct finding {
    const char *check; /* "spf", "dkim", "dmarc", "ptr", "helo", "bounce_mx", "from_mx", "tracking", "unsubscribe" */
    const char *code;
    enum finding_status status;
    const char *subject; /* what it is about: a source, a selector, a name */
    char seen[600], wanted[400];
    const char *record_name, *record_type; /* NULL = nothing is to be published */
    char *record_value;                    /* taken over */
};

#define CHECK_SOURCES_MAX 64
#define CHECK_KEYS_MAX 4

struct check_source { /* an address that receivers see */
    const char *name; /* of the configuration; or the host name */
    char address[64];
    const char *ehlo;
    bool by_name; /* found as an address of the EHLO name, because the configuration has none or a private one */
};

struct check_key {
    char *selector;
    struct dkim_key *key;
    bool second; /* Ed25519 beside RSA: receivers that matter look at the other one */
};

struct check {
    const struct config *config;
    struct lookup *lookup;
    const char *domain; /* of From */
    const char *bounce_domain;
    struct check_source sources[CHECK_SOURCES_MAX];
    size_t source_count;
    struct check_key keys[CHECK_KEYS_MAX];
    size_t key_count;
    json_t *findings;
    enum finding_status worst;
    bool no_memory;
    int64_t now_s, deadline_ms; /* wall clock; monotonic */
};

void finding_add(struct check *check, struct finding *finding);
void finding_seen(struct finding *finding, const char *format, ...) ATTR_PRINTF(2, 3); /* cut when too long */
void finding_wanted(struct finding *finding, const char *format, ...) ATTR_PRINTF(2, 3);

/* check_spf.c, check_dkim.c, check_dmarc.c, check_names.c, check_web.c */
void check_sources(struct check *check); /* fills sources */
void check_spf(struct check *check);
void check_dkim(struct check *check);
/* One more finding: does this message, signed as the campaign's will be, verify with what is in DNS? */
void check_message(struct check *check, const char *message, size_t len);
void check_dmarc(struct check *check);
void check_ptr(struct check *check);
void check_mx(struct check *check);
void check_web(struct check *check);

/* Of a launch: check_message() for the domain, its finding added to the report, whose status follows. Asks no longer
 * than a few seconds, and nothing at all when the report says that the keys cannot be looked up. 0 or negative. */
int check_first_message(const struct config *config, struct storage_reader *reader, struct resolver *resolver,
                        const char *domain, const char *message, size_t len, json_t *report,
                        struct error *err) ATTR_MUSTCHECK;

/* records.c: NULL = no memory. */
char *record_spf(const struct check *check, const char *existing); /* with our sources in it */
const char *record_spf_note(const struct check *check);            /* what has to be filled in there; NULL = nothing */
char *record_dmarc(const char *domain);
/* Host and port of a URL; false when it has none. */
bool url_host(const char *url, char host[256], bool *https);

#endif
