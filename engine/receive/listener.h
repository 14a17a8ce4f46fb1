/*
 * listener.h - the SMTP listener for what comes back: reports, complaints, unsubscribes (`bounces { listen … }`).
 * Public, but included through engine/engine.h.
 *
 * It knows the protocol (session.h) and the bounds: connections in all and for each address, bytes, time. Who may be
 * mailed, and what a mail means, is its user's knowledge. A mail's 250 is said after listener_answer(), so the user
 * answers once it is safe. It sends no mail and answers none.
 *
 * A thread of its own with one loop.
 */
#ifndef POSTHASTE_ENGINE_RECEIVE_LISTENER_H
#define POSTHASTE_ENGINE_RECEIVE_LISTENER_H

#include "base/config.h"
#include "base/list.h"
#include "engine/receive/session.h"

struct listener;

struct receive_mail {
    struct list node; /* the user's, until listener_answer() */
    struct receive_content content;
    char client[64]; /* "192.0.2.1:4711" */
    bool encrypted;
    /* the listener's own */
    struct listener *listener;
    void *connection;
    size_t budget_bytes;
    enum receive_answer answer;
};

struct listener_callbacks {
    void *context;
    /* Receiver's thread; must not block. */
    bool (*recipient)(void *context, const char *address);
    /* Receiver's thread; must not block. The mail is the user's; answered exactly once, later or from another thread.
     */
    void (*mail)(void *context, struct receive_mail *mail);
};

/* Listens at config->bounces. -EINVAL (address, certificate), -EADDRINUSE and other -errno. `config` outlives it. */
int listener_start(const struct config *config, const struct listener_callbacks *callbacks, struct listener **out,
                   struct error *err) ATTR_MUSTCHECK;
uint16_t listener_port(const struct listener *listener);
void listener_answer(struct receive_mail *mail, enum receive_answer answer); /* any thread */
/* Whether the files of certificate and key would do now. Any thread. */
int listener_check(const struct listener *listener, struct error *err) ATTR_MUSTCHECK;
/* Reads them anew; whoever comes from now on gets them. Any thread. What goes wrong after all is logged. */
void listener_reload(struct listener *listener);
/* Takes no more and says so to those who are there; waits until every mail was answered, and up to deadline_ms until
 * the answers are sent. The threads that answer must have ended before listener_free(). */
void listener_stop(struct listener *listener, int64_t deadline_ms);
void listener_free(struct listener *listener); /* NULL is harmless */

struct listener_stats {
    uint64_t connections, refused_connections; /* ever */
    uint64_t mails, open;                      /* taken ever; connections now */
};
void listener_stats(const struct listener *listener, struct listener_stats *out); /* any thread */

#endif
