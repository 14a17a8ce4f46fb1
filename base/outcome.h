/*
 * outcome.h - what one attempt to deliver one message ended with. The engine makes it, campaign judges it, storage
 * keeps it.
 *
 * A remote "no" is data, not an error. `code` is 0 when no reply of a server decided. What is known about the text
 * is only that it is bounded and holds no control bytes (they were replaced by spaces on the way in).
 */
#ifndef POSTHASTE_BASE_OUTCOME_H
#define POSTHASTE_BASE_OUTCOME_H

#include <stdbool.h>

#include "base/attr.h"
#include "base/tls_result.h"

enum outcome_class {
    OUTCOME_DELIVERED, /* 2xx to the end of the content: the server has taken responsibility (RFC 5321 4.2.5) */
    OUTCOME_TEMPORARY, /* 4xx, or a reply that makes no sense: try again later */
    OUTCOME_PERMANENT, /* 5xx for this recipient or message, null MX, no such domain */
    OUTCOME_TRANSPORT, /* connection, TLS or DNS failed before this message's content was finished: try again later */
    OUTCOME_UNCERTAIN, /* content was finished, the connection ended before the reply (RFC 1047) */
    OUTCOME_COMPOSE,   /* the message could not be made (a local fault); never reached the wire */
    OUTCOME_EXPIRED,   /* its time was over before it could be tried; never reached the wire */
    OUTCOME_RELEASED,  /* given back untried because the caller asked; stage and text tell what it waited for */
};

enum outcome_stage {
    STAGE_NONE,
    STAGE_COMPOSE,
    STAGE_DNS,
    STAGE_CONNECT,
    STAGE_TLS,
    STAGE_GREETING,
    STAGE_EHLO,
    STAGE_AUTH,
    STAGE_MAIL,
    STAGE_RCPT,
    STAGE_DATA,
    STAGE_CONTENT, /* CONTENT: the final reply */
    STAGE_COUNT
};

/* Numbers first, then the texts by how much of them is used: of its kilobyte most outcomes touch a few cache lines, on
 * each of the threads that they pass. */
struct outcome {
    enum outcome_class class_;
    enum outcome_stage stage;
    uint16_t code;              /* SMTP reply code, 200..599, or 0 */
    bool tls;                   /* the attempt ran under TLS */
    enum tls_rule tls_rule;     /* what held for it: DANE wins over MTA-STS */
    enum tls_result tls_result; /* and how that went */
    uint32_t duration_ms;       /* from MAIL (or connect) to the end */
    int64_t ended_wall_ms;
    uint32_t wait_ms; /* RELEASED: what it waited for will not be there sooner; 0 = not known. Not kept */
    /* When the reply of a stage had come; 0 = it had not. CONNECT to AUTH since the connection was begun, and only for
     * the first message on it: the others did not wait for that. MAIL to CONTENT since MAIL was said. At least 1. */
    uint32_t times_ms[STAGE_COUNT];
    char enhanced[12];   /* RFC 3463 "5.1.1", or "" */
    char tls_version[8]; /* "TLSv1.3", or "" */
    char tls_cipher[40]; /* "TLS_AES_256_GCM_SHA384", or "" */
    char source[48];     /* name of the source (local address) used, or "" */
    char address[56];    /* of the host that was tried, with port: "192.0.2.1:25", "[2001:db8::1]:25", or "" */
    char mx_host[256];   /* name or address of the host that was tried, or "" */
    char text[480];      /* reply text without code and enhanced code, lines joined by a space; or our own sentence */
};

const char *outcome_class_name(enum outcome_class class_); /* "delivered", "temporary", … */
const char *outcome_stage_name(enum outcome_stage stage);  /* "none", "compose", "dns", … "content" */

/* Fills class, stage and text (printf-like, made safe and cut); everything else is zeroed. */
void outcome_set(struct outcome *outcome, enum outcome_class class_, enum outcome_stage stage, const char *format, ...)
    ATTR_PRINTF(4, 5);

#endif
