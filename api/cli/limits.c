/*
 * limits.c - `posthaste site suspend|resume|suspensions` and `source show`.
 */
#include <stdio.h>
#include <string.h>

#include "api/cli/client.h"
#include "api/cli/output.h"
#include "base/address.h"
#include "base/clock.h"
#include "base/str.h"

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

/* The --scope, the default, or NULL after saying that it is none. */
static const char *read_scope(const struct cli *cli, const char *otherwise)
{
    static const char *const scopes[] = {"site", "source", "domain", "campaign", "sending_domain"};
    const char *scope = cli_value(cli, "scope");
    if (scope == NULL)
        return otherwise;
    for (size_t i = 0; i < countof(scopes); i++) {
        if (strcmp(scope, scopes[i]) == 0)
            return scope;
    }
    (void)out_fail("--scope must be site, source, domain, campaign or sending_domain");
    return NULL;
}

int cli_site_suspend(struct cli *cli)
{
    const char *field = read_scope(cli, "site");
    const char *reason = cli_value(cli, "reason");
    const char *span = cli_value(cli, "for");
    char until[RFC3339_BYTES];
    int64_t span_ms = 0;
    if (field == NULL)
        return CLI_USAGE;
    if (span != NULL && (str_parse_duration_ms(span, &span_ms) < 0 || span_ms <= 0)) {
        (void)out_fail("\"%s\" is not a duration such as 30min, 2h, 3d", span);
        return CLI_USAGE;
    }
    json_t *body = json_pack("{s:s}", "reason", reason != NULL ? reason : "by hand");
    uint64_t id;
    if (strcmp(field, "campaign") == 0 && str_parse_u64(cli->arguments[0], INT64_MAX, &id) == 0)
        (void)json_object_set_new(body, field, json_integer((json_int_t)id));
    else
        (void)json_object_set_new(body, field, json_string(cli->arguments[0]));
    if (span_ms > 0)
        (void)json_object_set_new(body, "until", json_string(time_format_rfc3339(clock_wall_ms() + span_ms, until)));
    struct client *client = client_open(cli);
    if (client == NULL) {
        json_decref(body);
        return CLI_FAILED;
    }
    json_t *made = NULL;
    int rc = client_call(client, "POST", "/v1/suspensions", body, &made);
    json_decref(body);
    client_close(client);
    if (rc != CLI_DONE)
        return rc;
    if (cli->json)
        return out_json(made);
    out_line("suspended %s \"%s\" (%lld)%s%s", text_of(made, "scope"), text_of(made, "target"),
             (long long)json_integer_value(json_object_get(made, "id")),
             text_of(made, "until")[0] != '\0' ? " until " : "", text_of(made, "until"));
    json_decref(made);
    return rc;
}

static bool has_id(const json_t *row, const char *id)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(json_object_get(row, "id")));
    return strcmp(text, id) == 0;
}

/* What stands against a domain stands under its normal form, however it was spelt when it was set. */
static bool has_name(const json_t *row, const char *name)
{
    char domain[DOMAIN_MAX_BYTES + 1];
    const char *scope = text_of(row, "scope"), *target = text_of(row, "target");
    if (strcmp(target, name) == 0)
        return true;
    return strcmp(scope, "source") != 0 && strcmp(scope, "campaign") != 0 &&
           domain_normalise(name, strlen(name), domain, NULL) == 0 && strcmp(target, domain) == 0;
}

/* `scope`: "" or the only one that is meant, and then a number is no id. */
static bool is_meant(const json_t *row, const char *name, const char *scope)
{
    if (scope[0] == '\0')
        return has_id(row, name) || has_name(row, name);
    const char *of = strcmp(scope, "sending_domain") == 0 ? "sending domain" : scope;
    return strcmp(text_of(row, "scope"), of) == 0 && has_name(row, name);
}

/* The rows that are meant, without the others. CLI_FAILED when the number of one is the name of another: they have
 * nothing to do with one another. */
static int choose(json_t *rows, const char *name, const char *scope)
{
    const json_t *by_id = NULL, *by_name = NULL;
    for (size_t i = json_array_size(rows); i-- > 0;) {
        const json_t *row = json_array_get(rows, i);
        if (!is_meant(row, name, scope))
            (void)json_array_remove(rows, i);
        else if (has_name(row, name))
            by_name = row;
        else
            by_id = row;
    }
    if (by_id == NULL || by_name == NULL)
        return CLI_DONE;
    return out_fail("%s is the number of the suspension of %s \"%s\", and %s \"%s\" is suspended, too (%lld): say which, "
                    "the first by its name, or the second with --scope",
                    name, text_of(by_id, "scope"), text_of(by_id, "target"), text_of(by_name, "scope"),
                    text_of(by_name, "target"), (long long)json_integer_value(json_object_get(by_name, "id")));
}

/* By number, or all that stand against a name. */
int cli_site_resume(struct cli *cli)
{
    const char *scope = read_scope(cli, "");
    if (scope == NULL)
        return CLI_USAGE;
    struct client *client = client_open(cli);
    json_t *page = NULL, *row;
    size_t i;
    if (client == NULL)
        return CLI_FAILED;
    int rc = client_get(client, "/v1/suspensions", &page);
    json_t *rows = json_object_get(page, "data");
    if (rc == CLI_DONE)
        rc = choose(rows, cli->arguments[0], scope);
    json_array_foreach(rows, i, row)
    {
        char path[64];
        json_t *nothing = NULL;
        if (rc != CLI_DONE)
            break;
        (void)snprintf(path, sizeof(path), "/v1/suspensions/%lld",
                       (long long)json_integer_value(json_object_get(row, "id")));
        rc = client_call(client, "DELETE", path, NULL, &nothing);
    }
    size_t count = json_array_size(rows);
    json_decref(page);
    client_close(client);
    if (rc != CLI_DONE)
        return rc;
    if (count == 0)
        return out_fail("nothing is suspended under \"%s\"", cli->arguments[0]);
    if (cli->json)
        return out_json(json_pack("{s:I}", "cancelled", (json_int_t)count));
    out_line("resumed");
    return rc;
}

int cli_site_suspensions(struct cli *cli)
{
    struct client *client = client_open(cli);
    json_t *page = NULL, *row;
    struct table table;
    size_t i;
    if (client == NULL)
        return CLI_FAILED;
    int rc = client_get(client, "/v1/suspensions", &page);
    client_close(client);
    if (rc != CLI_DONE)
        return rc;
    if (cli->json)
        return out_json(page);
    table_begin(&table, "rllllll", "ID", "SCOPE", "TARGET", "WHAT", "UNTIL", "BY", "REASON", NULL);
    json_array_foreach(json_object_get(page, "data"), i, row)
    {
        table_format(&table, "%lld", (long long)json_integer_value(json_object_get(row, "id")));
        table_cell(&table, text_of(row, "scope"));
        table_format(&table, "%.64s%s%.48s", text_of(row, "target"), text_of(row, "source")[0] != '\0' ? " via " : "",
                     text_of(row, "source"));
        table_format(&table, "%s %s", text_of(row, "what"), text_of(row, "value"));
        table_cell(&table, text_of(row, "until")[0] != '\0' ? text_of(row, "until") : "until resumed");
        table_cell(&table, text_of(row, "origin"));
        table_cell(&table, text_of(row, "reason"));
    }
    table_print(&table, stdout, "nothing is suspended", 0);
    json_decref(page);
    return rc;
}

static void print_source(const json_t *source)
{
    const json_t *warmup = json_object_get(source, "warmup");
    size_t i;
    json_t *row;
    out_line("source       %s", text_of(source, "source")[0] != '\0' ? text_of(source, "source") : "any address");
    out_line("address      %s",
             text_of(source, "address")[0] != '\0' ? text_of(source, "address") : "the system's choice");
    out_line("hostname     %s", text_of(source, "hostname"));
    out_line("connections  %lld", (long long)json_integer_value(json_object_get(source, "connections")));
    if (text_of(source, "suspended")[0] != '\0')
        out_line("suspended    %s", text_of(source, "suspended"));
    if (!json_is_object(warmup)) {
        out_line("warm-up      none");
        return;
    }
    out_line("warm-up      day %lld of %lld, %lld messages to each provider today",
             (long long)json_integer_value(json_object_get(warmup, "day")),
             (long long)json_integer_value(json_object_get(warmup, "days")),
             (long long)json_integer_value(json_object_get(warmup, "per_provider")));
    json_array_foreach(json_object_get(warmup, "providers"), i, row)
        out_line("  %-16s %lld sent, %lld left", text_of(row, "profile"),
                 (long long)json_integer_value(json_object_get(row, "sent")),
                 (long long)json_integer_value(json_object_get(row, "left")));
}

int cli_source_show(struct cli *cli)
{
    struct client *client = client_open(cli);
    json_t *page = NULL, *row;
    size_t i, count = 0;
    if (client == NULL)
        return CLI_FAILED;
    int rc = client_get(client, "/v1/sources", &page);
    client_close(client);
    if (rc != CLI_DONE)
        return rc;
    if (cli->json && cli->argument_count == 0)
        return out_json(page);
    json_array_foreach(json_object_get(page, "data"), i, row)
    {
        if (cli->argument_count > 0 && strcmp(text_of(row, "source"), cli->arguments[0]) != 0)
            continue;
        if (cli->json) {
            json_incref(row);
            json_decref(page);
            return out_json(row);
        }
        if (count++ > 0)
            out_line("%s", "");
        print_source(row);
    }
    json_decref(page);
    return count > 0 ? CLI_DONE
                     : out_fail("there is no source \"%s\"", cli->argument_count > 0 ? cli->arguments[0] : "");
}
