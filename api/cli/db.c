/*
 * db.c - `posthaste db check|vacuum|backup`: looking after the database, beside a running server or without one.
 *
 * Check and backup only read, in snapshots; a server goes on sending meanwhile. Vacuum rewrites the file and is refused
 * while one runs.
 */
#include <errno.h>

#include "api/cli/output.h"
#include "base/clock.h"

int cli_db_check(struct cli *cli)
{
    struct error err = {""};
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    int result = storage_check(cli->reader, cli_flag(cli, "quick"), &err);
    if (result < 0)
        return out_condition(result, "database", &err);
    if (cli->json)
        (void)out_json(json_pack("{s:b, s:s?}", "sound", result == 0, "finding", result == 0 ? NULL : err.text));
    else if (result == 0)
        out_line("the database is sound");
    if (result != 0 && !cli->json)
        return out_fail("%s", err.text);
    return result == 0 ? CLI_DONE : CLI_FAILED;
}

static int64_t database_bytes(struct cli *cli)
{
    int64_t bytes = 0, wal_bytes = 0;
    (void)storage_sizes(cli->storage, &bytes, &wal_bytes);
    return bytes + wal_bytes;
}

int cli_db_vacuum(struct cli *cli)
{
    struct error err = {""};
    char text[OUT_NUMBER_BYTES], more[OUT_NUMBER_BYTES];
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    int64_t before = database_bytes(cli);
    int result = storage_vacuum(cli->storage, &err);
    if (result != 0)
        return out_condition(result, "database", &err);
    int64_t after = database_bytes(cli);
    if (cli->json)
        return out_json(json_pack("{s:I, s:I}", "bytes_before", (json_int_t)before, "bytes", (json_int_t)after));
    out_line("the database takes %s now, %s before", out_bytes(after, text), out_bytes(before, more));
    return CLI_DONE;
}

static int show_progress(void *context, int64_t done, int64_t total)
{
    progress_step(context, done, total, "");
    return 0;
}

int cli_db_backup(struct cli *cli)
{
    struct error err = {""};
    struct progress progress;
    char text[OUT_NUMBER_BYTES];
    const char *path = cli->arguments[0];
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    int64_t begun_us = clock_monotonic_us();
    progress_begin(&progress);
    int result = storage_backup(cli->reader, path, show_progress, &progress, &err);
    progress_end(&progress);
    if (result != 0)
        return out_condition(result, "backup", &err);
    int64_t bytes = database_bytes(cli);
    double seconds = (double)(clock_monotonic_us() - begun_us) / 1e6;
    if (cli->json)
        return out_json(json_pack("{s:s, s:I, s:f}", "file", path, "bytes", (json_int_t)bytes, "seconds", seconds));
    out_line("%s holds the database as it was when the backup began (%s, %.1f s)", path, out_bytes(bytes, text),
             seconds);
    return CLI_DONE;
}
