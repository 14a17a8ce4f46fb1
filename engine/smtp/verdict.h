/*
 * verdict.h - what a reply means to the command that it answers. The only place that decides by reply code.
 *
 * The first digit alone is not trusted (RFC 5321 4.2.1 says one may, experience says one pays): a 2xx to DATA, a 354 to
 * RCPT, a 220 or 221 inside a transaction and "503 bad sequence" all show that the two sides no longer talk about the
 * same command.
 */
#ifndef POSTHASTE_ENGINE_SMTP_VERDICT_H
#define POSTHASTE_ENGINE_SMTP_VERDICT_H

#include "base/outcome.h"
#include "engine/smtp/reply.h"

enum smtp_step { /* what we wait for the reply to */
                 STEP_GREETING,
                 STEP_EHLO,
                 STEP_HELO,
                 STEP_STARTTLS,
                 STEP_AUTH,
                 STEP_RSET,
                 STEP_MAIL,
                 STEP_RCPT,
                 STEP_DATA,
                 STEP_BDAT,
                 STEP_CONTENT,
                 STEP_QUIT,
                 STEP_COUNT
};

enum verdict {
    VERDICT_OK,        /* accepted */
    VERDICT_MORE,      /* 334 to AUTH: the exchange goes on */
    VERDICT_TEMPORARY, /* 4xx */
    VERDICT_PERMANENT, /* 5xx */
    VERDICT_CLOSING,   /* 421: the server will close (RFC 5321 3.8) */
    VERDICT_UNKNOWN,   /* 500, 502, 504 to EHLO or BDAT: the server does not know the command */
    VERDICT_SENSELESS, /* out of place: the sides have lost each other */
};

enum verdict verdict_of(enum smtp_step step, uint16_t code);
enum outcome_stage verdict_stage(enum smtp_step step);
const char *verdict_step_name(enum smtp_step step); /* "MAIL", "end of content", … */

#endif
