/*
 * status.h - the parts of the picture that `status` prints once and `top` draws again and again.
 */
#ifndef POSTHASTE_API_CLI_STATUS_H
#define POSTHASTE_API_CLI_STATUS_H

#include "api/cli/output.h"

/* `stats` is what GET /v1/stats answers, `sites` the data of GET /v1/stats/sites. `width` in cells, 0 = not cut. */
void status_print_summary(FILE *file, const json_t *stats, const char *url);
void status_print_campaigns(FILE *file, const json_t *stats, size_t most, int width);
void status_print_sites(FILE *file, const json_t *sites, size_t most, int width);

#endif
