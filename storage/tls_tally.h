/*
 * tls_tally.h - sessions counted for TLS reports (RFC 8460), by day and recipient domain; public, included through
 * storage/storage.h.
 */
#ifndef POSTHASTE_STORAGE_TLS_TALLY_H
#define POSTHASTE_STORAGE_TLS_TALLY_H

#include "base/tls_result.h"
#include "storage/storage.h"

enum tls_kind { TLS_KIND_NONE, TLS_KIND_STS, TLS_KIND_TLSA, TLS_KIND_COUNT };

struct storage_tls_tally {
    int64_t day; /* since 1970, UTC */
    const char *domain;
    enum tls_kind kind;
    enum tls_result result;
    const char *mx_host, *address, *source; /* "" = of several, or not known */
    int64_t sessions;
    const char *policy; /* lines; the latest counts */
};

/* Adds to what is there, all or nothing. Blocks until it is durable. */
int storage_tls_add(struct storage *storage, const struct storage_tls_tally *tallies, size_t count,
                    struct error *err) ATTR_MUSTCHECK;
/* The days and domains that have tallies, in order; non-zero stops and is returned. Strings live during the call. */
typedef int storage_tls_domain_cb(void *context, int64_t day, const char *domain, int64_t rows);
int storage_tls_domains(struct storage_reader *reader, storage_tls_domain_cb *each, void *context,
                        struct error *err) ATTR_MUSTCHECK;
typedef int storage_tls_tally_cb(void *context, const struct storage_tls_tally *tally);
int storage_tls_tallies(struct storage_reader *reader, int64_t day, const char *domain, storage_tls_tally_cb *each,
                        void *context, struct error *err) ATTR_MUSTCHECK;
/* Forgets a domain's day; or (domain NULL) all days before `day`. */
int storage_tls_forget(struct storage *storage, int64_t day, const char *domain, struct error *err) ATTR_MUSTCHECK;

#endif
