/*
 * session.h - one SMTP client session (RFC 5321, 2920, 3030) as a machine without I/O: bytes in, bytes and events out,
 * time passed in.
 *
 * Success means only that the conversation worked; whether mail was taken is in the events. Every message given ends in
 * exactly one event, SESSION_OUTCOME or SESSION_BACK. Content is borrowed from session_give() until that event and
 * never copied.
 *
 * How much it keeps in the air follows from what the server offers: without PIPELINING every command waits for its
 * reply; with it MAIL/RCPT/DATA form one group, and the next envelope rides behind the content; with CHUNKING too,
 * MAIL/RCPT/BDAT LAST are streamed, `depth` messages outstanding. The first message of a connection always goes alone.
 * Replies are matched to commands in order.
 *
 * Use: give bytes to session_feed() until all are taken, and after each call (and after every other call) take events
 * with session_next() until there is none; then write what session_output() lists. One thread at a time.
 */
#ifndef POSTHASTE_ENGINE_SMTP_SESSION_H
#define POSTHASTE_ENGINE_SMTP_SESSION_H

#include <sys/uio.h>

#include "base/config.h"
#include "base/outcome.h"
#include "engine/smtp/sasl.h"

#define SESSION_DEPTH_MAX 64

struct session;

/*
 * TLS is the caller's; the session says when. It says STARTTLS when wanted, and after the server's 220 asks for the
 * handshake with SESSION_STARTTLS; then session_secured() or session_not_secured() follows. Whatever the server said in
 * clear is forgotten then (RFC 3207 section 4.2), and bytes fed between the 220 and session_secured() end the session:
 * they were put there by somebody on the way (CVE-2011-0411).
 */
enum session_tls {
    SESSION_TLS_OFF,      /* stay in clear text */
    SESSION_TLS_WISHED,   /* STARTTLS when it is offered; in clear text when it is not or is refused */
    SESSION_TLS_NEEDED,   /* STARTTLS, or no mail */
    SESSION_TLS_IMPLICIT, /* the handshake comes before the greeting: session_secured() is the first call */
};

struct session_options { /* borrowed pointers outlive the session */
    const char *ehlo_name;
    const char *mx_host, *address, *source; /* for the outcomes; copied; address may be NULL */
    int64_t connecting_ms;                  /* when the connection was begun; 0 = now */
    const struct config_timeouts *timeouts;
    uint32_t depth;   /* messages outstanding at most, 1..SESSION_DEPTH_MAX; 1 = never anything behind a content */
    bool no_chunking; /* this server has shown that its BDAT does not work */
    enum session_tls tls;
    const struct credentials *login; /* NULL = no AUTH. With it no mail is sent without */
    bool login_clear;                /* AUTH may be said in clear text */
    struct sasl_keys *keys;          /* of these credentials at this server; may be NULL */
};

struct session_message {
    const char *mail_from, *rcpt_to;
    const char *data; /* CRLF lines, see engine_message */
    size_t size_bytes;
    bool eight_bit, smtputf8;
    void *tag; /* the caller's */
};

enum session_end {
    SESSION_END_NONE,
    SESSION_END_QUIT,     /* as we wished */
    SESSION_END_REFUSED,  /* greeting, EHLO or HELO refused: no mail can be sent now */
    SESSION_END_CLOSING,  /* the server said 421, or closed while nothing was asked of it */
    SESSION_END_LOST,     /* connection lost or timed out */
    SESSION_END_PROTOCOL, /* a reply that makes no sense: never reuse, go slower here */
    SESSION_END_CHUNKING, /* CHUNKING was offered but BDAT is unknown: come again with no_chunking */
    SESSION_END_TLS,      /* the handshake failed: if clear text will do, come again with SESSION_TLS_OFF */
};

enum session_event_kind { SESSION_OUTCOME, SESSION_BACK, SESSION_STARTTLS, SESSION_ENDED };

struct session_event {
    enum session_event_kind kind;
    void *tag;    /* OUTCOME, BACK: the message's */
    bool charged; /* BACK: the connection was lost while this very message was under way; false: it is not to blame */
    bool begun;   /* BACK: a command of its had been queued for the wire */
    enum session_end end;    /* ENDED, once, last: close the connection */
    struct outcome *outcome; /* OUTCOME: what became of it. ENDED, BACK: why. Complete but for ended_wall_ms; good until
                                the next call */
};

/* NULL = no memory. The greeting is awaited from `now_ms` on. */
struct session *session_create(const struct session_options *options, int64_t now_ms) ATTR_MUSTCHECK;
void session_free(struct session *session); /* events not yet taken are lost: end it and drain it first */

/* Takes bytes from the server; returns how many (at most one reply: take events, then call again). 0 once ended. */
size_t session_feed(struct session *session, const char *bytes, size_t len, int64_t now_ms);

/* Messages that may be given now; 0 until EHLO was answered, while it quits, and after its end. */
uint32_t session_room(const struct session *session);
/* Needs room. A message that cannot be said in this session (size, 8-bit, unsafe path) comes back as an OUTCOME event.
 */
void session_give(struct session *session, const struct session_message *message, int64_t now_ms);
/* Takes back the newest message of which no command was queued; false = there is none. No event follows for it. */
bool session_withdraw(struct session *session, void **tag);

size_t session_output(const struct session *session, struct iovec *iov, size_t max);
void session_wrote(struct session *session, size_t bytes, int64_t now_ms);
/* Before writing `bytes` of the output: true and the tag of the next message whose content would end within them; each
 * is told once. */
bool session_next_content_out(struct session *session, size_t bytes, void **tag);

/* The handshake is done, all bytes are encrypted from now on; or it failed (`why` is one sentence). */
void session_secured(struct session *session, int64_t now_ms);
/* For the outcomes: by which version and cipher. */
void session_note_tls(struct session *session, const char *version, const char *cipher);
void session_not_secured(struct session *session, const char *why, int64_t now_ms);

/* Takes no more messages and says QUIT behind the last one, or ends at once before EHLO was answered. */
void session_quit(struct session *session, int64_t now_ms);
/* The connection ended: `why` is NULL for an orderly close by the peer. */
void session_lost(struct session *session, const char *why, int64_t now_ms);

/* When session_expire() is due; INT64_MAX = never (idle). */
int64_t session_deadline_ms(const struct session *session);
void session_expire(struct session *session, int64_t now_ms); /* ends the session if the deadline has passed */

/* Next event, if any. */
bool session_next(struct session *session, struct session_event *event);

bool session_ready(const struct session *session);        /* EHLO or HELO accepted, not ended, not quitting */
uint32_t session_held(const struct session *session);     /* messages inside */
uint32_t session_accepted(const struct session *session); /* messages answered 2xx so far */
/* Messages that this server can have outstanding: 1, 2 or depth; 0 until known. */
uint32_t session_depth(const struct session *session);
/* The last reply that was neither 2xx nor 3xx, as one line; "" = none. */
const char *session_last_refusal(const struct session *session);

#endif
