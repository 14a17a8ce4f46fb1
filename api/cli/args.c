/*
 * args.c - reads argv by the table of commands. It prints nothing and opens nothing; what is wrong is one sentence in
 * the error.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/cli/cli.h"
#include "api/nearest.h"

const struct cli_option CLI_COMMON_OPTIONS[] = {
    {"json", 0, NULL, false, "print JSON, for programs"},
    {"config", 'c', "FILE", false,
     "read this configuration (else ./posthaste.conf, /etc/posthaste/posthaste.conf, defaults)"},
    {"no-color", 0, NULL, false, "no colours, not on a terminal either; so do NO_COLOR and TERM=dumb"},
    {"help", 'h', NULL, false, "show this help"},
    {NULL, 0, NULL, false, NULL},
};

static size_t first_word(const char *words)
{
    return strcspn(words, " ");
}

/* The command that argv[0] (and argv[1]) names; *used = how many words. */
static const struct cli_command *find_command(const struct cli_command *commands, size_t count, int argc,
                                              char *const *argv, int *used)
{
    char both[128];
    for (*used = argc > 1 ? 2 : 1; *used > 0; (*used)--) {
        if (*used == 2)
            (void)snprintf(both, sizeof(both), "%s %s", argv[0], argv[1]);
        else
            (void)snprintf(both, sizeof(both), "%s", argv[0]);
        for (size_t i = 0; i < count; i++) {
            if (strcmp(commands[i].words, both) == 0)
                return &commands[i];
        }
    }
    return NULL;
}

/* "campaign" alone, or with a wrong second word: says which words go with it. */
static int unknown_in_group(const struct cli_command *commands, size_t count, int argc, char *const *argv,
                            struct error *err)
{
    char known[256] = "";
    size_t len = strlen(argv[0]);
    struct nearest nearest = nearest_begin(argc > 1 ? argv[1] : "");
    for (size_t i = 0; i < count; i++) {
        const char *words = commands[i].words;
        if (first_word(words) != len || memcmp(words, argv[0], len) != 0 || words[len] == '\0')
            continue;
        size_t at = strlen(known);
        (void)snprintf(known + at, sizeof(known) - at, "%s%s", at > 0 ? ", " : "", words + len + 1);
        nearest_offer(&nearest, words + len + 1);
    }
    if (known[0] == '\0')
        return 0;
    if (argc > 1 && argv[1][0] != '-' && nearest.best != NULL)
        return error_set(err, -EINVAL, "there is no command \"%s %s\"; did you mean \"%s %s\"?", argv[0], argv[1],
                         argv[0], nearest.best);
    if (argc > 1 && argv[1][0] != '-')
        return error_set(err, -EINVAL, "there is no command \"%s %s\"; there are: %s", argv[0], argv[1], known);
    return error_set(err, -EINVAL, "\"%s\" needs a second word: %s", argv[0], known);
}

static int unknown_command(const struct cli_command *commands, size_t count, int argc, char *const *argv,
                           struct error *err)
{
    int rc = unknown_in_group(commands, count, argc, argv, err);
    if (rc != 0)
        return rc;
    struct nearest nearest = nearest_begin(argv[0]);
    char words[64][32]; /* the first words of the table's commands */
    for (size_t i = 0; i < MIN_OF(count, countof(words)); i++) {
        (void)snprintf(words[i], sizeof(words[i]), "%.*s", (int)first_word(commands[i].words), commands[i].words);
        nearest_offer(&nearest, words[i]);
    }
    if (nearest.best != NULL)
        return error_set(err, -EINVAL, "there is no command \"%s\"; did you mean \"%s\"?", argv[0], nearest.best);
    return error_set(err, -EINVAL, "there is no command \"%s\"; see posthaste help", argv[0]);
}

const struct cli_option *cli_find_option(const struct cli_option *options, const char *name, size_t len, char letter)
{
    for (; options != NULL && options->name != NULL; options++) {
        if (letter != 0 ? options->letter == letter
                        : strlen(options->name) == len && memcmp(options->name, name, len) == 0)
            return options;
    }
    return NULL;
}

static int unknown_option(const struct cli *cli, const char *given, struct error *err)
{
    char name[64];
    (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(given + strspn(given, "-"), "="),
                   given + strspn(given, "-"));
    struct nearest nearest = nearest_begin(name);
    const struct cli_option *tables[] = {cli->command != NULL ? cli->command->options : NULL, CLI_COMMON_OPTIONS};
    for (size_t t = 0; t < countof(tables); t++) {
        for (const struct cli_option *option = tables[t]; option != NULL && option->name != NULL; option++)
            nearest_offer(&nearest, option->name);
    }
    const char *words = cli->command != NULL ? cli->command->words : "posthaste";
    if (nearest.best != NULL)
        return error_set(err, -EINVAL, "%s has no option \"%s\"; did you mean \"--%s\"?", words, given, nearest.best);
    return error_set(err, -EINVAL, "%s has no option \"%s\"; see --help", words, given);
}

static int take_value(struct cli *cli, const struct cli_option *option, const char *value, struct error *err)
{
    if (strcmp(option->name, "json") == 0) {
        cli->json = true;
    } else if (strcmp(option->name, "no-color") == 0) {
        cli->no_color = true;
    } else if (strcmp(option->name, "help") == 0) {
        cli->help = true;
    } else if (strcmp(option->name, "config") == 0) {
        cli->config_file = value;
    } else {
        if (!option->repeatable && cli_value(cli, option->name) != NULL)
            return error_set(err, -EINVAL, "--%s is given twice", option->name);
        if (cli->value_count == CLI_VALUES_MAX)
            return error_set(err, -EINVAL, "more than %d options", CLI_VALUES_MAX);
        cli->values[cli->value_count].option = option;
        cli->values[cli->value_count++].value = value;
    }
    return 0;
}

/* One option at argv[*at]; moves *at over its value. */
static int parse_option(struct cli *cli, int argc, char *const *argv, int *at, struct error *err)
{
    const char *text = argv[*at];
    bool is_long = text[1] == '-';
    const char *name = text + (is_long ? 2 : 1);
    size_t len = is_long ? strcspn(name, "=") : 1;
    const char *value = is_long ? (name[len] == '=' ? name + len + 1 : NULL) : (name[1] != '\0' ? name + 1 : NULL);
    const struct cli_option *option =
        cli_find_option(cli->command != NULL ? cli->command->options : NULL, name, len, is_long ? 0 : name[0]);
    if (option == NULL)
        option = cli_find_option(CLI_COMMON_OPTIONS, name, len, is_long ? 0 : name[0]);
    if (option == NULL)
        return unknown_option(cli, text, err);
    if (option->value == NULL) {
        if (value != NULL)
            return error_set(err, -EINVAL, "--%s takes no value", option->name);
        return take_value(cli, option, "", err);
    }
    if (value == NULL && *at + 1 < argc)
        value = argv[++*at];
    if (value == NULL)
        return error_set(err, -EINVAL, "--%s needs a value: %s", option->name, option->value);
    return take_value(cli, option, value, err);
}

static int parse_rest(struct cli *cli, int argc, char *const *argv, int at, struct error *err)
{
    bool options = true;
    for (; at < argc; at++) {
        int rc = 0;
        if (options && strcmp(argv[at], "--") == 0)
            options = false;
        else if (options && argv[at][0] == '-' && argv[at][1] != '\0')
            rc = parse_option(cli, argc, argv, &at, err);
        else if (cli->argument_count == CLI_ARGUMENTS_MAX || cli->argument_count == cli->command->max_arguments)
            return error_set(err, -EINVAL, "\"%s\" is one argument too many for %s", argv[at], cli->command->words);
        else
            cli->arguments[cli->argument_count++] = argv[at];
        if (rc != 0)
            return rc;
    }
    if (!cli->help && cli->argument_count < cli->command->min_arguments)
        return error_set(err, -EINVAL, "%s needs %s", cli->command->words, cli->command->arguments);
    return 0;
}

static int parse_version(struct cli *cli, const struct cli_command *commands, size_t count, struct error *err)
{
    char word[] = "version";
    char *const argv[] = {word};
    int used;
    cli->command = find_command(commands, count, 1, argv, &used);
    return cli->command != NULL ? 0 : unknown_command(commands, count, 1, argv, err);
}

int cli_parse(struct cli *cli, const struct cli_command *commands, size_t count, int argc, char *const *argv,
              struct error *err)
{
    *cli = (struct cli){.command = NULL};
    int at = 1;
    for (; at < argc && argv[at][0] == '-' && argv[at][1] != '\0'; at++) {
        if (strcmp(argv[at], "--version") == 0)
            return parse_version(cli, commands, count, err);
        int rc = parse_option(cli, argc, argv, &at, err);
        if (rc != 0)
            return rc;
    }
    if (at >= argc)
        return 0;
    int used = 0;
    cli->command = find_command(commands, count, argc - at, argv + at, &used);
    if (cli->command == NULL && at + 1 < argc &&
        (strcmp(argv[at + 1], "--help") == 0 || strcmp(argv[at + 1], "-h") == 0)) {
        struct error known = {""};
        cli->help = unknown_in_group(commands, count, 1, argv + at, &known) != 0;
        cli->group = cli->help ? argv[at] : NULL;
        if (cli->help)
            return 0;
    }
    if (cli->command == NULL)
        return unknown_command(commands, count, argc - at, argv + at, err);
    return parse_rest(cli, argc, argv, at + used, err);
}

const char *cli_value_nth(const struct cli *cli, const char *name, int n)
{
    for (int i = 0; i < cli->value_count; i++) {
        if (strcmp(cli->values[i].option->name, name) == 0 && n-- == 0)
            return cli->values[i].value;
    }
    return NULL;
}

const char *cli_value(const struct cli *cli, const char *name)
{
    const char *last = NULL;
    for (int i = 0; i < cli->value_count; i++) {
        if (strcmp(cli->values[i].option->name, name) == 0)
            last = cli->values[i].value;
    }
    return last;
}

bool cli_flag(const struct cli *cli, const char *name)
{
    return cli_value(cli, name) != NULL;
}
