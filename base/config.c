/*
 * config.c - finding and loading the file, freeing the struct, and the look-ups by recipient domain.
 *
 * Success of config_load() means that every value in the struct is within its bounds and every name in it refers to
 * something that is there. It does not open data_dir, resolve a host or bind an address; who uses them reports that.
 */
#include "base/config_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

#define FILE_MAX_BYTES ((size_t)4 << 20)

/* libconfuse would exit() on a directory and stop at a NUL, so the file is read here. */
int config_read_file(const char *file, struct buffer *out, struct error *err)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        int code = -errno;
        return error_errno(err, code, "cannot open the configuration %s", file);
    }
    struct stat st;
    int rc = 0;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        rc = error_set(err, -EINVAL, "the configuration %s is not a regular file", file);
    while (rc == 0) {
        char chunk[16384];
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int code = -errno;
            rc = error_errno(err, code, "cannot read the configuration %s", file);
            break;
        }
        if ((size_t)n > FILE_MAX_BYTES - out->len) {
            rc = error_set(err, -EINVAL, "the configuration %s is larger than %zu bytes", file, FILE_MAX_BYTES);
            break;
        }
        buffer_append(out, chunk, (size_t)n);
        if (out->failed)
            rc = error_memory(err);
    }
    close(fd);
    return rc;
}

static int load_file(const char *file, struct config *config, struct error *err)
{
    struct buffer text = BUFFER_INIT(FILE_MAX_BYTES);
    int rc = config_read_file(file, &text, err);
    if (rc == 0 && text.len > 0)
        rc = config_scan(file, text.data, text.len, err);
    if (rc == 0)
        rc = config_read(file, buffer_text(&text), config, err);
    buffer_finish(&text);
    if (rc < 0)
        return rc;
    char *name = str_dup(file);
    if (name == NULL)
        return error_memory(err);
    free(config->file);
    config->file = name;
    return 0;
}

static int fill_public_url(struct config *config, struct error *err)
{
    if (config->public_url[0] != '\0')
        return 0;
    bool v6 = strchr(config->listen_host, ':') != NULL;
    char *url = str_printf("%s://%s%s%s:%u", config->tls_cert[0] != '\0' ? "https" : "http", v6 ? "[" : "",
                           config->listen_host, v6 ? "]" : "", (unsigned)config->listen_port);
    if (url == NULL)
        return error_memory(err);
    free(config->public_url);
    config->public_url = url;
    return 0;
}

/* One domain for both ends: where mails ask their reports to go is where we listen for them. */
static int complete_bounces(struct config *config, struct error *err)
{
    const struct config_bounces *bounces = &config->bounces;
    if ((bounces->tls_cert[0] != '\0') != (bounces->tls_key[0] != '\0'))
        return error_set(err, -EINVAL, "%s: bounces: tls_cert and tls_key are set together or not at all",
                         config->file);
    if (bounces->listen_host[0] != '\0' && bounces->domain[0] == '\0')
        return error_set(err, -EINVAL, "%s: bounces: \"listen\" needs \"domain\" beside it", config->file);
    if (bounces->domain[0] == '\0' || config->bounce_domain[0] != '\0')
        return 0;
    char *domain = str_dup(bounces->domain);
    if (domain == NULL)
        return error_memory(err);
    free(config->bounce_domain);
    config->bounce_domain = domain;
    return 0;
}

int config_load(const char *file, struct config **out, struct error *err)
{
    static const char *const usual[] = {"./posthaste.conf", "/etc/posthaste/posthaste.conf"};
    *out = NULL;
    struct config *config = config_defaults();
    if (config == NULL)
        return error_memory(err);
    int rc = 0;
    if (file != NULL) {
        rc = load_file(file, config, err);
    } else {
        for (size_t i = 0; i < countof(usual); i++) {
            rc = load_file(usual[i], config, err);
            if (rc != -ENOENT)
                break;
        }
        if (rc == -ENOENT) {
            if (err != NULL)
                err->text[0] = '\0';
            rc = config_read("", "", config, err);
        }
    }
    if (rc == 0 && (config->tls_cert[0] != '\0') != (config->tls_key[0] != '\0'))
        rc = error_set(err, -EINVAL, "%s: tls_cert and tls_key are set together or not at all", config->file);
    if (rc == 0)
        rc = complete_bounces(config, err);
    if (rc == 0)
        rc = fill_public_url(config, err);
    if (rc < 0) {
        config_free(config);
        return rc;
    }
    *out = config;
    return 0;
}

static void free_list(char **list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(list[i]);
    free(list);
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    free(config->file);
    free(config->hostname);
    free(config->data_dir);
    free(config->listen_host);
    free(config->public_url);
    free(config->bounce_domain);
    free(config->dns_server);
    free(config->dns_trust_anchor);
    free(config->tls_ca_file);
    free(config->tls_cert);
    free(config->tls_key);
    free(config->bounces.listen_host);
    free(config->bounces.domain);
    free(config->bounces.tls_cert);
    free(config->bounces.tls_key);
    free(config->bounces.feedback);
    free_list(config->bounces.complaint_sources, config->bounces.complaint_source_count);
    free(config->profiles_file);
    free(config->files[0]);
    free(config->files[1]);
    for (size_t i = 0; i < config->origin_count; i++)
        free(config->origins[i].title);
    free(config->origins);
    for (size_t i = 0; i < config->warmup_count; i++)
        free(config->warmups[i].source);
    free(config->warmups);
    for (size_t i = 0; i < config->sender_count; i++)
        free(config->senders[i].name);
    free(config->senders);
    free(config->events.log);
    for (size_t i = 0; i < config->route_count; i++) {
        free(config->routes[i].pattern);
        free(config->routes[i].host);
        free(config->routes[i].user);
        free(config->routes[i].password_file);
    }
    for (size_t i = 0; i < config->source_count; i++) {
        free(config->sources[i].name);
        free(config->sources[i].address);
        free(config->sources[i].hostname);
    }
    for (size_t i = 0; i < config->pool_count; i++) {
        free(config->pools[i].name);
        free_list(config->pools[i].sources, config->pools[i].source_count);
    }
    for (size_t i = 0; i < config->profile_count; i++) {
        free(config->profiles[i].name);
        free_list(config->profiles[i].mx, config->profiles[i].mx_count);
        free_list(config->profiles[i].domain, config->profiles[i].domain_count);
    }
    for (size_t i = 0; i < config->domain_count; i++)
        free(config->domains[i].name);
    free(config->routes);
    free(config->sources);
    free(config->pools);
    free(config->profiles);
    free(config->domains);
    free(config);
}

/* How well the pattern fits: 0 not at all, 1 for "*", more for a longer suffix, most for the domain itself. */
static size_t fit(const char *pattern, const char *domain)
{
    if (strcmp(pattern, "*") == 0)
        return 1;
    if (strcmp(pattern, domain) == 0)
        return SIZE_MAX;
    size_t len = strlen(pattern);
    size_t domain_len = strlen(domain);
    if (pattern[0] == '.' && domain_len > len && strcmp(domain + domain_len - len, pattern) == 0)
        return 1 + len;
    return 0;
}

const struct config_route *config_route_for(const struct config *config, const char *domain)
{
    const struct config_route *best = NULL;
    size_t best_fit = 0;
    for (size_t i = 0; i < config->route_count; i++) {
        size_t this_fit = fit(config->routes[i].pattern, domain);
        if (this_fit > best_fit) {
            best = &config->routes[i];
            best_fit = this_fit;
        }
    }
    return best;
}

const struct config_domain *config_domain_for(const struct config *config, const char *domain)
{
    const struct config_domain *best = NULL;
    size_t best_fit = 0;
    for (size_t i = 0; i < config->domain_count; i++) {
        size_t this_fit = fit(config->domains[i].name, domain);
        if (this_fit > best_fit) {
            best = &config->domains[i];
            best_fit = this_fit;
        }
    }
    return best;
}

const struct config_sender *config_sender_for(const struct config *config, const char *domain)
{
    const struct config_sender *best = NULL;
    size_t best_fit = 0;
    for (size_t i = 0; i < config->sender_count; i++) {
        size_t this_fit = fit(config->senders[i].name, domain);
        if (this_fit > best_fit) {
            best = &config->senders[i];
            best_fit = this_fit;
        }
    }
    return best;
}

const struct config_profile *config_profile_for_domain(const struct config *config, const char *domain)
{
    const struct config_profile *best = &config->profiles[0];
    size_t best_fit = 0;
    for (size_t i = 0; i < config->profile_count; i++) {
        const struct config_profile *profile = &config->profiles[i];
        for (size_t j = 0; j < profile->domain_count; j++) {
            size_t this_fit = fit(profile->domain[j], domain);
            if (this_fit > best_fit) {
                best = profile;
                best_fit = this_fit;
            }
        }
    }
    return best;
}
