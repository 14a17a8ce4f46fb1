/*
 * The receiver's side of one SMTP session (RFC 5321, 2920, 3030, 6531, 3461, 2034), without I/O: bytes of the client
 * in, bytes for the client and notes for the ledger out.
 *
 * The session never blocks on its own replies: a command is answered as soon as its line is complete, whatever the
 * connection does with the bytes (delays, drips, loses them). TLS sits between connection and session: the session asks
 * for it at STARTTLS and is told when the handshake is done.
 *
 * Single thread. The callbacks are called from inside session_start() and session_feed(); they must not call back into
 * the session.
 */
#ifndef TESTS_SINK_SESSION_H
#define TESTS_SINK_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/sink/script.h"

struct store;
struct sasl_account;

struct session_settings {
    const char *hostname;               /* in greeting and EHLO */
    unsigned extensions;                /* bits of enum extension that are offered in clear text */
    unsigned secure_extensions;         /* the same inside TLS */
    unsigned mechanisms;                /* bits of enum sasl_mechanism that AUTH offers */
    const struct sasl_account *account; /* who may come in by AUTH; NULL: there is no AUTH */
    uint64_t size_limit_bytes;          /* of one message, RFC 1870 */
    bool strict;                        /* bare CR and LF are refused */
    struct script *script;              /* may be NULL */
    struct store *store;                /* numbers the messages, and keeps them if asked to */
};

enum note_kind {
    NOTE_MESSAGE,   /* content accepted for one recipient */
    NOTE_REJECT,    /* a command or content refused */
    NOTE_DROP,      /* the script lets the session end or stall here */
    NOTE_VIOLATION, /* the client broke the protocol */
    NOTE_AUTH,      /* the client has authenticated itself */
};

/* One line for the ledger. Strings live only during the callback; NULL is null. */
struct note {
    enum note_kind kind;
    const char *stage; /* all but MESSAGE: the command, or "EOD" */
    const char *from;
    const char *to;
    const char
        *reply; /* MESSAGE, REJECT: what the client is told, without the last CRLF; NULL when it is told nothing */
    size_t reply_length;
    const char *message_id; /* from here on: MESSAGE, and what ends at EOD */
    const char *file;
    const char *via; /* "DATA" or "BDAT" */
    uint64_t size_bytes;
    bool has_content; /* the four above apply: the content had been wholly received */
    bool accepted;    /* DROP: whether the content counts as accepted */
    bool first;       /* MESSAGE: the first recipient of this content, so that messages can be counted too */
    const char *what; /* VIOLATION; AUTH: the mechanism */
    const char *auth; /* MESSAGE, AUTH: the authenticated user */
};

struct session_host {
    /* Queue these bytes for the client. Once a manner.after is other than AFTER_GO_ON, nothing is sent any more. */
    void (*send)(void *context, const char *bytes, size_t length, const struct manner *manner);

    /* Write this down; it becomes true when everything sent so far has reached the socket. */
    void (*note)(void *context, const struct note *note);

    /* Behind what has been sent so far TLS begins: the client's next bytes are its handshake. session_secured() is due
     * when that is done. */
    void (*secure)(void *context);
};

struct session;

/* `local` ("ADDR:PORT", its first local_ip_length bytes the address) and `host` must outlive the session; so must
 * `settings`. */
struct session *session_create(const struct session_settings *settings, const struct session_host *host, void *context,
                               uint64_t connection, const char *local, size_t local_ip_length);

void session_free(struct session *session);

/* The script's word on the handshake that begins now; NULL: nothing unusual. */
const struct action *session_ask_tls(struct session *session);

/* The handshake is done: everything the client has said before is forgotten (RFC 3207 4.2). With implicit TLS it comes
 * before session_start(). */
void session_secured(struct session *session);

/* Nothing more is looked at. `stage` NULL: it is nobody's fault; else noted as a drop there. */
void session_stop(struct session *session, const char *stage);

/* The client broke the protocol below the session's sight. */
void session_blame(struct session *session, const char *stage, const char *what);

/* Command lines taken so far, all or those inside TLS. */
uint64_t session_commands(const struct session *session, bool secure);

/* Sends the greeting. */
void session_start(struct session *session);

/* Takes bytes of the client, all of them. Ignored once the session is over. */
void session_feed(struct session *session, const char *bytes, size_t length);

/* True once QUIT or the script has ended it: what the client still says is not looked at. */
bool session_is_over(const struct session *session);

#endif
