/*
 * campaign_watch.c - `posthaste campaign watch`: asks the server once a second until the campaign has ended. On a
 * terminal a bar; else a line whenever something changed.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api/cli/campaign.h"
#include "api/cli/output.h"

#define STEP_MS 1000
#define UNREACHABLE_MAX 30 /* a server that is restarted comes back within this many steps */

static volatile sig_atomic_t ended; /* the signal */

static void on_signal(int number)
{
    ended = number;
}

static int64_t number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static void describe(const json_t *stats, char *out, size_t out_bytes)
{
    char delivered[OUT_NUMBER_BYTES];
    char audience[OUT_NUMBER_BYTES];
    char left[OUT_NUMBER_BYTES];
    const json_t *eta = json_object_get(stats, "eta_s");
    const char *status = json_string_value(json_object_get(stats, "status"));
    const char *limited_by = json_string_value(json_object_get(stats, "limited_by"));
    const char *reason = json_string_value(json_object_get(stats, "pause_reason"));
    (void)snprintf(out, out_bytes,
                   "%s: %s of %s delivered, %lld deferred, %lld bounced, %lld failed, %.0f/s, limited by %s%s%s%s%s",
                   status != NULL ? status : "?", out_number(number_of(stats, "delivered"), delivered),
                   out_number(number_of(stats, "audience"), audience), (long long)number_of(stats, "deferred"),
                   (long long)number_of(stats, "bounced"), (long long)number_of(stats, "failed"),
                   json_number_value(json_object_get(stats, "rate_now")), limited_by != NULL ? limited_by : "?",
                   json_is_integer(eta) ? ", left: " : "",
                   json_is_integer(eta) ? out_duration(json_integer_value(eta), left) : "", reason != NULL ? ": " : "",
                   reason != NULL ? reason : "");
}

static void show(struct cli *cli, struct progress *progress, const json_t *stats, char *last, size_t last_bytes)
{
    char line[512];
    describe(stats, line, sizeof(line));
    int64_t audience = number_of(stats, "audience");
    int64_t open = number_of(stats, "pending") + number_of(stats, "sending") + number_of(stats, "deferred");
    if (progress->shown) {
        progress_step(progress, audience - open, audience, line);
    } else if (cli->json) {
        char *text = json_dumps(stats, JSON_COMPACT);
        if (text != NULL && strcmp(line, last) != 0)
            puts(text);
        free(text);
    } else if (strcmp(line, last) != 0) {
        puts(line);
    }
    fflush(stdout);
    (void)snprintf(last, last_bytes, "%s", line);
}

static bool has_ended(const json_t *stats)
{
    const char *status = json_string_value(json_object_get(stats, "status"));
    return status == NULL || strcmp(status, "finished") == 0 || strcmp(status, "cancelled") == 0 ||
           strcmp(status, "draft") == 0;
}

static int finish(struct cli *cli, const json_t *stats)
{
    const char *status = json_string_value(json_object_get(stats, "status"));
    if (status != NULL && strcmp(status, "draft") == 0)
        return out_fail("campaign %s is a draft; start it with: posthaste campaign launch %s", cli->arguments[0],
                        cli->arguments[0]);
    if (!cli->json)
        campaign_print_stats(stats);
    return status != NULL && strcmp(status, "finished") == 0 ? CLI_DONE : CLI_FAILED;
}

static int follow(struct cli *cli, struct client *client, const char *path)
{
    const struct sigaction action = {.sa_handler = on_signal};
    const struct timespec step = {.tv_sec = STEP_MS / 1000, .tv_nsec = STEP_MS % 1000 * 1000000L};
    struct progress progress;
    char last[512] = "";
    int missed = 0;
    progress_begin(&progress);
    if (progress.shown) {
        (void)sigaction(SIGINT, &action, NULL); /* the bar is taken away before the shell's prompt comes */
        (void)sigaction(SIGTERM, &action, NULL);
    }
    if (cli->json)
        progress.shown = false;
    while (true) {
        json_t *stats = NULL;
        client_hush(client, last[0] != '\0'); /* a server that is restarted is told of in the bar */
        int rc = client_get(client, path, &stats);
        if (rc == CLI_DONE) {
            missed = 0;
            show(cli, &progress, stats, last, sizeof(last));
            if (has_ended(stats)) {
                progress_end(&progress);
                rc = finish(cli, stats);
                json_decref(stats);
                return rc;
            }
            json_decref(stats);
        } else if (last[0] == '\0' || !client_unreachable(client) || ++missed > UNREACHABLE_MAX) {
            progress_end(&progress);
            return last[0] != '\0' ? out_fail("%s", client_problem(client)) : rc;
        } else if (progress.shown) {
            progress_step(&progress, 0, 0, "the server does not answer; trying again");
        } else if (missed == 1) {
            fputs("the server does not answer; trying again\n", stderr);
        }
        (void)nanosleep(&step, NULL);
        if (ended != 0) {
            progress_end(&progress);
            fprintf(stderr, "campaign %s goes on without being watched\n", cli->arguments[0]);
            (void)signal(ended, SIG_DFL);
            (void)raise(ended);
        }
    }
}

int cli_campaign_watch(struct cli *cli)
{
    char path[64];
    int64_t id;
    int rc = campaign_id_of(cli, &id);
    if (rc != CLI_DONE)
        return rc;
    struct client *client = client_open(cli);
    if (client == NULL)
        return CLI_FAILED;
    (void)snprintf(path, sizeof(path), "/v1/campaigns/%lld/stats", (long long)id);
    rc = follow(cli, client, path);
    client_close(client);
    return rc;
}
