/*
 * campaign_test.c - `posthaste campaign test`: has a test sent and waits until every server has said what it makes of
 * it.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "api/cli/campaign.h"
#include "api/cli/output.h"
#include "base/clock.h"
#include "base/str.h"

#define STEP_MS 100
#define PATIENCE_MS                                                                                                    \
    150000 /* the server gives up what has not begun after a minute; a session under way may take longer */

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

static json_t *body_of(const struct cli *cli, uint64_t number)
{
    const char *recipient = cli_value(cli, "recipient"), *prefix = cli_value(cli, "subject-prefix"), *to;
    const char *variant = cli_value(cli, "variant");
    json_t *addresses = json_array();
    for (int n = 0; (to = cli_value_nth(cli, "to", n)) != NULL; n++)
        (void)json_array_append_new(addresses, json_string(to));
    json_t *body =
        json_pack("{s:o, s:s*, s:s*}", "recipients", addresses, "recipient", recipient, "subject_prefix", prefix);
    if (variant != NULL)
        (void)json_object_set_new(body, "variant", json_integer((json_int_t)number));
    if (body == NULL)
        (void)out_fail("an option is not UTF-8");
    return body;
}

/* Takes `test` over; gives the last answer. */
static int wait_for_end(struct client *client, json_t **test)
{
    const struct timespec step = {.tv_nsec = STEP_MS * 1000000L};
    char path[96];
    int64_t begun_ms = clock_monotonic_ms();
    (void)snprintf(path, sizeof(path), "/v1/campaigns/%lld/test/%lld",
                   (long long)json_integer_value(json_object_get(*test, "campaign_id")),
                   (long long)json_integer_value(json_object_get(*test, "id")));
    while (!json_is_true(json_object_get(*test, "done"))) {
        json_t *next;
        if (clock_monotonic_ms() - begun_ms > PATIENCE_MS)
            return out_fail("no answer yet; look again with: GET %s", path);
        (void)nanosleep(&step, NULL);
        int rc = client_get(client, path, &next);
        if (rc != CLI_DONE)
            return rc;
        json_decref(*test);
        *test = next;
    }
    return CLI_DONE;
}

static void print_results(const json_t *test)
{
    struct table table;
    size_t i;
    json_t *row;
    table_begin(&table, "llrll", "TO", "STATE", "CODE", "STAGE", "REPLY", NULL);
    json_array_foreach(json_object_get(test, "results"), i, row)
    {
        const json_t *code = json_object_get(row, "code");
        const char *enhanced = text_of(row, "enhanced");
        table_cell(&table, text_of(row, "recipient"));
        table_cell(&table, text_of(row, "state"));
        if (json_is_integer(code))
            table_format(&table, "%lld", (long long)json_integer_value(code));
        else
            table_cell(&table, "");
        table_cell(&table, text_of(row, "stage"));
        table_format(&table, "%s%s%s", enhanced, enhanced[0] != '\0' ? " " : "", text_of(row, "text"));
    }
    table_print(&table, stdout, NULL, 0);
}

static bool all_delivered(const json_t *test)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(test, "results"), i, row)
    {
        if (strcmp(text_of(row, "state"), "delivered") != 0)
            return false;
    }
    return true;
}

int cli_campaign_test(struct cli *cli)
{
    char path[64];
    json_t *test = NULL;
    int64_t id;
    int rc = campaign_id_of(cli, &id);
    if (rc != CLI_DONE)
        return rc;
    if (cli_value(cli, "to") == NULL) {
        (void)out_fail("say to whom: --to EMAIL");
        return CLI_USAGE;
    }
    const char *variant = cli_value(cli, "variant");
    uint64_t number = 0;
    if (variant != NULL && str_parse_u64(variant, SPLIT_VARIANTS_MAX, &number) != 0) {
        (void)out_fail("\"%.40s\" is not the number of a variant", variant);
        return CLI_USAGE;
    }
    json_t *body = body_of(cli, number);
    struct client *client = body != NULL ? client_open(cli) : NULL;
    (void)snprintf(path, sizeof(path), "/v1/campaigns/%lld/test", (long long)id);
    rc = client != NULL ? client_call(client, "POST", path, body, &test) : CLI_FAILED;
    if (rc == CLI_DONE)
        rc = wait_for_end(client, &test);
    client_close(client);
    json_decref(body);
    bool delivered = rc == CLI_DONE && all_delivered(test);
    if (rc == CLI_DONE && cli->json)
        rc = out_json(json_incref(test));
    else if (rc == CLI_DONE)
        print_results(test);
    json_decref(test);
    return rc == CLI_DONE && !delivered ? CLI_FAILED : rc;
}
