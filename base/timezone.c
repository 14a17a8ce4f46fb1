/*
 * timezone.c - reads TZif files (RFC 8536) and the rule at their end (POSIX TZ, RFC 8536 section 3.3).
 *
 * A file has two parts: one with 32-bit times, for old readers, and one with 64-bit times; only the second is used. It
 * is a sorted list of moments, each with the kind of time that begins there. Newer files list only the past; what comes
 * after is the rule in the footer ("CET-1CEST,M3.5.0,M10.5.0/3").
 *
 * The file is the system's, but nothing in it is believed: counts, indexes and numbers are checked against its length.
 */
#include "base/timezone.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/str.h"

#define FILE_MAX_BYTES ((size_t)256 << 10)
#define HEADER_BYTES 44
#define TRANSITIONS_MAX 20000
#define OFFSET_MAX_S (26 * 3600)
#define DAY_S 86400

static const char *const folders[] = {"/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo"};

struct rule_day {                                   /* when, each year, a change happens */
    enum { RULE_JULIAN, RULE_DAY, RULE_WEEK } kind; /* Jn: 1..365 without 29 February; n: 0..365; Mm.w.d */
    int month, week, day;
    int32_t second; /* of local time; may be negative or beyond a day */
};
struct rule {
    bool known, changes;
    int32_t standard_s, summer_s;
    struct rule_day summer, standard; /* when summer time begins, and ends */
};
struct timezone_data {
    size_t count;
    int64_t *times;   /* UTC, ascending */
    int32_t *offsets; /* from times[i] on */
    int32_t first_s;  /* before times[0] */
    struct rule rule;
};

void timezone_free(struct timezone_data *zone)
{
    if (zone == NULL)
        return;
    free(zone->times);
    free(zone->offsets);
    free(zone);
}

/* ---- the rule ---- */

static bool take_number(const char **at, int max, int *out)
{
    int value = 0, digits = 0;
    for (; ascii_is_digit(**at) && digits < 4; digits++)
        value = value * 10 + *(*at)++ - '0';
    *out = value;
    return digits > 0 && value <= max;
}

/* "CET" or "<+03>". */
static bool skip_name(const char **at)
{
    const char *from = *at;
    if (**at == '<') {
        const char *end = strchr(*at, '>');
        *at = end != NULL ? end + 1 : *at;
        return end != NULL;
    }
    while ((**at >= 'A' && **at <= 'Z') || (**at >= 'a' && **at <= 'z'))
        ++*at;
    return *at - from >= 3;
}

/* "[+-]hh[:mm[:ss]]". */
static bool take_time(const char **at, int32_t *out)
{
    int sign = **at == '-' ? -1 : 1, hours, minutes = 0, seconds = 0;
    if (**at == '-' || **at == '+')
        ++*at;
    if (!take_number(at, 167, &hours))
        return false;
    if (**at == ':' && (++*at, !take_number(at, 59, &minutes)))
        return false;
    if (**at == ':' && (++*at, !take_number(at, 59, &seconds)))
        return false;
    *out = sign * (hours * 3600 + minutes * 60 + seconds);
    return true;
}

static bool take_day(const char **at, struct rule_day *out)
{
    *out = (struct rule_day){.second = 7200};
    if (**at == 'M') {
        out->kind = RULE_WEEK;
        ++*at;
        if (!take_number(at, 12, &out->month) || out->month < 1 || *(*at)++ != '.' || !take_number(at, 5, &out->week) ||
            out->week < 1 || *(*at)++ != '.' || !take_number(at, 6, &out->day))
            return false;
    } else {
        out->kind = **at == 'J' ? RULE_JULIAN : RULE_DAY;
        *at += **at == 'J';
        if (!take_number(at, 365, &out->day))
            return false;
    }
    if (**at != '/')
        return true;
    ++*at;
    return take_time(at, &out->second);
}

static bool parse_rule(const char *text, struct rule *out)
{
    const char *at = text;
    *out = (struct rule){.known = true};
    int32_t west;
    if (!skip_name(&at) || !take_time(&at, &west))
        return false;
    out->standard_s = -west;
    if (*at == '\0')
        return true;
    out->changes = true;
    out->summer_s = out->standard_s + 3600;
    if (!skip_name(&at))
        return false;
    if (*at != ',' && *at != '\0') {
        if (!take_time(&at, &west))
            return false;
        out->summer_s = -west;
    }
    return *at++ == ',' && take_day(&at, &out->summer) && *at++ == ',' && take_day(&at, &out->standard) && *at == '\0';
}

static bool is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Days from 1970-01-01 to the first of January. */
static int64_t days_to_year(int64_t year)
{
    int64_t before = year - 1;
    return 365 * (year - 1970) + (before / 4 - 1969 / 4) - (before / 100 - 1969 / 100) + (before / 400 - 1969 / 400);
}

/* The moment of the change in the year, in the local time that the rule is written in. */
static int64_t rule_local_s(const struct rule_day *rule, int64_t year)
{
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    int64_t first = days_to_year(year), day = rule->day;
    if (rule->kind == RULE_JULIAN) {
        day = rule->day - 1 + (is_leap(year) && rule->day >= 60);
    } else if (rule->kind == RULE_WEEK) {
        int64_t start = before[rule->month - 1] + (is_leap(year) && rule->month > 2);
        int64_t length = before[rule->month] - before[rule->month - 1] + (is_leap(year) && rule->month == 2);
        int64_t weekday = (first + start + 4) % 7; /* 1970-01-01 was a Thursday */
        day = start + (rule->day - weekday + 7) % 7 + (int64_t)(rule->week - 1) * 7;
        if (day >= start + length)
            day -= 7;
    }
    return (first + day) * DAY_S + rule->second;
}

static int32_t rule_offset_s(const struct rule *rule, int64_t utc_s)
{
    if (!rule->changes)
        return rule->standard_s;
    int64_t year = 1970 + (utc_s + rule->standard_s) / 31556952;
    if ((utc_s + rule->standard_s) / DAY_S < days_to_year(year))
        year--;
    int64_t begins = rule_local_s(&rule->summer, year) - rule->standard_s;
    int64_t ends = rule_local_s(&rule->standard, year) - rule->summer_s;
    bool summer = begins < ends ? utc_s >= begins && utc_s < ends : utc_s >= begins || utc_s < ends;
    return summer ? rule->summer_s : rule->standard_s;
}

/* ---- the file ---- */

struct counts {
    uint32_t utc, standard, leaps, times, types, chars;
};

static uint32_t be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static int64_t be64(const uint8_t *at)
{
    return (int64_t)((uint64_t)be32(at) << 32 | be32(at + 4));
}

static bool read_header(const uint8_t *at, size_t len, struct counts *out)
{
    if (len < HEADER_BYTES || memcmp(at, "TZif", 4) != 0 || at[4] < '2')
        return false;
    *out = (struct counts){.utc = be32(at + 20),
                           .standard = be32(at + 24),
                           .leaps = be32(at + 28),
                           .times = be32(at + 32),
                           .types = be32(at + 36),
                           .chars = be32(at + 40)};
    return out->times <= TRANSITIONS_MAX && out->types >= 1 && out->types <= 256 && out->leaps < 1000 &&
           out->chars < 10000 && out->utc <= 256 && out->standard <= 256;
}

static size_t data_bytes(const struct counts *counts, size_t time_bytes)
{
    return counts->times * (time_bytes + 1) + counts->types * 6u + counts->chars + counts->leaps * (time_bytes + 4) +
           counts->standard + counts->utc;
}

/* The first kind of standard time, for what was before all transitions (RFC 8536 section 3.2). */
static bool read_data(struct timezone_data *zone, const uint8_t *at, const struct counts *counts)
{
    const uint8_t *kinds = at + counts->times * 8u, *types = kinds + counts->times;
    int64_t before = INT64_MIN;
    for (uint32_t i = 0; i < counts->types; i++) {
        int32_t offset = (int32_t)be32(types + i * 6u);
        if (offset < -OFFSET_MAX_S || offset > OFFSET_MAX_S)
            return false;
    }
    zone->count = counts->times;
    zone->first_s = (int32_t)be32(types);
    for (uint32_t i = 0; i < counts->times; i++) {
        zone->times[i] = be64(at + i * 8u);
        if (zone->times[i] <= before || kinds[i] >= counts->types)
            return false;
        before = zone->times[i];
        zone->offsets[i] = (int32_t)be32(types + kinds[i] * 6u);
    }
    return true;
}

/* Between two line ends. Without one the last transition holds for ever. */
static bool read_footer(struct timezone_data *zone, const uint8_t *at, size_t len)
{
    char text[128];
    const uint8_t *end = len > 1 && at[0] == '\n' ? memchr(at + 1, '\n', len - 1) : NULL;
    if (end == NULL || end == at + 1)
        return end != NULL;
    size_t bytes = (size_t)(end - at - 1);
    if (bytes >= sizeof(text) || memchr(at + 1, '\0', bytes) != NULL)
        return false;
    memcpy(text, at + 1, bytes);
    text[bytes] = '\0';
    return parse_rule(text, &zone->rule);
}

int timezone_parse(const void *bytes, size_t len, struct timezone_data **out, struct error *err)
{
    const uint8_t *at = bytes, *end = at + len;
    struct counts counts;
    *out = NULL;
    if (!read_header(at, len, &counts) || (size_t)(end - at) < HEADER_BYTES + data_bytes(&counts, 4))
        return error_set(err, -EINVAL, "is no file of a time zone");
    at += HEADER_BYTES + data_bytes(&counts, 4);
    if (!read_header(at, (size_t)(end - at), &counts) || (size_t)(end - at) < HEADER_BYTES + data_bytes(&counts, 8))
        return error_set(err, -EINVAL, "is no file of a time zone");
    at += HEADER_BYTES;
    struct timezone_data *zone = calloc(1, sizeof(*zone));
    if (zone == NULL)
        return error_memory(err);
    zone->times = calloc(counts.times + 1u, sizeof(*zone->times));
    zone->offsets = calloc(counts.times + 1u, sizeof(*zone->offsets));
    if (zone->times == NULL || zone->offsets == NULL) {
        timezone_free(zone);
        return error_memory(err);
    }
    size_t data = data_bytes(&counts, 8);
    if (!read_data(zone, at, &counts) || !read_footer(zone, at + data, (size_t)(end - at) - data)) {
        timezone_free(zone);
        return error_set(err, -EINVAL, "is no sound file of a time zone");
    }
    *out = zone;
    return 0;
}

static int32_t listed_offset_s(const struct timezone_data *zone, int64_t utc_s)
{
    size_t low = 0, high = zone->count; /* the first transition behind utc_s */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (zone->times[middle] <= utc_s)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? zone->first_s : zone->offsets[low - 1];
}

int32_t timezone_offset_s(const struct timezone_data *zone, int64_t utc_s)
{
    if (zone->rule.known && (zone->count == 0 || utc_s >= zone->times[zone->count - 1]) && utc_s >= 0)
        return rule_offset_s(&zone->rule, utc_s);
    return listed_offset_s(zone, utc_s);
}

/* A name of letters, digits, and "_+-" in up to four parts: nothing that leads elsewhere. */
static bool plausible(const char *name)
{
    if (name[0] == '\0' || name[0] == '/' || strlen(name) > TIMEZONE_NAME_MAX || strstr(name, "//") != NULL)
        return false;
    for (const char *at = name; *at != '\0'; at++) {
        bool letter = (*at >= 'A' && *at <= 'Z') || (*at >= 'a' && *at <= 'z') || ascii_is_digit(*at);
        if (!letter && strchr("_+-/", *at) == NULL)
            return false;
    }
    return true;
}

static int read_zone(int fd, struct timezone_data **out, struct error *err)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return error_errno(err, -errno, "cannot be read");
    if (!S_ISREG(status.st_mode) || status.st_size > (off_t)FILE_MAX_BYTES)
        return error_set(err, -EINVAL, "is no file of a time zone");
    char *bytes = malloc(FILE_MAX_BYTES);
    if (bytes == NULL)
        return error_memory(err);
    size_t len = 0;
    ssize_t n = 0;
    while (len < FILE_MAX_BYTES && (n = read(fd, bytes + len, FILE_MAX_BYTES - len)) > 0)
        len += (size_t)n;
    int result = n < 0 ? error_errno(err, -errno, "cannot be read") : timezone_parse(bytes, len, out, err);
    free(bytes);
    return result;
}

int timezone_load(const char *name, struct timezone_data **out, struct error *err)
{
    int trouble = 0; /* a folder that cannot be looked into now may well have it */
    *out = NULL;
    for (size_t i = 0; plausible(name) && i < countof(folders); i++) {
        char path[TIMEZONE_NAME_MAX + 40];
        (void)snprintf(path, sizeof(path), "%s/%s", folders[i], name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            trouble = trouble == 0 && errno != ENOENT && errno != ENOTDIR ? -errno : trouble;
            continue;
        }
        struct error why = {""};
        int result = read_zone(fd, out, &why);
        close(fd);
        return result == 0 ? 0 : error_set(err, result, "time zone %s: %s", name, why.text);
    }
    if (trouble != 0)
        return error_errno(err, trouble, "time zone");
    return error_set(err, -ENOENT, "there is no time zone \"%.64s\" in the system's database (package tzdata)", name);
}
