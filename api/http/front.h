/*
 * front.h - libmicrohttpd as it stands in front of the handlers: threads, limits, and the certificate that it was
 * started with; private to api/http/.
 *
 * A renewed certificate is another front on the same socket. New connections go to it, and those that are there stay
 * with the former one, with the same handlers behind both.
 */
#ifndef POSTHASTE_API_HTTP_FRONT_H
#define POSTHASTE_API_HTTP_FRONT_H

#include <stdbool.h>

#include <microhttpd.h>

#include "base/error.h"

struct http_server;

struct front {
    struct MHD_Daemon *daemon;
    char *certificate, *key; /* PEM; NULL = plain HTTP */
};

/* Reads the files that the configuration names. Negative: which, and why. */
int front_load(struct front *front, const char *cert_file, const char *key_file, struct error *err) ATTR_MUSTCHECK;
bool front_same(const struct front *a, const struct front *b); /* the same certificate and key */
/* Whether the certificate and the key would do. */
int front_check(const struct front *front, struct http_server *server, struct error *err) ATTR_MUSTCHECK;
/* Accepts from the socket, which stays the caller's. */
int front_start(struct front *front, struct http_server *server, int listen_fd, struct error *err) ATTR_MUSTCHECK;
void front_retire(struct front *front);        /* accepts no more; those who are there stay */
bool front_is_idle(const struct front *front); /* no connection is there */
/* Lets running handlers finish, closes what is there, frees. What is all zero is harmless. Nobody may be suspended. */
void front_stop(struct front *front);

#endif
