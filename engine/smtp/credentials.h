/*
 * credentials.h - the user and the password with which we log in at a route's server, read from a file of their own, so
 * that the configuration can be shown to people.
 *
 * The file has two lines: the user, then the password, each as it is (no quotes, no comments; spaces count; the line
 * end does not). Neither is ever logged or put into an error sentence.
 */
#ifndef POSTHASTE_ENGINE_SMTP_CREDENTIALS_H
#define POSTHASTE_ENGINE_SMTP_CREDENTIALS_H

#include "base/error.h"

#define CREDENTIAL_MAX_BYTES 512 /* of the user, and of the password */

struct credentials {
    char user[CREDENTIAL_MAX_BYTES + 1];
    char password[CREDENTIAL_MAX_BYTES + 1];
};

/*
 * 0; -ENOENT and other -errno: the file cannot be read; -EACCES: it is not a regular file, belongs to someone else than
 * this user or root, or group or others have any right on it; -EINVAL: its content is not as above, or
 * credentials_check() refuses it. Unless 0, *out is wiped. Reads the file: not for a loop thread.
 */
int credentials_load(const char *path, struct credentials *out, struct error *err) ATTR_MUSTCHECK;

/* The same for a file whose only line is the password of `user`. */
int credentials_load_password(const char *path, const char *user, struct credentials *out,
                              struct error *err) ATTR_MUSTCHECK;

/* 0, or -EINVAL: empty, too long, not UTF-8, or with control characters (RFC 4616 section 2 forbids NUL, a line ends
 * others). */
int credentials_check(const struct credentials *credentials, struct error *err) ATTR_MUSTCHECK;

void credentials_wipe(struct credentials *credentials);

#endif
