/*
 * dns_config.c - which files a distribution keeps the root's keys in.
 *
 * DNSSEC is checked only where the configuration says so: behind a resolver that strips signatures every answer would
 * be bogus, and no mail would leave.
 */
#include "engine/net/dns_config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

/* Debian's and Ubuntu's package dns-root-data first: it is only data, the others belong to servers. */
static const char *const root_keys[] = {
    "/usr/share/dns/root.key",
    "/var/lib/unbound/root.key",
    "/etc/unbound/root.key",
    "/usr/share/dnssec-root/trusted-key.key",
};

static int find_anchor(const char *wanted, char **out, struct error *err)
{
    const char *found = NULL;
    if (strcmp(wanted, "system") == 0) {
        for (size_t i = 0; i < countof(root_keys) && found == NULL; i++)
            found = access(root_keys[i], R_OK) == 0 ? root_keys[i] : NULL;
        if (found == NULL)
            return error_set(err, -ENOENT,
                             "dns trust_anchor = \"system\": this system has no root keys (package dns-root-data)");
    } else {
        found = wanted;
        if (access(found, R_OK) != 0)
            return error_errno(err, -errno, "dns trust_anchor: cannot read %s", found);
    }
    *out = str_dup(found);
    return *out != NULL ? 0 : error_memory(err);
}

int dns_settings_make(const struct config *config, struct dns_settings *out, struct error *err)
{
    *out = (struct dns_settings){0};
    out->server = str_dup(config->dns_server != NULL ? config->dns_server : "");
    int r = out->server != NULL ? 0 : error_memory(err);
    if (r == 0 && config->dns_trust_anchor != NULL && config->dns_trust_anchor[0] != '\0')
        r = find_anchor(config->dns_trust_anchor, &out->trust_anchor, err);
    if (r < 0)
        dns_settings_finish(out);
    out->options = (struct dns_options){.server = out->server, .trust_anchor_file = out->trust_anchor};
    return r;
}

void dns_settings_finish(struct dns_settings *settings)
{
    free(settings->server);
    free(settings->trust_anchor);
    *settings = (struct dns_settings){0};
}

int dns_settings_check(const struct config *config, struct error *err)
{
    struct dns_settings settings;
    if (config->dns_trust_anchor == NULL || config->dns_trust_anchor[0] == '\0')
        return 0;
    int r = dns_settings_make(config, &settings, err);
    if (r == 0)
        r = dns_check(&settings.options, err);
    dns_settings_finish(&settings);
    return r;
}
