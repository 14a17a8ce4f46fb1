/*
 * audit_cli.c - notes in the audit log what commands did to the database without the server.
 */
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "api/audit.h"
#include "api/cli/cli.h"
#include "api/cli/output.h"
#include "api/http/json.h"

static const char *const CHANGING[] = {
    "import",          "list create",     "list delete",    "domain add",     "domain rotate",   "suppress add",
    "suppress remove", "suppress import", "token create",   "token revoke",   "bounce ingest",   "webhook add",
    "webhook enable",  "webhook disable", "webhook rotate", "webhook replay", "webhook remove",  "snippet set",
    "snippet delete",  "link-key rotate", "link-key retire",
};

bool cli_is_changing(const char *words)
{
    for (size_t i = 0; i < countof(CHANGING); i++) {
        if (strcmp(CHANGING[i], words) == 0)
            return true;
    }
    return false;
}

static json_t *arguments_of(const struct cli *cli)
{
    json_t *arguments = json_array();
    for (int i = 0; i < cli->value_count; i++) {
        (void)json_array_append_new(arguments, json_sprintf("--%s", cli->values[i].option->name));
        if (cli->values[i].option->value != NULL)
            (void)json_array_append_new(arguments, json_line(cli->values[i].value));
    }
    for (int i = 0; i < cli->argument_count; i++)
        (void)json_array_append_new(arguments, json_line(cli->arguments[i]));
    return arguments;
}

void cli_audit(const struct cli *cli, int status)
{
    struct error err = {""};
    /* Without a database nothing was changed. */
    if (status == CLI_USAGE || cli->storage == NULL || cli->config == NULL || !cli_is_changing(cli->command->words))
        return;
    char buffer[2048];
    struct passwd record;
    struct passwd *found = NULL;
    (void)getpwuid_r(getuid(), &record, buffer, sizeof(buffer), &found);
    json_t *user = found != NULL ? json_line(found->pw_name) : json_sprintf("uid %u", (unsigned)getuid());
    json_t *entry = json_pack("{s:{s:o}, s:s, s:o, s:i}", "who", "cli", user, "action", cli->command->words,
                              "arguments", arguments_of(cli), "status", status);
    if (audit_write(cli->config->data_dir, entry, &err) != 0)
        (void)out_fail("the audit log: %s", err.text);
}
