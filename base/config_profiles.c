/*
 * config_profiles.c - the profiles that come with the program, where a value was set, and what can never take effect.
 *
 * The shipped profiles are a file like the configuration, read before it; a copy is built in, so that the program knows
 * them wherever it runs. A warning is for what is right in form but cannot do anything: a profile that matches nothing,
 * a source in no pool, a limit that a tighter one always hides.
 */
#include "base/config_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"

#define ETC_FILE "/etc/posthaste/profiles.conf"

int config_profiles_text(struct config *config, char **out, struct error *err)
{
    static const char *const usual[] = {ETC_FILE, POSTHASTE_DATADIR "/profiles.conf"};
    struct buffer text = BUFFER_INIT((size_t)4 << 20);
    const char *name = config->profiles_file;
    int rc = -ENOENT;
    *out = NULL;
    if (name[0] != '\0')
        rc = config_read_file(name, &text, err);
    for (size_t i = 0; name[0] == '\0' && i < countof(usual) && rc == -ENOENT; i++) {
        rc = config_read_file(usual[i], &text, err);
        if (rc == 0) {
            name = usual[i];
            break;
        }
    }
    if (rc == -ENOENT && name[0] == '\0') {
        buffer_append_str(&text, config_profiles_builtin);
        name = "profiles.conf (built in)";
        rc = 0;
        if (err != NULL)
            err->text[0] = '\0';
    }
    if (rc == 0) {
        free(config->files[1]);
        config->files[1] = str_dup(name);
        *out = buffer_steal(&text, NULL);
        if (config->files[1] == NULL || *out == NULL)
            rc = error_memory(err);
    }
    buffer_finish(&text);
    return rc;
}

static const struct config_origin *find(const struct config *config, const char *section, const char *title,
                                        const char *key)
{
    for (size_t i = config->origin_count; i-- > 0;) { /* the last one won */
        const struct config_origin *origin = &config->origins[i];
        bool same = section == NULL || origin->section == NULL ? section == origin->section
                                                               : strcmp(section, origin->section) == 0;
        if (same && strcmp(origin->key, key) == 0 && strcmp(origin->title, title) == 0)
            return origin;
    }
    return NULL;
}

const char *config_where(const struct config *config, const char *section, const char *title, const char *key,
                         char out[CONFIG_WHERE_BYTES])
{
    const struct config_origin *origin = find(config, section, title, key);
    if (origin == NULL && section != NULL && strcmp(section, "profile") == 0)
        origin = find(config, section, "default", key);
    const char *file = origin != NULL ? config->files[origin->file] : NULL;
    if (file == NULL)
        (void)str_copy(out, CONFIG_WHERE_BYTES, "built in");
    else
        (void)snprintf(out, CONFIG_WHERE_BYTES, "%.280s:%" PRIu32, file, origin->line);
    return out;
}

/* Warnings. */

struct warner {
    const struct config *config;
    void (*each)(void *context, const char *sentence);
    void *context;
};

ATTR_PRINTF(5, 6)
static void warn(const struct warner *warner, const char *section, const char *title, const char *key,
                 const char *format, ...)
{
    char where[CONFIG_WHERE_BYTES], text[512], sentence[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    /* What is left out has no line of its own, and its section has one. */
    config_where(warner->config, section, title, find(warner->config, section, title, key) != NULL ? key : "", where);
    (void)snprintf(sentence, sizeof sentence, "%s: %s \"%.100s\": %s", where, section, title, text);
    warner->each(warner->context, sentence);
}

/* True when everything that `one` fits is fitted by `other` too, at least as well. */
static bool covers(const char *other, const char *one)
{
    size_t len = strlen(other), one_len = strlen(one);
    if (strcmp(other, one) == 0)
        return true;
    return other[0] == '.' && one_len > len && strcmp(one + one_len - len, other) == 0;
}

static bool has_pattern(char *const *list, size_t count, const char *pattern)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i], pattern) == 0)
            return true;
    }
    return false;
}

static void check_profiles(const struct warner *warner)
{
    const struct config *config = warner->config;
    for (size_t i = 1; i < config->profile_count; i++) {
        const struct config_profile *profile = &config->profiles[i];
        if (profile->mx_count == 0 && profile->domain_count == 0)
            warn(warner, "profile", profile->name, "mx", "matches nothing: it has neither \"mx\" nor \"domain\"");
        for (size_t j = i + 1; j < config->profile_count; j++) {
            const struct config_profile *later = &config->profiles[j];
            for (size_t k = 0; k < profile->mx_count; k++) {
                if (has_pattern(later->mx, later->mx_count, profile->mx[k]))
                    warn(warner, "profile", profile->name, "mx",
                         "\"%s\" never matches: the profile \"%s\" has it too and stands later", profile->mx[k],
                         later->name);
            }
            for (size_t k = 0; k < later->domain_count; k++) {
                if (has_pattern(profile->domain, profile->domain_count, later->domain[k]))
                    warn(warner, "profile", later->name, "domain",
                         "\"%s\" never matches: the profile \"%s\" has it too and stands first", later->domain[k],
                         profile->name);
            }
        }
        for (size_t k = 0; k < profile->mx_count; k++) {
            for (size_t m = 0; m < profile->mx_count; m++) {
                if (m != k && covers(profile->mx[m], profile->mx[k]))
                    warn(warner, "profile", profile->name, "mx", "\"%s\" is within \"%s\" already", profile->mx[k],
                         profile->mx[m]);
            }
        }
    }
    /* Everything goes by routes: then no MX is ever looked up. */
    bool all_routed = false;
    for (size_t i = 0; i < config->route_count; i++)
        all_routed = all_routed || strcmp(config->routes[i].pattern, "*") == 0;
    for (size_t i = 1; all_routed && i < config->profile_count; i++) {
        const struct config_profile *profile = &config->profiles[i];
        const struct config_origin *origin = find(config, "profile", profile->name, "mx");
        if (profile->mx_count > 0 && profile->domain_count == 0 && origin != NULL && origin->file == 0)
            warn(warner, "profile", profile->name, "mx",
                 "never matches: the route \"*\" sends all mail without a look-up of MX records");
    }
}

static bool is_in_a_pool(const struct config *config, const char *source)
{
    for (size_t i = 0; i < config->pool_count; i++) {
        bool used = strcmp(config->pools[i].name, "default") == 0;
        if (used && has_pattern(config->pools[i].sources, config->pools[i].source_count, source))
            return true;
    }
    return false;
}

static void check_sources(const struct warner *warner)
{
    const struct config *config = warner->config;
    for (size_t i = 0; i < config->source_count; i++) {
        if (!is_in_a_pool(config, config->sources[i].name))
            warn(warner, "source", config->sources[i].name, "address",
                 "is never used: the pool \"default\" does not have it");
    }
    for (size_t i = 0; i < config->warmup_count; i++) {
        bool there = false;
        for (size_t j = 0; j < config->source_count; j++)
            there = there || strcmp(config->sources[j].name, config->warmups[i].source) == 0;
        if (!there || !is_in_a_pool(config, config->warmups[i].source))
            warn(warner, "warmup", config->warmups[i].source, "start",
                 "does nothing: no source of this name is in the pool \"default\"");
    }
}

static void check_domains(const struct warner *warner)
{
    const struct config *config = warner->config;
    for (size_t i = 0; i < config->domain_count; i++) {
        const struct config_domain *domain = &config->domains[i];
        if (rate_is_unlimited(domain->rate) && rate_is_unlimited(domain->byte_rate) && domain->connections == 0)
            warn(warner, "domain", domain->name, "burst", "limits nothing");
        if (domain->name[0] == '.' || strcmp(domain->name, "*") == 0)
            continue;
        const struct config_profile *profile = config_profile_for_domain(config, domain->name);
        double own = rate_per_second(domain->rate), site = rate_per_second(profile->rate);
        if (own > 0 && site > 0 && own > site && config_route_for(config, domain->name) != NULL)
            warn(warner, "domain", domain->name, "rate", "never binds: the profile \"%s\" of its site has a lower rate",
                 profile->name);
        if (domain->connections > profile->connections && config_route_for(config, domain->name) != NULL)
            warn(warner, "domain", domain->name, "connections", "never binds: the profile \"%s\" of its site allows %u",
                 profile->name, profile->connections);
    }
    for (size_t i = 0; i < config->sender_count; i++) {
        if (rate_is_unlimited(config->senders[i].rate) && rate_is_unlimited(config->senders[i].byte_rate))
            warn(warner, "sending_domain", config->senders[i].name, "burst", "limits nothing");
    }
}

void config_warnings(const struct config *config, void (*each)(void *context, const char *sentence), void *context)
{
    const struct warner warner = {.config = config, .each = each, .context = context};
    check_profiles(&warner);
    check_sources(&warner);
    check_domains(&warner);
}
