/*
 * sts_policy.c - reading what strangers publish: the TXT record and the policy file (RFC 8461 sections 3.1 and 3.2).
 */
#include "engine/net/sts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"

struct sts_policy *sts_policy_hold(struct sts_policy *policy)
{
    if (policy != NULL)
        atomic_fetch_add(&policy->references, 1);
    return policy;
}

void sts_policy_release(struct sts_policy *policy)
{
    if (policy != NULL && atomic_fetch_sub(&policy->references, 1) == 1)
        free(policy);
}

static bool is_id(const char *text, size_t len)
{
    if (len == 0 || len > 32)
        return false;
    for (size_t i = 0; i < len; i++) {
        char lower = ascii_lower(text[i]);
        if (!ascii_is_digit(text[i]) && (lower < 'a' || lower > 'z'))
            return false;
    }
    return true;
}

/* "v=STSv1; id=20160831085700Z;" as joined text. */
static bool read_record(const char *text, char id[40])
{
    if (strncmp(text, "v=STSv1", 7) != 0)
        return false;
    text += 7;
    id[0] = '\0';
    while (*text != '\0') {
        text += strspn(text, " \t");
        if (*text != ';' && *text != '\0')
            return false;
        text += *text == ';' ? 1 : 0;
        text += strspn(text, " \t");
        size_t len = strcspn(text, ";");
        size_t end = len;
        while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == '\t'))
            end--;
        if (end > 3 && strncmp(text, "id=", 3) == 0 && id[0] == '\0' && is_id(text + 3, end - 3)) {
            memcpy(id, text + 3, end - 3);
            id[end - 3] = '\0';
        }
        text += len;
    }
    return id[0] != '\0';
}

bool sts_record_id(const char *const *data, const int *lens, size_t count, char id[40])
{
    unsigned found = 0;
    bool good = false;
    for (size_t i = 0; i < count; i++) {
        char text[600];
        size_t used = 0, len = (size_t)MAX_OF(lens[i], 0);
        for (size_t at = 0; at < len && at + 1 + (unsigned char)data[i][at] <= len;
             at += 1u + (unsigned char)data[i][at]) {
            size_t part = MIN_OF((size_t)(unsigned char)data[i][at], sizeof text - 1 - used);
            memcpy(text + used, data[i] + at + 1, part);
            used += part;
        }
        text[used] = '\0';
        if (strncmp(text, "v=STSv1", 7) != 0)
            continue;
        found++;
        good = read_record(text, id);
    }
    return found == 1 && good;
}

static bool is_pattern(const char *text)
{
    size_t label = 0;
    if (strlen(text) > 253)
        return false;
    if (strncmp(text, "*.", 2) == 0)
        text += 2;
    for (const char *at = text;; at++) {
        if (*at == '.' || *at == '\0') {
            if (label == 0)
                return false;
            label = 0;
            if (*at == '\0')
                return true;
            continue;
        }
        bool good = (*at >= 'a' && *at <= 'z') || ascii_is_digit(*at) || *at == '-' || *at == '_';
        if (!good || ++label > 63)
            return false;
    }
}

struct seen {
    bool version, mode, max_age;
};

static int take_line(struct sts_policy *policy, char *name, struct seen *seen, struct error *err)
{
    char *value = strchr(name, ':');
    uint64_t age;
    if (value == NULL)
        return name[strspn(name, " \t")] == '\0' ? 0 : error_set(err, -EINVAL, "a line without a colon");
    *value++ = '\0';
    value += strspn(value, " \t");
    size_t len = strlen(value);
    while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
        value[--len] = '\0';
    if (strcmp(name, "version") == 0 && !seen->version) {
        seen->version = strcmp(value, "STSv1") == 0;
    } else if (strcmp(name, "mode") == 0 && !seen->mode) {
        policy->mode = strcmp(value, "enforce") == 0   ? STS_ENFORCE
                       : strcmp(value, "testing") == 0 ? STS_TESTING
                                                       : STS_NONE;
        seen->mode = policy->mode != STS_NONE || strcmp(value, "none") == 0;
    } else if (strcmp(name, "max_age") == 0 && !seen->max_age) {
        size_t digits = strspn(value, "0123456789");
        if (digits == 0 || value[digits] != '\0')
            return error_set(err, -EINVAL, "max_age is not a number");
        /* 10^12 seconds are a year, like everything above it. */
        policy->max_age_s = str_parse_u64(value, STS_AGE_MAX_S, &age) == 0 ? (int64_t)age : STS_AGE_MAX_S;
        seen->max_age = true;
    } else if (strcmp(name, "mx") == 0) {
        str_lower(value);
        if (!is_pattern(value))
            return error_set(err, -EINVAL, "an mx that is no host name");
        if (policy->mx_count < STS_MX_MAX)
            (void)str_copy(policy->mx[policy->mx_count++], sizeof policy->mx[0], value);
    }
    return 0;
}

int sts_policy_parse(const char *text, size_t len, const char *id, struct sts_policy **out, struct error *err)
{
    struct seen seen = {.mode = false};
    struct sts_policy *policy = calloc(1, sizeof *policy);
    char *copy = str_dup_len(text, len);
    int r = policy != NULL && copy != NULL ? 0 : error_memory(err);
    *out = NULL;
    if (r == 0 && (memchr(text, '\0', len) != NULL || len > STS_POLICY_BYTES))
        r = error_set(err, -EINVAL, "the policy is not text of at most 64 KB");
    for (char *line = copy; r == 0 && line != NULL && *line != '\0';) {
        char *end = strchr(line, '\n');
        if (end != NULL)
            *end = '\0';
        size_t line_len = strlen(line);
        if (line_len > 0 && line[line_len - 1] == '\r')
            line[line_len - 1] = '\0';
        r = take_line(policy, line, &seen, err);
        line = end != NULL ? end + 1 : NULL;
    }
    if (r == 0 && (!seen.version || !seen.mode || !seen.max_age || (policy->mode != STS_NONE && policy->mx_count == 0)))
        r = error_set(err, -EINVAL, "the policy lacks version, mode, max_age or mx");
    free(copy);
    if (r < 0) {
        free(policy);
        return r;
    }
    policy->references = 1;
    policy->expires_wall_ms = clock_wall_ms() + policy->max_age_s * 1000;
    (void)str_copy(policy->id, sizeof policy->id, id);
    *out = policy;
    return 0;
}

bool sts_policy_matches(const struct sts_policy *policy, const char *host)
{
    for (size_t i = 0; i < policy->mx_count; i++) {
        const char *pattern = policy->mx[i];
        const char *dot = strchr(host, '.');
        if (str_eq_nocase(pattern, host) ||
            (strncmp(pattern, "*.", 2) == 0 && dot != NULL && dot != host && str_eq_nocase(pattern + 1, dot)))
            return true;
    }
    return false;
}
