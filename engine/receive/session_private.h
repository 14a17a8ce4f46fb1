/*
 * session_private.h - the state of a conversation; private to engine/receive.
 */
#ifndef POSTHASTE_ENGINE_RECEIVE_SESSION_PRIVATE_H
#define POSTHASTE_ENGINE_RECEIVE_SESSION_PRIVATE_H

#include <stdarg.h>
#include <stdio.h>

#include "engine/receive/session.h"

#define RECEIVE_OUTPUT_BYTES ((size_t)64 << 10)

enum receive_state {
    STATE_READY,    /* for a command */
    STATE_CONTENT,  /* between 354 and the dot */
    STATE_WAITING,  /* for the answer of who took the mail */
    STATE_SECURING, /* 220 to STARTTLS was said */
    STATE_CLOSED,   /* nothing more is read */
};

/* Where in the content we are. */
enum receive_line { LINE_BEGINS, LINE_DOT, LINE_DOT_CR, LINE_INSIDE, LINE_CR };

struct receive_session {
    const struct receive_settings *settings;
    void *owner;
    enum receive_state state;
    bool greeted, secured, mail_given;
    unsigned errors, mails;
    enum receive_line line;
    size_t line_len;
    size_t command_len;
    char command[RECEIVE_COMMAND_BYTES];
    char refused[64]; /* the reply that waits for the content's end */
    struct receive_content content;
    struct buffer out, ahead;
};

/* One reply line; a 5xx is counted against the client. */
void receive_reply(struct receive_session *session, const char *format, ...) ATTR_PRINTF(2, 3);
/* The transaction is forgotten. */
void receive_reset(struct receive_session *session);
/* A command line without its CRLF, terminated (it may hold NULs: `len` tells). */
void receive_command(struct receive_session *session, char *line, size_t len);

#endif
