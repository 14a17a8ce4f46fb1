/*
 * resolve.h - questions to the domain name system for the other rooms: from any thread, answered later or waited for,
 * always within a bound. Public, but included through engine/engine.h.
 *
 * A resolver has a thread of its own and the same settings as the look-ups of the engine (`dns { … }`); it needs no
 * running engine, so a command of the CLI may have one too. An answer is decoded: names are lower case without the
 * final dot, addresses are text, a TXT record is its strings joined. What is in it are strangers' bytes: a TXT record
 * may hold any byte, NUL too, and its length is up to 64 KB.
 *
 * `secure` and `bogus` speak of DNSSEC: without `dns { trust_anchor }` nothing is ever either.
 */
#ifndef POSTHASTE_ENGINE_RESOLVE_H
#define POSTHASTE_ENGINE_RESOLVE_H

#include <stdbool.h>

#include "base/config.h"

struct resolver;

enum resolve_type {
    RESOLVE_A = 1,
    RESOLVE_CNAME = 5,
    RESOLVE_PTR = 12,
    RESOLVE_MX = 15,
    RESOLVE_TXT = 16,
    RESOLVE_AAAA = 28,
    RESOLVE_TLSA = 52,
};
const char *resolve_type_name(enum resolve_type type); /* "A", "TXT", … */

enum resolve_status {
    RESOLVE_FOUND,   /* at least one record that could be read, behind aliases perhaps */
    RESOLVE_NO_DATA, /* the name exists and has none of the type */
    RESOLVE_NO_NAME, /* the name does not exist (NXDOMAIN) */
    RESOLVE_FAILED,  /* nothing is known: SERVFAIL, no answer in time, bogus, a local fault; `why` says which */
};

struct resolve_record {
    const char *text;    /* A, AAAA: address; MX, PTR, CNAME: name, "" = the root (null MX); TXT, TLSA: the bytes */
    size_t len;          /* of text, which has a NUL behind it */
    uint16_t preference; /* MX */
};

struct resolve_answer {
    enum resolve_status status;
    bool secure; /* proved by DNSSEC; also that there is nothing */
    bool bogus;  /* RESOLVE_FAILED because the zone's signatures do not fit */
    uint32_t ttl_s;
    size_t count; /* at least 1 when FOUND, else 0 */
    const struct resolve_record *records;
    size_t malformed; /* records that could not be read (a name that is none, a wrong length), passed over */
    char why[160];    /* RESOLVE_FAILED: one sentence; else "" */
};
void resolve_answer_free(struct resolve_answer *answer); /* NULL is harmless */

/* `config` is read during the call only. -EINVAL: a server or trust anchor that cannot be; -ENOMEM, other -errno. */
int resolver_start(const struct config *config, struct resolver **out, struct error *err) ATTR_MUSTCHECK;
/* Answers what is open with RESOLVE_FAILED and ends the thread. No call may run or come any more. NULL is harmless. */
void resolver_stop(struct resolver *resolver);

/* Exactly once, on the resolver's thread, within timeout_ms or so; must not block. The answer is the callee's. */
typedef void resolve_cb(void *context, struct resolve_answer *answer);
/* `name` with or without a final dot; copied. 0; -ENOMEM: nothing follows. Any thread but the callback's is allowed
 * too. */
int resolver_ask(struct resolver *resolver, const char *name, enum resolve_type type, int64_t timeout_ms,
                 resolve_cb *answered, void *context) ATTR_MUSTCHECK;
/* The same, waited for; not from a callback. NULL = no memory. */
struct resolve_answer *resolver_wait(struct resolver *resolver, const char *name, enum resolve_type type,
                                     int64_t timeout_ms) ATTR_MUSTCHECK;

/* Loopback, private, link-local and the like: no address that a receiver on the Internet sees. False for no literal. */
bool resolve_address_is_private(const char *address);

/* The first addresses of a host, IPv4 before IPv6, for somebody whom strangers told to go there: private ones are left
 * out unless `allow_private`. Waited for, each look-up timeout_ms; count 0 = none, or none that is known.
 * resolve_addresses_finish() follows. */
#define RESOLVE_ADDRESSES_MAX 8
struct resolve_addresses {
    size_t count;
    const char *text[RESOLVE_ADDRESSES_MAX];
    struct resolve_answer *answers[2]; /* which hold them */
};
void resolver_wait_addresses(struct resolver *resolver, const char *host, bool allow_private, int64_t timeout_ms,
                             struct resolve_addresses *out);
void resolve_addresses_finish(struct resolve_addresses *addresses);

/* Where the PTR records of an address stand: "1.2.0.192.in-addr.arpa". -EINVAL: not an address literal. */
#define RESOLVE_REVERSE_BYTES 80
int resolve_reverse_name(const char *address, char out[RESOLVE_REVERSE_BYTES]) ATTR_MUSTCHECK;

#endif
