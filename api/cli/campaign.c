/*
 * campaign.c - `posthaste campaign …` except create and watch: talks to the running server.
 */
#include "api/cli/campaign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/output.h"
#include "base/str.h"

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

static int64_t number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

int campaign_id_of(const struct cli *cli, int64_t *id)
{
    uint64_t value;
    if (str_parse_u64(cli->arguments[0], INT64_MAX, &value) != 0 || value == 0) {
        (void)out_fail("\"%s\" is not the number of a campaign; see: posthaste campaign list", cli->arguments[0]);
        return CLI_USAGE;
    }
    *id = (int64_t)value;
    return CLI_DONE;
}

/* One call about the campaign of the first argument; `suffix` behind its path. */
static int call_with(struct cli *cli, const char *method, const char *suffix, const json_t *body, json_t **out)
{
    char path[512];
    int64_t id;
    int rc = campaign_id_of(cli, &id);
    if (rc != CLI_DONE)
        return rc;
    struct client *client = client_open(cli);
    if (client == NULL)
        return CLI_FAILED;
    (void)snprintf(path, sizeof(path), "/v1/campaigns/%lld%s", (long long)id, suffix);
    rc = client_call(client, method, path, body, out);
    client_close(client);
    return rc;
}

static int call(struct cli *cli, const char *method, const char *suffix, json_t **out)
{
    return call_with(cli, method, suffix, NULL, out);
}

static int move_with(struct cli *cli, const char *action, const json_t *body)
{
    json_t *campaign;
    int rc = call_with(cli, "POST", action, body, &campaign);
    if (rc != CLI_DONE)
        return rc;
    if (cli->json)
        return out_json(campaign);
    out_line("campaign %lld \"%s\" is %s", (long long)number_of(campaign, "id"), text_of(campaign, "name"),
             text_of(campaign, "status"));
    json_decref(campaign);
    return CLI_DONE;
}

static int move(struct cli *cli, const char *action)
{
    return move_with(cli, action, NULL);
}

int cli_campaign_winner(struct cli *cli)
{
    json_t *body, *answer;
    uint64_t variant;
    if (str_parse_u64(cli->arguments[1], SPLIT_VARIANTS_MAX, &variant) != 0) {
        (void)out_fail("\"%.40s\" is not the number of a variant", cli->arguments[1]);
        return CLI_USAGE;
    }
    body = json_pack("{s:I}", "variant", (json_int_t)variant);
    int rc = call_with(cli, "POST", "/winner", body, &answer);
    json_decref(body);
    if (rc != CLI_DONE)
        return rc;
    if (cli->json)
        return out_json(answer);
    out_line("variant %llu goes to the rest of campaign %s", (unsigned long long)variant, cli->arguments[0]);
    json_decref(answer);
    return CLI_DONE;
}

int cli_campaign_launch(struct cli *cli)
{
    json_t *body = cli_flag(cli, "force") ? json_pack("{s:b}", "force", 1) : NULL;
    int rc = move_with(cli, "/launch", body);
    json_decref(body);
    return rc;
}

int cli_campaign_pause(struct cli *cli)
{
    return move(cli, "/pause");
}

int cli_campaign_resume(struct cli *cli)
{
    return move(cli, "/resume");
}

int cli_campaign_cancel(struct cli *cli)
{
    return move(cli, "/cancel");
}

/* ---- what people read ---- */

static void state_row(struct table *table, const char *name, int64_t count, int64_t audience)
{
    table_state(table, name);
    table_number(table, count);
    if (audience > 0)
        table_format(table, "%.1f%%", 100.0 * (double)count / (double)audience);
    else
        table_cell(table, "");
}

void campaign_print_stats(const json_t *stats)
{
    static const char *const states[] = {"pending", "sending",    "deferred",  "delivered", "bounced",
                                         "failed",  "suppressed", "cancelled", "uncertain"};
    static const char *const flags[] = {"opened", "clicked", "unsubscribed", "complained"};
    char left[OUT_NUMBER_BYTES];
    struct table table;
    int64_t audience = number_of(stats, "audience");
    const json_t *eta = json_object_get(stats, "eta_s");
    table_begin(&table, "lrr", "STATE", "COUNT", "SHARE", NULL);
    for (size_t i = 0; i < countof(states); i++)
        state_row(&table, states[i], number_of(stats, states[i]), audience);
    state_row(&table, "audience", audience, audience);
    for (size_t i = 0; i < countof(flags); i++) {
        if (number_of(stats, flags[i]) > 0)
            state_row(&table, flags[i], number_of(stats, flags[i]), audience);
    }
    table_print(&table, stdout, NULL, 0);
    if (strcmp(text_of(stats, "status"), "running") == 0)
        out_line("%.1f messages/s, limited by %s, left: %s", json_number_value(json_object_get(stats, "rate_now")),
                 text_of(stats, "limited_by"),
                 json_is_integer(eta) ? out_duration(json_integer_value(eta), left) : "not known");
    if (json_is_string(json_object_get(stats, "pause_reason")))
        out_line("paused by itself: %s", text_of(stats, "pause_reason"));
}

static void print_head(const json_t *campaign)
{
    static const struct {
        const char *label, *field;
    } times[] = {{"made at", "created_at"},
                 {"scheduled at", "scheduled_at"},
                 {"launched at", "launched_at"},
                 {"finished at", "finished_at"}};
    out_line("campaign %lld \"%s\": %s", (long long)number_of(campaign, "id"), text_of(campaign, "name"),
             text_of(campaign, "status"));
    for (size_t i = 0; i < countof(times); i++) {
        const char *when = text_of(campaign, times[i].field);
        if (when[0] != '\0')
            out_line("%-13s %s", times[i].label, when);
    }
}

int cli_campaign_stats(struct cli *cli)
{
    json_t *campaign;
    int rc;
    if (cli->json) {
        rc = call(cli, "GET", "/stats", &campaign);
        return rc == CLI_DONE ? out_json(campaign) : rc;
    }
    rc = call(cli, "GET", "", &campaign);
    if (rc != CLI_DONE)
        return rc;
    print_head(campaign);
    out_line("%s", "");
    campaign_print_stats(json_object_get(campaign, "stats"));
    char number[OUT_NUMBER_BYTES];
    if (number_of(campaign, "missing_attributes") > 0)
        out_line("%s renderings lacked an attribute that the template names (it was left empty)",
                 out_number(number_of(campaign, "missing_attributes"), number));
    json_decref(campaign);
    return CLI_DONE;
}

int cli_campaign_show(struct cli *cli)
{
    json_t *campaign;
    int rc = call(cli, "GET", "", &campaign);
    if (rc != CLI_DONE)
        return rc;
    if (cli->json)
        return out_json(campaign);
    const json_t *content = json_object_get(campaign, "content");
    const json_t *from = json_object_get(content, "from");
    print_head(campaign);
    if (json_is_object(from))
        out_line("%-13s %s <%s>", "from", text_of(from, "name"), text_of(from, "email"));
    out_line("%-13s %s", "subject", text_of(content, "subject"));
    char *lists = json_dumps(json_object_get(campaign, "lists"), 0);
    out_line("%-13s %s", "lists", lists != NULL ? lists : "");
    free(lists);
    out_line("%s", "");
    campaign_print_stats(json_object_get(campaign, "stats"));
    out_line("%s", "");
    out_line("The whole content: posthaste campaign show %lld --json; as it arrives: posthaste campaign preview %lld",
             (long long)number_of(campaign, "id"), (long long)number_of(campaign, "id"));
    json_decref(campaign);
    return CLI_DONE;
}

static void print_campaigns(const json_t *rows)
{
    struct table table;
    size_t i;
    json_t *row;
    table_begin(&table, "rllrrrrrl", "ID", "NAME", "STATUS", "AUDIENCE", "DELIVERED", "DEFERRED", "BOUNCED", "LEFT",
                "LAUNCHED", NULL);
    json_array_foreach(rows, i, row)
    {
        const json_t *stats = json_object_get(row, "stats");
        table_format(&table, "%lld", (long long)number_of(row, "id"));
        table_cell(&table, text_of(row, "name"));
        table_state(&table, text_of(row, "status"));
        table_number(&table, number_of(stats, "audience"));
        table_number(&table, number_of(stats, "delivered"));
        table_number(&table, number_of(stats, "deferred"));
        table_number(&table, number_of(stats, "bounced"));
        table_number(&table, number_of(stats, "pending") + number_of(stats, "sending"));
        table_cell(&table, text_of(row, "launched_at"));
    }
    table_print(&table, stdout, "no campaigns; posthaste campaign create makes one", 0);
}

int cli_campaign_list(struct cli *cli)
{
    const char *status = cli_value(cli, "status");
    const char *limit = cli_value(cli, "limit");
    char path[256];
    json_t *page;
    uint64_t number;
    if ((limit != NULL && (str_parse_u64(limit, 1000, &number) != 0 || number == 0)) ||
        (status != NULL && strspn(status, "abcdefghijklmnopqrstuvwxyz,") != strlen(status))) {
        (void)out_fail("--limit must be a number from 1 to 1000, --status one or several of draft, scheduled, running, "
                       "paused, finished, cancelled");
        return CLI_USAGE;
    }
    struct client *client = client_open(cli);
    if (client == NULL)
        return CLI_FAILED;
    (void)snprintf(path, sizeof(path), "/v1/campaigns?limit=%s%s%.100s", limit != NULL ? limit : "50",
                   status != NULL ? "&status=" : "", status != NULL ? status : "");
    int rc = client_get(client, path, &page);
    client_close(client);
    if (rc != CLI_DONE)
        return rc;
    if (cli->json)
        return out_json(page);
    print_campaigns(json_object_get(page, "data"));
    json_decref(page);
    return CLI_DONE;
}

static void print_links(const json_t *rows)
{
    struct table table;
    size_t i;
    json_t *row;
    table_begin(&table, "rrrrl", "LINK", "PEOPLE", "CLICKS", "MACHINES", "URL", NULL);
    json_array_foreach(rows, i, row)
    {
        table_number(&table, number_of(row, "id"));
        table_number(&table, number_of(row, "people"));
        table_number(&table, number_of(row, "clicks"));
        table_number(&table, number_of(row, "machines"));
        table_cell(&table, text_of(row, "url"));
    }
    table_print(&table, stdout, "no links are tracked in this campaign", 0);
}

int cli_campaign_links(struct cli *cli)
{
    json_t *page;
    int rc = call(cli, "GET", "/links?limit=1000", &page);
    if (rc != CLI_DONE)
        return rc;
    if (cli->json)
        return out_json(page);
    print_links(json_object_get(page, "data"));
    json_decref(page);
    return CLI_DONE;
}

/* ---- preview ---- */

static void append_query_value(struct buffer *out, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || ascii_is_digit((char)c) || strchr("-._~", c) != NULL;
        buffer_printf(out, plain ? "%c" : "%%%02X", c);
    }
}

static void print_preview(const struct cli *cli, const json_t *preview)
{
    const char *part = cli_flag(cli, "html") ? "html" : cli_flag(cli, "text") ? "text" : "message";
    struct buffer text = BUFFER_INIT(0);
    buffer_append_str(&text, text_of(preview, part));
    /* A terminal must not get what a recipient's attribute could hold; a pipe gets the bytes. */
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c < 0x20 && c != '\n' && c != '\t')
            text.data[i] = c == '\r' ? '\r' : '?';
    }
    (void)fwrite(buffer_text(&text), 1, text.len, stdout);
    if (text.len > 0 && text.data[text.len - 1] != '\n')
        fputc('\n', stdout);
    buffer_finish(&text);
    size_t i;
    json_t *warning;
    json_array_foreach(json_object_get(preview, "warnings"), i, warning)
        fprintf(stderr, "warning: %s\n", text_of(warning, "message"));
}

int cli_campaign_preview(struct cli *cli)
{
    struct buffer suffix = BUFFER_INIT(4096);
    json_t *preview = NULL;
    const char *recipient = cli_value(cli, "recipient");
    buffer_append_str(&suffix, "/preview");
    if (recipient != NULL) {
        buffer_append_str(&suffix, "?recipient=");
        append_query_value(&suffix, recipient);
    }
    int rc = suffix.failed || suffix.len > 400 ? out_fail("--recipient is too long")
                                               : call(cli, "GET", buffer_text(&suffix), &preview);
    buffer_finish(&suffix);
    if (rc != CLI_DONE)
        return rc;
    if (cli->json)
        return out_json(preview);
    print_preview(cli, preview);
    json_decref(preview);
    return CLI_DONE;
}
