/*
 * files.c - reads what a configuration names for the engine as a start does, and lets it go again.
 */
#include "engine/engine.h"

#include <errno.h>

#include "engine/net/dns_config.h"
#include "engine/net/tls.h"
#include "engine/receive/secure.h"
#include "engine/site/dispatch.h"

static int check_trust(const struct config *config, struct error *err)
{
    struct tls_context *context;
    const struct tls_options options = {.ca_file = config->tls_ca_file};
    if (config->tls_ca_file[0] == '\0')
        return 0;
    int r = tls_context_create(&options, &context, err);
    if (r < 0)
        return error_prefix(err, r, "tls_ca_file");
    tls_context_free(context);
    return 0;
}

static int check_logins(const struct config *config, struct error *err)
{
    struct dispatch_login **logins = logins_load(config, err);
    if (logins == NULL)
        return -EINVAL;
    logins_replace(logins, config->route_count);
    return 0;
}

static int check_listener(const struct config *config, struct error *err)
{
    const struct config_bounces *bounces = &config->bounces;
    struct secure_context *context;
    if (bounces->listen_host[0] == '\0' || bounces->tls_cert[0] == '\0')
        return 0;
    int r = secure_context_create(bounces->tls_cert, bounces->tls_key, &context, err);
    if (r < 0)
        return error_prefix(err, r, "bounces");
    secure_context_free(context);
    return 0;
}

void engine_files_check(const struct config *config, engine_rules_cb *each, void *context)
{
    static int (*const checks[])(const struct config *config,
                                 struct error *err) = {check_trust, dns_settings_check, check_logins, check_listener};
    for (size_t i = 0; i < countof(checks); i++) {
        struct error err = {""};
        if (checks[i](config, &err) < 0)
            each(context, err.text);
    }
}
