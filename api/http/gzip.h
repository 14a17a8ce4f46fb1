/*
 * gzip.h - the coding gzip (RFC 1952) for bodies in both directions. Unpacking is incremental: bytes in, bytes out to a
 * function that may refuse them, so how much a small body may grow to is the receiver's decision.
 */
#ifndef POSTHASTE_API_HTTP_GZIP_H
#define POSTHASTE_API_HTTP_GZIP_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/error.h"

/* True when a value of Accept-Encoding (NULL = none) allows gzip (RFC 9110 section 12.5.3). */
bool gzip_accepted(const char *accept_encoding);

/* Appends the packed bytes. 0, -ENOMEM; -EINVAL when it cannot be done. */
int gzip_pack(const void *bytes, size_t len, struct buffer *out) ATTR_MUSTCHECK;

struct gunzip;
/* Takes unpacked bytes; what it gives, if not 0, ends the unpacking and is passed on. */
typedef int gunzip_sink(void *context, const char *bytes, size_t len);

struct gunzip *gunzip_create(gunzip_sink *sink, void *context); /* NULL when no memory */
void gunzip_free(struct gunzip *gunzip);                        /* NULL is allowed */
/* The next bytes, any cut; several members behind one another are one body. 0, -EINVAL (not gzip, damaged), -ENOMEM, or
 * the sink's. After a failure it takes no more. */
int gunzip_feed(struct gunzip *gunzip, const char *bytes, size_t len, struct error *err) ATTR_MUSTCHECK;
/* 0 when the body ended where a member ends; -EINVAL: it was cut off. */
int gunzip_end(const struct gunzip *gunzip, struct error *err) ATTR_MUSTCHECK;

#endif
