/*
 * tls_sessions.h - the TLS sessions that servers gave us, so that the next connection to the same server needs no full
 * handshake (RFC 5077, RFC 8446 section 2.2). Private to engine/net/tls.
 *
 * Bounded twice: so many entries (the least recently used goes first), and so many bytes each. A session is kept in its
 * serialised form: that is a few kilobytes where the object with the server's certificate chain may be a hundred, and
 * every connection gets a copy of its own that no other connection can spoil. Losing an entry only costs a handshake,
 * so nothing here reports a failure. One thread at a time.
 */
#ifndef POSTHASTE_ENGINE_NET_TLS_SESSIONS_H
#define POSTHASTE_ENGINE_NET_TLS_SESSIONS_H

#include <openssl/ssl.h>

#include "base/hashmap.h"
#include "base/list.h"

#define TLS_SESSION_MAX_BYTES ((size_t)16 << 10) /* a larger one is not kept */

struct tls_sessions {
    struct hashmap map; /* by key */
    struct list recent; /* most recently used first */
    size_t count, limit;
    int64_t lifetime_ms; /* none is offered longer after it was given; the server may have said less */
};

void tls_sessions_init(struct tls_sessions *sessions, size_t limit, int64_t lifetime_ms);
void tls_sessions_finish(struct tls_sessions *sessions); /* wipes and frees all */

/* Keeps a copy of the session in place of the one that the key has. `key` is copied, `now_ms` monotonic. */
void tls_sessions_put(struct tls_sessions *sessions, const char *key, SSL_SESSION *session, int64_t now_ms);
/* A session to offer, the caller's to free; NULL = none. */
SSL_SESSION *tls_sessions_get(struct tls_sessions *sessions, const char *key, int64_t now_ms) ATTR_MUSTCHECK;
void tls_sessions_drop(struct tls_sessions *sessions, const char *key); /* harmless when there is none */

#endif
