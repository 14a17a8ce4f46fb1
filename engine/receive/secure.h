/*
 * secure.h - the server's end of TLS (1.2, 1.3) as an engine without I/O, for the receiver's connections: encrypted
 * bytes in and out, plaintext on the other side. No certificate is asked of clients. One thread a context.
 */
#ifndef POSTHASTE_ENGINE_RECEIVE_SECURE_H
#define POSTHASTE_ENGINE_RECEIVE_SECURE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/error.h"

struct secure_context;
struct secure;

/* PEM files: certificate with its chain, and key. -EINVAL with OpenSSL's words, -ENOMEM. */
int secure_context_create(const char *cert_file, const char *key_file, struct secure_context **out,
                          struct error *err) ATTR_MUSTCHECK;
void secure_context_free(struct secure_context *context); /* NULL is harmless */

struct secure *secure_create(struct secure_context *context) ATTR_MUSTCHECK; /* NULL = no memory */
void secure_free(struct secure *secure);                                     /* NULL is harmless */

/* Bytes from the network. False: the connection is broken; what waits in the output may still be sent. */
bool secure_feed(struct secure *secure, const char *bytes, size_t len) ATTR_MUSTCHECK;
bool secure_is_open(const struct secure *secure); /* the handshake is done */
/* Plaintext that has come: bytes, 0 = no more for now, -1 = no more ever. */
ssize_t secure_read(struct secure *secure, char *out, size_t out_bytes) ATTR_MUSTCHECK;
/* All of it, or -1. */
int secure_write(struct secure *secure, const char *bytes, size_t len) ATTR_MUSTCHECK;
void secure_close(struct secure *secure); /* close_notify */
/* Moves what is to be sent to `out`. */
void secure_output(struct secure *secure, struct buffer *out);

#endif
