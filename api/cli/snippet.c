/*
 * snippet.c - `posthaste snippet …`: stored partials, straight in the database, with or without a running server.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/cli/output.h"
#include "api/http/json.h"
#include "api/views.h"
#include "base/str.h"
#include "campaign/campaign.h"

#define FILE_MAX_BYTES ((size_t)1 << 20)

static int read_text(const char *path, struct buffer *out)
{
    int rc = cli_read_file(path, out);
    if (rc == CLI_DONE && (out->failed || memchr(buffer_text(out), '\0', out->len) != NULL))
        rc = out_fail("%s is too large, or no text", path);
    return rc;
}

int cli_snippet_set(struct cli *cli)
{
    struct buffer text = BUFFER_INIT(FILE_MAX_BYTES);
    struct problem problem = {.count = 0};
    struct error err = {""};
    bool created = false;
    const char *name = cli->arguments[0];
    int rc = cli_open_storage(cli) == CLI_DONE ? read_text(cli->arguments[1], &text) : CLI_FAILED;
    if (rc != CLI_DONE) {
        buffer_finish(&text);
        return rc;
    }
    rc = snippet_set(cli->storage, cli->reader, name, buffer_text(&text), &created, &problem, &err);
    buffer_finish(&text);
    if (rc == -EINVAL && problem.count > 0)
        return out_fail("%s: %s", problem.fields[0].field, problem.fields[0].message);
    if (rc != 0)
        return out_condition(rc, "snippet", &err);
    if (cli->json)
        return out_json(json_pack("{s:s, s:b}", "name", name, "created", created ? 1 : 0));
    out_line("snippet %s is %s; show it with {{>%s}}", name, created ? "stored" : "changed", name);
    return CLI_DONE;
}

static int keep(void *context, const struct storage_snippet *snippet)
{
    json_t **out = context;
    *out = view_snippet(snippet, true);
    return 0;
}

int cli_snippet_show(struct cli *cli)
{
    struct error err = {""};
    json_t *snippet = NULL;
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    int rc = storage_snippet_get(cli->reader, cli->arguments[0], keep, &snippet, &err);
    if (rc == STORAGE_NOT_FOUND)
        return out_fail("there is no snippet \"%s\"", cli->arguments[0]);
    if (rc != 0)
        return out_condition(rc, "snippet", &err);
    if (cli->json)
        return out_json(snippet);
    const char *text = json_string_value(json_object_get(snippet, "text"));
    (void)fputs(text != NULL ? text : "", stdout);
    json_decref(snippet);
    return CLI_DONE;
}

static int append(void *context, const struct storage_snippet *snippet)
{
    (void)json_array_append_new(context, view_snippet(snippet, false));
    return 0;
}

int cli_snippet_list(struct cli *cli)
{
    struct error err = {""};
    struct table table;
    size_t i;
    json_t *row;
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    json_t *rows = json_array();
    int rc = storage_snippet_page(cli->reader, "", 0, append, rows, NULL, &err);
    if (rc < 0) {
        json_decref(rows);
        return out_condition(rc, "snippets", &err);
    }
    if (cli->json)
        return out_json(rows);
    table_begin(&table, "lrl", "NAME", "BYTES", "CHANGED", NULL);
    json_array_foreach(rows, i, row)
    {
        const char *changed = json_string_value(json_object_get(row, "updated_at"));
        table_cell(&table, json_string_value(json_object_get(row, "name")));
        table_number(&table, json_integer_value(json_object_get(row, "size_bytes")));
        table_cell(&table, changed != NULL ? changed : "-");
    }
    table_print(&table, stdout, "no snippets yet; posthaste snippet set NAME FILE makes one", 0);
    json_decref(rows);
    return CLI_DONE;
}

int cli_snippet_delete(struct cli *cli)
{
    struct error err = {""};
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    int rc = storage_snippet_delete(cli->storage, cli->arguments[0], &err);
    if (rc == STORAGE_NOT_FOUND)
        return out_fail("there is no snippet \"%s\"", cli->arguments[0]);
    if (rc != 0)
        return out_condition(rc, "snippet", &err);
    if (cli->json)
        return out_json(json_pack("{s:s, s:b}", "name", cli->arguments[0], "deleted", 1));
    out_line("snippet %s is deleted; campaigns that were launched with it keep it", cli->arguments[0]);
    return CLI_DONE;
}
