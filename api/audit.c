/*
 * audit.c - appends under a lock on the file itself (flock), because several processes write it and one of them may
 * have just renamed it: after the lock is ours, the name is looked at again.
 *
 * Success means that the line is with the system; it survives the end of the process, not necessarily a power cut.
 */
#include "api/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

#define PATH_BYTES 4096
#define TRIES 8

/* True when the descriptor is the file that has the name now. */
static bool is_current(int fd, const char *path, struct stat *opened)
{
    struct stat named;
    return fstat(fd, opened) == 0 && stat(path, &named) == 0 && named.st_dev == opened->st_dev &&
           named.st_ino == opened->st_ino;
}

static void rotate(const char *path)
{
    char from[PATH_BYTES + 16];
    char to[PATH_BYTES + 16];
    for (int i = AUDIT_FILES_KEPT - 1; i >= 0; i--) {
        (void)snprintf(to, sizeof(to), "%s.%d", path, i + 1);
        (void)snprintf(from, sizeof(from), i > 0 ? "%s.%d" : "%s", path, i);
        /* A gap in the row is no harm: what is missing cannot be moved. */
        if (rename(from, to) != 0)
            continue;
    }
}

/* The current file, locked; or negative. */
static int open_locked(const char *path)
{
    for (int i = 0; i < TRIES; i++) {
        struct stat status;
        int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            return -errno;
        int rc = flock(fd, LOCK_EX) == 0 ? 0 : -errno;
        bool current = rc == 0 && is_current(fd, path, &status);
        if (current && status.st_size < AUDIT_FILE_MAX_BYTES)
            return fd;
        if (current)
            rotate(path);
        (void)close(fd);
        if (rc != 0 && rc != -EINTR)
            return rc;
    }
    return -EBUSY;
}

static int append(const char *path, const char *line, size_t len)
{
    int fd = open_locked(path);
    if (fd < 0)
        return fd;
    int rc = 0;
    while (len > 0 && rc == 0) {
        ssize_t n = write(fd, line, len);
        if (n < 0 && errno != EINTR)
            rc = -errno;
        if (n > 0) {
            line += n;
            len -= (size_t)n;
        }
    }
    if (close(fd) != 0 && rc == 0)
        rc = -errno;
    return rc;
}

int audit_write(const char *data_dir, json_t *entry, struct error *err)
{
    char path[PATH_BYTES];
    char now[RFC3339_BYTES];
    json_t *line = json_pack("{s:s}", "time", time_format_rfc3339(clock_wall_ms(), now));
    if (line == NULL || entry == NULL || json_object_update(line, entry) != 0) {
        json_decref(line);
        json_decref(entry);
        return error_memory(err);
    }
    char *text = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    json_decref(entry);
    char *whole = text != NULL ? str_printf("%s\n", text) : NULL;
    free(text);
    if (whole == NULL)
        return error_memory(err);
    (void)snprintf(path, sizeof(path), "%s/audit.jsonl", data_dir);
    int rc = append(path, whole, strlen(whole));
    free(whole);
    return rc == 0 ? 0 : error_errno(err, rc, "cannot write %s", path);
}
