/*
 * postbox.c - writes a mail into a Maildir: to tmp/, synced, then renamed into new/, and that synced too. Past
 * POSTBOX_MAILS_MAX unread mails no more are taken, so that nobody can fill the disk with letters to postmaster.
 */
#include "campaign/bounce/postbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/str.h"

int postbox_make(const char *dir, struct error *err)
{
    static const char *const folders[] = {"", "/tmp", "/new", "/cur"};
    for (size_t i = 0; i < countof(folders); i++) {
        char *path = str_printf("%s%s", dir, folders[i]);
        if (path == NULL)
            return error_memory(err);
        int rc = mkdir(path, 0700) != 0 && errno != EEXIST ? error_errno(err, -errno, "cannot make %s", path) : 0;
        free(path);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static bool is_full(const char *dir)
{
    int count = 0;
    char *path = str_printf("%s/new", dir);
    DIR *folder = path != NULL ? opendir(path) : NULL;
    free(path);
    if (folder == NULL)
        return false; /* the write will say what is wrong */
    while (count <= POSTBOX_MAILS_MAX + 1 && readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count > POSTBOX_MAILS_MAX + 1; /* with . and .. */
}

static int sync_folder(const char *dir)
{
    char *path = str_printf("%s/new", dir);
    int fd = path != NULL ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    free(path);
    int rc = fd < 0 || fsync(fd) != 0 ? -errno : 0;
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

static int write_file(const char *path, const char *head, const char *mail, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (file == NULL)
        return -errno;
    fputs(head, file);
    for (size_t i = 0; i < len; i++) {
        if (mail[i] != '\r' || i + 1 == len || mail[i + 1] != '\n')
            (void)putc(mail[i], file);
    }
    int rc = fflush(file) != 0 || ferror(file) || fsync(fd) != 0 ? -errno : 0;
    return fclose(file) != 0 && rc == 0 ? -errno : rc;
}

int postbox_put(const char *dir, const char *head, const void *mail, size_t len, struct error *err)
{
    static atomic_uint number;
    if (is_full(dir))
        return error_set(err, -ENOSPC, "%s has %d unread mails", dir, POSTBOX_MAILS_MAX);
    char *name =
        str_printf("%lld.P%dQ%u.posthaste", (long long)clock_wall_ms(), (int)getpid(), atomic_fetch_add(&number, 1));
    char *from = name != NULL ? str_printf("%s/tmp/%s", dir, name) : NULL;
    char *to = name != NULL ? str_printf("%s/new/%s", dir, name) : NULL;
    int rc = from == NULL || to == NULL ? -ENOMEM : write_file(from, head, mail, len);
    if (rc == 0 && rename(from, to) != 0)
        rc = -errno;
    if (rc == 0)
        rc = sync_folder(dir);
    else if (from != NULL)
        (void)unlink(from);
    free(name);
    free(from);
    free(to);
    return rc < 0 ? error_errno(err, rc, "cannot write to %s", dir) : 0;
}
