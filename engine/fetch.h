/*
 * fetch.h - one HTTPS request, bounded in every way: no redirects, certificate verified, so many bytes, so many
 * milliseconds. Public, but included through engine/engine.h.
 *
 * The host's addresses come from the caller, who asked the same DNS as everybody else here (engine/resolve.h); the
 * system's resolver and proxies are not used. What is in an answer are strangers' bytes.
 */
#ifndef POSTHASTE_ENGINE_FETCH_H
#define POSTHASTE_ENGINE_FETCH_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/error.h"

enum fetch_status {
    FETCH_ANSWERED,  /* with some HTTP status; the body is whole */
    FETCH_CONNECT,   /* no address could be connected to */
    FETCH_TLS,       /* no TLS, or a certificate that is not good for the host */
    FETCH_TOO_LARGE, /* more than max_bytes: given up */
    FETCH_TIMEOUT,
    FETCH_FAILED, /* anything else */
};

struct fetch_request {
    const char *url;              /* https://HOST[:PORT]/PATH */
    const char *const *addresses; /* literals, tried in turn */
    size_t address_count;
    uint16_t port;       /* where to connect, whatever the URL says; 0 = as it says */
    const char *ca_file; /* PEM; NULL or "" = the system's roots */
    size_t max_bytes;    /* of the answer's body */
    int64_t timeout_ms;  /* of all of it */
    const void *body;    /* NULL = GET, else POST */
    size_t body_bytes;
    const atomic_bool *cancelled;                /* looked at about once a second; NULL = never */
    const char *content_type, *content_encoding; /* of body; the encoding may be NULL */
};

struct fetch_answer {
    enum fetch_status status;
    int http_status; /* 0 = none came */
    char content_type[128];
    char *body; /* NUL behind it; never NULL when FETCH_ANSWERED */
    size_t len;
    int64_t certificate_ends_s; /* of the host's own certificate, seconds since 1970; 0 = not known */
    char why[256];              /* not FETCH_ANSWERED: one sentence; else "" */
};

/* Blocks. Any thread. fetch_answer_finish() in any case. */
void fetch(const struct fetch_request *request, struct fetch_answer *out);
void fetch_answer_finish(struct fetch_answer *answer); /* harmless on a zeroed one */

#endif
