/*
 * event_log.c - the event log.
 *
 * What is written in one go, a piece, is in the file as a whole or is taken back: it comes again, and behind half a
 * line its first line could not be read. What only a power cut or a kill can leave, a last line without its end, gets
 * that end before the next piece.
 *
 * A pipe or a terminal has neither size nor past, and is never renamed. It is written without waiting, in runs of whole
 * lines that a pipe takes as a whole or not at all (a longer line alone may be cut); what it has no room for is kept
 * until it has. While nobody reads a pipe, nothing is written, and what it still holds stays for the next reader.
 */
#include "api/events/event_log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define PAGE_EVENTS 1000
#define PIECE_MAX_BYTES ((size_t)8 << 20)
#define RETRY_MS 10000
#define READER_MS 1000 /* so often it is looked whether somebody reads the pipe */
#define PATH_BYTES 4200

struct event_log {
    struct app *app;
    struct event_view *view;
    const char *path;
    int64_t position, bytes, retry_ms;
    int fd;
    bool torn;          /* the last line has no end */
    bool regular;       /* a file; else a pipe or a terminal */
    bool full;          /* the pipe has no room for `text` */
    bool unread;        /* it was told that nobody reads the pipe */
    struct buffer text; /* the piece, or what a pipe has not taken of it yet */
    int64_t reached;    /* the log's place behind it */
};

/* Through a descriptor of its own: to write the log takes no right to read it, and without that it counts as whole. */
static bool ends_torn(const char *path, int64_t size)
{
    char last = '\n';
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool torn = pread(fd, &last, 1, size - 1) == 1 && last != '\n';
    (void)close(fd);
    return torn;
}

/* -EPIPE: a pipe that nobody reads. */
static int open_file(struct event_log *log)
{
    struct stat status;
    log->fd = open(log->path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0640);
    if (log->fd < 0) {
        int rc = -errno;
        return rc == -ENXIO && stat(log->path, &status) == 0 && S_ISFIFO(status.st_mode) ? -EPIPE : rc;
    }
    log->regular = fstat(log->fd, &status) == 0 && S_ISREG(status.st_mode);
    log->bytes = log->regular ? status.st_size : 0;
    log->torn = log->bytes > 0 && ends_torn(log->path, log->bytes);
    return 0;
}

static void rotate(struct event_log *log)
{
    char from[PATH_BYTES], to[PATH_BYTES];
    (void)close(log->fd);
    log->fd = -1;
    for (uint32_t i = log->app->config->events.log_files; i > 0; i--) {
        (void)snprintf(to, sizeof(to), "%s.%u", log->path, i);
        (void)snprintf(from, sizeof(from), i > 1 ? "%s.%u" : "%s", log->path, i - 1);
        if (rename(from, to) != 0)
            continue; /* a gap in the row is no harm */
    }
}

static void wait_for_reader(struct event_log *log)
{
    if (!log->unread)
        log_warn("events", "log_waits file=%s nobody reads it", LOG_QUOTE(log->path));
    log->unread = true;
}

int event_log_open(struct app *app, struct event_view *view, struct event_log **out, struct error *err)
{
    *out = NULL;
    if (app->config->events.log[0] == '\0')
        return 0;
    struct event_log *log = calloc(1, sizeof(*log));
    if (log == NULL)
        return error_memory(err);
    *log = (struct event_log){
        .app = app, .view = view, .path = app->config->events.log, .fd = -1, .text = BUFFER_INIT(PIECE_MAX_BYTES)};
    int64_t oldest = 0, newest = 0;
    int rc = open_file(log);
    if (rc == -EPIPE) {
        wait_for_reader(log);
        rc = 0;
    }
    if (rc != 0)
        (void)error_errno(err, rc, "events: log: cannot open %s", log->path);
    if (rc == 0)
        rc = storage_event_logged(view->reader, &log->position, err);
    if (rc == 0)
        rc = storage_event_range(view->reader, &oldest, &newest, err);
    if (rc == 0 && log->position == 0) { /* the first time: what webhooks were told before is not its business */
        log->position = newest > 0 ? newest : STORAGE_EVENT_LOG_BEGUN;
        rc = storage_event_set_logged(app->storage, log->position, err);
    }
    if (rc != 0) {
        event_log_close(log);
        return rc;
    }
    *out = log;
    return 0;
}

/* Opens what is there as open_file() will; but not a pipe or a terminal, where that would be seen. */
static int try_file(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return -errno;
    if (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode))
        return access(path, W_OK) == 0 ? 0 : -errno;
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    (void)close(fd);
    return 0;
}

int event_log_check(const struct config *config, struct error *err)
{
    const char *path = config->events.log;
    const char *slash = strrchr(path, '/');
    char folder[PATH_BYTES] = ".";
    if (path[0] == '\0')
        return 0;
    int rc = try_file(path);
    if (rc == -ENOENT) {
        if (slash != NULL)
            (void)snprintf(folder, sizeof(folder), "%.*s", (int)MAX_OF(slash - path, (ptrdiff_t)1), path);
        rc = access(folder, W_OK | X_OK) == 0 ? 0 : -errno;
    }
    return rc == 0 ? 0 : error_errno(err, rc, "events: log: cannot open %s", path);
}

void event_log_close(struct event_log *log)
{
    if (log == NULL)
        return;
    if (log->fd >= 0)
        (void)close(log->fd);
    buffer_finish(&log->text);
    free(log);
}

int event_log_full(const struct event_log *log)
{
    return log != NULL && log->full ? log->fd : -1;
}

static int put_line(void *context, const struct storage_event *event)
{
    struct event_log *log = context;
    json_t *value = event_view_json(log->view, event);
    char *text = value != NULL ? json_text_write(value, JSON_COMPACT) : NULL;
    json_decref(value);
    if (text == NULL) {
        log->text.failed = true;
        return 1;
    }
    buffer_append_str(&log->text, text);
    buffer_append_char(&log->text, '\n');
    free(text);
    return log->text.len >= PIECE_MAX_BYTES / 2;
}

static int write_all(struct event_log *log, const char *bytes, size_t len)
{
    int rc = 0;
    while (rc == 0 && len > 0) {
        ssize_t n = write(log->fd, bytes, len);
        if (n < 0 && errno != EINTR)
            rc = -errno;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
            log->bytes += n;
        }
    }
    return rc;
}

static void take_back(struct event_log *log, const struct stat *before)
{
    if (!S_ISREG(before->st_mode))
        return;
    if (ftruncate(log->fd, before->st_size) == 0) {
        log->bytes = before->st_size;
        return;
    }
    (void)close(log->fd); /* when it is opened again, its last line is looked at */
    log->fd = -1;
}

static int write_piece(struct event_log *log, const struct buffer *text)
{
    struct stat before;
    if (log->fd >= 0 && log->bytes >= (int64_t)log->app->config->events.log_mb << 20)
        rotate(log);
    int rc = log->fd < 0 ? open_file(log) : 0;
    if (rc == 0 && fstat(log->fd, &before) != 0)
        rc = -errno;
    if (rc != 0)
        return rc;
    if (log->torn)
        rc = write_all(log, "\n", 1);
    if (rc == 0)
        rc = write_all(log, text->data, text->len);
    if (rc == 0 && fdatasync(log->fd) != 0 && errno != EINVAL) /* EINVAL: it cannot be synced */
        rc = -errno;
    if (rc == 0)
        log->torn = false;
    else
        take_back(log, &before);
    return rc;
}

/* As many whole lines as a pipe takes at once; the first one whatever its length. */
static size_t whole_lines(const char *text, size_t len)
{
    if (len <= PIPE_BUF)
        return len;
    const char *end = memrchr(text, '\n', PIPE_BUF);
    if (end == NULL)
        end = memchr(text, '\n', len);
    return end != NULL ? (size_t)(end - text) + 1 : len;
}

/* -EAGAIN: there is no room for the rest; -EPIPE: nobody reads it. */
static int write_stream(struct event_log *log)
{
    size_t at = 0;
    int rc = 0;
    while (rc == 0 && at < log->text.len) {
        ssize_t n = write(log->fd, log->text.data + at, whole_lines(log->text.data + at, log->text.len - at));
        if (n < 0 && errno != EINTR)
            rc = -errno;
        if (n > 0)
            at += (size_t)n;
    }
    buffer_consume(&log->text, at);
    struct stat here, there;
    if (rc == -EPIPE && fstat(log->fd, &here) == 0 && stat(log->path, &there) == 0 && here.st_dev == there.st_dev &&
        here.st_ino == there.st_ino)
        return rc;
    if (rc != 0 && rc != -EAGAIN) { /* gone, or another by now: the piece comes again */
        (void)close(log->fd);
        log->fd = -1;
        buffer_clear(&log->text);
    }
    return rc;
}

static int gather(struct event_log *log, struct error *err)
{
    log->reached = log->position;
    int rc = storage_event_page(log->view->reader, log->position, 0, EVENT_ALL, PAGE_EVENTS, put_line, log,
                                &log->reached, err);
    return rc == 0 && log->text.failed ? error_memory(err) : rc;
}

bool event_log_run(struct event_log *log, int64_t now_ms)
{
    if (log == NULL || now_ms < log->retry_ms)
        return false;
    struct error err = {""};
    int rc = log->fd < 0 ? open_file(log) : 0;
    if (rc != 0)
        (void)error_errno(&err, rc, "cannot open %s", log->path);
    else if (log->text.len == 0)
        rc = gather(log, &err);
    if (rc == 0 && log->text.len > 0 && (rc = log->regular ? write_piece(log, &log->text) : write_stream(log)) != 0)
        (void)error_errno(&err, rc, "cannot write %s", log->path);
    log->unread &= rc == -EPIPE;
    log->full = rc == -EAGAIN;
    if (log->full)
        return false;
    if (rc == -EPIPE) {
        wait_for_reader(log);
        log->retry_ms = now_ms + READER_MS;
        return false;
    }
    bool more = rc == 0 && log->reached != log->position;
    if (more)
        rc = storage_event_set_logged(log->app->storage, log->reached, &err);
    if (rc == 0) {
        log->position = log->reached;
    } else {
        log_error("events", "log_not_written error=%s", LOG_QUOTE(err.text));
        log->retry_ms = now_ms + RETRY_MS;
    }
    buffer_finish(&log->text);
    return more && rc == 0;
}
