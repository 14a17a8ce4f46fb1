/*
 * link_key.c - `posthaste link-key …`: the keys that make and prove links, return paths and Message-IDs. On the
 * database; a running server notices within two seconds.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/cli/output.h"
#include "api/views.h"
#include "base/clock.h"
#include "base/str.h"
#include "campaign/campaign.h"

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

static int append_key(void *context, const struct storage_link_key *key)
{
    (void)json_array_append_new(context, view_link_key(key));
    return 0;
}

int cli_link_key_list(struct cli *cli)
{
    struct error err = {""};
    struct table table;
    size_t i;
    json_t *row;
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    json_t *rows = json_array();
    int rc = storage_link_keys(cli->reader, true, append_key, rows, &err);
    if (rc < 0) {
        json_decref(rows);
        return out_condition(rc, "link keys", &err);
    }
    if (cli->json)
        return out_json(rows);
    table_begin(&table, "rllllr", "ID", "STATE", "MADE", "LAST USED", "RETIRED", "CAMPAIGNS", NULL);
    json_array_foreach(rows, i, row)
    {
        table_number(&table, json_integer_value(json_object_get(row, "id")));
        table_cell(&table, text_of(row, "state"));
        table_cell(&table, text_of(row, "created_at"));
        table_cell(&table, text_of(row, "last_used_at"));
        table_cell(&table, text_of(row, "retired_at"));
        table_number(&table, json_integer_value(json_object_get(row, "campaigns")));
    }
    table_print(&table, stdout, "no link keys yet; the first start makes one", 0);
    json_decref(rows);
    return CLI_DONE;
}

int cli_link_key_rotate(struct cli *cli)
{
    struct error err = {""};
    int64_t id = 0;
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    int rc = storage_link_key_ensure(cli->storage, clock_wall_ms(), &err);
    if (rc == 0)
        rc = storage_link_key_add(cli->storage, clock_wall_ms(), &id, &err);
    if (rc != 0)
        return out_condition(rc, "link key", &err);
    if (cli->json)
        return out_json(json_pack("{s:I}", "id", (json_int_t)id));
    out_line("key %lld makes the links of what is launched from now on; the links of the keys before go on working",
             (long long)id);
    return CLI_DONE;
}

int cli_link_key_retire(struct cli *cli)
{
    struct error err = {""};
    uint64_t id;
    if (str_parse_u64(cli->arguments[0], INT64_MAX, &id) != 0) {
        (void)out_fail("\"%s\" is not the number of a link key; see: posthaste link-key list", cli->arguments[0]);
        return CLI_USAGE;
    }
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    int rc = link_key_retire(cli->storage, cli->config, (int64_t)id, cli_flag(cli, "force"), &err);
    if (rc == STORAGE_NOT_FOUND)
        return out_fail("there is no link key %s that is not retired", cli->arguments[0]);
    if (rc == STORAGE_WRONG_STATE)
        return out_fail("%s", err.text);
    if (rc != 0)
        return out_condition(rc, "link key", &err);
    if (cli->json)
        return out_json(json_pack("{s:I, s:b}", "id", (json_int_t)id, "retired", 1));
    out_line("key %s is retired: no link that it made works any more", cli->arguments[0]);
    return CLI_DONE;
}
