/*
 * window.c - send windows.
 *
 * The next opening is found by asking minute by minute whether the window is open then, nine days ahead at the most
 * (some 13,000 questions, a fraction of a millisecond). The obvious way, to compute the local time of the opening and
 * turn it into UTC, has to know what to do in hours that do not exist or exist twice; asking forwards has no such
 * cases.
 */
#include "campaign/schedule/window.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"

#define MINUTE_MS ((int64_t)60000)
#define DAY_MIN 1440
#define UNKNOWN_MAX 1000 /* invented names must not fill the memory; those that exist are as many as there are files */

/* ---- zones ---- */

struct zone {
    char name[TIMEZONE_NAME_MAX + 1];
    struct timezone_data *data; /* NULL: there is none */
};

static void forget(struct hashmap *map)
{
    struct zone *zone;
    size_t cursor = 0;
    while ((zone = hashmap_next(map, &cursor)) != NULL) {
        timezone_free(zone->data);
        free(zone);
    }
    hashmap_finish(map);
    *map = HASHMAP_INIT;
}

void zones_look_again(struct zones *zones)
{
    forget(&zones->unknown);
}

void zones_finish(struct zones *zones)
{
    forget(&zones->by_name);
    forget(&zones->unknown);
}

/* Takes `data` over. */
static int keep(struct hashmap *map, const char *name, size_t len, struct timezone_data *data)
{
    struct zone *zone = calloc(1, sizeof(*zone));
    if (zone != NULL) {
        memcpy(zone->name, name, len);
        zone->data = data;
        if (hashmap_put(map, zone->name, len, zone) == 0)
            return 0;
    }
    free(zone);
    timezone_free(data);
    return -ENOMEM;
}

int zones_find(struct zones *zones, const char *name, const struct timezone_data **out)
{
    size_t len = strnlen(name, TIMEZONE_NAME_MAX + 1);
    struct error err = {""};
    struct timezone_data *data = NULL;
    *out = NULL;
    if (len > TIMEZONE_NAME_MAX)
        return -ENOENT;
    const struct zone *zone = hashmap_get(&zones->by_name, name, len);
    if (zone != NULL) {
        *out = zone->data;
        return 0;
    }
    if (hashmap_get(&zones->unknown, name, len) != NULL)
        return -ENOENT;
    int result = timezone_load(name, &data, &err);
    if (result == 0) {
        result = keep(&zones->by_name, name, len, data);
        *out = result == 0 ? data : NULL;
        return result;
    }
    if (result == -ENOMEM || result == -EMFILE || result == -ENFILE) /* passes: to be asked again */
        return result;
    if (result != -ENOENT)
        log_warn("campaign", "time zone %s is taken for unknown reason=%s", LOG_QUOTE(name), LOG_QUOTE(err.text));
    if (zones->unknown.count >= UNKNOWN_MAX)
        forget(&zones->unknown);
    (void)keep(&zones->unknown, name, len, NULL); /* saves asking again, no more */
    return -ENOENT;
}

/* ---- reading ---- */

static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

static void read_days(const json_t *json, struct window *out, struct problem *problem)
{
    size_t i;
    const json_t *entry;
    out->days = 0;
    if (!json_is_array(json) || json_array_size(json) == 0) {
        problem_add(problem, "window.days", "must be a list of days: mon, tue, wed, thu, fri, sat, sun");
        return;
    }
    json_array_foreach(json, i, entry)
    {
        const char *name = json_string_value(entry);
        unsigned day = 0;
        while (day < countof(day_names) && (name == NULL || strcmp(name, day_names[day]) != 0))
            day++;
        char field[64];
        (void)snprintf(field, sizeof(field), "window.days[%zu]", i);
        if (day == countof(day_names))
            problem_add(problem, field, "must be one of mon, tue, wed, thu, fri, sat, sun");
        out->days |= 1u << day;
    }
}

static void read_time(const json_t *json, const char *field, int *out, struct problem *problem)
{
    const char *text = json_string_value(json);
    if (text == NULL || strlen(text) != 5 || !ascii_is_digit(text[0]) || !ascii_is_digit(text[1]) || text[2] != ':' ||
        !ascii_is_digit(text[3]) || !ascii_is_digit(text[4])) {
        problem_add(problem, field, "must be a time of day, like \"09:00\"");
        return;
    }
    int hour = (text[0] - '0') * 10 + text[1] - '0', minute = (text[3] - '0') * 10 + text[4] - '0';
    *out = hour * 60 + minute;
    if (minute > 59 || *out > DAY_MIN)
        problem_add(problem, field, "must be a time of day, like \"09:00\", up to \"24:00\"");
}

static void read_zone(const json_t *json, struct window *out, struct problem *problem)
{
    struct error err = {""};
    struct timezone_data *zone = NULL;
    if (!json_is_string(json)) {
        problem_add(problem, "window.time_zone", "must be the name of a time zone, like \"Europe/Berlin\"");
    } else if (timezone_load(json_string_value(json), &zone, &err) != 0) {
        problem_add(problem, "window.time_zone", "%s", err.text);
    } else {
        (void)str_copy(out->time_zone, sizeof(out->time_zone), json_string_value(json));
    }
    timezone_free(zone);
}

static void read_attribute(const json_t *json, struct window *out, struct problem *problem)
{
    if (!json_is_string(json) || json_string_length(json) == 0 || json_string_length(json) >= sizeof(out->attribute))
        problem_add(problem, "window.time_zone_attribute", "must be the name of an attribute");
    else
        (void)str_copy(out->attribute, sizeof(out->attribute), json_string_value(json));
}

bool window_parse(const json_t *json, struct window *out, struct problem *problem)
{
    const char *key;
    json_t *value;
    size_t faults = problem->count;
    *out = (struct window){.days = 0x7f, .from_min = 0, .to_min = DAY_MIN, .time_zone = "UTC"};
    if (!json_is_object(json)) {
        problem_add(problem, "window", "must be an object with days, from, to, time_zone or time_zone_attribute");
        return false;
    }
    json_object_foreach((json_t *)(uintptr_t)json, key, value)
    {
        char field[64];
        (void)snprintf(field, sizeof(field), "window.%.50s", key);
        if (strcmp(key, "days") == 0)
            read_days(value, out, problem);
        else if (strcmp(key, "from") == 0)
            read_time(value, field, &out->from_min, problem);
        else if (strcmp(key, "to") == 0)
            read_time(value, field, &out->to_min, problem);
        else if (strcmp(key, "time_zone") == 0)
            read_zone(value, out, problem);
        else if (strcmp(key, "time_zone_attribute") == 0)
            read_attribute(value, out, problem);
        else
            problem_add(problem, field, "is not a known field");
    }
    if (out->to_min == 0 && out->from_min > 0)
        out->to_min = DAY_MIN;
    if (problem->count == faults && (out->from_min == out->to_min || out->from_min == DAY_MIN || out->to_min == 0))
        problem_add(problem, "window.to", "leaves no time between from and to");
    return problem->count == faults;
}

/* ---- asking ---- */

bool window_is_open(const struct window *window, const struct timezone_data *zone, int64_t wall_ms)
{
    int64_t local_s = wall_ms / 1000 + (zone != NULL ? timezone_offset_s(zone, wall_ms / 1000) : 0);
    int64_t day = local_s / 86400, minute = local_s % 86400 / 60;
    unsigned weekday = (unsigned)((day + 4) % 7), yesterday = (weekday + 6) % 7;
    if (window->from_min < window->to_min)
        return (window->days >> weekday & 1) && minute >= window->from_min && minute < window->to_min;
    return ((window->days >> weekday & 1) && minute >= window->from_min) ||
           ((window->days >> yesterday & 1) && minute < window->to_min);
}

static int64_t next_ms(const struct window *window, const struct timezone_data *zone, int64_t wall_ms, bool open)
{
    if (window_is_open(window, zone, wall_ms) == open)
        return wall_ms;
    int64_t at_ms = wall_ms - wall_ms % MINUTE_MS + MINUTE_MS;
    for (int minute = 0; minute < WINDOW_AHEAD_DAYS * DAY_MIN; minute++, at_ms += MINUTE_MS) {
        if (window_is_open(window, zone, at_ms) == open)
            return at_ms;
    }
    return INT64_MAX;
}

int64_t window_next_open_ms(const struct window *window, const struct timezone_data *zone, int64_t wall_ms)
{
    return next_ms(window, zone, wall_ms, true);
}

int64_t window_next_close_ms(const struct window *window, const struct timezone_data *zone, int64_t wall_ms)
{
    return next_ms(window, zone, wall_ms, false);
}
