/*
 * complete.c - `posthaste completion …`: the scripts for bash and zsh (share/completion), and what they ask for each
 * time a person presses Tab: which words may stand where the cursor is.
 *
 * Commands and options come from the table of commands, names from the database. Asking changes nothing: where there is
 * no database none is made, and whatever goes wrong (a broken configuration, a locked file) means no suggestions, never
 * a message in the middle of somebody's line.
 *
 * An answer is a line "WORD<TAB>explanation" for each word that begins as what was typed does; the line ":files" leaves
 * the rest to the shell.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/assets.h"
#include "api/cli/output.h"
#include "base/str.h"

#define NAMES_MAX 200 /* more nobody reads through */

enum what { WHAT_CHOICES, WHAT_LISTS, WHAT_CAMPAIGNS, WHAT_DOMAINS, WHAT_SNIPPETS };

/* What stands at an option or an argument of which commands. Files are told by the placeholder. */
static const struct place {
    const char *command; /* the command, or the first word of several */
    const char *slot;    /* the option's name, or the argument's placeholder */
    enum what what;
    const char *choices;
} PLACES[] = {
    {"", "list", WHAT_LISTS, NULL},
    {"campaign", "exclude", WHAT_LISTS, NULL},
    {"list show", "NAME", WHAT_LISTS, NULL},
    {"list delete", "NAME", WHAT_LISTS, NULL},
    {"campaign", "ID", WHAT_CAMPAIGNS, NULL},
    {"domain", "DOMAIN", WHAT_DOMAINS, NULL},
    {"snippet", "NAME", WHAT_SNIPPETS, NULL},
    {"import", "format", WHAT_CHOICES, "csv jsonl"},
    {"campaign list", "status", WHAT_CHOICES, "draft scheduled running paused finished cancelled"},
    {"suppress", "reason", WHAT_CHOICES, "manual unsubscribe complaint hard-bounce soft-bounce invalid"},
    {"bounce", "stage", WHAT_CHOICES, "connect greeting mail rcpt data content"},
    {"token", "scope", WHAT_CHOICES, "read send admin"},
    {"site", "scope", WHAT_CHOICES, "site source domain campaign sending_domain"},
};

struct line {
    struct cli *cli;
    const struct cli_command *commands;
    size_t count;
    char typed[512];  /* the word under the cursor, as far as it goes */
    char command[64]; /* the words of the command so far */
    const struct cli_command *found;
    const struct cli_option *waits; /* the option before the cursor wants a value */
    int arguments;                  /* whole ones before the cursor */
    bool options_over;              /* behind "--" */
    bool helping;                   /* behind `help`: what follows is a command, and nothing behind that */
    const char *given[CLI_ARGUMENTS_MAX];
    size_t given_count;
};

static void offer(const struct line *line, const char *word, const char *text)
{
    if (strncmp(word, line->typed, strlen(line->typed)) == 0 && strpbrk(word, "\t\n") == NULL)
        printf("%s\t%s\n", word, text);
}

/* ---- names from the database ---- */

static int offer_list(void *context, const struct storage_list *list)
{
    offer(context, list->name, "list");
    return 0;
}

static int offer_campaign(void *context, const struct storage_campaign *campaign)
{
    char number[24], name[200];
    (void)snprintf(number, sizeof(number), "%lld", (long long)campaign->id);
    (void)str_copy(name, sizeof(name), campaign->name);
    str_make_line(name);
    offer(context, number, name);
    return 0;
}

static int offer_domain(void *context, const struct storage_domain *domain)
{
    offer(context, domain->name, "sending domain");
    return 0;
}

static int offer_snippet(void *context, const struct storage_snippet *snippet)
{
    offer(context, snippet->name, "snippet");
    return 0;
}

static void offer_names(struct line *line, enum what what)
{
    struct error err = {""};
    char path[4096];
    struct cli *cli = line->cli;
    if (cli_open_config(cli) != CLI_DONE)
        return;
    (void)snprintf(path, sizeof(path), "%s/posthaste.db", cli->config->data_dir);
    if (access(path, R_OK) != 0 || cli_open_storage(cli) != CLI_DONE)
        return;
    int rc = 0;
    if (what == WHAT_LISTS)
        rc = storage_list_page(cli->reader, 0, NAMES_MAX, offer_list, line, NULL, &err);
    else if (what == WHAT_CAMPAIGNS)
        rc = storage_campaign_page(cli->reader, 0, NAMES_MAX, 0, offer_campaign, line, NULL, &err);
    else if (what == WHAT_DOMAINS)
        rc = storage_domain_list(cli->reader, offer_domain, line, &err);
    else
        rc = storage_snippet_page(cli->reader, "", NAMES_MAX, offer_snippet, line, NULL, &err);
    if (rc < 0)
        (void)out_fail("%s", err.text); /* for whoever runs it by hand; the scripts drop it */
}

/* ---- words of the table ---- */

static void offer_commands(const struct line *line)
{
    size_t len = strlen(line->command);
    const char *before = "";
    for (size_t i = 0; i < line->count; i++) {
        char word[32];
        const char *words = line->commands[i].words;
        if (len > 0 && (strncmp(words, line->command, len) != 0 || words[len] != ' '))
            continue;
        const char *rest = words + (len > 0 ? len + 1 : 0);
        (void)snprintf(word, sizeof(word), "%.*s", (int)strcspn(rest, " "), rest);
        size_t word_len = strlen(word);
        if (strncmp(before, word, word_len) == 0 && (before[word_len] == ' ' || before[word_len] == '\0'))
            continue; /* the next of the same group */
        before = rest;
        offer(line, word, rest[word_len] == '\0' ? line->commands[i].summary : "…");
    }
}

static void offer_options(const struct line *line, const struct cli_option *options)
{
    for (; options != NULL && options->name != NULL; options++) {
        char word[64];
        bool given = false;
        (void)snprintf(word, sizeof(word), "--%s", options->name);
        for (size_t i = 0; i < line->given_count; i++)
            given = given || strcmp(line->given[i], options->name) == 0;
        if (!given || options->repeatable)
            offer(line, word, options->help);
    }
}

static bool names_a_file(const char *placeholder)
{
    return strstr(placeholder, "FILE") != NULL || strstr(placeholder, "MAILDIR") != NULL;
}

/* `slot` is a name of at most 63 bytes, `placeholder` what the help shows there. */
static void offer_value(struct line *line, const char *slot, const char *placeholder)
{
    const char *words = line->found != NULL ? line->found->words : "";
    if (names_a_file(placeholder)) {
        puts(":files");
        return;
    }
    for (size_t i = 0; i < countof(PLACES); i++) {
        size_t len = strlen(PLACES[i].command);
        if (strcmp(PLACES[i].slot, slot) != 0 || strncmp(words, PLACES[i].command, len) != 0 ||
            (len > 0 && words[len] != ' ' && words[len] != '\0'))
            continue;
        if (PLACES[i].what == WHAT_CHOICES) {
            char copy[128], *rest = copy;
            (void)str_copy(copy, sizeof(copy), PLACES[i].choices);
            for (char *word = strsep(&rest, " "); word != NULL; word = strsep(&rest, " "))
                offer(line, word, slot);
        } else {
            offer_names(line, PLACES[i].what);
        }
        return;
    }
}

/* The n-th placeholder of "ID VARIANT", "[FILE.csv]", "EMAIL...", without what stands around it. */
static void offer_argument(struct line *line)
{
    char slot[64] = "";
    const char *at = line->found->arguments;
    for (int i = 0; i < line->arguments; i++) {
        at += strcspn(at, " ");
        at += strspn(at, " ");
    }
    if (line->arguments >= line->found->max_arguments)
        return;
    (void)snprintf(slot, sizeof(slot), "%.*s", (int)strcspn(at, " "), at);
    char *name = slot + strspn(slot, "[");
    name[strcspn(name, "].")] = '\0';
    offer_value(line, name, name);
}

/* ---- reading what was typed ---- */

/* The word as the shell will hand it over, as far as that can be known before the line is finished: without quotes. */
static void unquote(char *out, size_t out_bytes, const char *word)
{
    size_t len = 0;
    for (; *word != '\0' && len + 1 < out_bytes; word++) {
        if (*word == '\\' && word[1] != '\0')
            word++;
        else if (*word == '"' || *word == '\'' || *word == '\\')
            continue;
        out[len++] = *word;
    }
    out[len] = '\0';
}

static void take_option(struct line *line, const char *word)
{
    bool is_long = word[1] == '-';
    const char *name = word + (is_long ? 2 : 1);
    size_t len = is_long ? strcspn(name, "=") : 1;
    const struct cli_option *option =
        cli_find_option(line->found != NULL ? line->found->options : NULL, name, len, is_long ? 0 : name[0]);
    if (option == NULL)
        option = cli_find_option(CLI_COMMON_OPTIONS, name, len, is_long ? 0 : name[0]);
    if (option == NULL)
        return;
    if (line->given_count < countof(line->given))
        line->given[line->given_count++] = option->name;
    if (option->value != NULL && name[len] == '\0')
        line->waits = option;
}

static void take_word(struct line *line, const char *word)
{
    char both[640];
    if (line->waits != NULL) {
        static char config[512]; /* as long as the command itself */
        if (strcmp(line->waits->name, "config") == 0 && str_copy(config, sizeof(config), word))
            line->cli->config_file = config;
        line->waits = NULL;
    } else if (!line->options_over && strcmp(word, "--") == 0) {
        line->options_over = true;
    } else if (!line->options_over && word[0] == '-' && word[1] != '\0') {
        take_option(line, word);
    } else {
        (void)snprintf(both, sizeof(both), "%s%s%s", line->command, line->command[0] != '\0' ? " " : "", word);
        bool known = false;
        for (size_t i = 0; i < line->count && line->arguments == 0 && strchr(line->command, ' ') == NULL; i++) {
            size_t len = strlen(both);
            const char *words = line->commands[i].words;
            if (strncmp(words, both, len) != 0 || (words[len] != '\0' && words[len] != ' '))
                continue;
            known = true;
            if (words[len] == '\0')
                line->found = &line->commands[i];
        }
        if (known)
            (void)str_copy(line->command, sizeof(line->command), both);
        else
            line->arguments++;
        if (known && strcmp(both, "help") == 0) {
            line->helping = true;
            line->command[0] = '\0';
        }
    }
}

/* The words with "--name", "=", "value" as bash splits them put together again; the last one is the one under the
 * cursor. */
static void read_line(struct line *line)
{
    char word[512], joined[512] = "";
    const struct cli *cli = line->cli;
    for (int i = 0; i < cli->argument_count; i++) {
        unquote(word, sizeof(word), cli->arguments[i]);
        size_t len = strlen(joined);
        if (len > 0 && joined[0] == '-' && (strcmp(word, "=") == 0 || joined[len - 1] == '=')) {
            (void)str_copy(joined + len, sizeof(joined) - len, word);
            continue;
        }
        if (i > 0)
            take_word(line, joined);
        (void)str_copy(joined, sizeof(joined), word);
    }
    const char *equals = joined[0] == '-' && joined[1] == '-' && !line->options_over ? strchr(joined, '=') : NULL;
    if (line->waits == NULL && equals != NULL) {
        (void)snprintf(word, sizeof(word), "%.*s", (int)(equals - joined), joined);
        take_option(line, word);
        (void)str_copy(line->typed, sizeof(line->typed), equals + 1);
    } else {
        (void)str_copy(line->typed, sizeof(line->typed), joined);
    }
}

int cli_completion_words(struct cli *cli)
{
    struct line line = {.cli = cli};
    line.commands = cli_commands(&line.count);
    read_line(&line);
    if (line.waits != NULL) {
        offer_value(&line, line.waits->name, line.waits->value);
    } else if (line.typed[0] == '-' && !line.options_over) {
        offer_options(&line, line.found != NULL ? line.found->options : NULL);
        offer_options(&line, CLI_COMMON_OPTIONS);
    } else {
        if (line.arguments == 0 && strchr(line.command, ' ') == NULL)
            offer_commands(&line);
        if (line.found != NULL && !line.helping)
            offer_argument(&line);
    }
    return CLI_DONE;
}

static int print_script(struct cli *cli, const unsigned char *data, size_t size)
{
    if (cli->json)
        return out_json(json_pack("{s:s%}", "script", (const char *)data, size));
    return fwrite(data, 1, size, stdout) == size ? CLI_DONE : out_fail("cannot write to standard output");
}

int cli_completion_bash(struct cli *cli)
{
    return print_script(cli, completion_bash_data, completion_bash_size);
}

int cli_completion_zsh(struct cli *cli)
{
    return print_script(cli, completion_zsh_data, completion_zsh_size);
}
