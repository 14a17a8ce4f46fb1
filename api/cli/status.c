/*
 * status.c - `posthaste status` and `site show`: what the running server is doing. `top` (top.c) shows the same live.
 */
#include "api/cli/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/client.h"
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

static void print_trouble(FILE *file, const char *what, const char *why)
{
    fprintf(file, "%s%-10s %s%s\n", tone_begin(file, TONE_BAD), what, why, tone_end(file));
}

static void print_health(FILE *file, const json_t *stats)
{
    const json_t *storage = json_object_get(stats, "storage");
    const json_t *engine = json_object_get(stats, "engine");
    if (!json_is_true(json_object_get(storage, "healthy")))
        print_trouble(file, "STORAGE", text_of(storage, "why"));
    if (text_of(engine, "held_by")[0] != '\0')
        print_trouble(file, "HELD", text_of(engine, "held_by"));
}

/* Said only after a kill or a crash. */
static void print_recovery(FILE *file, const json_t *recovered)
{
    char a[OUT_NUMBER_BYTES], b[OUT_NUMBER_BYTES], c[OUT_NUMBER_BYTES];
    if (number_of(recovered, "deliveries") > 0)
        fprintf(file, "recovered  from the process before: %s not sent, %s recorded, %s uncertain\n",
                out_number(number_of(recovered, "unsent"), a), out_number(number_of(recovered, "recorded"), b),
                out_number(number_of(recovered, "uncertain"), c));
}

void status_print_summary(FILE *file, const json_t *stats, const char *url)
{
    const json_t *engine = json_object_get(stats, "engine");
    const json_t *storage = json_object_get(stats, "storage");
    const json_t *states = json_object_get(stats, "deliveries");
    char a[OUT_NUMBER_BYTES], b[OUT_NUMBER_BYTES], c[OUT_NUMBER_BYTES], d[OUT_NUMBER_BYTES], e[OUT_NUMBER_BYTES];
    fprintf(file, "posthaste %s at %s, up %s\n", text_of(stats, "version"), url,
            out_duration(number_of(stats, "uptime_s"), a));
    print_health(file, stats);
    print_recovery(file, json_object_get(stats, "recovered"));
    fprintf(file, "now        %.1f messages/s, %s connections to %s sites, %s queued, %s in flight\n",
            json_number_value(json_object_get(engine, "rate_now")), out_number(number_of(engine, "connections"), a),
            out_number(number_of(engine, "sites"), b), out_number(number_of(engine, "queued"), c),
            out_number(number_of(engine, "in_flight"), d));
    fprintf(file, "deliveries %s delivered, %s deferred, %s bounced, %s failed, %s pending\n",
            out_number(number_of(states, "delivered"), a), out_number(number_of(states, "deferred"), b),
            out_number(number_of(states, "bounced"), c), out_number(number_of(states, "failed"), d),
            out_number(number_of(states, "pending"), e));
    fprintf(file, "contacts   %s recipients on %s lists, %s suppressed\n",
            out_number(number_of(stats, "recipients"), a), out_number(number_of(stats, "lists"), b),
            out_number(number_of(stats, "suppressions"), c));
    fprintf(file, "database   %s, log %s\n", out_bytes(number_of(storage, "database_bytes"), a),
            out_bytes(number_of(storage, "wal_bytes"), b));
}

void status_print_campaigns(FILE *file, const json_t *stats, size_t most, int width)
{
    struct table table;
    size_t i;
    json_t *row;
    char left[OUT_NUMBER_BYTES];
    table_begin(&table, "rllrrrrrrl", "ID", "CAMPAIGN", "STATUS", "AUDIENCE", "LEFT", "DELIVERED", "DEFERRED",
                "BOUNCED", "MSG/S", "ETA", NULL);
    json_array_foreach(json_object_get(stats, "campaigns"), i, row)
    {
        const json_t *counts = json_object_get(row, "stats");
        const json_t *eta = json_object_get(counts, "eta_s");
        if (i >= most)
            break;
        table_format(&table, "%lld", (long long)number_of(row, "id"));
        table_format(&table, "%.32s", text_of(row, "name"));
        table_state(&table, text_of(row, "status"));
        table_number(&table, number_of(counts, "audience"));
        table_number(&table, number_of(counts, "pending") + number_of(counts, "sending"));
        table_number(&table, number_of(counts, "delivered"));
        table_number(&table, number_of(counts, "deferred"));
        table_number(&table, number_of(counts, "bounced"));
        table_format(&table, "%.1f", json_number_value(json_object_get(counts, "rate_now")));
        table_cell(&table, json_is_integer(eta) && json_integer_value(eta) > 0
                               ? out_duration(json_integer_value(eta), left)
                               : "");
    }
    table_print(&table, file, "no campaigns yet", width);
    json_array_foreach(json_object_get(stats, "campaigns"), i, row)
    {
        const char *reason = text_of(json_object_get(row, "stats"), "pause_reason");
        if (i < most && reason[0] != '\0')
            fprintf(file, "campaign %lld paused by itself: %s\n", (long long)number_of(row, "id"), reason);
    }
}

void status_print_sites(FILE *file, const json_t *sites, size_t most, int width)
{
    struct table table;
    size_t i;
    json_t *row;
    table_begin(&table, "lrrrrlrrrl", "SITE", "QUEUED", "FLIGHT", "CONN", "MSG/S", "LIMITED BY", "DELIVERED", "TEMP",
                "PERM", "LAST REPLY", NULL);
    json_array_foreach(sites, i, row)
    {
        if (i >= most)
            break;
        table_cell(&table, text_of(row, "site"));
        table_number(&table, number_of(row, "queued"));
        table_number(&table, number_of(row, "in_flight"));
        table_format(&table, "%lld/%lld", (long long)number_of(row, "connections"),
                     (long long)number_of(row, "connections_max"));
        table_format(&table, "%.1f", json_number_value(json_object_get(row, "rate_now")));
        table_cell(&table, text_of(row, "limited_by"));
        table_number(&table, number_of(row, "delivered"));
        table_number(&table, number_of(row, "temporary") + number_of(row, "transport"));
        table_number(&table, number_of(row, "permanent"));
        table_cell(&table, text_of(row, "last_reply"));
    }
    table_print(&table, file, "no sites are known yet; they appear with the first deliveries", width);
}

int cli_status(struct cli *cli)
{
    json_t *stats;
    struct client *client = client_open(cli);
    if (client == NULL)
        return CLI_FAILED;
    int rc = client_get(client, "/v1/stats", &stats);
    if (rc == CLI_DONE && cli->json) {
        rc = out_json(stats);
    } else if (rc == CLI_DONE) {
        status_print_summary(stdout, stats, client_url(client));
        fputc('\n', stdout);
        status_print_campaigns(stdout, stats, 10, 0);
        json_decref(stats);
    }
    client_close(client);
    return rc;
}

/* ---- site show ---- */

static void print_site(const json_t *site)
{
    char number[OUT_NUMBER_BYTES];
    static const char *const counts[] = {"queued", "in_flight", "delivered", "temporary", "permanent", "transport"};
    out_line("site         %s", text_of(site, "site"));
    out_line("next hop     %s", text_of(site, "next_hop")[0] != '\0' ? text_of(site, "next_hop") : "-");
    out_line("profile      %s", text_of(site, "profile"));
    out_line("connections  %lld of %lld", (long long)number_of(site, "connections"),
             (long long)number_of(site, "connections_max"));
    out_line("rate         %.1f/s now, limit %s", json_number_value(json_object_get(site, "rate_now")),
             text_of(site, "rate"));
    out_line("limited by   %s", text_of(site, "limited_by"));
    if (json_is_number(json_object_get(site, "adaptive_rate")))
        out_line("adaptive     %.2f/s", json_number_value(json_object_get(site, "adaptive_rate")));
    if (text_of(site, "backoff_until")[0] != '\0')
        out_line("back-off     until %s", text_of(site, "backoff_until"));
    for (size_t i = 0; i < countof(counts); i++)
        out_line("%-12s %s", counts[i], out_number(number_of(site, counts[i]), number));
    out_line("last reply   %s", text_of(site, "last_reply")[0] != '\0' ? text_of(site, "last_reply") : "-");
}

/* ---- site explain ---- */

/* A site's name has brackets and bars in it. */
static void add_encoded(char *path, size_t path_bytes, const char *text)
{
    size_t len = strlen(path);
    for (; *text != '\0' && len + 4 < path_bytes; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = ascii_is_digit(*text) || (ascii_lower(*text) >= 'a' && ascii_lower(*text) <= 'z') ||
                     strchr("-._", *text) != NULL;
        len += (size_t)snprintf(path + len, path_bytes - len, plain ? "%c" : "%%%02X", c);
    }
}

static void print_limits(const json_t *limits)
{
    struct table table;
    size_t i;
    json_t *row;
    table_begin(&table, "lllllrl", "", "LIMIT OF", "WHAT", "VALUE", "NOW", "NEXT", "SET BY", NULL);
    json_array_foreach(limits, i, row)
    {
        const json_t *next = json_object_get(row, "next_s");
        table_cell(&table, json_is_true(json_object_get(row, "binding")) ? "*" : "");
        table_format(&table, "%s %.48s", text_of(row, "scope"), text_of(row, "name"));
        table_cell(&table, text_of(row, "what"));
        table_cell(&table, text_of(row, "value"));
        table_cell(&table, text_of(row, "now"));
        if (json_is_null(next))
            table_cell(&table, "?");
        else
            table_format(&table, "%.3f s", json_number_value(next));
        table_cell(&table, text_of(row, "origin"));
    }
    table_print(&table, stdout, "no limits", 0);
    out_line("%s", "");
}

int cli_site_explain(struct cli *cli)
{
    char path[1024] = "/v1/stats/sites/";
    json_t *site;
    size_t i;
    json_t *line;
    add_encoded(path, sizeof(path), cli->arguments[0]);
    struct client *client = client_open(cli);
    if (client == NULL)
        return CLI_FAILED;
    int rc = client_get(client, path, &site);
    client_close(client);
    if (rc != CLI_DONE)
        return rc;
    if (cli->json)
        return out_json(site);
    print_site(site);
    out_line("%s", "");
    print_limits(json_object_get(site, "limits"));
    json_array_foreach(json_object_get(site, "explanation"), i, line) out_line("%s", json_string_value(line));
    json_decref(site);
    return rc;
}

/* ---- site show without and with a name ---- */

static int answer_site(struct cli *cli, json_t *page)
{
    json_t *rows = json_object_get(page, "data");
    int rc = CLI_DONE;
    if (cli->argument_count > 0 && json_array_size(rows) == 0)
        rc = out_fail("the server knows no site \"%s\" now", cli->arguments[0]);
    else if (cli->json)
        return out_json(cli->argument_count > 0 ? json_incref(json_array_get(rows, 0)) : json_incref(page));
    else if (cli->argument_count > 0)
        print_site(json_array_get(rows, 0));
    else
        status_print_sites(stdout, rows, SIZE_MAX, 0);
    return rc;
}

int cli_site_show(struct cli *cli)
{
    char path[1024] = "/v1/stats/sites?limit=1000";
    json_t *page;
    if (cli->argument_count > 0) {
        (void)str_copy(path, sizeof(path), "/v1/stats/sites?limit=1&site=");
        add_encoded(path, sizeof(path), cli->arguments[0]);
    }
    struct client *client = client_open(cli);
    if (client == NULL)
        return CLI_FAILED;
    int rc = client_get(client, path, &page);
    client_close(client);
    if (rc != CLI_DONE)
        return rc;
    rc = answer_site(cli, page);
    json_decref(page);
    return rc;
}
