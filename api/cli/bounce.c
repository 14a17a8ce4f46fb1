/*
 * bounce.c - `posthaste bounce …`: what a refusal means, and which rule says so.
 */
#include <stdio.h>
#include <string.h>

#include "api/cli/output.h"
#include "api/http/json.h"
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
    if (bounce_rules_load(cli_value(cli, "rules"), &rules, &err) != 0)
        return out_fail("%s", err.text);
    bounce_line_split(cli->arguments[0], &split);
    reply.code = split.code;
    reply.enhanced = split.enhanced;
    reply.text = split.text;
    bounce_classify(rules, &reply, &found);
    char rule[512] = "";
    if (found.line > 0)
        (void)snprintf(rule, sizeof(rule), "%s:%d", bounce_rules_file(rules), found.line);
    bounce_rules_free(rules);
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
