/*
 * access_cli.c - `posthaste domain …` and `posthaste token …`: on the database directly, with or without a running
 * server.
 */
#include <errno.h>
#include <string.h>

#include "api/access.h"
#include "api/cli/output.h"
#include "api/http/auth.h"
#include "api/http/json.h"
#include "api/views.h"
#include "base/clock.h"
#include "base/str.h"
#include "dkim/dkim.h"

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL && text[0] != '\0' ? text : "-";
}

/* ---- domains ---- */

/* The record as a line of a zone file. */
static void print_zone_line(const json_t *record, const char *indent)
{
    struct buffer zone = BUFFER_INIT(65536);
    const char *value = text_of(record, "value"), *type = text_of(record, "type");
    if (strcmp(type, "TXT") == 0) {
        if (dkim_record_zone_text(value, &zone) == 0)
            out_line("%s%s. IN TXT ( %s )", indent, text_of(record, "name"), buffer_text(&zone));
    } else {
        out_line("%s%s. IN %s %s", indent, text_of(record, "name"), type, value);
    }
    buffer_finish(&zone);
}

static void print_domain(const json_t *domain)
{
    const json_t *dns = json_object_get(domain, "dns"), *record;
    const json_t *row;
    size_t i;
    out_line(
        "Publish these records, then receivers can check %s's mail (posthaste domain check %s looks whether they do):",
        text_of(domain, "domain"), text_of(domain, "domain"));
    json_array_foreach(dns, i, record)
    {
        out_line("%s", "");
        out_line("  name   %s", text_of(record, "name"));
        out_line("  type   %s", text_of(record, "type"));
        out_line("  value  %s", text_of(record, "value"));
        if (json_object_get(record, "note") != NULL)
            out_line("  note   %s", text_of(record, "note"));
    }
    out_line("%s", "");
    out_line("As lines of a zone file:");
    out_line("%s", "");
    json_array_foreach(dns, i, record) print_zone_line(record, "  ");
    out_line("%s", "");
    json_array_foreach(json_object_get(domain, "keys"), i, row)
        out_line("  %-12s %-8s %s since %s", text_of(row, "selector"), text_of(row, "algorithm"), text_of(row, "state"),
                 text_of(row, "since"));
}

static int answer_domain(struct cli *cli, json_t *domain)
{
    if (cli->json)
        return out_json(domain);
    print_domain(domain);
    json_decref(domain);
    return CLI_DONE;
}

int cli_domain_add(struct cli *cli)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    json_t *domain = NULL;
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    int rc = access_domain_add(cli->storage, cli->config, cli->arguments[0], cli_value(cli, "selector"), &domain,
                               &problem, &err);
    if (rc == STORAGE_EXISTS)
        return out_fail("%s has a key already; see: posthaste domain show %s", cli->arguments[0], cli->arguments[0]);
    if (rc == -EINVAL && problem.count > 0)
        return out_fail("%s: %s", problem.fields[0].field, problem.fields[0].message);
    return rc == 0 ? answer_domain(cli, domain) : out_condition(rc, "domain", &err);
}

int cli_domain_show(struct cli *cli)
{
    struct error err = {""};
    json_t *domain = NULL;
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    int rc = access_domain_get(cli->reader, cli->config, cli->arguments[0], &domain, &err);
    if (rc == STORAGE_NOT_FOUND)
        return out_fail("there is no sending domain \"%s\"; make one with: posthaste domain add %s", cli->arguments[0],
                        cli->arguments[0]);
    return rc == 0 ? answer_domain(cli, domain) : out_condition(rc, "domain", &err);
}

static void print_finding(const json_t *finding)
{
    const json_t *record = json_object_get(finding, "record"), *providers = json_object_get(finding, "providers"),
                 *provider;
    size_t i;
    bool good = strcmp(text_of(finding, "status"), "ok") == 0;
    printf("%s%-8s%s", tone_begin(stdout, tone_of(text_of(finding, "status"))), text_of(finding, "status"), tone_end(stdout));
    out_line(" %-12s %s", text_of(finding, "check"), text_of(finding, "seen"));
    if (good)
        return;
    out_line("         wanted:      %s", text_of(finding, "wanted"));
    if (json_is_object(record)) {
        out_line("         publish:");
        print_zone_line(record, "           ");
    }
    json_array_foreach(providers, i, provider)
        out_line("         refused by:  %s (%s)", text_of(provider, "name"), text_of(provider, "reply"));
}

int cli_domain_check(struct cli *cli)
{
    struct error err = {""};
    struct resolver *resolver = NULL;
    json_t *report = NULL;
    const json_t *finding;
    size_t i;
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    int rc = resolver_start(cli->config, &resolver, &err);
    if (rc == 0)
        rc = sending_domain_check(cli->config, cli->reader, resolver, cli->arguments[0], &report, &err);
    resolver_stop(resolver);
    if (rc == STORAGE_NOT_FOUND)
        return out_fail("there is no sending domain \"%s\"; make one with: posthaste domain add %s", cli->arguments[0],
                        cli->arguments[0]);
    if (rc != 0)
        return out_condition(rc, "domain", &err);
    int status = strcmp(text_of(report, "status"), "error") == 0 ? CLI_FAILED : CLI_DONE;
    if (cli->json)
        return out_json(report) == CLI_DONE ? status : CLI_FAILED;
    json_array_foreach(json_object_get(report, "findings"), i, finding) print_finding(finding);
    out_line("%s: %s", text_of(report, "domain"), text_of(report, "status"));
    json_decref(report);
    return status;
}

static int print_rotation(const json_t *domain)
{
    const json_t *rotation = json_object_get(domain, "rotation");
    const char *step = text_of(rotation, "step");
    if (strcmp(step, "made") == 0) {
        print_domain(domain);
        out_line("%s",
                 "The keys that are \"next\" are new. When their records are in DNS, run this again: then they sign.");
    } else if (strcmp(step, "switched") == 0) {
        out_line("%s signs with its new keys now. Leave the old records in DNS, and run this again in 15 days.",
                 text_of(domain, "domain"));
    } else if (strcmp(step, "retired") == 0) {
        out_line("the old keys of %s are retired: their records may be taken out of DNS", text_of(domain, "domain"));
    } else if (strcmp(text_of(rotation, "why"), "-") != 0) {
        return out_fail("the new keys do not sign yet: %s", text_of(rotation, "why"));
    } else {
        out_line("the old keys of %s stay in DNS until %s: mail that they signed may be looked at still",
                 text_of(domain, "domain"), text_of(rotation, "wait_until"));
    }
    return CLI_DONE;
}

int cli_domain_rotate(struct cli *cli)
{
    struct error err = {""};
    json_t *domain = NULL;
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    int rc = access_domain_rotate(cli->storage, cli->reader, cli->config, cli->arguments[0], &domain, &err);
    if (rc == STORAGE_NOT_FOUND)
        return out_fail("there is no sending domain \"%s\"", cli->arguments[0]);
    if (rc != 0)
        return out_condition(rc, "domain", &err);
    const char *step = text_of(json_object_get(domain, "rotation"), "step");
    bool waits = strcmp(step, "waits") == 0 && strcmp(text_of(json_object_get(domain, "rotation"), "why"), "-") != 0;
    if (cli->json) {
        rc = out_json(domain);
        return waits ? CLI_FAILED : rc;
    }
    rc = print_rotation(domain);
    json_decref(domain);
    return rc;
}

struct domain_rows {
    json_t *rows;
    struct storage_reader *reader;
};

static int append_domain(void *context, const struct storage_domain *domain)
{
    struct domain_rows *out = context;
    (void)json_array_append_new(out->rows, view_domain(domain, out->reader));
    return 0;
}

int cli_domain_list(struct cli *cli)
{
    struct error err = {""};
    struct table table;
    size_t i;
    json_t *row;
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    json_t *rows = json_array();
    struct domain_rows context = {rows, cli->reader};
    int rc = storage_domain_list(cli->reader, append_domain, &context, &err);
    if (rc < 0) {
        json_decref(rows);
        return out_condition(rc, "domains", &err);
    }
    if (cli->json)
        return out_json(rows);
    table_begin(&table, "llll", "DOMAIN", "SELECTOR", "KEY FILE", "SINCE", NULL);
    json_array_foreach(rows, i, row)
    {
        table_cell(&table, text_of(row, "domain"));
        table_cell(&table, text_of(row, "selector"));
        table_cell(&table, text_of(row, "key_file"));
        table_cell(&table, text_of(row, "created_at"));
    }
    table_print(&table, stdout, "no sending domains yet; posthaste domain add DOMAIN makes one", 0);
    json_decref(rows);
    return CLI_DONE;
}

/* ---- tokens ---- */

int cli_token_create(struct cli *cli)
{
    const char *name = cli_value(cli, "name");
    const char *scope_name = cli_value(cli, "scope");
    enum token_scope scope = TOKEN_SEND;
    struct error err = {""};
    json_t *token = NULL;
    if (scope_name != NULL && token_scope_parse(scope_name, &scope) != 0) {
        (void)out_fail("--scope must be read, send or admin");
        return CLI_USAGE;
    }
    if (name == NULL)
        name = "cli";
    if (name[strspn(name, " \t")] == '\0' || strlen(name) > TOKEN_NAME_MAX_BYTES) {
        (void)out_fail("a token's name has 1 to %d bytes", TOKEN_NAME_MAX_BYTES);
        return CLI_USAGE;
    }
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    int rc = access_token_create(cli->storage, name, scope, &token, &err);
    if (rc != 0)
        return out_condition(rc, "token", &err);
    if (cli->json)
        return out_json(token);
    out_line("%s", text_of(token, "token"));
    fprintf(stderr, "This is token %lld, scope %s. It is not stored and will not be shown again.\n",
            (long long)json_integer_value(json_object_get(token, "id")), token_scope_name(scope));
    json_decref(token);
    return CLI_DONE;
}

static int append_token(void *context, const struct storage_token *token)
{
    (void)json_array_append_new(context, view_token(token));
    return 0;
}

int cli_token_list(struct cli *cli)
{
    struct error err = {""};
    struct table table;
    size_t i;
    json_t *row;
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    json_t *rows = json_array();
    int rc = storage_token_list(cli->reader, append_token, rows, &err);
    if (rc < 0) {
        json_decref(rows);
        return out_condition(rc, "tokens", &err);
    }
    if (cli->json)
        return out_json(rows);
    table_begin(&table, "rlllll", "ID", "NAME", "SCOPE", "MADE", "LAST USED", "REVOKED", NULL);
    json_array_foreach(rows, i, row)
    {
        table_format(&table, "%lld", (long long)json_integer_value(json_object_get(row, "id")));
        table_cell(&table, text_of(row, "name"));
        table_cell(&table, text_of(row, "scope"));
        table_cell(&table, text_of(row, "created_at"));
        table_cell(&table, text_of(row, "last_used_at"));
        table_cell(&table, text_of(row, "revoked_at"));
    }
    table_print(&table, stdout, "no tokens yet; posthaste token create makes one", 0);
    json_decref(rows);
    return CLI_DONE;
}

int cli_token_revoke(struct cli *cli)
{
    struct error err = {""};
    uint64_t id;
    if (str_parse_u64(cli->arguments[0], INT64_MAX, &id) != 0) {
        (void)out_fail("\"%s\" is not the number of a token; see: posthaste token list", cli->arguments[0]);
        return CLI_USAGE;
    }
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    int rc = storage_token_revoke(cli->storage, (int64_t)id, clock_wall_ms(), &err);
    if (rc == STORAGE_NOT_FOUND)
        return out_fail("there is no token %s", cli->arguments[0]);
    if (rc != 0)
        return out_condition(rc, "token", &err);
    if (cli->json)
        return out_json(json_pack("{s:I, s:b}", "id", (json_int_t)id, "revoked", 1));
    out_line("token %s is worthless now", cli->arguments[0]);
    return CLI_DONE;
}
