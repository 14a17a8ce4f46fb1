/*
 * list.c - `posthaste list …` and `recipient show`: straight from the database, with or without a running server.
 */
#include <string.h>

#include "api/cli/output.h"
#include "api/list_name.h"
#include "api/views.h"
#include "base/address.h"
#include "base/str.h"

#define PAGE_ROWS 500

static int append_list(void *context, const struct storage_list *list)
{
    (void)json_array_append_new(context, view_list(list));
    return 0;
}

/* Reads all pages into one array. */
static int read_lists(struct cli *cli, json_t *rows, struct error *err)
{
    int64_t after = 0;
    size_t before;
    do {
        before = json_array_size(rows);
        int rc = storage_list_page(cli->reader, after, PAGE_ROWS, append_list, rows, NULL, err);
        if (rc < 0)
            return rc;
        const json_t *last = json_array_get(rows, json_array_size(rows) - 1);
        after = last != NULL ? json_integer_value(json_object_get(last, "id")) : 0;
    } while (json_array_size(rows) == before + PAGE_ROWS);
    return 0;
}

static void print_lists(const json_t *rows)
{
    struct table table;
    size_t i;
    json_t *row;
    table_begin(&table, "rlrl", "ID", "NAME", "ACTIVE", "DESCRIPTION", NULL);
    json_array_foreach(rows, i, row)
    {
        table_format(&table, "%lld", (long long)json_integer_value(json_object_get(row, "id")));
        table_cell(&table, json_string_value(json_object_get(row, "name")));
        table_number(&table, json_integer_value(json_object_get(row, "active")));
        table_cell(&table, json_string_value(json_object_get(row, "description")));
    }
    table_print(&table, stdout, "no lists yet; posthaste import --list NAME FILE.csv makes one", 0);
}

int cli_list_list(struct cli *cli)
{
    struct error err = {""};
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    json_t *rows = json_array();
    int rc = rows != NULL ? read_lists(cli, rows, &err) : error_memory(&err);
    if (rc < 0) {
        json_decref(rows);
        return out_condition(rc, "lists", &err);
    }
    if (cli->json)
        return out_json(rows);
    print_lists(rows);
    json_decref(rows);
    return CLI_DONE;
}

static int keep_list(void *context, const struct storage_list *list)
{
    json_t **out = context;
    json_decref(*out);
    *out = view_list(list);
    return 0;
}

/* A name, or a number when there is no list of that name. CLI_DONE with the list. */
static int find_list(struct cli *cli, const char *name, json_t **list)
{
    struct error err = {""};
    int64_t id = 0;
    uint64_t number;
    *list = NULL;
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    int rc = storage_list_find(cli->reader, name, &id, &err);
    if (rc == STORAGE_NOT_FOUND && str_parse_u64(name, INT64_MAX, &number) == 0) {
        id = (int64_t)number;
        rc = 0;
    }
    if (rc == 0)
        rc = storage_list_get(cli->reader, id, keep_list, list, &err);
    if (rc == STORAGE_NOT_FOUND)
        return out_fail("there is no list \"%s\"", name);
    return rc == 0 ? CLI_DONE : out_condition(rc, "list", &err);
}

int cli_list_create(struct cli *cli)
{
    const char *name = cli->arguments[0];
    const char *description = cli_value(cli, "description");
    struct error err = {""};
    int64_t id = 0;
    const char *why = list_name_problem(name);
    if (why != NULL)
        return out_fail("a list's name %s", why);
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    int rc = storage_list_create(cli->storage, name, description != NULL ? description : "", &id, &err);
    if (rc == STORAGE_EXISTS)
        return out_fail("there is a list \"%s\" already, number %lld", name, (long long)id);
    if (rc != 0)
        return out_condition(rc, "list", &err);
    if (cli->json)
        return out_json(json_pack("{s:I, s:s}", "id", (json_int_t)id, "name", name));
    out_line("list \"%s\" was made, number %lld", name, (long long)id);
    return CLI_DONE;
}

int cli_list_show(struct cli *cli)
{
    json_t *list;
    if (find_list(cli, cli->arguments[0], &list) != CLI_DONE)
        return CLI_FAILED;
    if (cli->json)
        return out_json(list);
    char number[OUT_NUMBER_BYTES];
    const char *description = json_string_value(json_object_get(list, "description"));
    const char *created = json_string_value(json_object_get(list, "created_at"));
    out_line("number       %lld", (long long)json_integer_value(json_object_get(list, "id")));
    out_line("name         %s", json_string_value(json_object_get(list, "name")));
    out_line("active       %s", out_number(json_integer_value(json_object_get(list, "active")), number));
    out_line("made at      %s", created != NULL ? created : "-");
    if (description != NULL && description[0] != '\0')
        out_line("description  %s", description);
    json_decref(list);
    return CLI_DONE;
}

int cli_list_delete(struct cli *cli)
{
    json_t *list;
    struct error err = {""};
    if (find_list(cli, cli->arguments[0], &list) != CLI_DONE)
        return CLI_FAILED;
    int rc = storage_list_delete(cli->storage, json_integer_value(json_object_get(list, "id")), &err);
    if (rc == STORAGE_WRONG_STATE) {
        json_decref(list);
        return out_fail("list \"%s\" is used by a scheduled, running or paused campaign", cli->arguments[0]);
    }
    if (rc != 0) {
        json_decref(list);
        return out_condition(rc, "list", &err);
    }
    if (cli->json)
        return out_json(list);
    out_line("list \"%s\" was deleted; its recipients stay known", json_string_value(json_object_get(list, "name")));
    json_decref(list);
    return CLI_DONE;
}
