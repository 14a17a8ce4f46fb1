/*
 * serve.c - `posthaste serve`: the one place that wires the rooms, and takes them apart again in the opposite order.
 *
 * The order matters. The port is bound first (the commonest reason not to start), then the database is locked, then the
 * mailer recovers what a crash left and begins to send, then requests are taken. At the end requests stop first, so
 * that no handler can meet a mailer that is gone.
 *
 * Signals: SIGTERM, SIGINT and SIGHUP are blocked in every thread and waited for here. The first SIGTERM or SIGINT ends the
 * server in order (exit 0), a second one at once: the database and the flight journal are made for that. SIGHUP reads the
 * configuration again (reload.c); once the server ends it does nothing any more.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/app.h"
#include "api/cli/output.h"
#include "api/cli/reload.h"
#include "api/events/hub.h"
#include "api/http/server.h"
#include "api/imports.h"
#include "api/local_state.h"
#include "api/readers.h"
#include "api/routes/routes.h"
#include "base/clock.h"
#include "base/log.h"

struct server {
    struct app app;
    struct http_server *http;
    char url[HTTP_URL_BYTES];
    int listen_fd; /* -1 once the HTTP server has it */
};

static void end_at_once(int signal_number)
{
    static const char text[] = "posthaste: ended at once\n";
    (void)signal_number;
    /* Nothing can be done about a terminal that is gone. */
    if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
        _exit(CLI_FAILED);
    _exit(CLI_FAILED);
}

static void block_signals(sigset_t *signals)
{
    (void)sigemptyset(signals);
    (void)sigaddset(signals, SIGTERM);
    (void)sigaddset(signals, SIGINT);
    (void)sigaddset(signals, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, signals, NULL);
}

static void wait_for_end(struct server *server, const sigset_t *signals)
{
    int number = 0;
    while (sigwait(signals, &number) != 0 || number == SIGHUP) {
        if (number == SIGHUP)
            reload(&server->app, server->http, server->url);
    }
    log_info("serve", "stopping signal=%s", number == SIGINT ? "INT" : "TERM");
    struct sigaction action = {.sa_handler = end_at_once};
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    sigset_t ends;
    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGTERM);
    (void)sigaddset(&ends, SIGINT);
    (void)pthread_sigmask(SIG_UNBLOCK, &ends, NULL);
}

static int open_database(struct server *server, const struct config *config, struct error *err)
{
    struct storage_options options = {.data_dir = config->data_dir, .server = true};
    int rc = storage_open(&options, &server->app.storage, err);
    if (rc == -EBUSY && err->text[0] == '\0')
        return error_set(err, rc, "another server is running on %s", config->data_dir);
    return rc;
}

static int start(struct server *server, struct config *config, struct error *err)
{
    struct app *app = &server->app;
    int rc = http_listen(config, &server->listen_fd, server->url, err);
    /* Who holds the port is most likely the server of the same data; then that is the cause to tell. */
    if (rc == -EADDRINUSE && storage_server_running(config->data_dir) == 1)
        return error_set(err, -EBUSY, "another server runs on %s (it holds serve.lock there)", config->data_dir);
    if (rc == 0)
        rc = reload_complete(config, server->url, err);
    if (rc == 0)
        rc = open_database(server, config, err);
    if (rc == 0)
        rc = storage_idempotency_open(app->storage, err);
    if (rc == 0)
        rc = readers_create(app->storage, &app->readers, err);
    if (rc == 0)
        rc = import_jobs_start(app->storage, config->data_dir, &app->imports, err);
    if (rc == 0)
        rc = mailer_start(app->live, app->storage, &app->mailer, err);
    if (rc == 0 && config->bounces.listen_host[0] != '\0')
        rc = intake_start(app->live, app->storage, &app->intake, err);
    if (rc == 0)
        rc = hub_start(app, &app->hub, err);
    if (rc == 0)
        rc = local_state_write(config->data_dir, server->url, app->local_token_sha256, err);
    if (rc != 0)
        return rc;
    size_t count;
    const struct route *routes = routes_all(&count);
    int fd = server->listen_fd;
    server->listen_fd = -1;
    return http_server_start(app, fd, routes, count, &server->http, err);
}

static void stop(struct server *server, const struct config *config)
{
    struct app *app = &server->app;
    atomic_store(&app->stopping, true);
    hub_end_streams(app->hub);
    http_server_stop(server->http);
    if (server->listen_fd >= 0)
        (void)close(server->listen_fd);
    intake_stop(app->intake);
    hub_stop(app->hub);
    if (app->mailer != NULL)
        mailer_stop(app->mailer);
    import_jobs_stop(app->imports);
    readers_free(app->readers);
    /* Only while the lock is ours are the files ours. */
    if (app->storage != NULL)
        local_state_remove(config->data_dir);
    storage_close(app->storage);
}

int cli_serve(struct cli *cli)
{
    struct error err = {""};
    sigset_t signals;
    if (cli_open_config(cli) != CLI_DONE)
        return CLI_FAILED;
    struct config *config = cli->config;
    log_set_level(config->log_level);
    block_signals(&signals);
    struct server server = {.listen_fd = -1};
    struct config_live live;
    config_live_init(&live, config_hold(config));
    server.app.config = config;
    server.app.live = &live;
    assure(pthread_mutex_init(&server.app.edits, NULL) == 0);
    server.app.started_mono_ms = clock_monotonic_ms();
    server.app.started_wall_ms = clock_wall_ms();
    int rc = start(&server, config, &err);
    if (rc == 0) {
        log_info("serve", "posthaste listening on %s", server.url);
        if (server.app.intake != NULL)
            log_info("serve", "reports are taken at %s port %u", config->bounces.listen_host,
                     (unsigned)intake_port(server.app.intake));
        wait_for_end(&server, &signals);
    }
    stop(&server, config);
    (void)pthread_mutex_destroy(&server.app.edits);
    config_live_finish(&live);
    if (rc != 0)
        return out_fail("%s", err.text[0] != '\0' ? err.text : strerror(rc < 0 ? -rc : EIO));
    log_info("serve", "stopped");
    return CLI_DONE;
}
