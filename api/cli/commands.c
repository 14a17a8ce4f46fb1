/*
 * commands.c - the table of commands. Order is the order of the help.
 */
#include "api/cli/cli.h"

#define END                                                                                                            \
    {                                                                                                                  \
        NULL, 0, NULL, false, NULL                                                                                     \
    }

static const struct cli_option IMPORT_OPTIONS[] = {
    {"list", 'l', "NAME", false, "the list to put the recipients on; made when it is not there yet"},
    {"update", 0, NULL, false, "known recipients: merge the file's attributes over theirs (the default)"},
    {"skip", 0, NULL, false, "known recipients: leave their attributes as they are"},
    {"reject-file", 0, "FILE", false, "write rows that were not taken to this CSV file, with line number and reason"},
    {"format", 0, "FORMAT", false, "csv or jsonl; else told from the file's name (standard input: csv)"},
    END,
};
static const struct cli_option LIST_CREATE_OPTIONS[] = {{"description", 0, "TEXT", false, "what the list is for"}, END};
static const struct cli_option CAMPAIGN_CREATE_OPTIONS[] = {
    {"name", 'n', "NAME", false, "name of the campaign"},
    {"list", 'l', "NAME", true, "list to send to (name or number); may be given several times"},
    {"exclude", 0, "NAME", true, "list whose members are left out; may be given several times"},
    {"segment", 0, "JSON", false, "only members for whom this filter holds; @FILE reads it from a file"},
    {"from", 'f', "ADDRESS", false, "sender, \"News <news@example.com>\""},
    {"reply-to", 0, "ADDRESS", false, "where answers go"},
    {"subject", 's', "TEXT", false, "subject; {{attribute}} is filled in for each recipient"},
    {"html", 0, "FILE", false, "HTML part"},
    {"text", 0, "FILE", false, "text part; made from the HTML part when missing"},
    {"track-opens", 0, NULL, false, "put in an image of one point that tells when a mail is opened"},
    {"track-clicks", 0, NULL, false, "lead http(s) links over this server, to count who follows them"},
    {"schedule-at", 0, "TIME", false, "start then, like 2026-12-01T08:00:00Z"},
    {"launch", 0, NULL, false, "launch it at once"},
    {"force", 0, NULL, false, "with --launch: although the check of the From domain has errors"},
    END,
};
static const struct cli_option DB_CHECK_OPTIONS[] = {
    {"quick", 0, NULL, false, "do not compare indexes with their tables"}, END};
static const struct cli_option CAMPAIGN_LAUNCH_OPTIONS[] = {
    {"force", 0, NULL, false, "although the check of the From domain has errors; noted in the audit log"}, END};
static const struct cli_option CAMPAIGN_LIST_OPTIONS[] = {
    {"status", 0, "STATUS", false, "only campaigns in this state, or in several with commas"},
    {"limit", 0, "N", false, "how many at most (default 50)"},
    END,
};
static const struct cli_option WEBHOOK_OPTIONS[] = {
    {"event", 'e', "NAME", true, "an event, a group like campaign.*, or * (default); may be given several times"},
    {"batch", 0, "N", false, "events in one request at the most, 1 to 1000 (default 100)"},
    {"description", 0, "TEXT", false, "what it is for"},
    END,
};
static const struct cli_option PREVIEW_OPTIONS[] = {
    {"recipient", 0, "EMAIL", false, "as it would go to this recipient (default: one of the list)"},
    {"html", 0, NULL, false, "print the HTML part only"},
    {"text", 0, NULL, false, "print the text part only"},
    END,
};
static const struct cli_option CAMPAIGN_TEST_OPTIONS[] = {
    {"to", 0, "EMAIL", true, "send it here; up to ten times"},
    {"recipient", 0, "EMAIL", false, "as it would go to this recipient (default: one of the list)"},
    {"subject-prefix", 0, "TEXT", false, "put this in front of the subject"},
    {"variant", 0, "N", false, "this variant of an A/B test, from 0"},
    END,
};
static const struct cli_option LINK_KEY_RETIRE_OPTIONS[] = {
    {"force", 0, NULL, false, "at once, although links that it made may still be followed: when it may be known to others"}, END};
static const struct cli_option DOMAIN_OPTIONS[] = {{"selector", 0, "NAME", false, "DKIM selector (default ph1)"}, END};
#define SUPPRESS_SCOPE_OPTIONS                                                                                         \
    {"list", 0, "NAME", false, "only for campaigns to this list (name or number); default: for all"}
#define SUPPRESS_NEW_OPTIONS                                                                                           \
    {"reason", 0, "REASON", false, "manual (default), unsubscribe, complaint, hard-bounce, soft-bounce or invalid"},   \
        {"expires", 0, "TIME", false, "until then, like 2026-12-01T08:00:00Z, or for so long, like 30d (default: for ever)"}, \
        SUPPRESS_SCOPE_OPTIONS
static const struct cli_option SUPPRESS_ADD_OPTIONS[] = {SUPPRESS_NEW_OPTIONS, END};
static const struct cli_option SUPPRESS_REMOVE_OPTIONS[] = {SUPPRESS_SCOPE_OPTIONS, END};
static const struct cli_option SUPPRESS_IMPORT_OPTIONS[] = {
    SUPPRESS_NEW_OPTIONS,
    {"hash", 0, NULL, false, "keep only the SHA-256 of each address"},
    {"raw", 0, NULL, false, "the file is of export --raw: an apostrophe in front of a cell belongs to it"},
    END,
};
static const struct cli_option SUPPRESS_LIST_OPTIONS[] = {{"limit", 0, "N", false, "how many at most (default 100)"},
                                                          END};
static const struct cli_option SUPPRESS_EXPORT_OPTIONS[] = {
    {"raw", 0, NULL, false, "write cells as they are, also those that a spreadsheet would run as a formula"}, END};
static const struct cli_option BOUNCE_CLASSIFY_OPTIONS[] = {
    {"mx", 0, "HOST", false, "the server that said so, for the rules about single providers"},
    {"stage", 0, "STAGE", false, "when it was said: connect, greeting, mail, rcpt, data, content"},
    {"rules", 0, "FILE", false, "rules to use in place of the ones in effect"},
    END,
};
static const struct cli_option BOUNCE_INGEST_OPTIONS[] = {
    {"move-to", 0, "MAILDIR", false, "move what was dealt with there (default: it stays, marked as seen)"},
    {"soft-limit", 0, "N", false, "so many soft bounces, of different campaigns, suppress an address (default: soft_bounces)"},
    {"soft-days", 0, "N", false, "... within so many days (default: soft_window)"},
    {"rules", 0, "FILE", false, "rules to use in place of the ones in effect"},
    END,
};
static const struct cli_option TOKEN_OPTIONS[] = {{"name", 'n', "NAME", false, "what the token is for"},
                                                  {"scope", 's', "SCOPE", false, "read, send (default) or admin"},
                                                  END};
static const struct cli_option TOP_OPTIONS[] = {
    {"once", 0, NULL, false, "print one picture and end"},
    {"lines", 'n', "N", false, "how many sites to show (default: what fits)"},
    END,
};
static const struct cli_option SUSPEND_OPTIONS[] = {
    {"scope", 's', "SCOPE", false, "site (default), source, domain, campaign or sending_domain"},
    {"reason", 'r', "TEXT", false, "why, for whoever asks"},
    {"for", 'f', "TIME", false, "30min, 2h, 3d (default: until it is resumed)"},
    END,
};
static const struct cli_option RESUME_OPTIONS[] = {
    {"scope", 's', "SCOPE", false, "NAME is the name of one: site, source, domain, campaign or sending_domain"}, END};
static const struct cli_option HELP_OPTIONS[] = {{"mdoc", 0, NULL, false, "print the manual page's source"}, END};

static const struct cli_command COMMANDS[] = {
    {"serve", "", 0, 0, "run the server: sending, HTTP API and dashboard",
     "Runs in the foreground until SIGTERM or Ctrl-C, finishes what is in the air, records it and ends; a second "
     "signal ends it at once. SIGHUP reads the configuration and the rules files again, without closing a connection; "
     "the log says what changed, and what takes effect at the next start only. With an error in any of them all stays as "
     "it was.",
     NULL, cli_serve},
    {"import", "FILE.csv|FILE.jsonl|-", 1, 1, "put recipients from a file on a list",
     "CSV needs a header row with a column `email`; every other column becomes an attribute. JSONL has one object a "
     "line. Nobody who\n"
     "unsubscribed is subscribed again. Ends with 1 when no row could be taken, or a stray quote took in the "
     "rows behind it;\nwhat could be taken is stored then, too.",
     IMPORT_OPTIONS, cli_import},
    {"list", "", 0, 0, "show all lists", NULL, NULL, cli_list_list},
    {"list create", "NAME", 1, 1, "make an empty list", NULL, LIST_CREATE_OPTIONS, cli_list_create},
    {"list show", "NAME", 1, 1, "show one list (name or number)", NULL, NULL, cli_list_show},
    {"list delete", "NAME", 1, 1, "delete a list and the suppressions for it alone; its recipients stay known",
     NULL, NULL, cli_list_delete},
    {"recipient show", "EMAIL", 1, 1, "show a recipient: attributes, lists, every delivery and attempt", NULL, NULL,
     cli_recipient_show},
    {"campaign create", "[FILE.json|-]", 0, 1, "make a campaign from options, from JSON, or from both",
     "The file is what POST /v1/campaigns takes; options win over its fields.", CAMPAIGN_CREATE_OPTIONS,
     cli_campaign_create},
    {"campaign launch", "ID", 1, 1, "start sending (or schedule, when it has a time)",
     "Refused when the check of the From domain (posthaste domain check) has errors and `preflight` is \"enforce\".",
     CAMPAIGN_LAUNCH_OPTIONS, cli_campaign_launch},
    {"campaign pause", "ID", 1, 1, "stop sending for now", NULL, NULL, cli_campaign_pause},
    {"campaign resume", "ID", 1, 1, "go on sending", NULL, NULL, cli_campaign_resume},
    {"campaign cancel", "ID", 1, 1, "stop for good; what is pending is never sent", NULL, NULL, cli_campaign_cancel},
    {"campaign list", "", 0, 0, "show campaigns, newest first", NULL, CAMPAIGN_LIST_OPTIONS, cli_campaign_list},
    {"campaign show", "ID", 1, 1, "show a campaign with its content", NULL, NULL, cli_campaign_show},
    {"campaign winner", "ID VARIANT", 2, 2, "choose which variant of an A/B test the rest gets, from 0", NULL, NULL,
     cli_campaign_winner},
    {"campaign stats", "ID", 1, 1, "show what became of its deliveries", NULL, NULL, cli_campaign_stats},
    {"campaign watch", "ID", 1, 1, "follow a campaign until it ends",
     "Ends with 0 when the campaign finished, with 1 when it was cancelled.", NULL, cli_campaign_watch},
    {"campaign preview", "ID", 1, 1, "print the whole message as one recipient would get it", NULL, PREVIEW_OPTIONS,
     cli_campaign_preview},
    {"campaign test", "ID", 1, 1, "send a campaign to a few addresses of your own, without counting them",
     "The same content, signature, servers and limits as the campaign, draft or not; no delivery is recorded, and the links act on nobody. Prints what "
     "each server said; ends with 0 when all were delivered.",
     CAMPAIGN_TEST_OPTIONS, cli_campaign_test},
    {"campaign links", "ID", 1, 1, "show the tracked links of a campaign and how often they were followed", NULL, NULL,
     cli_campaign_links},
    {"snippet set", "NAME FILE|-", 2, 2, "store a partial of templates, shown by {{>NAME}}",
     "A new one, or a new text for one that is there. Campaigns that were launched keep the text that they were launched "
     "with.",
     NULL, cli_snippet_set},
    {"snippet show", "NAME", 1, 1, "print a stored partial", NULL, NULL, cli_snippet_show},
    {"snippet list", "", 0, 0, "show all stored partials", NULL, NULL, cli_snippet_list},
    {"snippet delete", "NAME", 1, 1, "delete a stored partial", NULL, NULL, cli_snippet_delete},
    {"domain add", "DOMAIN", 1, 1, "make DKIM keys (RSA and Ed25519) for a sending domain and print the DNS records to publish",
     NULL, DOMAIN_OPTIONS, cli_domain_add},
    {"domain show", "DOMAIN", 1, 1, "print the DNS records of a sending domain and the lives of its keys", NULL, NULL,
     cli_domain_show},
    {"domain check", "DOMAIN", 1, 1, "look up what receivers will look up, and tell what is missing",
     "SPF for every source, the published DKIM key, DMARC, names and addresses, MX, and the host of the links. Ends with 1 "
     "when there are errors.",
     NULL, cli_domain_check},
    {"domain rotate", "DOMAIN", 1, 1, "take the next step of replacing the DKIM keys of a sending domain",
     "First it makes new keys and prints their records. Run again, it looks the records up; when they are in DNS, the new "
     "keys sign\n"
     "from then on (exit 1: they are not yet). The old records must stay for 15 days: run again after that, it retires the "
     "old keys.",
     NULL, cli_domain_rotate},
    {"domain list", "", 0, 0, "show all sending domains", NULL, NULL, cli_domain_list},
    {"suppress add", "EMAIL...", 1, CLI_ARGUMENTS_MAX, "never mail these addresses", NULL, SUPPRESS_ADD_OPTIONS,
     cli_suppress_add},
    {"suppress remove", "EMAIL", 1, 1, "allow an address again",
     "What counted against it before is forgotten. Who had unsubscribed beforehand stays so until that is removed as well.",
     SUPPRESS_REMOVE_OPTIONS, cli_suppress_remove},
    {"suppress list", "", 0, 0, "show suppressed addresses", NULL, SUPPRESS_LIST_OPTIONS, cli_suppress_list},
    {"suppress import", "FILE.csv|-", 1, 1, "suppress every address of a file",
     "One address a line, or CSV whose first column is the address and whose second, if any, is the reason (one that is "
     "not known here\ncounts as --reason, and is told); a header row is recognised, and may name reason, origin, "
     "expires_at and list, as export writes them.\nIn place of an address may stand its SHA-256 in 64 hex digits (of the "
     "normal form in lower case), for lists that may not be shared in clear.\n"
     "Ends with 1 when no row could be taken.",
     SUPPRESS_IMPORT_OPTIONS, cli_suppress_import},
    {"suppress export", "[FILE.csv]", 0, 1, "write all suppressed addresses as CSV (default: to standard output)", NULL,
     SUPPRESS_EXPORT_OPTIONS, cli_suppress_export},
    {"bounce ingest", "[MAILDIR|FILE|-]", 0, 1, "take in delivery reports, complaints and unsubscribes by mail",
     "Reads one mail from standard input or a file, or all unseen mails of a Maildir, which are then marked as seen, "
     "never deleted.\n"
     "A report acts only when it carries a token of ours, in its recipient or in the mail that it returns: hard bounces "
     "and complaints suppress\n"
     "the address, soft ones are counted, blocks never touch it. The same report twice counts once.",
     BOUNCE_INGEST_OPTIONS, cli_bounce_ingest},
    {"bounce classify", "REPLY", 1, 1, "tell what a server's refusal means, and which rule says so",
     "REPLY is one argument, as the server said it: \"550 5.1.1 no such user\". The rules are those of "
     "/etc/posthaste/bounce-rules.conf,\n"
     "else the installed ones. Ends with 1 when REPLY begins with no code and no rule knows it.",
     BOUNCE_CLASSIFY_OPTIONS, cli_bounce_classify},
    {"link-key list", "", 0, 0, "show the keys that make and prove links, return paths and Message-IDs", NULL, NULL, cli_link_key_list},
    {"link-key rotate", "", 0, 0, "make a new key for what is launched from now on",
     "A campaign keeps the key that it was launched with; the links of the keys before go on working.", NULL, cli_link_key_rotate},
    {"link-key retire", "ID", 1, 1, "make an old key, and every link that it made, worthless",
     "Refused while a campaign with it is not over, and for the time of keep_links behind that.", LINK_KEY_RETIRE_OPTIONS, cli_link_key_retire},
    {"token create", "", 0, 0, "make an API token; it is shown this once", NULL, TOKEN_OPTIONS, cli_token_create},
    {"token list", "", 0, 0, "show all tokens (never their text)", NULL, NULL, cli_token_list},
    {"token revoke", "ID", 1, 1, "make a token worthless", NULL, NULL, cli_token_revoke},
    {"webhook add", "URL", 1, 1, "have events sent to an address; prints the secret of its signatures", NULL,
     WEBHOOK_OPTIONS, cli_webhook_add},
    {"webhook list", "", 0, 0, "show all webhooks", NULL, NULL, cli_webhook_list},
    {"webhook show", "ID", 1, 1, "show one: how far it is, and what is wrong with it", NULL, NULL, cli_webhook_show},
    {"webhook enable", "ID", 1, 1, "try it again, now", NULL, NULL, cli_webhook_enable},
    {"webhook disable", "ID", 1, 1, "send it nothing; what happens meanwhile is not kept for it", NULL, NULL,
     cli_webhook_disable},
    {"webhook rotate", "ID", 1, 1, "make a new secret; the old one signs beside it for a day", NULL, NULL,
     cli_webhook_rotate},
    {"webhook replay", "ID TIME", 2, 2, "send everything again from a time on",
     "TIME is like 2026-11-26T08:00:00Z, or a span of time back from now, like 2h.", NULL, cli_webhook_replay},
    {"webhook remove", "ID", 1, 1, "delete a webhook", NULL, NULL, cli_webhook_remove},
    {"status", "", 0, 0, "show how the server is doing", NULL, NULL, cli_status},
    {"top", "", 0, 0, "watch campaigns and sites live", NULL, TOP_OPTIONS, cli_top},
    {"site show", "[DOMAIN]", 0, 1, "show destinations: queue, connections, rate, and what limits them", NULL, NULL,
     cli_site_show},
    {"site explain", "NAME", 1, 1, "tell in sentences what limits a destination right now",
     "NAME is a site's name or a recipient domain that it serves.", NULL, cli_site_explain},
    {"db check", "", 0, 0, "read the whole database and tell whether it is sound",
     "May run beside a server. Exit status 1 when something was found.", DB_CHECK_OPTIONS, cli_db_check},
    {"db backup", "FILE", 1, 1, "copy the database as it is at this moment into a new file",
     "May run beside a server, which goes on sending. The file appears when it is whole and on the disk. A server that "
     "is started on it takes what was in flight\nfor uncertain. DKIM keys lie beside the database, in data_dir/dkim: "
     "back them up, too.",
     NULL, cli_db_backup},
    {"db vacuum", "", 0, 0, "give free pages of the database back to the disk",
     "Not while a server runs. Needs the size of the database once more on the disk.", NULL, cli_db_vacuum},
    {"site suspend", "NAME", 1, 1, "send nothing to a destination for now",
     "NAME is a site or a recipient domain that it serves, which alone is held while no mail for it waits; with --scope a source, a "
     "recipient domain, the number of a campaign or a sending domain.\n"
     "What waits goes on waiting; it holds over restarts until its time is over or `site resume`.",
     SUSPEND_OPTIONS, cli_site_suspend},
    {"site resume", "NAME|ID", 1, 1, "take back what was suspended under a name, or one suspension by its number",
     "Refused when the number of one suspension is the name of another, such as a campaign: with --scope it is a name only.",
     RESUME_OPTIONS, cli_site_resume},
    {"site suspensions", "", 0, 0, "show what is suspended or limited for a time: by hand and by automation rules", NULL, NULL,
     cli_site_suspensions},
    {"source show", "[NAME]", 0, 1, "show the local addresses: connections, suspensions, and the day of their warm-up", NULL, NULL,
     cli_source_show},
    {"config check", "", 0, 0, "read the configuration and tell what is wrong with it", NULL, NULL, cli_config_check},
    {"config show", "", 0, 0, "print the configuration in effect, defaults included", NULL, NULL, cli_config_show},
    {"completion bash", "", 0, 0, "print the completion script for bash",
     "The build installs it. To try it: source <(posthaste completion bash)", NULL, cli_completion_bash},
    {"completion zsh", "", 0, 0, "print the completion script for zsh",
     "The build installs it. To try it: source <(posthaste completion zsh)", NULL, cli_completion_zsh},
    {"completion words", "[WORD...]", 0, CLI_ARGUMENTS_MAX, "print what may stand in place of the last word, for these scripts",
     "WORD are those behind `posthaste` as typed so far, behind a \"--\".", NULL, cli_completion_words},
    {"version", "", 0, 0, "print the version", NULL, NULL, cli_version},
    {"help", "[COMMAND]", 0, 2, "print this help, or a command's", NULL, HELP_OPTIONS, cli_help},
};

const struct cli_command *cli_commands(size_t *count)
{
    *count = countof(COMMANDS);
    return COMMANDS;
}
