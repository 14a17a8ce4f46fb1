/*
 * spare.h - a descriptor kept for the case that there is no other; private to api/http/.
 *
 * libmicrohttpd accepts by itself. But when the process has no descriptor left and the thread that tries has no
 * connection of its own, it tries again without a pause for as long as that lasts: a core for nothing. With the spare
 * one those who wait are let in and sent away, until nothing is left to try.
 */
#ifndef POSTHASTE_API_HTTP_SPARE_H
#define POSTHASTE_API_HTTP_SPARE_H

#include "base/error.h"

struct spare;

int spare_start(int listen_fd, struct spare **out, struct error *err) ATTR_MUSTCHECK; /* with a thread of its own */
void spare_stop(struct spare *spare);                                                 /* NULL is allowed */

#endif
