/*
 * import.c - `posthaste import`: a file's bytes into the importer, its rejects into a CSV file, its progress onto the
 * terminal.
 *
 * Success means that every row of the input is counted as new, updated, unchanged or rejected, and that what is counted
 * is stored. When a quote that is never closed took in the rows behind it, or no row could be taken, the counts are told
 * all the same, and then why the command ends with 1. An input that is refused as a whole (no header, no e-mail column,
 * not UTF-8) stores nothing, and a list that was made for it is taken back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/cli/output.h"
#include "api/csv_out.h"
#include "api/http/json.h"
#include "api/list_name.h"
#include "api/views.h"
#include "base/clock.h"
#include "base/str.h"

#define PIECE_BYTES ((size_t)256 << 10)

struct reject_file {
    const char *path; /* NULL = none asked for */
    FILE *file;
    bool made; /* it was not there before */
    bool begun;
    struct buffer row;
};

struct load {
    struct cli *cli;
    const char *path;
    int fd;
    int64_t size_bytes; /* 0 = not known */
    enum import_format format;
    int64_t list_id;
    bool list_made;
    struct reject_file rejects;
    struct import_counts counts;
    int64_t begun_us;
};

/* ---- rejects ---- */

/* The input, which writing would destroy. A terminal or /dev/null may well be both. */
static bool is_input(int fd, int input)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && fstat(input, &b) == 0 && S_ISREG(a.st_mode) && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

static int open_rejects(struct reject_file *rejects, const char *path, int input)
{
    if (path == NULL)
        return CLI_DONE;
    rejects->path = path;
    /* Not truncated before there is something to write: an import that is refused leaves an older file as it was. */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    rejects->made = fd >= 0;
    if (fd < 0 && errno == EEXIST)
        fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && is_input(fd, input)) {
        (void)close(fd);
        return out_fail("the reject file %s is the file that is read: give another name", path);
    }
    rejects->file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (rejects->file != NULL)
        return CLI_DONE;
    int rc = out_fail("cannot write the reject file %s: %s", path, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

static void begin_rejects(struct reject_file *rejects)
{
    rejects->begun = true;
    if (ftruncate(fileno(rejects->file), 0) == 0)
        fputs("line,reason,row\r\n", rejects->file);
}

static void write_reject(void *context, int64_t line, const char *reason, const char *row, size_t row_len)
{
    struct reject_file *rejects = context;
    if (rejects->file == NULL)
        return;
    if (!rejects->begun)
        begin_rejects(rejects);
    buffer_clear(&rejects->row);
    buffer_printf(&rejects->row, "%lld,", (long long)line);
    csv_text(&rejects->row, reason, false);
    csv_comma(&rejects->row);
    csv_cell(&rejects->row, row, row_len, false);
    csv_end_row(&rejects->row);
    (void)fwrite(buffer_text(&rejects->row), 1, rejects->row.len, rejects->file);
}

/* `kept`: the import took place. */
static int close_rejects(struct reject_file *rejects, bool kept)
{
    int rc = CLI_DONE;
    if (rejects->file == NULL)
        return CLI_DONE;
    if (kept && !rejects->begun)
        begin_rejects(rejects);
    bool failed = ferror(rejects->file) != 0;
    failed |= fclose(rejects->file) != 0;
    if (failed)
        rc = out_fail("cannot write the reject file %s", rejects->path);
    if (!kept && rejects->made && !rejects->begun)
        (void)unlink(rejects->path);
    buffer_finish(&rejects->row);
    rejects->file = NULL;
    return rc;
}

/* ---- input ---- */

static int find_format(struct load *load)
{
    const char *format = cli_value(load->cli, "format");
    load->format = IMPORT_CSV;
    if (format != NULL && strcmp(format, "csv") != 0 && strcmp(format, "jsonl") != 0) {
        (void)out_fail("--format must be csv or jsonl");
        return CLI_USAGE;
    }
    bool named = str_ends_nocase(load->path, ".jsonl") || str_ends_nocase(load->path, ".ndjson");
    if (format != NULL ? strcmp(format, "jsonl") == 0 : named)
        load->format = IMPORT_JSONL;
    return CLI_DONE;
}

static int open_input(struct load *load)
{
    if (strcmp(load->path, "-") == 0) {
        load->fd = STDIN_FILENO;
        load->path = "standard input";
        return CLI_DONE;
    }
    struct stat status;
    load->fd = open(load->path, O_RDONLY | O_CLOEXEC);
    if (load->fd < 0 || fstat(load->fd, &status) != 0)
        return out_fail("cannot read %s: %s", load->path, strerror(errno));
    if (S_ISDIR(status.st_mode))
        return out_fail("cannot read %s: it is a directory", load->path);
    load->size_bytes = S_ISREG(status.st_mode) ? status.st_size : 0;
    (void)posix_fadvise(load->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    return CLI_DONE;
}

static int find_list(struct load *load)
{
    const char *name = cli_value(load->cli, "list");
    struct error err = {""};
    int rc = storage_list_find(load->cli->reader, name, &load->list_id, &err);
    const char *why = rc == STORAGE_NOT_FOUND ? list_name_problem(name) : NULL;
    if (why != NULL)
        return out_fail("there is no list \"%s\", and a list's name %s", name, why);
    if (rc == STORAGE_NOT_FOUND) {
        rc = storage_list_create(load->cli->storage, name, "", &load->list_id, &err);
        load->list_made = rc == 0;
        if (rc == STORAGE_EXISTS) /* somebody else was quicker */
            rc = 0;
    }
    return rc == 0 ? CLI_DONE : out_condition(rc, "list", &err);
}

/* ---- the work ---- */

static void show_progress(struct load *load, struct progress *progress, const struct import *import, int64_t read_bytes)
{
    char note[160];
    char rows[OUT_NUMBER_BYTES];
    char rate[OUT_NUMBER_BYTES];
    char bytes[OUT_NUMBER_BYTES];
    char left[OUT_NUMBER_BYTES] = "";
    if (!progress->shown)
        return;
    import_progress(import, &load->counts);
    double seconds = (double)(clock_monotonic_us() - load->begun_us) / 1e6;
    double per_second = seconds > 0 ? (double)load->counts.read / seconds : 0;
    if (load->size_bytes > 0 && read_bytes > 0 && seconds > 1)
        (void)out_duration((int64_t)(seconds * (double)(load->size_bytes - read_bytes) / (double)read_bytes), left);
    (void)snprintf(note, sizeof(note), "%s rows, %s/s, %s%s%s", out_number(load->counts.read, rows),
                   out_number((int64_t)per_second, rate), out_bytes(read_bytes, bytes),
                   left[0] != '\0' ? ", left: " : "", left);
    progress_step(progress, read_bytes, load->size_bytes, note);
}

static int feed_all(struct load *load, struct import *import, struct error *err)
{
    struct progress progress;
    char *piece = malloc(PIECE_BYTES);
    int64_t read_bytes = 0;
    int rc = 0;
    if (piece == NULL)
        return error_memory(err);
    progress_begin(&progress);
    while (rc == 0) {
        ssize_t n = read(load->fd, piece, PIECE_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = error_errno(err, -errno, "cannot read on");
        if (n <= 0)
            break;
        rc = import_feed(import, piece, (size_t)n, err);
        read_bytes += n;
        show_progress(load, &progress, import, read_bytes);
    }
    progress_end(&progress);
    free(piece);
    return rc;
}

static int run_import(struct load *load, struct error *err)
{
    struct import_options options = {
        .format = load->format,
        .list_id = load->list_id,
        .mode = cli_flag(load->cli, "skip") ? UPSERT_SKIP : UPSERT_UPDATE,
        .reject = write_reject,
        .context = &load->rejects,
    };
    struct import *import = NULL;
    int rc = import_begin(load->cli->storage, &options, &import, err);
    if (rc != 0)
        return rc;
    load->begun_us = clock_monotonic_us();
    rc = feed_all(load, import, err);
    int finished = import_finish(import, rc != 0, &load->counts, rc == 0 ? err : NULL);
    return rc != 0 ? rc : finished;
}

/* `why`: "" or what makes the import incomplete. */
static int report(struct load *load, const char *why)
{
    const struct import_counts *counts = &load->counts;
    const char *name = cli_value(load->cli, "list");
    double seconds = (double)(clock_monotonic_us() - load->begun_us) / 1e6;
    if (load->cli->json) {
        json_t *object = view_import_counts(counts);
        (void)json_object_set_new(object, "list_id", json_integer(load->list_id));
        (void)json_object_set_new(object, "list", json_string(name));
        (void)json_object_set_new(object, "list_created", json_boolean(load->list_made));
        (void)json_object_set_new(object, "seconds", json_real(seconds));
        (void)json_object_set_new(object, "error", why[0] != '\0' ? json_line(why) : json_null());
        int rc = out_json(object);
        return why[0] != '\0' ? out_fail("%s: %s", load->path, why) : rc;
    }
    if (load->list_made)
        out_line("list \"%s\" was made, number %lld", name, (long long)load->list_id);
    if (counts->rejected > 0 && load->rejects.path != NULL)
        out_line("rejected rows are in %s", load->rejects.path);
    else if (counts->rejected > 0)
        out_line("to see which rows were rejected and why, add --reject-file FILE");
    out_line("read %lld, new %lld, updated %lld, unchanged %lld, rejected %lld", (long long)counts->read,
             (long long)counts->created, (long long)counts->updated, (long long)counts->unchanged,
             (long long)counts->rejected);
    return why[0] != '\0' ? out_fail("%s: %s", load->path, why) : CLI_DONE;
}

static void take_list_back(struct load *load)
{
    /* The refusal is what the user hears of; a list that somebody filled meanwhile stays. */
    if (load->list_made && load->counts.created + load->counts.updated == 0)
        (void)storage_list_delete(load->cli->storage, load->list_id, NULL);
}

static int import_file(struct load *load)
{
    struct error err = {""};
    int rc = open_input(load);
    if (rc == CLI_DONE)
        rc = cli_open_storage(load->cli);
    if (rc == CLI_DONE)
        rc = open_rejects(&load->rejects, cli_value(load->cli, "reject-file"), load->fd);
    if (rc == CLI_DONE)
        rc = find_list(load);
    if (rc != CLI_DONE)
        return rc;
    int failed = run_import(load, &err);
    if (failed != 0 && failed != IMPORT_INCOMPLETE) {
        take_list_back(load);
        return out_fail("%s: %s", load->path, err.text[0] != '\0' ? err.text : "the import failed");
    }
    return report(load, err.text);
}

int cli_import(struct cli *cli)
{
    struct load load = {.cli = cli, .path = cli->arguments[0], .fd = -1, .rejects.row = BUFFER_INIT((size_t)64 << 10)};
    const char *list = cli_value(cli, "list");
    if (list == NULL || list[strspn(list, " \t")] == '\0') {
        (void)out_fail("import needs --list NAME");
        return CLI_USAGE;
    }
    if (cli_flag(cli, "update") && cli_flag(cli, "skip")) {
        (void)out_fail("--update and --skip exclude one another");
        return CLI_USAGE;
    }
    int rc = find_format(&load);
    if (rc == CLI_DONE)
        rc = import_file(&load);
    int closed = close_rejects(&load.rejects, rc == CLI_DONE);
    if (load.fd > STDERR_FILENO)
        (void)close(load.fd);
    return rc != CLI_DONE ? rc : closed;
}
