/*
 * help.c - help texts and the manual page, both out of the table of commands, so that neither can say what the program
 * does not do.
 */
#include <stdio.h>
#include <string.h>

#include "api/cli/output.h"

/* As they can be typed; also the examples of the manual page. tests/e2e/test_examples.py runs them. */
static const char *const FIRST_STEPS[] = {
    "posthaste serve &                              # its page is at http://127.0.0.1:8025/dashboard",
    "posthaste domain add example.com               # makes the DKIM keys, prints the DNS records to publish",
    "posthaste import --list news people.csv        # recipients",
    "posthaste campaign create --name Hello --list news --from 'News <news@example.com>' \\",
    "    --subject 'Hello {{name}}' --html hello.html --launch",
    "posthaste campaign watch 1",
};

static int option_width(const struct cli_option *option, char *out, size_t out_bytes)
{
    return snprintf(out, out_bytes, "%s%c%s--%s%s%s", option->letter != 0 ? "-" : "  ",
                    option->letter != 0 ? option->letter : ' ', option->letter != 0 ? ", " : " ", option->name,
                    option->value != NULL ? " " : "", option->value != NULL ? option->value : "");
}

static void print_options(const struct cli_option *options)
{
    char left[80];
    for (; options != NULL && options->name != NULL; options++) {
        (void)option_width(options, left, sizeof(left));
        printf("  %-28s %s\n", left, options->help);
    }
}

static void print_command_help(const struct cli_command *command)
{
    printf("posthaste %s - %s\n\nusage: posthaste %s%s%s%s\n", command->words, command->summary, command->words,
           command->options != NULL ? " [options]" : "", command->arguments[0] != '\0' ? " " : "", command->arguments);
    if (command->details != NULL)
        printf("\n%s\n", command->details);
    printf("\noptions:\n");
    print_options(command->options);
    print_options(CLI_COMMON_OPTIONS);
}

static void print_program_help(const struct cli_command *commands, size_t count)
{
    printf("posthaste %s - sends your lists' mail and tells what became of each message\n\n"
           "usage: posthaste [-c FILE] COMMAND [options]\n\ncommands:\n",
           POSTHASTE_VERSION);
    for (size_t i = 0; i < count; i++)
        printf("  %-18s %s\n", commands[i].words, commands[i].summary);
    printf("\n`posthaste COMMAND --help` tells more about one of them.\n\nFirst steps:\n");
    for (size_t i = 0; i < countof(FIRST_STEPS); i++)
        printf("  %s\n", FIRST_STEPS[i]);
}

int cli_print_group_help(const struct cli_command *commands, size_t count, const char *group)
{
    size_t len = strlen(group);
    int found = 0;
    for (size_t i = 0; i < count; i++) {
        if (strncmp(commands[i].words, group, len) != 0 ||
            (commands[i].words[len] != ' ' && commands[i].words[len] != '\0'))
            continue;
        if (found++ == 0)
            printf("posthaste %s - commands:\n\n", group);
        printf("  %-18s %s\n", commands[i].words, commands[i].summary);
    }
    if (found > 0)
        printf("\n`posthaste COMMAND --help` tells more about one of them.\n");
    return found;
}

void cli_print_help(const struct cli_command *commands, size_t count, const struct cli_command *command)
{
    if (command != NULL)
        print_command_help(command);
    else
        print_program_help(commands, count);
}

/* ---- for programs ---- */

static json_t *options_json(const struct cli_option *options)
{
    json_t *rows = json_array();
    for (; options != NULL && options->name != NULL; options++) {
        char letter[2] = {options->letter, '\0'};
        (void)json_array_append_new(rows, json_pack("{s:s, s:s?, s:s?, s:b, s:s}", "name", options->name, "letter",
                                                    options->letter != 0 ? letter : NULL, "value", options->value,
                                                    "repeatable", options->repeatable ? 1 : 0, "help", options->help));
    }
    return rows;
}

json_t *cli_help_json(const struct cli_command *commands, size_t count, const char *words)
{
    size_t len = strlen(words);
    json_t *rows = json_array();
    for (size_t i = 0; i < count; i++) {
        const struct cli_command *command = &commands[i];
        if (len > 0 && (strncmp(command->words, words, len) != 0 ||
                        (command->words[len] != ' ' && command->words[len] != '\0')))
            continue;
        (void)json_array_append_new(
            rows, json_pack("{s:s, s:s, s:i, s:i, s:s, s:s?, s:o}", "command", command->words, "arguments",
                            command->arguments, "min_arguments", command->min_arguments, "max_arguments",
                            command->max_arguments, "summary", command->summary, "details", command->details, "options",
                            options_json(command->options)));
    }
    return json_pack("{s:o, s:o}", "commands", rows, "options", options_json(CLI_COMMON_OPTIONS));
}

/* ---- the manual page ---- */

/* Text that roff cannot take for a request, with its backslashes and dashes kept; a sentence begins on a line of its own, as mdoc wants it. */
static void mdoc_text(const char *text)
{
    bool line_start = true;
    char before = '\0';
    for (; *text != '\0'; before = *text++) {
        if (*text == ' ' && before == '.' && text[1] >= 'A' && text[1] <= 'Z') {
            fputc('\n', stdout);
            line_start = true;
            continue;
        }
        if (line_start && (*text == '.' || *text == '\''))
            fputs("\\&", stdout);
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else
            fputc(*text, stdout);
        line_start = *text == '\n';
    }
    fputc('\n', stdout);
}

static void mdoc_options(const struct cli_option *options)
{
    for (; options != NULL && options->name != NULL; options++) {
        printf(".It ");
        if (options->letter != 0)
            printf("Fl %c , ", options->letter);
        printf("Fl Fl %s", options->name);
        if (options->value != NULL)
            printf(" Ar %s", options->value);
        fputc('\n', stdout);
        mdoc_text(options->help);
    }
}

static void mdoc_command(const struct cli_command *command)
{
    printf(".Ss posthaste %s%s%s\n", command->words, command->arguments[0] != '\0' ? " " : "", command->arguments);
    printf("%c", command->summary[0] >= 'a' && command->summary[0] <= 'z' ? command->summary[0] - 'a' + 'A'
                                                                          : command->summary[0]);
    mdoc_text(command->summary + 1);
    if (command->details != NULL) {
        printf(".Pp\n");
        mdoc_text(command->details);
    }
    if (command->options != NULL) {
        printf(".Bl -tag -width Ds\n");
        mdoc_options(command->options);
        printf(".El\n");
    }
}

void cli_print_mdoc(const struct cli_command *commands, size_t count)
{
    printf(".\\\" Made by `posthaste help --mdoc` from the table of commands.\n"
           ".Dd November 23, 2026\n.Dt POSTHASTE 1\n.Os\n.Sh NAME\n.Nm posthaste\n.Nd bulk e-mail engine\n"
           ".Sh SYNOPSIS\n.Nm posthaste\n.Op Fl c Ar FILE\n.Ar COMMAND\n.Op Ar options\n.Op Ar arguments\n"
           ".Sh DESCRIPTION\n"
           ".Nm\nholds recipient lists, schedules campaigns, renders and DKIM\\-signs each message, delivers it "
           "straight to the\n"
           "recipients' mail servers and shows what became of every single one.\n.Pp\n"
           "The commands\n.Cm import , list , recipient , snippet , domain , suppress , bounce , token , webhook\nand\n.Cm db\n"
           "work on the database in the data directory, with or without a running server.\nThe commands\n"
           ".Cm campaign , status , top , site\nand\n.Cm source\ntalk to a running server.\n.Pp\n"
           "Options that every command knows:\n.Bl -tag -width Ds\n");
    mdoc_options(CLI_COMMON_OPTIONS);
    printf(".El\n.Sh COMMANDS\n");
    for (size_t i = 0; i < count; i++)
        mdoc_command(&commands[i]);
    printf(".Sh ENVIRONMENT\n.Bl -tag -width Ds\n"
           ".It Ev POSTHASTE_URL\nWhere the server is, for the commands that talk to it.\nWithout it: what the running "
           "server wrote to\n"
           ".Pa serve.json\nin the data directory, else the configuration's\n.Cm listen .\n"
           ".It Ev POSTHASTE_TOKEN\nThe token to use.\nWithout it, for a server on this machine: the one in\n.Pa "
           "local.token\nin the data directory.\n"
           ".It Ev NO_COLOR\nSet to anything: no colours.\n.El\n"
           ".Sh FILES\n.Bl -tag -width Ds\n"
           ".It Pa ./posthaste.conf , /etc/posthaste/posthaste.conf\nThe configuration, in this order; see\n.Xr "
           "posthaste.conf 5 .\n"
           ".It Pa audit.jsonl\nIn the data directory: who changed what and when, a JSON object a line; older ones end "
           "in .1 "
           "to .8.\n.El\n"
           ".Sh EXIT STATUS\n0 done, 1 refused or failed, 2 wrong usage.\n"
           ".Sh EXAMPLES\nThe first campaign:\n.Bd -literal -offset indent\n");
    for (size_t i = 0; i < countof(FIRST_STEPS); i++)
        mdoc_text(FIRST_STEPS[i]);
    printf(".Ed\n.Sh SEE ALSO\n.Xr posthaste.conf 5\n");
}
