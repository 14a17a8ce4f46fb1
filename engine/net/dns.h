/*
 * dns.h - questions to the domain name system, asked from one event loop, answered later on its thread.
 *
 * libunbound does the work on a thread of its own that this struct owns; answers come back through a pipe which the
 * loop polls. At most `outstanding_max` questions are with libunbound, the others wait here, urgent ones first, each
 * group in order.
 *
 * An answer means that the look-up ended, not that there is something at the name: see enum dns_status. A question has
 * no deadline of its own: who asks has one, and cancels. Names in answers are strangers' bytes, as they were on the
 * wire. No callback is made inside a call of this interface.
 */
#ifndef POSTHASTE_ENGINE_NET_DNS_H
#define POSTHASTE_ENGINE_NET_DNS_H

#include "base/error.h"
#include "engine/net/loop.h"

struct dns;
struct dns_question;

enum dns_type { DNS_A = 1, DNS_CNAME = 5, DNS_PTR = 12, DNS_MX = 15, DNS_TXT = 16, DNS_AAAA = 28, DNS_TLSA = 52 };

enum dns_status {
    DNS_FOUND,   /* there are records of the type, behind aliases perhaps */
    DNS_NO_DATA, /* the name exists and has none of the type */
    DNS_NO_NAME, /* NXDOMAIN: the name does not exist */
    DNS_FAILED,  /* nothing is known: SERVFAIL, REFUSED, no answer, forged (DNSSEC) or a local fault; ask again later */
};

struct dns_answer {
    enum dns_status status;
    bool secure;             /* proved by DNSSEC; also for "no data" and "no name" */
    bool bogus;              /* DNS_FAILED: the answer is not what its zone has signed */
    uint32_t ttl_s;          /* how long it may be believed; 0 when DNS_FAILED */
    size_t count;            /* records, at least 1 when DNS_FOUND, else 0 */
    const char *const *data; /* RDATA in wire format, names in it are not compressed */
    const int *lens;         /* their bytes */
    const char *text;        /* DNS_FAILED: why, one line; else "" */
};

struct dns_events {
    void (*sent)(void *context); /* libunbound has it from now on; may be NULL */
    void (*answered)(
        void *context,
        const struct dns_answer *answer); /* once; the answer lives during the call, the question is dead */
};

struct dns_options {
    const char *server;      /* "192.0.2.53" or "192.0.2.53@5353"; "" or NULL = the name servers of resolv_conf */
    const char *resolv_conf; /* NULL = /etc/resolv.conf; read once, here. A file without name servers means 127.0.0.1 */
    const char *trust_anchor_file; /* DS or DNSKEY records; NULL = DNSSEC is not checked and nothing is `secure` */
    uint32_t outstanding_max;      /* 0 = DNS_OUTSTANDING_DEFAULT; each may take a file descriptor */
};
#define DNS_OUTSTANDING_DEFAULT 256

/* 0; -EINVAL (a server or an anchor that cannot be), -ENOENT (no such file), -ENOMEM and other -errno. */
int dns_open(struct loop *loop, const struct dns_options *options, struct dns **out, struct error *err) ATTR_MUSTCHECK;
/* Whether dns_open() would do now; nothing is asked and nothing kept. As it else. */
int dns_check(const struct dns_options *options, struct error *err) ATTR_MUSTCHECK;

/* Forgets all questions, without callbacks, and ends the thread. Not from a callback of this interface. It holds a
 * handle of the loop, which ends a turn later: the loop must still run for that. NULL is harmless. */
void dns_close(struct dns *dns);

/* `name` is copied; `events` outlives the question. Urgent questions overtake the others. NULL = no memory. */
struct dns_question *dns_ask(struct dns *dns, const char *name, enum dns_type type, bool urgent,
                             const struct dns_events *events, void *context) ATTR_MUSTCHECK;
void dns_cancel(struct dns_question *question); /* dead after it; NULL is harmless */

uint32_t dns_outstanding(const struct dns *dns); /* with libunbound */
size_t dns_waiting(const struct dns *dns);       /* for their turn */

#endif
