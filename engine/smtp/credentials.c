/*
 * credentials.c - reads a file with a secret in it.
 *
 * Success means that the file could be read by its owner (or root) only at the moment it was opened: the rights are
 * asked of the open descriptor, not of the path. The bytes live on the stack while they are looked at and are wiped on
 * every way out.
 */
#include "engine/smtp/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/str.h"

#define FILE_MAX_BYTES ((size_t)2 * (CREDENTIAL_MAX_BYTES + 2))

void credentials_wipe(struct credentials *credentials)
{
    OPENSSL_cleanse(credentials, sizeof *credentials);
}

static int check_text(const char *text, const char *what, struct error *err)
{
    size_t len = strnlen(text, CREDENTIAL_MAX_BYTES + 1);
    if (len == 0)
        return error_set(err, -EINVAL, "the %s is empty", what);
    if (len > CREDENTIAL_MAX_BYTES)
        return error_set(err, -EINVAL, "the %s is longer than %d bytes", what, CREDENTIAL_MAX_BYTES);
    if (!utf8_valid(text, len))
        return error_set(err, -EINVAL, "the %s is not UTF-8", what);
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return error_set(err, -EINVAL, "the %s has a control character in it", what);
    }
    return 0;
}

int credentials_check(const struct credentials *credentials, struct error *err)
{
    int rc = check_text(credentials->user, "user", err);
    return rc == 0 ? check_text(credentials->password, "password", err) : rc;
}

static int check_rights(int fd, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_errno(err, -errno, "cannot be read");
    if (!S_ISREG(st.st_mode))
        return error_set(err, -EACCES, "not a regular file");
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return error_set(err, -EACCES, "belongs to another user");
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return error_set(err, -EACCES, "its mode is %04o, but only its owner may have rights on it (chmod 600)",
                         (unsigned)(st.st_mode & 07777));
    return 0;
}

/* All of the file, or one byte more than is allowed: bytes read or -errno. */
static ssize_t read_all(int fd, char *out, size_t max)
{
    size_t len = 0;
    while (len < max) {
        ssize_t n = read(fd, out + len, max - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

/* Takes one line off the text, without its end. NULL = there is none. */
static char *take_line(char **at, const char *end)
{
    char *line = *at;
    if (line >= end)
        return NULL;
    char *stop = memchr(line, '\n', (size_t)(end - line));
    *at = stop != NULL ? stop + 1 : (char *)(uintptr_t)end;
    if (stop == NULL)
        stop = (char *)(uintptr_t)end;
    if (stop > line && stop[-1] == '\r')
        stop--;
    *stop = '\0'; /* the caller has left room for one byte behind the end */
    return line;
}

static int parse(char *text, size_t len, const char *user, struct credentials *out, struct error *err)
{
    if (memchr(text, '\0', len) != NULL)
        return error_set(err, -EINVAL, "has a NUL in it");
    char *at = text;
    const char *end = text + len;
    const char *lines = user == NULL ? "two lines: user, password" : "one line: the password";
    if (user == NULL)
        user = take_line(&at, end);
    const char *password = take_line(&at, end);
    if (user == NULL || password == NULL || at < end)
        return error_set(err, -EINVAL, "must have %s", lines);
    bool fits = str_copy(out->user, sizeof out->user, user);
    if (!str_copy(out->password, sizeof out->password, password) || !fits)
        return error_set(err, -EINVAL, "a line is longer than %d bytes", CREDENTIAL_MAX_BYTES);
    return credentials_check(out, err);
}

/* `user` NULL: it is in the file. */
static int load(const char *path, const char *user, struct credentials *out, struct error *err)
{
    char text[FILE_MAX_BYTES + 2];
    *out = (struct credentials){{0}, {0}};
    /* Without O_NONBLOCK the opening of a FIFO would wait for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return error_errno(err, -errno, "credentials %s", path);
    int rc = check_rights(fd, err);
    if (rc == 0) {
        ssize_t len = read_all(fd, text, FILE_MAX_BYTES + 1);
        if (len < 0)
            rc = error_errno(err, (int)len, "cannot be read");
        else if ((size_t)len > FILE_MAX_BYTES)
            rc = error_set(err, -EINVAL, "is larger than %zu bytes", FILE_MAX_BYTES);
        else
            rc = parse(text, (size_t)len, user, out, err);
    }
    (void)close(fd);
    OPENSSL_cleanse(text, sizeof text);
    if (rc < 0) {
        credentials_wipe(out);
        return error_prefix(err, rc, "credentials %s", path);
    }
    return 0;
}

int credentials_load(const char *path, struct credentials *out, struct error *err)
{
    return load(path, NULL, out, err);
}

int credentials_load_password(const char *path, const char *user, struct credentials *out, struct error *err)
{
    return load(path, user, out, err);
}
