/*
 * server_stats.c - gathers what there is to say about the server: its campaigns, its engine, its disk, its own size,
 * and what an operator should look at (alerts).
 *
 * Whatever cannot be found out in time is left at zero: the page that shows this must not go blank because one thread
 * is busy.
 */
#include "api/server_stats.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "api/events/hub.h"
#include "api/http/json.h"
#include "api/sites.h"
#include "api/views.h"
#include "base/clock.h"

#define CAMPAIGNS_SHOWN 20
#define DISK_LOW_BYTES (INT64_C(1) << 30)
#define DISK_LOW_SHARE 20 /* a twentieth of the whole */
#define WAL_LARGE_BYTES (INT64_C(1) << 30)
#define HOOKS_BEHIND_LONG 100000

/* ---- campaigns ---- */

struct campaign_rows {
    json_t *array;
    struct mailer *mailer;
};

static int append_campaign(void *context, const struct storage_campaign *campaign)
{
    struct campaign_rows *rows = context;
    (void)json_array_append_new(rows->array, view_campaign(campaign, rows->mailer));
    return 0;
}

/* What is under way comes first, whatever its age; then the newest of the rest. */
static int add_campaigns(struct app *app, struct storage_reader *reader, json_t *object, struct error *err)
{
    const unsigned active = 1u << CAMPAIGN_RUNNING | 1u << CAMPAIGN_PAUSED | 1u << CAMPAIGN_SCHEDULED;
    const unsigned rest = 1u << CAMPAIGN_DRAFT | 1u << CAMPAIGN_FINISHED | 1u << CAMPAIGN_CANCELLED;
    struct campaign_rows rows = {json_array(), app->mailer};
    int64_t active_count = 0;
    int64_t rest_count = 0;
    (void)json_object_set_new(object, "campaigns", rows.array);
    int rc = storage_campaign_page(reader, 0, CAMPAIGNS_SHOWN, active, append_campaign, &rows, &active_count, err);
    int room = CAMPAIGNS_SHOWN - (int)json_array_size(rows.array);
    if (rc >= 0)
        rc = storage_campaign_page(reader, 0, MAX_OF(room, 1), rest, append_campaign, &rows, &rest_count, err);
    (void)json_object_set_new(object, "campaigns_active", json_integer(active_count));
    (void)json_object_set_new(object, "campaigns_total", json_integer(active_count + rest_count));
    return MIN_OF(rc, 0);
}

/* ---- the parts ---- */

static json_t *engine_json(struct app *app, const struct mailer_status *status)
{
    struct engine_totals totals = {0};
    if (sites_totals(mailer_engine(app->mailer), &totals) != 0)
        totals = (struct engine_totals){0};
    return json_pack("{s:f, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "rate_now", status->rate_now, "jobs",
                     (json_int_t)status->jobs, "held_by", json_line(status->held_by), "sites", (json_int_t)totals.sites,
                     "connections", (json_int_t)totals.connections, "queued", (json_int_t)totals.queued, "in_flight",
                     (json_int_t)totals.in_flight, "delivered", (json_int_t)totals.delivered, "temporary",
                     (json_int_t)totals.temporary, "permanent", (json_int_t)totals.permanent, "transport",
                     (json_int_t)totals.transport);
}

struct disk {
    bool healthy;
    struct error why;
    int64_t database_bytes, wal_bytes, free_bytes, total_bytes;
    struct storage_commits commits;
};

static void look_at_disk(struct app *app, struct disk *disk)
{
    struct statvfs volume;
    *disk = (struct disk){.why = {""}};
    disk->healthy = storage_healthy(app->storage, &disk->why);
    (void)storage_sizes(app->storage, &disk->database_bytes, &disk->wal_bytes);
    storage_commits(app->storage, &disk->commits);
    if (statvfs(app->config->data_dir, &volume) == 0) {
        disk->free_bytes = (int64_t)(volume.f_bavail * volume.f_frsize);
        disk->total_bytes = (int64_t)(volume.f_blocks * volume.f_frsize);
    }
}

static json_t *disk_json(const struct disk *disk)
{
    return json_pack("{s:b, s:o, s:I, s:I, s:I, s:I, s:f}", "healthy", disk->healthy ? 1 : 0, "why",
                     json_line(disk->healthy ? "" : disk->why.text), "database_bytes", (json_int_t)disk->database_bytes,
                     "wal_bytes", (json_int_t)disk->wal_bytes, "free_bytes", (json_int_t)disk->free_bytes,
                     "total_bytes", (json_int_t)disk->total_bytes, "commit_max_ms",
                     (double)disk->commits.max_us / 1000.0);
}

/* Resident memory in bytes; 0 = unknown. */
static int64_t resident_bytes(void)
{
    long pages = 0;
    long resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%ld %ld", &pages, &resident) != 2)
        resident = 0;
    (void)fclose(file);
    return (int64_t)resident * sysconf(_SC_PAGESIZE);
}

static json_t *process_json(void)
{
    struct rusage used = {0};
    (void)getrusage(RUSAGE_SELF, &used);
    double cpu_s = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                   (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    return json_pack("{s:I, s:f}", "rss_bytes", (json_int_t)resident_bytes(), "cpu_s", cpu_s);
}

/* What the listener for reports has taken since the start; null without one. */
static json_t *bounces_json(struct app *app)
{
    struct intake_stats stats;
    if (app->intake == NULL)
        return json_null();
    intake_stats(app->intake, &stats);
    json_t *object = view_bounce_summary(&stats.summary);
    (void)json_object_set_new(object, "connections", json_integer((json_int_t)stats.connections));
    (void)json_object_set_new(object, "refused_connections", json_integer((json_int_t)stats.refused_connections));
    (void)json_object_set_new(object, "open_connections", json_integer((json_int_t)stats.open_connections));
    return object;
}

static json_t *events_json(const struct hub_view *view)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "webhooks", (json_int_t)view->hooks.enabled, "failing",
                     (json_int_t)view->hooks.failing, "behind", (json_int_t)view->hooks.behind, "listeners",
                     (json_int_t)view->listeners);
}

/* ---- alerts ---- */

static void alert(json_t *alerts, const char *level, const char *what, const char *format, ...) ATTR_PRINTF(4, 5);
static void alert(json_t *alerts, const char *level, const char *what, const char *format, ...)
{
    char text[600];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    (void)json_array_append_new(alerts,
                                json_pack("{s:s, s:s, s:o}", "level", level, "what", what, "text", json_line(text)));
}

static json_t *alerts_json(const struct disk *disk, const struct mailer_status *status, const struct hub_view *events)
{
    json_t *alerts = json_array();
    if (!disk->healthy)
        alert(alerts, "bad", "storage", "the database cannot be written: %s", disk->why.text);
    else if (status->held_by[0] != '\0')
        alert(alerts, "bad", "sending", "sending is held: %s", status->held_by);
    if (disk->total_bytes > 0 &&
        (disk->free_bytes < DISK_LOW_BYTES || disk->free_bytes < disk->total_bytes / DISK_LOW_SHARE))
        alert(alerts, "warn", "disk", "the disk of the data directory is nearly full: %lld MB are free",
              (long long)(disk->free_bytes / 1000000));
    if (disk->wal_bytes > WAL_LARGE_BYTES)
        alert(alerts, "warn", "wal", "the write-ahead log has grown to %lld MB: something reads for very long",
              (long long)(disk->wal_bytes / 1000000));
    if (events->hooks.given_up > 0)
        alert(alerts, "warn", "webhooks", "%u of the webhooks gave up and are disabled; see: posthaste webhook list",
              events->hooks.given_up);
    if (events->hooks.failing > 0)
        alert(alerts, "warn", "webhooks",
              events->hooks.failing == 1 ? "%u webhook fails; see: posthaste webhook list"
                                         : "%u webhooks fail; see: posthaste webhook list",
              events->hooks.failing);
    else if (events->hooks.behind > HOOKS_BEHIND_LONG)
        alert(alerts, "warn", "webhooks", "a webhook is %lld events behind", (long long)events->hooks.behind);
    return alerts;
}

static json_t *recovered_json(const struct storage_recovery *recovered)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "deliveries", (json_int_t)recovered->deliveries, "unsent",
                     (json_int_t)recovered->unsent, "recorded", (json_int_t)recovered->recorded, "uncertain",
                     (json_int_t)recovered->uncertain);
}

json_t *server_stats(struct app *app, struct storage_reader *reader, struct error *err)
{
    int64_t states[DELIVERY_STATE_COUNT] = {0};
    int64_t recipients = 0;
    int64_t lists = 0;
    int64_t suppressions = 0;
    struct mailer_status status = {0};
    struct hub_view events = {0};
    struct disk disk;
    if (storage_totals(reader, states, &recipients, &lists, &suppressions, err) != 0)
        return NULL;
    mailer_status(app->mailer, &status);
    hub_look_at(app->hub, &events);
    look_at_disk(app, &disk);
    json_t *object =
        json_pack("{s:o, s:s, s:s, s:o, s:I, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "time",
                  json_time(clock_wall_ms()), "version", POSTHASTE_VERSION, "hostname", app->config->hostname,
                  "config_loaded_at", json_time(atomic_load(&app->live->loaded_wall_ms)), "uptime_s",
                  (json_int_t)((clock_monotonic_ms() - app->started_mono_ms) / 1000), "recovered",
                  recovered_json(&status.recovered), "recipients", (json_int_t)recipients, "lists", (json_int_t)lists,
                  "suppressions", (json_int_t)suppressions, "deliveries", view_states(states), "engine",
                  engine_json(app, &status), "storage", disk_json(&disk), "bounces", bounces_json(app), "process",
                  process_json(), "events", events_json(&events), "alerts", alerts_json(&disk, &status, &events));
    if (object == NULL) {
        (void)error_memory(err);
        return NULL;
    }
    if (add_campaigns(app, reader, object, err) < 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}
