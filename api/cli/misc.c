/*
 * misc.c - `posthaste config …`, `version` and `help`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/output.h"
#include "api/events/event_log.h"
#include "api/http/server.h"
#include "campaign/campaign.h"
#include "engine/engine.h"

static void add_warning(void *context, const char *sentence)
{
    (void)json_array_append_new(context, json_string(sentence));
}

struct bounce_check {
    const struct bounce_rules *rules;
    json_t *warnings;
};

static int check_bounce_sample(void *context, const struct bounce_sample *sample)
{
    const struct bounce_check *check = context;
    struct bounce_line line;
    struct bounce_class found;
    bounce_line_split(sample->line_text, &line);
    const struct bounce_reply reply = {
        .code = line.code, .enhanced = line.enhanced, .text = line.text, .stage = sample->stage, .mx = sample->mx};
    bounce_classify(check->rules, &reply, &found);
    if (found.line != sample->rule_line)
        (void)json_array_append_new(check->warnings,
                                    json_sprintf("%s:%d: the sample of the rule in line %d is decided by %s %d",
                                                 bounce_rules_file(check->rules), sample->line, sample->rule_line,
                                                 found.line != 0 ? "that in line" : "no rule:", found.line));
    return 0;
}

/* The two files of rules that the server would read. */
static int check_rules(json_t *warnings)
{
    struct error err = {""};
    struct bounce_check check = {.warnings = warnings};
    struct bounce_rules *bounces = NULL;
    int rc = engine_rules_check(add_warning, warnings, &err);
    if (rc == 0)
        rc = bounce_rules_load(NULL, &bounces, &err);
    check.rules = bounces;
    if (rc == 0)
        rc = bounce_rules_samples(bounces, check_bounce_sample, &check);
    bounce_rules_free(bounces);
    return rc == 0 ? CLI_DONE : out_fail("%s", err.text);
}

static void tell_fault(void *context, const char *sentence)
{
    int *rc = context;
    *rc = out_fail("%s", sentence);
}

/* What keeps a server from starting although every value is right. */
static int check_files(const struct config *config)
{
    struct error err = {""};
    int rc = CLI_DONE;
    engine_files_check(config, tell_fault, &rc);
    if (http_files_check(config, &err) != 0)
        tell_fault(&rc, err.text);
    if (event_log_check(config, &err) != 0)
        tell_fault(&rc, err.text);
    return rc;
}

int cli_config_check(struct cli *cli)
{
    if (cli_open_config(cli) != CLI_DONE)
        return CLI_FAILED;
    const struct config *config = cli->config;
    json_t *warnings = json_array();
    config_warnings(config, add_warning, warnings);
    int files = check_files(config);
    if (check_rules(warnings) != CLI_DONE || files != CLI_DONE) {
        json_decref(warnings);
        return CLI_FAILED;
    }
    if (cli->json)
        return out_json(json_pack("{s:b, s:s, s:o}", "valid", 1, "file", config->file, "warnings", warnings));
    size_t i;
    json_t *warning;
    json_array_foreach(warnings, i, warning) fprintf(stderr, "warning: %s\n", json_string_value(warning));
    json_decref(warnings);
    if (config->file[0] != '\0')
        out_line("%s is right: %zu routes, %zu sources, %zu profiles, %zu domains", config->file, config->route_count,
                 config->source_count, config->profile_count, config->domain_count);
    else
        out_line("there is no configuration file; every setting has its default (see: posthaste config show)");
    return CLI_DONE;
}

int cli_config_show(struct cli *cli)
{
    if (cli_open_config(cli) != CLI_DONE)
        return CLI_FAILED;
    char *text = config_format(cli->config);
    if (text == NULL)
        return out_fail("out of memory");
    int rc = CLI_DONE;
    if (cli->json)
        rc = out_json(json_pack("{s:s, s:s}", "file", cli->config->file, "text", text));
    else
        fputs(text, stdout);
    free(text);
    return rc;
}

int cli_version(struct cli *cli)
{
    if (cli->json)
        return out_json(json_pack("{s:s}", "version", POSTHASTE_VERSION));
    out_line("posthaste %s", POSTHASTE_VERSION);
    return CLI_DONE;
}

int cli_help(struct cli *cli)
{
    size_t count;
    const struct cli_command *commands = cli_commands(&count);
    char words[128] = "";
    if (cli_flag(cli, "mdoc")) {
        cli_print_mdoc(commands, count);
        return CLI_DONE;
    }
    for (int i = 0; i < cli->argument_count; i++) {
        size_t len = strlen(words);
        (void)snprintf(words + len, sizeof(words) - len, "%s%s", i > 0 ? " " : "", cli->arguments[i]);
    }
    if (cli->json) {
        json_t *found = cli_help_json(commands, count, words);
        if (json_array_size(json_object_get(found, "commands")) > 0)
            return out_json(found);
        json_decref(found);
    }
    for (size_t i = 0; i < count && words[0] != '\0'; i++) {
        if (strcmp(commands[i].words, words) == 0) {
            cli_print_help(commands, count, &commands[i]);
            return CLI_DONE;
        }
    }
    if (words[0] != '\0' && cli_print_group_help(commands, count, words) == 0) {
        (void)out_fail("there is no command \"%s\"; see posthaste help", words);
        return CLI_USAGE;
    }
    if (words[0] == '\0')
        cli_print_help(commands, count, NULL);
    return CLI_DONE;
}
