/*
 * canon.h - relaxed canonicalisation (RFC 6376 sections 3.4.2 and 3.4.4); private to the room.
 *
 * Line ends are CRLF. A bare CR or LF is content here, as it is for every verifier that reads the RFC literally;
 * whoever makes messages turns them into CRLF before signing.
 */
#ifndef POSTHASTE_DKIM_CANON_H
#define POSTHASTE_DKIM_CANON_H

#include "base/buffer.h"

/* Takes the next canonical bytes; 0, or negative to stop (the value travels up). */
typedef int canon_write_cb(void *context, const void *bytes, size_t len);

/* Hands the relaxed form of `body` to `write` in pieces; 0, or what `write` returned. A body of empty lines only has
 * the empty form. */
int canon_body(const char *body, size_t len, canon_write_cb *write, void *context) ATTR_MUSTCHECK;

/* Appends the relaxed form of one header field (with or without its last CRLF), without a line end, to `out`.
 * `name_len` bytes stand before the colon. */
void canon_field(const char *field, size_t len, size_t name_len, struct buffer *out);

#endif
