/*
 * recipient.c - `posthaste recipient show`: the whole story of one address, for the person who answers "did you get our
 * mail?".
 */
#include <stdlib.h>

#include "api/cli/output.h"
#include "api/profile.h"

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL && text[0] != '\0' ? text : "-";
}

static void print_attributes(const json_t *attributes)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)attributes, name, value)
    {
        char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        out_line("  %-20s %s", name, json_is_string(value) ? json_string_value(value) : text != NULL ? text : "?");
        free(text);
    }
}

static void print_lists(const json_t *lists)
{
    struct table table;
    size_t i;
    json_t *list;
    table_begin(&table, "lll", "LIST", "STATUS", "JOINED", NULL);
    json_array_foreach(lists, i, list)
    {
        table_cell(&table, text_of(list, "list"));
        table_state(&table, text_of(list, "status"));
        table_cell(&table, text_of(list, "joined_at"));
    }
    table_print(&table, stdout, "on no list", 0);
}

static void print_attempt(struct table *table, const json_t *delivery, const json_t *attempt)
{
    json_int_t code = json_integer_value(json_object_get(attempt, "code"));
    table_cell(table, text_of(delivery, "campaign"));
    table_format(table, "%lld", (long long)json_integer_value(json_object_get(attempt, "attempt")));
    table_cell(table, text_of(attempt, "at"));
    table_state(table, text_of(attempt, "state"));
    if (code > 0)
        table_format(table, "%lld %s", (long long)code, text_of(attempt, "reply"));
    else
        table_cell(table, text_of(attempt, "reply"));
}

static void print_deliveries(const json_t *deliveries)
{
    struct table table;
    size_t i;
    size_t k;
    json_t *delivery;
    json_t *attempt;
    table_begin(&table, "lrlll", "CAMPAIGN", "ATTEMPT", "WHEN", "STATE", "REPLY", NULL);
    json_array_foreach(deliveries, i, delivery)
    {
        const json_t *history = json_object_get(delivery, "history");
        if (json_array_size(history) == 0) {
            table_cell(&table, text_of(delivery, "campaign"));
            table_cell(&table, "-");
            table_cell(&table, text_of(delivery, "updated_at"));
            table_state(&table, text_of(delivery, "state"));
            table_cell(&table, text_of(delivery, "reply"));
        }
        json_array_foreach(history, k, attempt) print_attempt(&table, delivery, attempt);
    }
    table_print(&table, stdout, "no deliveries yet", 0);
}

int cli_recipient_show(struct cli *cli)
{
    struct error err = {""};
    json_t *profile = NULL;
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    int rc = profile_get(cli->reader, cli->arguments[0], &profile, &err);
    if (rc == STORAGE_NOT_FOUND)
        return out_fail("there is no recipient \"%s\"", cli->arguments[0]);
    if (rc != 0)
        return out_condition(rc, "recipient", &err);
    if (cli->json)
        return out_json(profile);
    const json_t *suppression = json_object_get(profile, "suppression");
    out_line("%s, number %lld, known since %s", text_of(profile, "email"),
             (long long)json_integer_value(json_object_get(profile, "id")), text_of(profile, "created_at"));
    if (json_is_object(suppression))
        out_line("SUPPRESSED since %s: %s (%s)", text_of(suppression, "created_at"), text_of(suppression, "reason"),
                 text_of(suppression, "origin"));
    print_attributes(json_object_get(profile, "attributes"));
    out_line("%s", "");
    print_lists(json_object_get(profile, "lists"));
    out_line("%s", "");
    print_deliveries(json_object_get(profile, "deliveries"));
    json_decref(profile);
    return CLI_DONE;
}
