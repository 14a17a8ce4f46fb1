/*
 * campaign_create.c - `posthaste campaign create`: builds the JSON of POST /v1/campaigns out of a file, of options, or
 * of both. What the fields mean is checked by the server, which names the ones at fault.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/campaign.h"
#include "api/cli/output.h"
#include "api/http/json.h"
#include "base/clock.h"
#include "base/str.h"

#define FILE_MAX_BYTES ((size_t)8 << 20)

static int read_file(const char *path, struct buffer *out)
{
    int rc = cli_read_file(path, out);
    if (rc == CLI_DONE && out->failed)
        rc = out_fail("%s is larger than %zu MiB", path, FILE_MAX_BYTES >> 20);
    return rc;
}

static int load_spec(const struct cli *cli, json_t **spec)
{
    struct buffer text = BUFFER_INIT(FILE_MAX_BYTES);
    struct error err = {""};
    *spec = NULL;
    if (cli->argument_count == 0) {
        *spec = json_object();
        return *spec != NULL ? CLI_DONE : out_fail("out of memory");
    }
    int rc = read_file(cli->arguments[0], &text);
    if (rc == CLI_DONE && json_parse(buffer_text(&text), text.len, spec, &err) != 0)
        rc = out_fail("%s: %s", cli->arguments[0], err.text);
    if (rc == CLI_DONE && !json_is_object(*spec))
        rc = out_fail("%s: a campaign is a JSON object, this is %s", cli->arguments[0], json_kind(*spec));
    buffer_finish(&text);
    return rc;
}

json_t *campaign_parse_sender(const char *text)
{
    const char *open = strrchr(text, '<');
    const char *close = open != NULL ? strchr(open, '>') : NULL;
    if (close == NULL)
        return json_pack("{s:s}", "email", text);
    const char *name = text;
    size_t len = (size_t)(open - text);
    while (len > 0 && ascii_is_space(name[len - 1]))
        len--;
    while (len > 0 && ascii_is_space(*name)) {
        name++;
        len--;
    }
    if (len >= 2 && name[0] == '"' && name[len - 1] == '"') {
        name++;
        len -= 2;
    }
    return json_pack("{s:s#, s:s#}", "email", open + 1, (int)(close - open - 1), "name", name, (int)len);
}

static int set_part(const struct cli *cli, json_t *spec, const char *option)
{
    const char *path = cli_value(cli, option);
    struct buffer text = BUFFER_INIT(FILE_MAX_BYTES);
    if (path == NULL)
        return CLI_DONE;
    int rc = read_file(path, &text);
    if (rc == CLI_DONE && json_object_set_new(spec, option, json_stringn(buffer_text(&text), text.len)) != 0)
        rc = out_fail("%s is not UTF-8 text", path);
    buffer_finish(&text);
    return rc;
}

static int set_text(const struct cli *cli, json_t *spec, const char *option, const char *field)
{
    const char *value = cli_value(cli, option);
    if (value != NULL && json_object_set_new(spec, field, json_string(value)) != 0)
        return out_fail("--%s is not UTF-8 text", option);
    return CLI_DONE;
}

static int set_lists(const struct cli *cli, json_t *spec, const char *option, const char *field)
{
    const char *value;
    json_t *lists = json_array();
    for (int i = 0; (value = cli_value_nth(cli, option, i)) != NULL; i++) {
        if (json_array_append_new(lists, json_string(value)) != 0) {
            json_decref(lists);
            return out_fail("--%s is not UTF-8 text", option);
        }
    }
    if (json_array_size(lists) > 0)
        (void)json_object_set(spec, field, lists);
    json_decref(lists);
    return CLI_DONE;
}

static int set_segment(const struct cli *cli, json_t *spec)
{
    const char *value = cli_value(cli, "segment");
    struct buffer text = BUFFER_INIT(FILE_MAX_BYTES);
    struct error err = {""};
    json_t *segment = NULL;
    if (value == NULL)
        return CLI_DONE;
    int rc = CLI_DONE;
    if (value[0] == '@')
        rc = read_file(value + 1, &text);
    else
        buffer_append_str(&text, value);
    if (rc == CLI_DONE && (text.failed || json_parse(buffer_text(&text), text.len, &segment, &err) != 0))
        rc = out_fail("--segment: %s", err.text);
    if (rc == CLI_DONE)
        (void)json_object_set(spec, "segment", segment);
    json_decref(segment);
    buffer_finish(&text);
    return rc;
}

static int add_options(const struct cli *cli, json_t *spec)
{
    int rc = set_text(cli, spec, "name", "name");
    rc = rc == CLI_DONE ? set_lists(cli, spec, "list", "lists") : rc;
    rc = rc == CLI_DONE ? set_lists(cli, spec, "exclude", "exclude_lists") : rc;
    rc = rc == CLI_DONE ? set_segment(cli, spec) : rc;
    rc = rc == CLI_DONE ? set_text(cli, spec, "reply-to", "reply_to") : rc;
    rc = rc == CLI_DONE ? set_text(cli, spec, "subject", "subject") : rc;
    rc = rc == CLI_DONE ? set_text(cli, spec, "schedule-at", "schedule_at") : rc;
    rc = rc == CLI_DONE ? set_part(cli, spec, "html") : rc;
    rc = rc == CLI_DONE ? set_part(cli, spec, "text") : rc;
    if (rc == CLI_DONE && cli_value(cli, "from") != NULL &&
        json_object_set_new(spec, "from", campaign_parse_sender(cli_value(cli, "from"))) != 0)
        rc = out_fail("--from is not UTF-8 text");
    if (rc == CLI_DONE && (cli_flag(cli, "track-opens") || cli_flag(cli, "track-clicks")))
        (void)json_object_set_new(spec, "track",
                                  json_pack("{s:b, s:b}", "opens", cli_flag(cli, "track-opens") ? 1 : 0, "clicks",
                                            cli_flag(cli, "track-clicks") ? 1 : 0));
    if (rc == CLI_DONE && cli_flag(cli, "launch"))
        (void)json_object_set_new(spec, "launch", json_true());
    if (rc == CLI_DONE && cli_flag(cli, "force"))
        (void)json_object_set_new(spec, "force", json_true());
    return rc;
}

/* What was asked for, and hardly what was meant. */
static void warn_of_past(const json_t *spec)
{
    int64_t wall_ms;
    const char *when = json_string_value(json_object_get(spec, "schedule_at"));
    const char *missed = json_string_value(json_object_get(spec, "missed"));
    /* What was launched with this call was late by less than what counts as missed. */
    bool refused = missed != NULL && strcmp(missed, "expire") == 0 && !json_is_true(json_object_get(spec, "launch"));
    if (when != NULL && time_parse_rfc3339(when, &wall_ms) == 0 && wall_ms < clock_wall_ms())
        fprintf(stderr, "warning: schedule_at %s is over: a launch %s\n", when,
                refused ? "will be refused, because \"missed\" is \"expire\"" : "sends at once");
}

static int post(struct cli *cli, const json_t *spec)
{
    json_t *campaign;
    struct client *client = client_open(cli);
    if (client == NULL)
        return CLI_FAILED;
    int rc = client_call(client, "POST", "/v1/campaigns", spec, &campaign);
    if (rc != CLI_DONE && client_refused(client) && json_is_true(json_object_get(spec, "launch")))
        (void)out_fail("nothing was made, no draft either");
    client_close(client);
    if (rc != CLI_DONE)
        return rc;
    warn_of_past(spec);
    if (cli->json)
        return out_json(campaign);
    const char *name = json_string_value(json_object_get(campaign, "name"));
    const char *status = json_string_value(json_object_get(campaign, "status"));
    long long id = json_integer_value(json_object_get(campaign, "id"));
    out_line("campaign %lld \"%s\" was made; it is %s%s", id, name != NULL ? name : "",
             status != NULL && strcmp(status, "draft") == 0 ? "a " : "", status != NULL ? status : "?");
    if (status != NULL && strcmp(status, "draft") == 0)
        out_line("look at it: posthaste campaign preview %lld; send it: posthaste campaign launch %lld", id, id);
    else
        out_line("follow it: posthaste campaign watch %lld", id);
    json_decref(campaign);
    return CLI_DONE;
}

int cli_campaign_create(struct cli *cli)
{
    json_t *spec;
    if (cli->argument_count == 0 && cli->value_count == 0) {
        (void)out_fail("campaign create needs a JSON file, or options such as --name, --list, --from, --subject and "
                       "--html; see --help");
        return CLI_USAGE;
    }
    int rc = load_spec(cli, &spec);
    if (rc == CLI_DONE)
        rc = add_options(cli, spec);
    if (rc == CLI_DONE)
        rc = post(cli, spec);
    json_decref(spec);
    return rc;
}
