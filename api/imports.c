/*
 * imports.c - the import worker. The worker alone touches the importer; what others may read of a job is copied under
 * the lock after each piece.
 *
 * Ids start at the wall clock's milliseconds, so that an id from before a restart is never another job's.
 */
#include "api/imports.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/csv_out.h"
#include "api/http/json.h"
#include "api/views.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/str.h"

#define PIECE_BYTES ((size_t)256 << 10)

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_FINISHED, JOB_FAILED };
static const char *const STATE_NAMES[] = {"queued", "running", "finished", "failed"};

struct reject {
    int64_t line;
    char reason[160];
};

/* All rejected rows, in a file without a name; the worker's own until the job has ended. */
struct reject_file {
    int fd; /* -1 = none */
    size_t len;
    struct buffer waiting; /* not yet written */
    bool full;             /* no more is written */
};

struct job {
    struct list node;
    int64_t id, list_id;
    enum import_format format;
    enum upsert_mode mode;
    int fd; /* -1 when done */
    enum job_state state;
    int64_t size_bytes, created_ms, ended_ms;
    struct import_counts counts;
    struct error error;
    struct reject *rejects; /* IMPORT_REJECTS_SHOWN of them */
    size_t reject_count;
    struct reject_file file;
};

struct import_jobs {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    struct storage *storage;
    const char *data_dir;
    size_t rejects_bytes; /* of all kept files; the worker adds, whoever forgets a job subtracts, under the lock */
    struct list jobs;     /* oldest first */
    size_t count, waiting;
    int64_t next_id;
    bool stop;
};

/* What the worker hands to the importer as its context. */
struct run {
    struct import_jobs *jobs;
    struct job *job;
};

static void job_free(struct job *job)
{
    if (job->fd >= 0)
        (void)close(job->fd);
    if (job->file.fd >= 0)
        (void)close(job->file.fd);
    buffer_finish(&job->file.waiting);
    free(job->rejects);
    free(job);
}

static void write_waiting(struct run *run)
{
    struct reject_file *file = &run->job->file;
    const char *at = buffer_text(&file->waiting);
    size_t left = file->full || file->waiting.failed ? 0 : file->waiting.len;
    while (left > 0) {
        ssize_t n = pwrite(file->fd, at, left, (off_t)file->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            file->full = true;
            break;
        }
        at += n;
        left -= (size_t)n;
        file->len += (size_t)n;
    }
    buffer_clear(&file->waiting);
}

static bool has_room(struct run *run, size_t more)
{
    const struct reject_file *file = &run->job->file;
    (void)pthread_mutex_lock(&run->jobs->lock);
    bool room = run->jobs->rejects_bytes + more <= IMPORT_REJECTS_ALL_MAX_BYTES &&
                file->len + file->waiting.len + more <= IMPORT_REJECTS_MAX_BYTES;
    if (room)
        run->jobs->rejects_bytes += more;
    (void)pthread_mutex_unlock(&run->jobs->lock);
    return room;
}

static void file_reject(struct run *run, int64_t line, const char *reason, const char *row, size_t row_len)
{
    struct reject_file *file = &run->job->file;
    if (file->full)
        return;
    if (file->fd < 0) {
        file->fd = open(run->jobs->data_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        file->full = file->fd < 0;
        buffer_append_str(&file->waiting, "line,reason,row\r\n");
    }
    size_t before = file->waiting.len;
    buffer_printf(&file->waiting, "%lld,", (long long)line);
    csv_text(&file->waiting, reason, false);
    csv_comma(&file->waiting);
    csv_cell(&file->waiting, row, row_len, false);
    csv_end_row(&file->waiting);
    if (file->waiting.failed || !has_room(run, file->waiting.len - before)) {
        file->waiting.len = file->waiting.failed ? 0 : before;
        write_waiting(run);
        file->full = true;
    } else if (file->waiting.len >= PIECE_BYTES) {
        write_waiting(run);
    }
}

static void note_reject(void *context, int64_t line, const char *reason, const char *row, size_t row_len)
{
    struct run *run = context;
    struct job *job = run->job;
    file_reject(run, line, reason, row, row_len);
    (void)pthread_mutex_lock(&run->jobs->lock);
    if (job->reject_count < IMPORT_REJECTS_SHOWN) {
        struct reject *reject = &job->rejects[job->reject_count++];
        reject->line = line;
        (void)str_copy(reject->reason, sizeof(reject->reason), reason);
        str_make_line(reject->reason);
    }
    (void)pthread_mutex_unlock(&run->jobs->lock);
}

static bool stopping(struct import_jobs *jobs)
{
    (void)pthread_mutex_lock(&jobs->lock);
    bool stop = jobs->stop;
    (void)pthread_mutex_unlock(&jobs->lock);
    return stop;
}

static void note_progress(struct run *run, const struct import *import)
{
    struct import_counts counts;
    import_progress(import, &counts);
    (void)pthread_mutex_lock(&run->jobs->lock);
    run->job->counts = counts;
    (void)pthread_mutex_unlock(&run->jobs->lock);
}

static int feed_all(struct run *run, struct import *import, char *piece, struct error *err)
{
    off_t at = 0;
    while (true) {
        if (stopping(run->jobs))
            return error_set(err, -EINTR, "the server was stopped; the rows before were imported");
        ssize_t n = pread(run->job->fd, piece, PIECE_BYTES, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, -errno, "cannot read the upload back");
        if (n == 0)
            return 0;
        int rc = import_feed(import, piece, (size_t)n, err);
        if (rc != 0)
            return rc;
        at += n;
        note_progress(run, import);
    }
}

static int run_import(struct run *run, struct import_counts *counts, struct error *err)
{
    struct import_options options = {.format = run->job->format,
                                     .list_id = run->job->list_id,
                                     .mode = run->job->mode,
                                     .reject = note_reject,
                                     .context = run};
    char *piece = malloc(PIECE_BYTES);
    if (piece == NULL)
        return error_memory(err);
    struct import *import = NULL;
    int rc = import_begin(run->jobs->storage, &options, &import, err);
    if (rc == STORAGE_NOT_FOUND)
        rc = error_set(err, -ENOENT, "the list does not exist any more");
    if (rc == 0) {
        struct error finish_error = {""};
        rc = feed_all(run, import, piece, err);
        int finished = import_finish(import, rc != 0, counts, rc == 0 ? err : &finish_error);
        rc = rc != 0 ? rc : finished;
    }
    free(piece);
    return rc;
}

static void run_job(struct import_jobs *jobs, struct job *job)
{
    struct run run = {.jobs = jobs, .job = job};
    struct import_counts counts = {0};
    struct error err = {""};
    int rc = run_import(&run, &counts, &err);
    write_waiting(&run);
    (void)pthread_mutex_lock(&jobs->lock);
    /* After a failure to begin there are no counts; those of the last piece stay. */
    if (rc == 0 || counts.read > 0)
        job->counts = counts;
    job->state = rc == 0 ? JOB_FINISHED : JOB_FAILED;
    job->error = err;
    job->ended_ms = clock_wall_ms();
    (void)close(job->fd);
    job->fd = -1;
    (void)pthread_mutex_unlock(&jobs->lock);
    log_info("import", "%lld %s list=%lld read=%lld new=%lld rejected=%lld error=%s", (long long)job->id,
             STATE_NAMES[job->state], (long long)job->list_id, (long long)counts.read, (long long)counts.created,
             (long long)counts.rejected, LOG_QUOTE(err.text));
}

static struct job *first_queued(struct import_jobs *jobs)
{
    list_for_each(node, &jobs->jobs)
    {
        struct job *job = list_entry(node, struct job, node);
        if (job->state == JOB_QUEUED)
            return job;
    }
    return NULL;
}

static void *work(void *context)
{
    struct import_jobs *jobs = context;
    (void)pthread_mutex_lock(&jobs->lock);
    while (!jobs->stop) {
        struct job *job = first_queued(jobs);
        if (job == NULL) {
            (void)pthread_cond_wait(&jobs->changed, &jobs->lock);
            continue;
        }
        job->state = JOB_RUNNING;
        jobs->waiting--;
        (void)pthread_mutex_unlock(&jobs->lock);
        run_job(jobs, job);
        (void)pthread_mutex_lock(&jobs->lock);
    }
    (void)pthread_mutex_unlock(&jobs->lock);
    return NULL;
}

int import_jobs_start(struct storage *storage, const char *data_dir, struct import_jobs **out, struct error *err)
{
    struct import_jobs *jobs = calloc(1, sizeof(*jobs));
    if (jobs == NULL)
        return error_memory(err);
    jobs->storage = storage;
    jobs->data_dir = data_dir;
    jobs->next_id = clock_wall_ms();
    list_init(&jobs->jobs);
    assure(pthread_mutex_init(&jobs->lock, NULL) == 0);
    assure(pthread_cond_init(&jobs->changed, NULL) == 0);
    int rc = pthread_create(&jobs->thread, NULL, work, jobs);
    if (rc != 0) {
        free(jobs);
        return error_errno(err, -rc, "cannot start a thread");
    }
    *out = jobs;
    return 0;
}

void import_jobs_stop(struct import_jobs *jobs)
{
    if (jobs == NULL)
        return;
    (void)pthread_mutex_lock(&jobs->lock);
    jobs->stop = true;
    (void)pthread_cond_signal(&jobs->changed);
    (void)pthread_mutex_unlock(&jobs->lock);
    (void)pthread_join(jobs->thread, NULL);
    struct list *node;
    while ((node = list_take_first(&jobs->jobs)) != NULL)
        job_free(list_entry(node, struct job, node));
    (void)pthread_cond_destroy(&jobs->changed);
    (void)pthread_mutex_destroy(&jobs->lock);
    free(jobs);
}

/* Forgets the oldest ended job when there are too many. */
static void forget_one(struct import_jobs *jobs)
{
    list_for_each_safe(node, &jobs->jobs)
    {
        struct job *job = list_entry(node, struct job, node);
        if (job->state != JOB_FINISHED && job->state != JOB_FAILED)
            continue;
        list_remove(node);
        jobs->rejects_bytes -= MIN_OF(jobs->rejects_bytes, job->file.len);
        job_free(job);
        jobs->count--;
        return;
    }
}

int import_jobs_add(struct import_jobs *jobs, int64_t list_id, enum import_format format, enum upsert_mode mode, int fd,
                    int64_t *id, struct error *err)
{
    struct job *job = calloc(1, sizeof(*job));
    struct reject *rejects = calloc(IMPORT_REJECTS_SHOWN, sizeof(*rejects));
    struct stat status;
    if (job == NULL || rejects == NULL || fstat(fd, &status) != 0) {
        free(job);
        free(rejects);
        return error_memory(err);
    }
    *job = (struct job){.list_id = list_id,
                        .format = format,
                        .mode = mode,
                        .fd = fd,
                        .rejects = rejects,
                        .file = {.fd = -1, .waiting = BUFFER_INIT(4 * PIECE_BYTES)},
                        .size_bytes = status.st_size,
                        .created_ms = clock_wall_ms()};
    (void)pthread_mutex_lock(&jobs->lock);
    if (jobs->waiting >= IMPORTS_WAITING_MAX) {
        (void)pthread_mutex_unlock(&jobs->lock);
        job->fd = -1; /* stays the caller's */
        job_free(job);
        return error_set(err, -EBUSY, "%d imports are waiting already; try again later", IMPORTS_WAITING_MAX);
    }
    job->id = *id = jobs->next_id++;
    list_append(&jobs->jobs, &job->node);
    jobs->waiting++;
    if (++jobs->count > IMPORTS_KEPT)
        forget_one(jobs);
    (void)pthread_cond_signal(&jobs->changed);
    (void)pthread_mutex_unlock(&jobs->lock);
    return 0;
}

static json_t *view_job(const struct job *job)
{
    json_t *rejects = json_array();
    for (size_t i = 0; i < job->reject_count; i++)
        (void)json_array_append_new(rejects, json_pack("{s:I, s:s}", "line", (json_int_t)job->rejects[i].line, "reason",
                                                       job->rejects[i].reason));
    return json_pack("{s:I, s:I, s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "id", (json_int_t)job->id,
                     "list_id", (json_int_t)job->list_id, "state", STATE_NAMES[job->state], "format",
                     job->format == IMPORT_CSV ? "csv" : "jsonl", "mode",
                     job->mode == UPSERT_UPDATE ? "update" : "skip", "bytes", (json_int_t)job->size_bytes, "bytes_done",
                     (json_int_t)job->counts.bytes, "counts", view_import_counts(&job->counts), "rejects", rejects,
                     "error", job->error.text[0] != '\0' ? json_line(job->error.text) : json_null(), "created_at",
                     json_time(job->created_ms), "ended_at", json_time(job->ended_ms));
}

json_t *import_jobs_get(struct import_jobs *jobs, int64_t id)
{
    json_t *view = NULL;
    (void)pthread_mutex_lock(&jobs->lock);
    list_for_each(node, &jobs->jobs)
    {
        const struct job *job = list_entry(node, struct job, node);
        if (job->id == id)
            view = view_job(job);
    }
    (void)pthread_mutex_unlock(&jobs->lock);
    return view;
}

int import_jobs_rejects(struct import_jobs *jobs, int64_t id, int *fd, size_t *len, struct error *err)
{
    int rc = STORAGE_NOT_FOUND;
    (void)pthread_mutex_lock(&jobs->lock);
    list_for_each(node, &jobs->jobs)
    {
        const struct job *job = list_entry(node, struct job, node);
        if (job->id != id)
            continue;
        rc = 0;
        *len = job->file.len;
        if (job->state == JOB_QUEUED || job->state == JOB_RUNNING)
            rc = STORAGE_WRONG_STATE;
        else if ((*fd = job->file.fd >= 0 ? fcntl(job->file.fd, F_DUPFD_CLOEXEC, 0) : -1) < 0 && *len > 0)
            rc = error_errno(err, -errno, "cannot read the rejected rows");
    }
    (void)pthread_mutex_unlock(&jobs->lock);
    return rc;
}
