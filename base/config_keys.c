/*
 * config_keys.c - the table of every section and key, and the defaults.
 *
 * Nothing is parsed here. The bounds are what the engine can make sense of, not advice: a hundred thousand connections
 * to one site is a typing error.
 */
#include "base/config_private.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/str.h"

#define SECOND_MS INT64_C(1000)
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)
#define LONGEST_MS (366 * DAY_MS)
#define BURST_MAX 10000000

#define FIELD(type, field) .offset = offsetof(struct type, field)
#define LIST(type, field, count) .offset = offsetof(struct type, field), .count_offset = offsetof(struct type, count)

static const struct config_key top_keys[] = {
    {"hostname", KIND_HOSTNAME, FIELD(config, hostname), .fixed = true},
    {"data_dir", KIND_PATH, FIELD(config, data_dir), .fixed = true},
    {"listen", KIND_LISTEN, LIST(config, listen_host, listen_port), .fixed = true},
    {"public_url", KIND_URL, FIELD(config, public_url), .fixed = true},
    {"bounce_domain", KIND_DOMAIN, FIELD(config, bounce_domain), .fixed = true},
    {"allow_private_mx", KIND_BOOL, FIELD(config, allow_private_mx), .fixed = true},
    {"mx_port", KIND_PORT, FIELD(config, mx_port), .min = 1, .max = 65535, .fixed = true},
    {"mta_sts", KIND_BOOL, FIELD(config, mta_sts), .fixed = true},
    {"tls_rpt", KIND_BOOL, FIELD(config, tls_rpt), .fixed = true},
    {"tls_rpt_delay", KIND_DURATION, FIELD(config, tls_rpt_delay_ms), .min = 0, .max = 12 * HOUR_MS, .fixed = true},
    {"https_port", KIND_PORT, FIELD(config, https_port), .min = 1, .max = 65535, .fixed = true},
    {"tls_cert", KIND_PATH, FIELD(config, tls_cert), .fixed = true},
    {"tls_key", KIND_PATH, FIELD(config, tls_key), .fixed = true},
    {"api_rate", KIND_RATE, FIELD(config, api_rate)},
    {"tls_ca_file", KIND_PATH, FIELD(config, tls_ca_file), .fixed = true},
    {"log_level", KIND_LEVEL, FIELD(config, log_level)},
    {"loops", KIND_U32, FIELD(config, loops), .min = 1, .max = 256, .fixed = true},
    {"compose_threads", KIND_U32, FIELD(config, compose_threads), .min = 1, .max = 1024, .fixed = true},
    {"on_uncertain", KIND_UNCERTAIN, FIELD(config, on_uncertain)},
    {"preflight", KIND_PREFLIGHT, FIELD(config, preflight), .fixed = true},
    {"preflight_every", KIND_DURATION, FIELD(config, preflight_every_ms), .min = 100, .max = LONGEST_MS, .fixed = true},
    {"expires_after", KIND_DURATION, FIELD(config, expires_after_ms), .min = 1, .max = LONGEST_MS},
    {"signature_expires", KIND_DURATION, FIELD(config, signature_expires_ms), .min = 0, .max = LONGEST_MS, .fixed = true},
    {"keep_links", KIND_DURATION, FIELD(config, keep_links_ms), .min = 0, .max = 10 * LONGEST_MS},
    {"keep_deliveries", KIND_DURATION, FIELD(config, keep_deliveries_ms), .min = 0, .max = 10 * LONGEST_MS},
    {"profiles", KIND_PATH, FIELD(config, profiles_file)},
    {"shutdown", KIND_DURATION, FIELD(config, shutdown_ms), .min = 0, .max = DAY_MS},
};
static const struct config_key dns_keys[] = {
    {"server", KIND_DNS, FIELD(config, dns_server), .fixed = true},
    {"trust_anchor", KIND_PATH, FIELD(config, dns_trust_anchor), .fixed = true},
};
static const struct config_key retry_keys[] = {
    {"first", KIND_DURATION, FIELD(config, retry_first_ms), .min = 1, .max = LONGEST_MS},
    {"max", KIND_DURATION, FIELD(config, retry_max_ms), .min = 1, .max = LONGEST_MS},
};
static const struct config_key timeout_keys[] = {
    {"connect", KIND_DURATION, FIELD(config, timeouts.connect_ms), .min = 1, .max = HOUR_MS},
    {"tls", KIND_DURATION, FIELD(config, timeouts.tls_ms), .min = 1, .max = HOUR_MS},
    {"greeting", KIND_DURATION, FIELD(config, timeouts.greeting_ms), .min = 1, .max = HOUR_MS},
    {"ehlo", KIND_DURATION, FIELD(config, timeouts.ehlo_ms), .min = 1, .max = HOUR_MS},
    {"mail", KIND_DURATION, FIELD(config, timeouts.mail_ms), .min = 1, .max = HOUR_MS},
    {"rcpt", KIND_DURATION, FIELD(config, timeouts.rcpt_ms), .min = 1, .max = HOUR_MS},
    {"data", KIND_DURATION, FIELD(config, timeouts.data_ms), .min = 1, .max = HOUR_MS},
    {"block", KIND_DURATION, FIELD(config, timeouts.block_ms), .min = 1, .max = HOUR_MS},
    {"final", KIND_DURATION, FIELD(config, timeouts.final_ms), .min = 1, .max = HOUR_MS},
    {"quit", KIND_DURATION, FIELD(config, timeouts.quit_ms), .min = 1, .max = HOUR_MS},
};
static const struct config_key webhook_keys[] = {
    {"allow_private", KIND_BOOL, FIELD(config, webhooks.allow_private)},
    {"timeout", KIND_DURATION, FIELD(config, webhooks.timeout_ms), .min = 100, .max = 5 * MINUTE_MS},
    {"retry_first", KIND_DURATION, FIELD(config, webhooks.retry_first_ms), .min = 1, .max = HOUR_MS},
    {"retry_max", KIND_DURATION, FIELD(config, webhooks.retry_max_ms), .min = 1, .max = DAY_MS},
    {"give_up", KIND_DURATION, FIELD(config, webhooks.give_up_ms), .min = 1, .max = LONGEST_MS},
    {"backlog", KIND_U32, FIELD(config, webhooks.backlog), .min = 1000, .max = 1000000000},
};
static const struct config_key event_keys[] = {
    {"keep", KIND_DURATION, FIELD(config, events.keep_ms), .min = MINUTE_MS, .max = LONGEST_MS},
    {"log", KIND_PATH, FIELD(config, events.log), .fixed = true},
    {"log_mb", KIND_U32, FIELD(config, events.log_mb), .min = 1, .max = 1 << 20, .fixed = true},
    {"log_files", KIND_U32, FIELD(config, events.log_files), .min = 1, .max = 1000, .fixed = true},
};
static const struct config_key route_keys[] = {
    {"host", KIND_HOST, FIELD(config_route, host), .required = true},
    {"port", KIND_PORT, FIELD(config_route, port), .min = 1, .max = 65535},
    {"tls", KIND_TLS, FIELD(config_route, tls)},
    {"implicit_tls", KIND_BOOL, FIELD(config_route, implicit_tls)},
    {"user", KIND_TEXT, FIELD(config_route, user)},
    {"password_file", KIND_PATH, FIELD(config_route, password_file)},
    {"auth_clear", KIND_BOOL, FIELD(config_route, auth_clear)},
};
static const struct config_key source_keys[] = {
    {"address", KIND_ADDRESS, FIELD(config_source, address), .required = true},
    {"hostname", KIND_HOSTNAME, FIELD(config_source, hostname)},
    {"weight", KIND_U32, FIELD(config_source, weight), .min = 1, .max = 1000},
    {"connections", KIND_U32, FIELD(config_source, connections), .min = 1, .max = 10000},
    {"rate", KIND_RATE, FIELD(config_source, rate)},
    {"byte_rate", KIND_BYTE_RATE, FIELD(config_source, byte_rate)},
    {"connection_rate", KIND_RATE, FIELD(config_source, connection_rate)},
    {"burst", KIND_U32, FIELD(config_source, burst), .min = 1, .max = BURST_MAX},
};
static const struct config_key limits_keys[] = {
    {"connections", KIND_U32, FIELD(config, limits.connections), .min = 1, .max = 1000000},
    {"rate", KIND_RATE, FIELD(config, limits.rate)},
    {"byte_rate", KIND_BYTE_RATE, FIELD(config, limits.byte_rate)},
    {"connection_rate", KIND_RATE, FIELD(config, limits.connection_rate)},
    {"burst", KIND_U32, FIELD(config, limits.burst), .min = 1, .max = BURST_MAX},
};
static const struct config_key warmup_keys[] = {
    {"start", KIND_DAY_RATE, FIELD(config_warmup, start), .required = true},
    {"growth", KIND_FACTOR, FIELD(config_warmup, growth)},
    {"days", KIND_U32, FIELD(config_warmup, days), .min = 1, .max = 366},
};
static const struct config_key sender_keys[] = {
    {"rate", KIND_RATE, FIELD(config_sender, rate)},
    {"byte_rate", KIND_BYTE_RATE, FIELD(config_sender, byte_rate)},
    {"burst", KIND_U32, FIELD(config_sender, burst), .min = 1, .max = BURST_MAX},
};
static const struct config_key pool_keys[] = {
    {"sources", KIND_NAMES, LIST(config_pool, sources, source_count), .required = true},
};
static const struct config_key profile_keys[] = {
    {"mx", KIND_PATTERNS, LIST(config_profile, mx, mx_count)},
    {"domain", KIND_PATTERNS, LIST(config_profile, domain, domain_count)},
    {"connections", KIND_U32, FIELD(config_profile, connections), .min = 1, .max = 10000},
    {"messages_per_connection", KIND_U32, FIELD(config_profile, messages_per_connection), .min = 1, .max = 1000000},
    {"rate", KIND_RATE, FIELD(config_profile, rate)},
    {"byte_rate", KIND_BYTE_RATE, FIELD(config_profile, byte_rate)},
    {"connection_rate", KIND_RATE, FIELD(config_profile, connection_rate)},
    {"burst", KIND_U32, FIELD(config_profile, burst), .min = 1, .max = BURST_MAX},
    {"source_rate", KIND_RATE, FIELD(config_profile, source_rate)},
    {"source_connections", KIND_U32, FIELD(config_profile, source_connections), .min = 1, .max = 10000},
    {"provider_rate", KIND_RATE, FIELD(config_profile, provider_rate)},
    {"provider_connections", KIND_U32, FIELD(config_profile, provider_connections), .min = 1, .max = 10000},
    {"adaptive", KIND_BOOL, FIELD(config_profile, adaptive)},
    {"pipeline_depth", KIND_U32, FIELD(config_profile, pipeline_depth), .min = 1, .max = 1000},
    {"tls", KIND_TLS, FIELD(config_profile, tls)},
    {"idle_timeout", KIND_DURATION, FIELD(config_profile, idle_timeout_ms), .min = 0, .max = HOUR_MS},
};
static const struct config_key domain_keys[] = {
    {"rate", KIND_RATE, FIELD(config_domain, rate)},
    {"byte_rate", KIND_BYTE_RATE, FIELD(config_domain, byte_rate)},
    {"burst", KIND_U32, FIELD(config_domain, burst), .min = 1, .max = BURST_MAX},
    {"connections", KIND_U32, FIELD(config_domain, connections), .min = 1, .max = 10000},
};
static const struct config_key bounces_keys[] = {
    {"listen", KIND_LISTEN, LIST(config, bounces.listen_host, bounces.listen_port), .fixed = true},
    {"domain", KIND_DOMAIN, FIELD(config, bounces.domain), .fixed = true},
    {"tls_cert", KIND_PATH, FIELD(config, bounces.tls_cert), .fixed = true},
    {"tls_key", KIND_PATH, FIELD(config, bounces.tls_key), .fixed = true},
    {"feedback", KIND_TEXT, FIELD(config, bounces.feedback), .fixed = true},
    {"connections", KIND_U32, FIELD(config, bounces.connections), .min = 1, .max = 10000, .fixed = true},
    {"connections_per_address", KIND_U32, FIELD(config, bounces.connections_per_address), .min = 1, .max = 10000,
     .fixed = true},
    {"message_bytes", KIND_U32, FIELD(config, bounces.message_bytes), .min = 65536, .max = 104857600, .fixed = true},
    {"timeout", KIND_DURATION, FIELD(config, bounces.timeout_ms), .min = 1, .max = HOUR_MS, .fixed = true},
    {"suppress_hard", KIND_BOOL, FIELD(config, bounces.suppress_hard)},
    {"suppress_complaints", KIND_BOOL, FIELD(config, bounces.suppress_complaints)},
    {"soft_bounces", KIND_U32, FIELD(config, bounces.soft_bounces), .min = 0, .max = 1000},
    {"soft_window", KIND_DURATION, FIELD(config, bounces.soft_window_ms), .min = 1, .max = LONGEST_MS},
    {"complaint_dkim", KIND_BOOL, FIELD(config, bounces.complaint_dkim)},
    {"complaint_sources", KIND_PATTERNS, LIST(config, bounces.complaint_sources, bounces.complaint_source_count)},
};
static const struct config_key guard_keys[] = {
    {"hard_bounces", KIND_SHARE, FIELD(config, guard.hard_bounces_ppm)},
    {"complaints", KIND_SHARE, FIELD(config, guard.complaints_ppm)},
    {"after", KIND_U32, FIELD(config, guard.after), .min = 1, .max = 100000000},
};

_Static_assert(countof(top_keys) <= CONFIG_KEYS_MAX && countof(profile_keys) <= CONFIG_KEYS_MAX, "CONFIG_KEYS_MAX");
_Static_assert(offsetof(struct config_route, pattern) == 0 && offsetof(struct config_source, name) == 0 &&
                   offsetof(struct config_pool, name) == 0 && offsetof(struct config_profile, name) == 0 &&
                   offsetof(struct config_domain, name) == 0 && offsetof(struct config_warmup, source) == 0 &&
                   offsetof(struct config_sender, name) == 0,
               "the title is the first field");

#define ITEMS(type, array, count)                                                                                      \
    .array_offset = offsetof(struct config, array), .count_offset = offsetof(struct config, count),                    \
    .item_bytes = sizeof(struct type)

const struct config_section config_sections[CONFIG_SECTIONS] = {
    {NULL, top_keys, countof(top_keys), TITLE_NONE, 0, 0, 0},
    {"dns", dns_keys, countof(dns_keys), TITLE_NONE, 0, 0, 0},
    {"retry", retry_keys, countof(retry_keys), TITLE_NONE, 0, 0, 0},
    {"timeouts", timeout_keys, countof(timeout_keys), TITLE_NONE, 0, 0, 0},
    {"route", route_keys, countof(route_keys), TITLE_PATTERN, ITEMS(config_route, routes, route_count)},
    {"source", source_keys, countof(source_keys), TITLE_NAME, ITEMS(config_source, sources, source_count)},
    {"pool", pool_keys, countof(pool_keys), TITLE_NAME, ITEMS(config_pool, pools, pool_count)},
    {"profile", profile_keys, countof(profile_keys), TITLE_NAME, ITEMS(config_profile, profiles, profile_count)},
    {"domain", domain_keys, countof(domain_keys), TITLE_PATTERN, ITEMS(config_domain, domains, domain_count)},
    {"bounces", bounces_keys, countof(bounces_keys), TITLE_NONE, 0, 0, 0},
    {"guard", guard_keys, countof(guard_keys), TITLE_NONE, 0, 0, 0},
    {"limits", limits_keys, countof(limits_keys), TITLE_NONE, 0, 0, 0},
    {"warmup", warmup_keys, countof(warmup_keys), TITLE_NAME, ITEMS(config_warmup, warmups, warmup_count)},
    {"sending_domain", sender_keys, countof(sender_keys), TITLE_PATTERN, ITEMS(config_sender, senders, sender_count)},
    {"webhooks", webhook_keys, countof(webhook_keys), TITLE_NONE, 0, 0, 0},
    {"events", event_keys, countof(event_keys), TITLE_NONE, 0, 0, 0},
};
const struct config_section *const config_profile_section = &config_sections[7];

bool config_kind_is_list(enum config_kind kind)
{
    return kind == KIND_NAMES || kind == KIND_PATTERNS;
}

const char *config_tls_name(size_t policy)
{
    static const char *const names[] = {"none", "opportunistic", "required", "verified"};
    return policy < countof(names) ? names[policy] : NULL;
}

const char *config_uncertain_name(size_t policy)
{
    static const char *const names[] = {"resend", "hold"};
    return policy < countof(names) ? names[policy] : NULL;
}

const char *config_preflight_name(size_t mode)
{
    static const char *const names[] = {"enforce", "warn", "off"};
    return mode < countof(names) ? names[mode] : NULL;
}

const char *config_bool_name(size_t value)
{
    static const char *const names[] = {"false", "true"};
    return value < countof(names) ? names[value] : NULL;
}

/* The system's name, if it can be said in EHLO. */
static char *default_hostname(void)
{
    char name[256];
    const struct config_key key = {.name = "hostname", .kind = KIND_HOSTNAME};
    char *value = NULL;
    if (gethostname(name, sizeof(name)) != 0)
        name[0] = '\0';
    name[sizeof(name) - 1] = '\0';
    if (config_set_value(&key, name, &value, NULL) == 0)
        return value;
    return str_dup("localhost");
}

/* What a new item is before its keys are read. False: no memory. */
static bool item_defaults(const struct config *config, const struct config_section *section, void *item)
{
    if (section->keys == route_keys) {
        struct config_route *route = item;
        route->port = 25;
        route->tls = TLS_OPPORTUNISTIC;
        route->user = str_dup("");
        route->password_file = str_dup("");
        return route->user != NULL && route->password_file != NULL;
    } else if (section->keys == source_keys) {
        struct config_source *source = item;
        source->hostname = str_dup("");
        source->weight = 1;
        return source->hostname != NULL;
    } else if (section->keys == warmup_keys) {
        struct config_warmup *warmup = item;
        warmup->growth = 1.5;
        warmup->days = 30;
    } else if (section->keys == profile_keys && item == config->profiles) {
        *(struct config_profile *)item = (struct config_profile){.connections = 10,
                                                                 .messages_per_connection = 100,
                                                                 .rate = {100, 1000000},
                                                                 .pipeline_depth = 10,
                                                                 .tls = TLS_OPPORTUNISTIC,
                                                                 .adaptive = true,
                                                                 .idle_timeout_ms = 5 * SECOND_MS};
    } else if (section->keys == profile_keys) {
        /* What a profile leaves out is what the profile "default" says. */
        struct config_profile *profile = item;
        *profile = config->profiles[0];
        profile->name = NULL;
        profile->mx = profile->domain = NULL;
        profile->mx_count = profile->domain_count = 0;
    }
    return true;
}

void *config_add_item(struct config *config, const struct config_section *section, char *title)
{
    void **array = (void **)(void *)((char *)config + section->array_offset);
    size_t *count = (size_t *)(void *)((char *)config + section->count_offset);
    void *items = reallocarray(*array, *count + 1, section->item_bytes);
    if (items == NULL)
        return NULL;
    *array = items;
    void *item = (char *)items + *count * section->item_bytes;
    memset(item, 0, section->item_bytes);
    (*count)++; /* from here on config_free() knows it, half-built as it may be */
    if (!item_defaults(config, section, item))
        return NULL;
    *(char **)item = title;
    return item;
}

static uint32_t cores(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > 256 ? 256 : (uint32_t)n;
}

struct config *config_defaults(void)
{
    struct config *config = calloc(1, sizeof(*config));
    if (config == NULL)
        return NULL;
    config->file = str_dup("");
    config->hostname = default_hostname();
    config->data_dir = str_dup("./posthaste-data");
    config->listen_host = str_dup("127.0.0.1");
    config->listen_port = 8025;
    config->public_url = str_dup("");
    config->bounce_domain = str_dup("");
    config->dns_server = str_dup("");
    config->dns_trust_anchor = str_dup("");
    config->tls_ca_file = str_dup("");
    config->profiles_file = str_dup("");
    config->tls_cert = str_dup("");
    config->tls_key = str_dup("");
    config->api_rate = (struct rate){20000, 1000000};
    config->mx_port = 25;
    config->mta_sts = true;
    config->https_port = 443;
    config->log_level = LOG_LEVEL_INFO;
    config->compose_threads = cores();
    config->loops = MAX_OF(config->compose_threads / 2, 1U);
    config->on_uncertain = UNCERTAIN_RESEND;
    config->preflight_every_ms = DAY_MS;
    config->tls_rpt_delay_ms = 4 * HOUR_MS;
    config->retry_first_ms = 5 * MINUTE_MS;
    config->retry_max_ms = 4 * HOUR_MS;
    config->expires_after_ms = 3 * DAY_MS;
    config->keep_links_ms = 400 * DAY_MS;
    config->shutdown_ms = 30 * SECOND_MS;
    config->timeouts = (struct config_timeouts){.connect_ms = MINUTE_MS,
                                                .tls_ms = MINUTE_MS,
                                                .greeting_ms = 5 * MINUTE_MS,
                                                .ehlo_ms = 5 * MINUTE_MS,
                                                .mail_ms = 5 * MINUTE_MS,
                                                .rcpt_ms = 5 * MINUTE_MS,
                                                .data_ms = 2 * MINUTE_MS,
                                                .block_ms = 3 * MINUTE_MS,
                                                .final_ms = 10 * MINUTE_MS,
                                                .quit_ms = 5 * SECOND_MS};

    config->bounces = (struct config_bounces){.listen_host = str_dup(""),
                                              .domain = str_dup(""),
                                              .tls_cert = str_dup(""),
                                              .tls_key = str_dup(""),
                                              .feedback = str_dup("fbl"),
                                              .connections = 100,
                                              .connections_per_address = 10,
                                              .message_bytes = 10485760,
                                              .timeout_ms = 5 * MINUTE_MS,
                                              .suppress_hard = true,
                                              .suppress_complaints = true,
                                              .soft_bounces = 5,
                                              .soft_window_ms = 30 * DAY_MS,
                                              .complaint_dkim = true};
    config->guard = (struct config_guard){.hard_bounces_ppm = 50000, .complaints_ppm = 1000, .after = 1000};
    const struct config_bounces *bounces = &config->bounces;
    config->webhooks = (struct config_webhooks){
        .timeout_ms = 15 * SECOND_MS, .retry_first_ms = 5 * SECOND_MS, .retry_max_ms = HOUR_MS, .give_up_ms = DAY_MS, .backlog = 10000000};
    config->events = (struct config_events){.keep_ms = 3 * DAY_MS, .log = str_dup(""), .log_mb = 100, .log_files = 5};

    char *name = str_dup("default");
    bool whole = config->file != NULL && config->hostname != NULL && config->data_dir != NULL &&
                 config->listen_host != NULL && config->public_url != NULL && config->bounce_domain != NULL &&
                 config->dns_server != NULL && config->tls_ca_file != NULL && config->profiles_file != NULL &&
                 config->tls_cert != NULL && config->tls_key != NULL && config->dns_trust_anchor != NULL &&
                 config->events.log != NULL && name != NULL && bounces->listen_host != NULL &&
                 bounces->domain != NULL && bounces->tls_cert != NULL && bounces->tls_key != NULL &&
                 bounces->feedback != NULL;
    if (!whole || config_add_item(config, config_profile_section, name) == NULL) {
        free(name);
        config_free(config);
        return NULL;
    }
    return config;
}
