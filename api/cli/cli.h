/*
 * cli.h - the command line: one table of commands, one parser for all of them, help and manual made from the same
 * table.
 *
 * Grammar: `posthaste [-c FILE] COMMAND [options] [arguments]`. A command is one or two words. Options may stand
 * anywhere behind the command; "--" ends them, "-" alone is an argument (standard input). Every command knows --help,
 * --json and --config. Exit codes: 0 done, 1 refused or failed, 2 usage.
 */
#ifndef POSTHASTE_API_CLI_CLI_H
#define POSTHASTE_API_CLI_CLI_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/config.h"
#include "storage/storage.h"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

struct cli;

struct cli_option {
    const char *name;  /* without dashes; NULL ends the table */
    char letter;       /* 0 = none */
    const char *value; /* what stands for the value in the help, "FILE"; NULL = a flag */
    bool repeatable;
    const char *help;
};

struct cli_command {
    const char *words;     /* "campaign create" */
    const char *arguments; /* "[FILE.json]", "" */
    int min_arguments, max_arguments;
    const char *summary;              /* one line, no full stop */
    const char *details;              /* a few lines for --help; NULL = none */
    const struct cli_option *options; /* NULL = only the common ones */
    int (*run)(struct cli *cli);      /* an exit code */
};

#define CLI_VALUES_MAX 128
#define CLI_ARGUMENTS_MAX 64

struct cli {
    const struct cli_command *command;
    const char *group;       /* with --help only: the first word of commands of two words */
    const char *config_file; /* NULL = the usual places */
    bool json, help, no_color;
    struct {
        const struct cli_option *option;
        const char *value; /* "" for a flag */
    } values[CLI_VALUES_MAX];
    int value_count;
    const char *arguments[CLI_ARGUMENTS_MAX];
    int argument_count;

    /* opened on demand, closed by cli_finish() */
    struct config *config;
    struct storage *storage;
    struct storage_reader *reader;
};

/*
 * Parses argv against the table. 0, or -EINVAL with the sentence for the user. `command` NULL after 0: nothing but the
 * program's name or --help was given. argv outlives the struct.
 */
int cli_parse(struct cli *cli, const struct cli_command *commands, size_t count, int argc, char *const *argv,
              struct error *err) ATTR_MUSTCHECK;
void cli_finish(struct cli *cli);

/* The option of that name (`len` bytes), or with that letter when it is not 0; NULL = none. */
const struct cli_option *cli_find_option(const struct cli_option *options, const char *name, size_t len, char letter);
bool cli_flag(const struct cli *cli, const char *name);
const char *cli_value(const struct cli *cli, const char *name);            /* the last one given, or NULL */
const char *cli_value_nth(const struct cli *cli, const char *name, int n); /* n-th of a repeatable option, or NULL */

/* Whether the command of that name changes the database itself: those of the server's API are noted by the server. */
bool cli_is_changing(const char *words);
/* Notes a command that changed the database in the audit log. */
void cli_audit(const struct cli *cli, int status);
/* Each prints its own failure and returns CLI_DONE or CLI_FAILED. */
int cli_open_config(struct cli *cli);
int cli_open_storage(struct cli *cli); /* config, database and a reader */
/* The whole file ("-" = stdin) behind what is in `out`. What is larger than the buffer's bound leaves it `failed`. */
int cli_read_file(const char *path, struct buffer *out);

/* The table and what is made of it (commands.c, help.c). */
const struct cli_command *cli_commands(size_t *count);
void cli_print_help(const struct cli_command *commands, size_t count,
                    const struct cli_command *command); /* NULL = of the program */
int cli_print_group_help(const struct cli_command *commands, size_t count,
                         const char *group);                           /* the number of commands in it */
void cli_print_mdoc(const struct cli_command *commands, size_t count); /* the manual page in mdoc(7) */
extern const struct cli_option CLI_COMMON_OPTIONS[];

/* Commands. */
int cli_serve(struct cli *cli), cli_import(struct cli *cli);
int cli_list_list(struct cli *cli), cli_list_create(struct cli *cli), cli_list_show(struct cli *cli),
    cli_list_delete(struct cli *cli);
int cli_recipient_show(struct cli *cli);
int cli_campaign_create(struct cli *cli), cli_campaign_launch(struct cli *cli), cli_campaign_pause(struct cli *cli);
int cli_campaign_resume(struct cli *cli), cli_campaign_cancel(struct cli *cli), cli_campaign_show(struct cli *cli);
int cli_campaign_stats(struct cli *cli), cli_campaign_watch(struct cli *cli), cli_campaign_preview(struct cli *cli);
int cli_campaign_list(struct cli *cli), cli_campaign_links(struct cli *cli), cli_campaign_winner(struct cli *cli);
int cli_campaign_test(struct cli *cli);
int cli_link_key_list(struct cli *cli), cli_link_key_rotate(struct cli *cli), cli_link_key_retire(struct cli *cli);
int cli_snippet_set(struct cli *cli), cli_snippet_show(struct cli *cli), cli_snippet_list(struct cli *cli),
    cli_snippet_delete(struct cli *cli);
int cli_domain_rotate(struct cli *cli);
int cli_domain_add(struct cli *cli), cli_domain_show(struct cli *cli), cli_domain_list(struct cli *cli);
int cli_domain_check(struct cli *cli);
int cli_suppress_add(struct cli *cli), cli_suppress_remove(struct cli *cli), cli_suppress_list(struct cli *cli);
int cli_suppress_import(struct cli *cli), cli_suppress_export(struct cli *cli);
int cli_db_check(struct cli *cli), cli_db_vacuum(struct cli *cli), cli_db_backup(struct cli *cli);
int cli_bounce_classify(struct cli *cli), cli_bounce_ingest(struct cli *cli);
int cli_token_create(struct cli *cli), cli_token_list(struct cli *cli), cli_token_revoke(struct cli *cli);
int cli_site_suspend(struct cli *cli), cli_site_resume(struct cli *cli), cli_site_suspensions(struct cli *cli), cli_source_show(struct cli *cli);
int cli_webhook_add(struct cli *cli), cli_webhook_list(struct cli *cli), cli_webhook_show(struct cli *cli);
int cli_webhook_enable(struct cli *cli), cli_webhook_disable(struct cli *cli), cli_webhook_rotate(struct cli *cli);
int cli_webhook_replay(struct cli *cli), cli_webhook_remove(struct cli *cli);
int cli_completion_bash(struct cli *cli), cli_completion_zsh(struct cli *cli), cli_completion_words(struct cli *cli);
int cli_status(struct cli *cli), cli_top(struct cli *cli), cli_site_show(struct cli *cli), cli_site_explain(struct cli *cli);
int cli_config_check(struct cli *cli), cli_config_show(struct cli *cli), cli_version(struct cli *cli),
    cli_help(struct cli *cli);

#endif
