/*
 * spf_private.h - between spf.c (evaluation), spf_term.c (syntax) and spf_macro.c (macros).
 */
#ifndef POSTHASTE_CAMPAIGN_PREFLIGHT_SPF_PRIVATE_H
#define POSTHASTE_CAMPAIGN_PREFLIGHT_SPF_PRIVATE_H

#include "campaign/preflight/spf.h"

#define SPF_NAME_BYTES 256 /* an expanded domain name, cut to 253 */
#define SPF_DEPTH_MAX 12   /* of includes and redirects; the look-up limit ends them before */

struct spf_ip {
    bool v6;
    uint8_t bytes[16]; /* network order; IPv4 uses the first four */
};

struct spf_run {
    struct lookup *lookup;
    const struct spf_query *query;
    struct spf_verdict *verdict;
    struct spf_ip ip;
    char local[256], sender_domain[SPF_NAME_BYTES];
};

/* ---- spf_term.c: one term of a record ---- */
enum spf_kind {
    SPF_ALL,
    SPF_INCLUDE,
    SPF_A,
    SPF_MX,
    SPF_PTR,
    SPF_IP4,
    SPF_IP6,
    SPF_EXISTS,
    SPF_REDIRECT,
    SPF_EXP,
    SPF_OTHER
};

struct spf_term {
    enum spf_kind kind;
    enum spf_result qualifier; /* what a match means */
    const char *spec;          /* domain-spec, macro-string or network, not terminated; NULL = none given */
    size_t spec_len;
    unsigned bits4, bits6; /* prefix lengths */
    struct spf_ip network; /* IP4, IP6 */
};

/* 0, or -EINVAL with the reason in `why`. */
int spf_term_parse(const char *text, size_t len, struct spf_term *out, char why[160]) ATTR_MUSTCHECK;
bool spf_ip_parse(const char *text, size_t len, struct spf_ip *out);

/* ---- spf_macro.c ---- */
/* domain-spec of section 7.1 (`domain` true: it must end like a name), or macro-string. */
bool spf_macro_valid(const char *text, size_t len, bool domain);
/* Expands into a name; labels are dropped from the left until 253 bytes are left. */
void spf_macro_expand(struct spf_run *run, const char *domain, const char *text, size_t len, char out[SPF_NAME_BYTES]);

/* ---- spf.c ---- */
/* A name that the client's address belongs to (section 5.5), below or equal to `target`; with `any` else any, else "".
 */
void spf_validated_name(struct spf_run *run, const char *target, bool any, char out[SPF_NAME_BYTES]);

#endif
