/*
 * command.h - the one family of functions that writes SMTP commands.
 *
 * Success means: the buffer has grown by exactly one command line that ends with CRLF and holds no other CR, LF or NUL.
 * Whatever would break that, or RFC 5321 section 4.5.3.1 (local part 64, domain 255, path 256 octets with its
 * brackets), is refused with -EINVAL and the buffer is as it was. What the server offers is the caller's knowledge
 * (struct command_mail); replies are not read here.
 */
#ifndef POSTHASTE_ENGINE_SMTP_COMMAND_H
#define POSTHASTE_ENGINE_SMTP_COMMAND_H

#include "base/buffer.h"

struct command_mail {
    const char *path;   /* reverse-path without brackets; "" = null */
    bool size_offered;  /* RFC 1870: say SIZE= */
    size_t size_bytes;  /* of the content, before dot-stuffing */
    bool body_8bitmime; /* RFC 6152 */
    bool smtputf8;      /* RFC 6531: allowed and wanted; without it a path must be ASCII */
};

/* All: 0; -EINVAL refused; -ENOMEM (buffer->failed). */
int command_ehlo(struct buffer *out, const char *name) ATTR_MUSTCHECK;
int command_helo(struct buffer *out, const char *name) ATTR_MUSTCHECK;
int command_mail(struct buffer *out, const struct command_mail *mail) ATTR_MUSTCHECK;
int command_rcpt(struct buffer *out, const char *path, bool smtputf8) ATTR_MUSTCHECK;
int command_bdat_last(struct buffer *out, size_t size_bytes) ATTR_MUSTCHECK; /* RFC 3030; the chunk follows */

/* A command without arguments, or the end-of-data dot. */
enum command_plain { COMMAND_DATA, COMMAND_RSET, COMMAND_QUIT, COMMAND_DOT };
int command_plain(struct buffer *out, enum command_plain command) ATTR_MUSTCHECK;

/* The check that the writers make, for those who must know before they begin: 0 or -EINVAL. */
int command_check_path(const char *path, bool smtputf8, bool null_allowed) ATTR_MUSTCHECK;

#endif
