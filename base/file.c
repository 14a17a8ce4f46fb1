/*
 * file.c - see file.h.
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

static int write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static int write_file(const char *path, const void *bytes, size_t len)
{
    (void)unlink(path); /* of a process that died */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int rc = write_all(fd, bytes, len);
    if (rc == 0 && fsync(fd) != 0)
        rc = -errno;
    return close(fd) != 0 && rc == 0 ? -errno : rc;
}

/* `path` is cut off at its last slash. */
static int sync_directory(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash != NULL)
        slash[slash == path] = '\0';
    int fd = open(slash != NULL ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* EINVAL: a file system that has nothing to sync there. */
    int rc = fd < 0 || (fsync(fd) != 0 && errno != EINVAL) ? -errno : 0;
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

int file_replace(const char *path, const void *bytes, size_t len)
{
    char *aside = str_printf("%s.new", path);
    if (aside == NULL)
        return -ENOMEM;
    int rc = write_file(aside, bytes, len);
    if (rc == 0 && rename(aside, path) != 0)
        rc = -errno;
    if (rc == 0)
        rc = sync_directory(aside);
    else
        (void)unlink(aside);
    free(aside);
    return rc;
}
