/*
 * campaign.h - what the campaign commands share; private to the CLI.
 */
#ifndef POSTHASTE_API_CLI_CAMPAIGN_H
#define POSTHASTE_API_CLI_CAMPAIGN_H

#include <jansson.h>

#include "api/cli/cli.h"
#include "api/cli/client.h"

/* The number in the first argument; CLI_DONE or CLI_USAGE. */
int campaign_id_of(const struct cli *cli, int64_t *id);
/* The table of states of GET /v1/campaigns/{id}/stats. */
void campaign_print_stats(const json_t *stats);
/* "News <news@example.com>", "\"News, daily\" <…>" or a bare address as {email, name}; NULL when it is not UTF-8. */
json_t *campaign_parse_sender(const char *text);

#endif
