/*
 * listener_private.h - what the listening socket and its connections share; private to engine/receive.
 *
 * All on the listener's thread but for the atomics, and listener_answer() in listener.h.
 */
#ifndef POSTHASTE_ENGINE_RECEIVE_LISTENER_PRIVATE_H
#define POSTHASTE_ENGINE_RECEIVE_LISTENER_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/inbox.h"
#include "engine/net/stream.h"
#include "engine/receive/listener.h"
#include "engine/receive/secure.h"

struct listener {
    const struct config *config;
    struct listener_callbacks callbacks;
    struct receive_settings settings;
    struct receive_budget budget;
    struct secure_context *secure;            /* NULL: no STARTTLS */
    _Atomic(struct secure_context *) renewed; /* takes its place with the next connection */
    struct loop loop;
    struct inbox inbox; /* receive_mail.node: answered */
    pthread_t thread;
    uv_poll_t poll;
    int listen_fd, spare_fd;
    uint16_t port;
    bool listening, ending;
    struct list connections;
    size_t count;
    struct loop_timer deadline;
    _Atomic int64_t deadline_ms; /* how long the end may take; set before `stopping` */
    atomic_bool stopping;
    atomic_uint_fast64_t total, refused, mails, open, unanswered;
};

struct receive_connection {
    struct list node;
    struct listener *listener;
    struct stream stream;
    struct stream_address peer;
    struct receive_session *session;
    struct secure *secure;
    struct buffer out; /* for the socket */
    struct loop_timer timer;
    int64_t began_ms;
    struct receive_mail *mail; /* with the user */
    bool closing, shut;
};

/* ---- listener.c ---- */

/* Ends the loop when the listener is ending and nothing of it is left. */
void listener_maybe_end(struct listener *listener);

/* ---- connection.c ---- */

/* Takes the accepted socket. 0, also when it was lost at once; -ENOMEM: the socket stays the caller's. */
int receive_connection_open(struct listener *listener, int fd, const struct stream_address *peer) ATTR_MUSTCHECK;
/* At once; a mail of it that is with the user is answered into the void. Freed by the loop. */
void receive_connection_close(struct receive_connection *connection);
/* The listener goes down: a client that does not wait for an answer is told so. */
void receive_connection_end(struct receive_connection *connection);
/* Session and context as receive_settings.mail has them. */
void receive_connection_hand_over(void *context, struct receive_session *session);
/* The user's answer; frees the mail. */
void receive_connection_answer(struct listener *listener, struct receive_mail *mail);

#endif
