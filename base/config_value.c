/*
 * config_value.c - one value, from its text to its field.
 *
 * Success means that the field holds the value in the form that the rest of the program relies on (domains as A-labels,
 * hosts without brackets, milliseconds). A refusal says what would have been right; where the value stands in the file
 * is added by the caller.
 */
#include "base/config_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/address.h"
#include "base/str.h"

#define NAME_MAX_BYTES 47 /* struct outcome has room for this much of a source's name */
#define LIST_MAX 10000

static int replace(char **field, const char *text, size_t len, struct error *err)
{
    char *copy = str_dup_len(text, len);
    if (copy == NULL)
        return error_memory(err);
    free(*field);
    *field = copy;
    return 0;
}

static bool is_ip(const char *text)
{
    struct in6_addr any;
    return inet_pton(AF_INET, text, &any) == 1 || inet_pton(AF_INET6, text, &any) == 1;
}

/* LDH labels with dots between them; unlike an address's domain it may be one label ("localhost"). */
static bool is_hostname(const char *text)
{
    size_t len = strlen(text);
    if (len == 0 || len > DOMAIN_MAX_BYTES)
        return false;
    size_t label = 0;
    for (size_t i = 0; i <= len; i++) {
        char c = text[i];
        if (c == '.' || c == '\0') {
            if (label == 0 || label > 63 || text[i - 1] == '-')
                return false;
            label = 0;
            continue;
        }
        bool letter = (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || ascii_is_digit(c);
        if (!letter && (c != '-' || label == 0))
            return false;
        label++;
    }
    return true;
}

static int set_hostname(const char *text, char **field, struct error *err)
{
    if (!is_hostname(text) || is_ip(text))
        return error_set(err, -EINVAL, "\"%s\" is not a host name (letters, digits, hyphens and dots)", text);
    int rc = replace(field, text, strlen(text), err);
    if (rc == 0)
        str_lower(*field);
    return rc;
}

static int set_host(const char *text, char **field, struct error *err)
{
    size_t len = strlen(text);
    if (len > 2 && text[0] == '[' && text[len - 1] == ']') {
        char inner[INET6_ADDRSTRLEN];
        struct in6_addr any;
        if (len - 2 < sizeof(inner)) {
            memcpy(inner, text + 1, len - 2);
            inner[len - 2] = '\0';
            if (inet_pton(AF_INET6, inner, &any) == 1)
                return replace(field, inner, len - 2, err);
        }
    }
    if (is_ip(text))
        return replace(field, text, len, err);
    if (!is_hostname(text) || strspn(text, "0123456789.") == len)
        return error_set(err, -EINVAL, "\"%s\" is neither a host name nor an IP address", text);
    return set_hostname(text, field, err);
}

static int set_listen(const char *text, char **host_field, uint16_t *port_field, struct error *err)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (colon == NULL || str_parse_u64(colon + 1, UINT16_MAX, &port) < 0)
        return error_set(err, -EINVAL, "\"%s\" is not HOST:PORT (such as \"127.0.0.1:8025\" or \"[::1]:8025\")", text);
    char host[DOMAIN_MAX_BYTES + 3];
    size_t len = (size_t)(colon - text);
    if (len >= sizeof(host))
        return error_set(err, -EINVAL, "the host is too long");
    memcpy(host, text, len);
    host[len] = '\0';
    if (host[0] != '[' && strchr(host, ':') != NULL)
        return error_set(err, -EINVAL, "\"%s\": an IPv6 address needs brackets, \"[::1]:8025\"", text);
    int rc = set_host(host, host_field, err);
    if (rc == 0)
        *port_field = (uint16_t)port;
    return rc;
}

static int set_url(const char *text, char **field, struct error *err)
{
    size_t scheme = str_starts_nocase(text, "https://") ? 8 : str_starts_nocase(text, "http://") ? 7 : 0;
    size_t len = strlen(text);
    bool clean = true;
    for (size_t i = 0; i < len; i++)
        clean = clean && text[i] > ' ' && text[i] < 0x7f && strchr("\"<>\\^`{|}?#", text[i]) == NULL;
    while (len > 0 && text[len - 1] == '/')
        len--;
    if (scheme == 0 || len <= scheme || text[scheme] == '/' || !clean || len > 1024)
        return error_set(err, -EINVAL, "\"%s\" is not a URL of the form http://HOST or https://HOST/PATH", text);
    return replace(field, text, len, err);
}

static int set_domain(const char *text, char **field, struct error *err)
{
    char domain[DOMAIN_MAX_BYTES + 1] = "";
    if (text[0] != '\0') {
        int rc = domain_normalise(text, strlen(text), domain, err);
        if (rc < 0)
            return error_prefix(err, rc, "\"%s\"", text);
    }
    return replace(field, domain, strlen(domain), err);
}

static int set_dns(const char *text, char **field, struct error *err)
{
    const char *at = strchr(text, '@');
    size_t len = at != NULL ? (size_t)(at - text) : strlen(text);
    char ip[INET6_ADDRSTRLEN] = "";
    uint64_t port = 53;
    if (len < sizeof(ip))
        memcpy(ip, text, len);
    if (text[0] != '\0' && (!is_ip(ip) || (at != NULL && (str_parse_u64(at + 1, UINT16_MAX, &port) < 0 || port == 0))))
        return error_set(err, -EINVAL, "\"%s\" is not IP or IP@PORT (such as \"127.0.0.1@53\")", text);
    return replace(field, text, strlen(text), err);
}

static int set_text(const char *text, char **field, struct error *err)
{
    size_t len = strlen(text);
    bool clean = len > 0;
    for (size_t i = 0; i < len; i++)
        clean = clean && (unsigned char)text[i] >= 0x20 && text[i] != 0x7f;
    if (!clean)
        return error_set(err, -EINVAL, "must not be empty or hold control characters");
    return replace(field, text, len, err);
}

static int set_address(const char *text, char **field, struct error *err)
{
    if (!is_ip(text))
        return error_set(err, -EINVAL, "\"%s\" is not an IPv4 or IPv6 address", text);
    return replace(field, text, strlen(text), err);
}

/* "example.com", ".example.com" (or ".test"), and where everything may be meant "*". */
static int set_pattern(const char *text, bool star_allowed, char **field, struct error *err)
{
    char domain[DOMAIN_MAX_BYTES + 1];
    char below[DOMAIN_MAX_BYTES + 3];
    if (star_allowed && strcmp(text, "*") == 0)
        return replace(field, text, 1, err);
    if (text[0] == '\0')
        return error_set(err, -EINVAL, "must not be empty");
    if (text[0] != '.')
        return set_domain(text, field, err);
    /* A suffix is right if a name below it is a right domain. */
    if (strlen(text) + 2 > sizeof(below))
        return error_set(err, -EINVAL, "the suffix is too long");
    below[0] = 'x';
    str_copy(below + 1, sizeof(below) - 1, text);
    int rc = domain_normalise(below, strlen(below), domain, err);
    if (rc < 0)
        return error_prefix(err, rc, "\"%s\"", text);
    return replace(field, domain + 1, strlen(domain) - 1, err);
}

static int set_name(const char *text, char **field, struct error *err)
{
    size_t len = strlen(text);
    bool good = len > 0 && len <= NAME_MAX_BYTES;
    for (size_t i = 0; i < len; i++) {
        char c = ascii_lower(text[i]);
        good = good && ((c >= 'a' && c <= 'z') || ascii_is_digit(c) || strchr("._-", c) != NULL);
    }
    if (!good)
        return error_set(err, -EINVAL, "\"%s\" is not a name (1 to %d letters, digits, '.', '_' and '-')", text,
                         NAME_MAX_BYTES);
    return replace(field, text, len, err);
}

int config_set_title(enum config_title title, const char *text, char **out, struct error *err)
{
    *out = NULL;
    return title == TITLE_PATTERN ? set_pattern(text, true, out, err) : set_name(text, out, err);
}

static int add_to_list(const struct config_key *key, const char *text, void *item, struct error *err)
{
    char ***list = (char ***)(void *)((char *)item + key->offset);
    size_t *count = (size_t *)(void *)((char *)item + key->count_offset);
    char *value = NULL;
    int rc = key->kind == KIND_NAMES ? set_name(text, &value, err) : set_pattern(text, false, &value, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < *count; i++) {
        if (strcmp((*list)[i], value) == 0)
            rc = error_set(err, -EINVAL, "\"%s\" is there twice", value);
    }
    if (rc == 0 && *count == LIST_MAX)
        rc = error_set(err, -EINVAL, "more than %d values", LIST_MAX);
    char **grown = rc == 0 ? reallocarray(*list, *count + 1, sizeof(char *)) : NULL;
    if (grown == NULL) {
        free(value);
        return rc < 0 ? rc : error_memory(err);
    }
    grown[(*count)++] = value;
    *list = grown;
    return 0;
}

static int set_number(const struct config_key *key, const char *text, void *field, struct error *err)
{
    uint64_t value;
    if (str_parse_u64(text, (uint64_t)key->max, &value) < 0 || value < (uint64_t)key->min)
        return error_set(err, -EINVAL, "\"%s\" is not a whole number from %" PRId64 " to %" PRId64, text, key->min,
                         key->max);
    if (key->kind == KIND_PORT)
        *(uint16_t *)field = (uint16_t)value;
    else
        *(uint32_t *)field = (uint32_t)value;
    return 0;
}

static int set_factor(const char *text, double *field, struct error *err)
{
    char *end;
    double value = strtod(text, &end);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || !(value >= 1 && value <= 10))
        return error_set(err, -EINVAL, "\"%s\" is not a number from 1 to 10", text);
    *field = value;
    return 0;
}

void config_clear_list(const struct config_key *key, void *item)
{
    char ***list = (char ***)(void *)((char *)item + key->offset);
    size_t *count = (size_t *)(void *)((char *)item + key->count_offset);
    for (size_t i = 0; i < *count; i++)
        free((*list)[i]);
    free(*list);
    *list = NULL;
    *count = 0;
}

static int set_duration(const struct config_key *key, const char *text, int64_t *field, struct error *err)
{
    int64_t ms;
    if (str_parse_duration_ms(text, &ms) < 0)
        return error_set(err, -EINVAL,
                         "\"%s\" is not a duration (such as \"500ms\", \"30s\", \"5min\", \"4h\", \"3d\")", text);
    if (ms < key->min || ms > key->max)
        return error_set(err, -EINVAL, "\"%s\" is too %s", text, ms < key->min ? "short" : "long");
    *field = ms;
    return 0;
}

/* "5%", "0.1%", up to four decimals; "off" = 0. */
static int set_share(const char *text, uint32_t *field, struct error *err)
{
    uint64_t whole = 0, part = 0;
    size_t len = strlen(text), point = strcspn(text, ".%");
    char digits[8] = "";
    if (str_eq_nocase(text, "off")) {
        *field = 0;
        return 0;
    }
    size_t decimals = text[point] == '.' && len > point + 2 ? len - point - 2 : 0;
    bool good = len > 1 && len < 10 && text[len - 1] == '%' && point > 0 && decimals <= 4 &&
                (text[point] == '%' ? point + 1 == len : decimals > 0);
    if (good) {
        memcpy(digits, text, point);
        good = point < sizeof(digits) && str_parse_u64(digits, 100, &whole) == 0;
    }
    if (good && decimals > 0) {
        memcpy(digits, "0000", 5);
        memcpy(digits, text + point + 1, decimals);
        good = str_parse_u64(digits, 9999, &part) == 0;
    }
    uint64_t ppm = whole * 10000 + part;
    if (!good || ppm == 0 || ppm > 1000000)
        return error_set(err, -EINVAL, "\"%s\" is not a share (such as \"5%%\", \"0.1%%\", or \"off\")", text);
    *field = (uint32_t)ppm;
    return 0;
}

static int set_word(const char *text, const char *(*name_of)(size_t index), size_t *out, struct error *err)
{
    char choices[128] = "";
    for (size_t i = 0; name_of(i) != NULL; i++) {
        if (strcmp(text, name_of(i)) == 0) {
            *out = i;
            return 0;
        }
        size_t used = strlen(choices);
        snprintf(choices + used, sizeof(choices) - used, "%s\"%s\"", i == 0 ? "" : ", ", name_of(i));
    }
    return error_set(err, -EINVAL, "\"%s\" is not one of %s", text, choices);
}

static const char *level_name_at(size_t index)
{
    return index <= LOG_LEVEL_DEBUG ? log_level_name((enum log_level)index) : NULL;
}

int config_set_value(const struct config_key *key, const char *text, void *item, struct error *err)
{
    void *field = (char *)item + key->offset;
    size_t choice = 0;
    int rc = 0;
    switch (key->kind) {
    case KIND_HOSTNAME:
        return set_hostname(text, field, err);
    case KIND_PATH:
        if (text[0] == '\0')
            return error_set(err, -EINVAL, "must not be empty");
        return replace(field, text, strlen(text), err);
    case KIND_LISTEN:
        return set_listen(text, field, (uint16_t *)(void *)((char *)item + key->count_offset), err);
    case KIND_URL:
        return set_url(text, field, err);
    case KIND_DOMAIN:
        return set_domain(text, field, err);
    case KIND_DNS:
        return set_dns(text, field, err);
    case KIND_HOST:
        return set_host(text, field, err);
    case KIND_ADDRESS:
        return set_address(text, field, err);
    case KIND_LEVEL:
        rc = set_word(text, level_name_at, &choice, err);
        if (rc == 0)
            *(enum log_level *)field = (enum log_level)choice;
        return rc;
    case KIND_UNCERTAIN:
        rc = set_word(text, config_uncertain_name, &choice, err);
        if (rc == 0)
            *(enum on_uncertain *)field = (enum on_uncertain)choice;
        return rc;
    case KIND_PREFLIGHT:
        rc = set_word(text, config_preflight_name, &choice, err);
        if (rc == 0)
            *(enum preflight_mode *)field = (enum preflight_mode)choice;
        return rc;
    case KIND_TLS:
        rc = set_word(text, config_tls_name, &choice, err);
        if (rc == 0)
            *(enum tls_policy *)field = (enum tls_policy)choice;
        return rc;
    case KIND_BOOL:
        if (strcmp(text, "on") == 0 || strcmp(text, "off") == 0)
            text = text[1] == 'n' ? "true" : "false";
        rc = set_word(text, config_bool_name, &choice, err);
        if (rc == 0)
            *(bool *)field = choice != 0;
        return rc;
    case KIND_TEXT:
        return set_text(text, field, err);
    case KIND_U32:
    case KIND_PORT:
        return set_number(key, text, field, err);
    case KIND_DURATION:
        return set_duration(key, text, field, err);
    case KIND_RATE:
        if (rate_parse(text, field) < 0)
            return error_set(
                err, -EINVAL,
                "\"%s\" is not a rate (such as \"100/s\", \"10/min\", \"5000/h\", \"20000/d\", \"unlimited\")", text);
        return 0;
    case KIND_SHARE:
        return set_share(text, field, err);
    case KIND_BYTE_RATE:
        if (rate_parse_bytes(text, field) < 0)
            return error_set(err, -EINVAL,
                             "\"%s\" is not a rate of bytes (such as \"500k/s\", \"20M/min\", \"unlimited\")", text);
        return 0;
    case KIND_DAY_RATE: {
        struct rate *rate = field;
        if (rate_parse(text, rate) < 0 || rate->period_us != INT64_C(86400000000))
            return error_set(err, -EINVAL, "\"%s\" is not a number of messages a day (such as \"200/d\")", text);
        return 0;
    }
    case KIND_FACTOR:
        return set_factor(text, field, err);
    case KIND_NAMES:
    case KIND_PATTERNS:
        return add_to_list(key, text, item, err);
    }
    assure_failed("a kind without a reader", __FILE__, __LINE__);
}
