/*
 * maildir.c - works off a Maildir: new/ first, then what lies in cur/ unseen.
 *
 * In batches: read, make durable, then move; so a crash can repeat a mail but never lose one. A name that is taken at
 * its destination, a link, a file that cannot be read: the mail stays where it is, and is counted.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/str.h"

#include "campaign/bounce/ingest_private.h"
#include "campaign/bounce/report.h"

#define BATCH_FILES 500
#define MAIL_BYTES ((size_t)16 << 20) /* all of an abuse report, for its signature */

struct maildir {
    struct bounce_ingest *ingest;
    int from, to; /* folders: the one being read, and cur/ of where mails go */
    struct buffer mail;
    char *names[BATCH_FILES];
    size_t count;
    int64_t unreadable;
};

static bool is_seen(const char *name)
{
    const char *info = strstr(name, ":2,");
    return info != NULL && strchr(info + 3, 'S') != NULL;
}

/* The name with the flag S among its flags, which are in ASCII order. */
static bool seen_name(const char *name, char out[NAME_MAX + 1])
{
    const char *info = strstr(name, ":2,");
    if (info == NULL)
        return snprintf(out, NAME_MAX + 1, "%s:2,S", name) <= NAME_MAX;
    const char *flag = info + 3;
    while (*flag != '\0' && *flag < 'S')
        flag++;
    return snprintf(out, NAME_MAX + 1, "%.*sS%s", (int)(flag - name), name, flag) <= NAME_MAX;
}

/* Reads as much of it as a report can need. */
static bool read_mail(struct maildir *box, const char *name)
{
    struct stat status;
    buffer_clear(&box->mail);
    int fd = openat(box->from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    bool good = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
    while (good && box->mail.len < MAIL_BYTES) {
        char chunk[65536];
        ssize_t got = read(fd, chunk, sizeof(chunk));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            good = got == 0;
            break;
        }
        buffer_append(&box->mail, chunk, (size_t)got);
    }
    close(fd);
    return good && !box->mail.failed;
}

static void move_batch(struct maildir *box)
{
    for (size_t i = 0; i < box->count; i++) {
        char name[NAME_MAX + 1];
        if (!seen_name(box->names[i], name) ||
            renameat2(box->from, box->names[i], box->to, name, RENAME_NOREPLACE) != 0)
            box->unreadable++;
        free(box->names[i]);
    }
    box->count = 0;
}

static int end_batch(struct maildir *box, struct error *err)
{
    int failed = bounce_ingest_flush(box->ingest, err);
    if (!failed) {
        move_batch(box);
        return 0;
    }
    for (size_t i = 0; i < box->count; i++)
        free(box->names[i]);
    box->count = 0;
    return failed;
}

static int take_file(struct maildir *box, const char *name, struct error *err)
{
    if (!read_mail(box, name)) {
        box->unreadable++;
        return 0;
    }
    char *copy = str_dup(name);
    if (copy == NULL)
        return error_memory(err);
    int rc = bounce_ingest_mail(box->ingest, buffer_text(&box->mail), box->mail.len, NULL, 0, err);
    if (rc != 0) { /* BOUNCE_LATER: it stays where it is */
        free(copy);
        return MIN_OF(rc, 0);
    }
    box->names[box->count++] = copy;
    return box->count == BATCH_FILES ? end_batch(box, err) : 0;
}

static int take_folder(struct maildir *box, const char *path, const char *folder, struct error *err)
{
    char *full = str_printf("%s/%s", path, folder);
    if (full == NULL)
        return error_memory(err);
    DIR *dir = opendir(full);
    int failed = dir == NULL ? error_errno(err, -errno, "%s is not a Maildir", path) : 0;
    free(full);
    if (failed)
        return failed;
    box->from = dirfd(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL && !failed; entry = readdir(dir)) {
        if (entry->d_name[0] != '.' && !is_seen(entry->d_name))
            failed = take_file(box, entry->d_name, err);
    }
    int ended = end_batch(box, err);
    closedir(dir);
    return failed ? failed : ended;
}

int bounce_ingest_maildir(struct bounce_ingest *ingest, const char *path, const char *move_to, struct error *err)
{
    struct maildir box = {.ingest = ingest, .to = -1, .mail = BUFFER_INIT(MAIL_BYTES + 131072)};
    const char *goal = move_to != NULL ? move_to : path;
    char *cur = str_printf("%s/cur", goal);
    if (cur == NULL)
        return error_memory(err);
    box.to = open(cur, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(cur);
    if (box.to < 0)
        return error_errno(err, -ENOTDIR, "%s is not a Maildir", goal);
    int failed = take_folder(&box, path, "new", err);
    if (!failed)
        failed = take_folder(&box, path, "cur", err);
    close(box.to);
    buffer_finish(&box.mail);
    ingest->summary.unreadable += box.unreadable;
    return failed;
}
