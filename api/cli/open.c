/*
 * open.c - what commands open on demand: the configuration, the database beside a running server or without one, and
 * the files that are named on the command line.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/cli/cli.h"
#include "api/cli/output.h"

int cli_open_config(struct cli *cli)
{
    struct error err = {""};
    if (cli->config != NULL)
        return CLI_DONE;
    if (config_load(cli->config_file, &cli->config, &err) != 0)
        return out_fail("%s", err.text);
    return CLI_DONE;
}

int cli_open_storage(struct cli *cli)
{
    struct error err = {""};
    if (cli->reader != NULL)
        return CLI_DONE;
    if (cli_open_config(cli) != CLI_DONE)
        return CLI_FAILED;
    struct storage_options options = {.data_dir = cli->config->data_dir, .server = false};
    int rc = storage_open(&options, &cli->storage, &err);
    if (rc == 0)
        rc = storage_reader_open(cli->storage, &cli->reader, &err);
    return rc == 0 ? CLI_DONE : out_condition(rc, "database", &err);
}

void cli_finish(struct cli *cli)
{
    if (cli->reader != NULL)
        storage_reader_close(cli->reader);
    storage_close(cli->storage);
    config_free(cli->config);
    cli->reader = NULL;
    cli->storage = NULL;
    cli->config = NULL;
}

int cli_read_file(const char *path, struct buffer *out)
{
    char piece[65536];
    size_t n;
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (file == NULL)
        return out_fail("cannot read %s: %s", path, strerror(errno));
    while ((n = fread(piece, 1, sizeof(piece), file)) > 0 && !out->failed)
        buffer_append(out, piece, n);
    int rc = ferror(file) != 0 ? out_fail("cannot read %s: %s", path, strerror(errno)) : CLI_DONE;
    if (file != stdin)
        (void)fclose(file);
    return rc;
}
