/*
 * bounce.c - `posthaste bounce …`: what a refusal means, and which rule says so; and the intake of reports that another
 * mail server received, on the database directly, with or without a running server.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "api/cli/output.h"
#include "api/http/json.h"
#include "api/views.h"
#include "base/str.h"
#include "campaign/campaign.h"

static bool read_stage(const char *name, enum outcome_stage *stage)
{
    *stage = STAGE_NONE;
    for (int i = STAGE_NONE; name != NULL && i < STAGE_COUNT; i++) {
        if (strcmp(outcome_stage_name((enum outcome_stage)i), name) == 0) {
            *stage = (enum outcome_stage)i;
            return true;
        }
    }
    return name == NULL;
}

int cli_bounce_classify(struct cli *cli)
{
    const char *mx = cli_value(cli, "mx"), *stage_name = cli_value(cli, "stage");
    struct error err = {""};
    struct bounce_rules *rules;
    struct bounce_line split;
    struct bounce_class found;
    struct bounce_reply reply = {.mx = mx != NULL ? mx : ""};
    if (!read_stage(stage_name, &reply.stage)) {
        (void)out_fail("--stage must be dns, connect, tls, greeting, ehlo, auth, mail, rcpt, data or content");
        return CLI_USAGE;
    }
    bounce_line_split(cli->arguments[0], &split);
    if (bounce_rules_load(cli_value(cli, "rules"), &rules, &err) != 0)
        return out_fail("%s", err.text);
    reply.code = split.code;
    reply.enhanced = split.enhanced;
    reply.text = split.text;
    bounce_classify(rules, &reply, &found);
    char rule[512] = "";
    if (found.line > 0)
        (void)snprintf(rule, sizeof(rule), "%s:%d", bounce_rules_file(rules), found.line);
    bounce_rules_free(rules);
    /* Reports and connections fail without a code, too, and rules know them. */
    if (found.line == 0 && split.code == 0 && split.enhanced[0] == '\0')
        return out_fail("\"%.80s\" is no reply of a server: it begins with no code, such as 550 or 5.1.1, and no rule "
                        "knows it", cli->arguments[0]);
    bool dead = bounce_is_dead(&found);
    if (cli->json)
        return out_json(json_pack("{s:s, s:s, s:b, s:i, s:s, s:o, s:o}", "kind", bounce_kind_name(found.kind), "reason",
                                  bounce_reason_name(found.reason), "suppresses", dead, "code", (int)split.code,
                                  "enhanced", split.enhanced, "text", json_line(split.text), "rule",
                                  rule[0] != '\0' ? json_line(rule) : json_null()));
    out_line("%s %s", bounce_kind_name(found.kind), bounce_reason_name(found.reason));
    out_line("  reply: code %u, enhanced code %s, text \"%s\"", (unsigned)split.code,
             split.enhanced[0] != '\0' ? split.enhanced : "-", split.text);
    out_line("  decided by: %s", rule[0] != '\0' ? rule : "no rule fits");
    out_line("  in the session, a permanent reply: bounced%s",
             dead ? ", and the address is suppressed" : "; the address stays");
    return CLI_DONE;
}

/* ---- ingest ---- */

#define MAIL_READ_BYTES ((size_t)16 << 20) /* all of an abuse report, for its signature */

/* One mail from a file or standard input. The rest of a larger one is read and dropped, or its writer would fail. */
static int ingest_stream(struct bounce_ingest *ingest, FILE *file, const char *name, struct error *err)
{
    struct buffer mail = BUFFER_INIT(MAIL_READ_BYTES + 65536);
    static const char empty[] = "";
    char chunk[16384];
    size_t got;
    while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0) {
        if (mail.len < MAIL_READ_BYTES)
            buffer_append(&mail, chunk, got);
    }
    int failed = ferror(file) != 0 ? error_errno(err, -EIO, "cannot read %s", name) : 0;
    if (!failed && mail.failed)
        failed = error_memory(err);
    if (!failed)
        failed = bounce_ingest_mail(ingest, mail.data != NULL ? mail.data : empty, mail.len, NULL, 0, err);
    buffer_finish(&mail);
    if (failed == BOUNCE_LATER) /* a pipe has no second try of its own: its mail system does, when we fail */
        failed = error_set(err, -EAGAIN, "the DNS does not answer who sent this report");
    return failed ? failed : bounce_ingest_flush(ingest, err);
}

static int ingest_path(struct cli *cli, struct bounce_ingest *ingest, struct error *err)
{
    const char *path = cli->argument_count > 0 ? cli->arguments[0] : "-", *move_to = cli_value(cli, "move-to");
    struct stat status;
    if (strcmp(path, "-") == 0)
        return ingest_stream(ingest, stdin, "standard input", err);
    if (stat(path, &status) != 0)
        return error_errno(err, -errno, "cannot read %s", path);
    if (S_ISDIR(status.st_mode))
        return bounce_ingest_maildir(ingest, path, move_to, err);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return error_errno(err, -errno, "cannot read %s", path);
    int failed = ingest_stream(ingest, file, path, err);
    (void)fclose(file);
    return failed;
}

static int print_summary(const struct cli *cli, const struct bounce_summary *sum)
{
    const struct {
        const char *label;
        int64_t value;
    } rows[] = {
        {"mails read", sum->mails},
        {"  delivery reports", sum->bounces},
        {"  complaints", sum->complaints},
        {"  other feedback", sum->feedback},
        {"  auto-replies", sum->auto_replies},
        {"  unsubscribes", sum->unsubscribes},
        {"  other mail", sum->other},
        {"without a token of ours: no action", sum->no_token},
        {"complaints whose source is not proven: no action", sum->untrusted},
        {"whose source cannot be looked up now: left where they are", sum->later},
        {"about deliveries that are not known: no action", sum->unknown},
        {"delays and the like: no action", sum->no_action},
        {"told before: no action", sum->repeated},
        {"hard bounces", sum->hard},
        {"soft bounces", sum->soft},
        {"blocks, content and other bounces", sum->other_bounces},
        {"deliveries that are bounced now", sum->bounced},
        {"complaints taken", sum->complained},
        {"unsubscribes taken", sum->unsubscribed},
        {"addresses suppressed", sum->suppressed},
        {"files left where they are: not readable, or their name is taken", sum->unreadable},
    };
    if (cli->json)
        return out_json(view_bounce_summary(sum));
    for (size_t i = 0; i < countof(rows); i++) {
        if (rows[i].value > 0 || i == 0)
            out_line("%8lld  %s", (long long)rows[i].value, rows[i].label);
    }
    return CLI_DONE;
}

/* What the option says in place of the configuration. */
static bool read_number(const struct cli *cli, const char *name, int64_t unit, int64_t *out)
{
    const char *text = cli_value(cli, name);
    uint64_t value = 0;
    if (text == NULL)
        return true;
    if (str_parse_u64(text, 3650, &value) != 0 || value == 0) {
        (void)out_fail("--%s must be a number from 1 to 3650", name);
        return false;
    }
    *out = (int64_t)value * unit;
    return true;
}

int cli_bounce_ingest(struct cli *cli)
{
    struct bounce_ingest *ingest;
    struct error err = {""};
    if (cli_open_config(cli) != CLI_DONE)
        return CLI_FAILED;
    struct config_bounces *config = &cli->config->bounces;
    const struct bounce_options options = {.rules = cli_value(cli, "rules"), .config = cli->config};
    int64_t soft = config->soft_bounces;
    if (!read_number(cli, "soft-limit", 1, &soft) ||
        !read_number(cli, "soft-days", INT64_C(86400000), &config->soft_window_ms))
        return CLI_USAGE;
    config->soft_bounces = (uint32_t)soft;
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    int rc = bounce_ingest_open(cli->storage, cli->reader, &options, &ingest, &err);
    if (rc != 0)
        return out_condition(rc, "bounces", &err);
    rc = ingest_path(cli, ingest, &err);
    int printed = rc == 0 ? print_summary(cli, bounce_ingest_summary(ingest)) : CLI_DONE;
    bounce_ingest_close(ingest);
    return rc != 0 ? out_condition(rc, "bounces", &err) : printed;
}
