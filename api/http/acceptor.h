/*
 * acceptor.h - lets connections in: a thread that accepts them and hands them to the library.
 */
#ifndef POSTHASTE_API_HTTP_ACCEPTOR_H
#define POSTHASTE_API_HTTP_ACCEPTOR_H

#include <microhttpd.h>

#include "base/error.h"

struct acceptor;

/* `daemon` has no socket of its own, and outlives the acceptor or the switch to another one. At most `connections_max`
 * are open at a time; further ones wait in the backlog. The socket is the acceptor's from here, unless it fails. */
int acceptor_start(struct MHD_Daemon *daemon, int listen_fd, unsigned connections_max, struct acceptor **out,
                   struct error *err) ATTR_MUSTCHECK;
/* From now on connections go there. */
void acceptor_switch(struct acceptor *acceptor, struct MHD_Daemon *daemon);
/* Nobody is let in any more; closes the socket. NULL is allowed. */
void acceptor_stop(struct acceptor *acceptor);

#endif
