/*
 * main.c - the program: finds the command, runs it, turns what came out into an exit code.
 *
 * 0 done, 1 refused or failed, 2 wrong usage. What wires the rooms of a server together is serve.c.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "api/cli/cli.h"
#include "api/cli/output.h"

/* `posthaste … | head`: whoever reads has all that it wants, and nobody is there to be told. */
static bool is_reader_gone(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};
    return poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

static int run(struct cli *cli, const struct cli_command *commands, size_t count)
{
    if (cli->group != NULL) {
        (void)cli_print_group_help(commands, count, cli->group);
        return CLI_DONE;
    }
    if (cli->help) {
        cli_print_help(commands, count, cli->command);
        return CLI_DONE;
    }
    if (cli->command == NULL) {
        fputs("usage: posthaste [-c FILE] COMMAND [options]; posthaste help lists the commands\n", stderr);
        return CLI_USAGE;
    }
    int rc = cli->command->run(cli);
    cli_audit(cli, rc);
    cli_finish(cli);
    return rc;
}

int main(int argc, char **argv)
{
    struct cli cli;
    struct error err = {""};
    size_t count;
    const struct cli_command *commands = cli_commands(&count);
    /* A peer or a pipe that goes away is an error where it is written to, never the end of the process. */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* and so is a file that may not grow */
    if (cli_parse(&cli, commands, count, argc, argv, &err) != 0) {
        (void)out_fail("%s", err.text);
        return CLI_USAGE;
    }
    if (cli.no_color)
        tone_never();
    int rc = run(&cli, commands, count);
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return rc;
    return is_reader_gone() ? CLI_FAILED : out_fail("cannot write to standard output");
}
