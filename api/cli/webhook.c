/*
 * webhook.c - `posthaste webhook …`: on the database directly, with or without a running server, which notices within a
 * second.
 */
#include <errno.h>

#include "api/cli/output.h"
#include "api/webhooks.h"
#include "base/clock.h"
#include "base/str.h"

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL && text[0] != '\0' ? text : "-";
}

static int64_t number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static int fail(const struct cli *cli, int rc, const struct problem *problem, const struct error *err)
{
    if (rc == STORAGE_NOT_FOUND)
        return out_fail("there is no webhook %s", cli->arguments[0]);
    if (rc == -EINVAL && problem != NULL && problem->count > 0)
        return out_fail("%s: %s", problem->fields[0].field, problem->fields[0].message);
    return out_condition(rc, "webhook", err);
}

/* CLI_DONE with the id and the database open. */
static int open_one(struct cli *cli, int64_t *id)
{
    uint64_t value;
    if (str_parse_u64(cli->arguments[0], INT64_MAX, &value) != 0) {
        (void)out_fail("\"%s\" is not the number of a webhook; see: posthaste webhook list", cli->arguments[0]);
        return CLI_USAGE;
    }
    *id = (int64_t)value;
    return cli_open_storage(cli);
}

/* `batch`: 0 = not said. */
static json_t *wish_of(struct cli *cli, uint64_t batch)
{
    const char *name;
    json_t *wish = json_object();
    const char *text = cli_value(cli, "description");
    if (text != NULL)
        (void)json_object_set_new(wish, "description", json_string(text));
    if (batch > 0)
        (void)json_object_set_new(wish, "batch", json_integer((json_int_t)batch));
    if (cli_value(cli, "event") == NULL)
        return wish;
    json_t *events = json_array();
    for (int i = 0; (name = cli_value_nth(cli, "event", i)) != NULL; i++)
        (void)json_array_append_new(events, json_string(name));
    (void)json_object_set_new(wish, "events", events);
    return wish;
}

int cli_webhook_add(struct cli *cli)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    json_t *webhook = NULL;
    const char *text = cli_value(cli, "batch");
    uint64_t batch = 0;
    if (text != NULL && (str_parse_u64(text, WEBHOOK_BATCH_MAX, &batch) != 0 || batch == 0)) {
        (void)out_fail("--batch must be a number from 1 to %d", WEBHOOK_BATCH_MAX);
        return CLI_USAGE;
    }
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    json_t *wish = wish_of(cli, batch);
    (void)json_object_set_new(wish, "url", json_string(cli->arguments[0]));
    int rc = webhook_create(cli->storage, cli->config, wish, &webhook, &problem, &err);
    json_decref(wish);
    if (rc != 0)
        return fail(cli, rc, &problem, &err);
    if (cli->json)
        return out_json(webhook);
    out_line("%s", text_of(webhook, "secret"));
    fprintf(stderr,
            "This is the secret of webhook %lld. Its receiver checks signatures with it; it will not be shown again.\n",
            (long long)number_of(webhook, "id"));
    json_decref(webhook);
    return CLI_DONE;
}

static void join_events(const json_t *webhook, struct buffer *out)
{
    size_t i;
    json_t *name;
    json_array_foreach(json_object_get(webhook, "events"), i, name)
        buffer_printf(out, "%s%s", i > 0 ? " " : "", json_string_value(name));
}

static const char *state_of(const json_t *webhook)
{
    if (!json_is_true(json_object_get(webhook, "enabled")))
        return "disabled";
    return number_of(webhook, "attempts") > 0 ? "failing" : "enabled";
}

static int append(void *context, const struct storage_webhook *webhook)
{
    (void)json_array_append_new(context, webhook_view(webhook, webhook->position));
    return 0;
}

int cli_webhook_list(struct cli *cli)
{
    struct error err = {""};
    struct table table;
    size_t i;
    json_t *row;
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    json_t *rows = json_array();
    int rc = storage_webhook_list(cli->reader, append, rows, &err);
    if (rc < 0) {
        json_decref(rows);
        return out_condition(rc, "webhooks", &err);
    }
    if (cli->json)
        return out_json(rows);
    table_begin(&table, "rllrll", "ID", "STATE", "URL", "TAKEN", "LAST SUCCESS", "EVENTS", NULL);
    json_array_foreach(rows, i, row)
    {
        struct buffer events = BUFFER_INIT(4096);
        join_events(row, &events);
        table_format(&table, "%lld", (long long)number_of(row, "id"));
        table_state(&table, state_of(row));
        table_cell(&table, text_of(row, "url"));
        table_number(&table, number_of(row, "taken"));
        table_cell(&table, text_of(row, "last_success_at"));
        table_cell(&table, buffer_text(&events));
        buffer_finish(&events);
    }
    table_print(&table, stdout, "no webhooks yet; posthaste webhook add URL makes one", 0);
    json_decref(rows);
    return CLI_DONE;
}

static void print_webhook(const json_t *webhook)
{
    struct buffer events = BUFFER_INIT(4096);
    join_events(webhook, &events);
    out_line("webhook %lld  %s", (long long)number_of(webhook, "id"), text_of(webhook, "url"));
    out_line("  state         %s", state_of(webhook));
    if (!json_is_true(json_object_get(webhook, "enabled")))
        out_line("  because       %s", text_of(webhook, "reason"));
    out_line("  events        %s", buffer_text(&events));
    out_line("  batch         %lld", (long long)number_of(webhook, "batch"));
    out_line("  taken         %lld, behind by %lld", (long long)number_of(webhook, "taken"),
             (long long)number_of(webhook, "behind"));
    out_line("  last success  %s", text_of(webhook, "last_success_at"));
    if (number_of(webhook, "attempts") > 0) {
        out_line("  failing       since %s, %lld attempts; again at %s", text_of(webhook, "failing_since"),
                 (long long)number_of(webhook, "attempts"), text_of(webhook, "next_attempt_at"));
        out_line("  last error    %s", text_of(webhook, "last_error"));
    }
    buffer_finish(&events);
}

static int answer_one(struct cli *cli, int64_t id)
{
    struct error err = {""};
    json_t *webhook = NULL;
    int rc = webhook_get(cli->reader, id, &webhook, &err);
    if (rc != 0)
        return fail(cli, rc, NULL, &err);
    if (cli->json)
        return out_json(webhook);
    print_webhook(webhook);
    json_decref(webhook);
    return CLI_DONE;
}

int cli_webhook_show(struct cli *cli)
{
    int64_t id;
    int rc = open_one(cli, &id);
    return rc == CLI_DONE ? answer_one(cli, id) : rc;
}

static int change(struct cli *cli, json_t *wish)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    int64_t id;
    int rc = open_one(cli, &id);
    if (rc != CLI_DONE) {
        json_decref(wish);
        return rc;
    }
    rc = webhook_change(cli->storage, cli->reader, cli->config, id, wish, &problem, &err);
    json_decref(wish);
    return rc != 0 ? fail(cli, rc, &problem, &err) : answer_one(cli, id);
}

int cli_webhook_enable(struct cli *cli)
{
    return change(cli, json_pack("{s:b}", "enabled", 1));
}

int cli_webhook_disable(struct cli *cli)
{
    return change(cli, json_pack("{s:b}", "enabled", 0));
}

int cli_webhook_remove(struct cli *cli)
{
    struct error err = {""};
    int64_t id;
    int rc = open_one(cli, &id);
    if (rc != CLI_DONE)
        return rc;
    rc = storage_webhook_delete(cli->storage, id, &err);
    if (rc != 0)
        return fail(cli, rc, NULL, &err);
    if (cli->json)
        return out_json(json_pack("{s:I, s:b}", "id", (json_int_t)id, "removed", 1));
    out_line("webhook %lld is gone", (long long)id);
    return CLI_DONE;
}

int cli_webhook_rotate(struct cli *cli)
{
    struct error err = {""};
    json_t *made = NULL;
    int64_t id;
    int rc = open_one(cli, &id);
    if (rc != CLI_DONE)
        return rc;
    rc = webhook_rotate(cli->storage, id, &made, &err);
    if (rc != 0)
        return fail(cli, rc, NULL, &err);
    if (cli->json)
        return out_json(made);
    out_line("%s", text_of(made, "secret"));
    fprintf(stderr, "The old secret signs beside this one until %s.\n", text_of(made, "old_until"));
    json_decref(made);
    return CLI_DONE;
}

int cli_webhook_replay(struct cli *cli)
{
    struct error err = {""};
    int64_t id;
    int64_t from_ms;
    int64_t ago_ms;
    int64_t events = 0;
    const char *from = cli->arguments[1];
    if (str_parse_duration_ms(from, &ago_ms) == 0) {
        from_ms = clock_wall_ms() - ago_ms;
    } else if (time_parse_rfc3339(from, &from_ms) != 0) {
        (void)out_fail("\"%s\" is neither a time like 2026-11-26T08:00:00Z nor a span of time like 2h", from);
        return CLI_USAGE;
    }
    int rc = open_one(cli, &id);
    if (rc != CLI_DONE)
        return rc;
    rc = storage_webhook_replay(cli->storage, id, from_ms, &events, &err);
    if (rc != 0)
        return fail(cli, rc, NULL, &err);
    if (cli->json)
        return out_json(json_pack("{s:I, s:I}", "id", (json_int_t)id, "events", (json_int_t)events));
    out_line("webhook %lld begins again before %lld events", (long long)id, (long long)events);
    return CLI_DONE;
}
