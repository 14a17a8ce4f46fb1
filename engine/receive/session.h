/*
 * session.h - one SMTP conversation (RFC 5321) with a client that brings mail, as an engine without I/O: bytes in,
 * bytes and a finished mail out. It knows no socket, no loop, no clock and no address: who may be mailed is asked.
 *
 * Success means that a mail was handed over whole, exactly as it was sent, and that its 250 is said only when whoever
 * took it says that it is safe. Nothing is ever relayed, nobody is told more than whether an address is taken.
 *
 * Strict where laxness lets mails be smuggled: a line ends with CRLF and with nothing else, the content with
 * CRLF.CRLF and with nothing else. A bare CR or LF, anywhere, ends the conversation. What follows STARTTLS in clear
 * text does too.
 *
 * Offered: PIPELINING, SIZE, 8BITMIME, SMTPUTF8, ENHANCEDSTATUSCODES, STARTTLS. One thread.
 */
#ifndef POSTHASTE_ENGINE_RECEIVE_SESSION_H
#define POSTHASTE_ENGINE_RECEIVE_SESSION_H

#include "base/buffer.h"

#define RECEIVE_RECIPIENTS_MAX 100
#define RECEIVE_COMMAND_BYTES 2048             /* a command line with its CRLF */
#define RECEIVE_LINE_BYTES ((size_t)64 << 10)  /* a line of the content */
#define RECEIVE_ERRORS_MAX 20                  /* refused commands and recipients of one connection */
#define RECEIVE_MAILS_MAX 1000                 /* of one connection */
#define RECEIVE_AHEAD_BYTES ((size_t)16 << 10) /* what may wait behind a mail that is being taken */

struct receive_session;

/* A mail on its way in. The recipients are as the callback accepted them. */
struct receive_content {
    char sender[260]; /* "" = the null path */
    char *recipients[RECEIVE_RECIPIENTS_MAX];
    size_t recipient_count;
    struct buffer data; /* CRLF line ends, dots unstuffed */
};
void receive_content_finish(struct receive_content *content);

/* Memory for contents, shared by all sessions of a receiver. */
struct receive_budget {
    size_t used_bytes, max_bytes;
};

struct receive_settings {
    const char *hostname;
    size_t message_bytes; /* largest content */
    bool tls;             /* offer STARTTLS */
    struct receive_budget *budget;
    void *context;
    /* May be mailed? `address` has neither brackets nor route; a bare "postmaster" is possible. */
    bool (*recipient)(void *context, const char *address);
    /* A mail is whole; the callee has its content from here on (receive_content_take). No callback comes before
     * receive_session_answer(), which must not be called from within. */
    void (*mail)(void *context, struct receive_session *session);
};

/* The greeting waits in the output. NULL = no memory. `settings` outlives the session. */
struct receive_session *receive_session_create(const struct receive_settings *settings, void *owner);
void receive_session_free(struct receive_session *session); /* NULL is harmless */
void *receive_session_owner(const struct receive_session *session);

void receive_session_feed(struct receive_session *session, const char *bytes, size_t len);
/* In `mail`: moves the content out; its bytes stay in the budget until receive_budget_return(). */
void receive_content_take(struct receive_session *session, struct receive_content *out);
void receive_budget_return(struct receive_budget *budget, size_t bytes);

enum receive_answer { RECEIVE_TAKEN, RECEIVE_LATER, RECEIVE_REFUSED };
/* What became of the mail: its reply is said, and what waited behind it is worked on. */
void receive_session_answer(struct receive_session *session, enum receive_answer answer);
/* "421 …": the last thing that is said. */
void receive_session_end(struct receive_session *session, const char *why);
/* The handshake that receive_wants_tls() asked for is done. */
void receive_session_secured(struct receive_session *session);

struct buffer *receive_session_output(struct receive_session *session); /* to be sent, and consumed, in order */
bool receive_wants_tls(const struct receive_session *session);   /* once the output is sent: begin the handshake */
bool receive_wants_close(const struct receive_session *session); /* once the output is sent: close */
bool receive_is_waiting(const struct receive_session *session);  /* a mail is with its taker */

#endif
