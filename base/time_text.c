/*
 * time_text.c - dates as text: RFC 3339 for the API and the log, RFC 5322 for the Date header. Declared in str.h.
 *
 * Own calendar arithmetic (proleptic Gregorian, after Howard Hinnant's days_from_civil), because gmtime()/timegm() know
 * nothing of milliseconds, strftime() knows the locale, and a Date header is written for each message. Always UTC.
 * Times before year 0 or after 9999, which neither format can say, are written as the nearest one that can be said.
 */
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DAY_MS INT64_C(86400000)
#define WALL_MIN_MS (INT64_C(-62167219200) * 1000)       /* 0000-01-01T00:00:00.000Z */
#define WALL_MAX_MS (INT64_C(253402300799) * 1000 + 999) /* 9999-12-31T23:59:59.999Z */

struct civil {
    int year, month, day, weekday; /* month and day from 1, weekday 0 = Sunday */
    int hour, minute, second, millisecond;
};

static int64_t days_from_civil(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static struct civil civil_from_wall(int64_t wall_ms)
{
    wall_ms = MAX_OF(WALL_MIN_MS, MIN_OF(wall_ms, WALL_MAX_MS));
    int64_t days = wall_ms / DAY_MS;
    int64_t rest = wall_ms % DAY_MS;
    if (rest < 0) {
        rest += DAY_MS;
        days--;
    }
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted_month = (5 * day_of_year + 2) / 153;
    int64_t month = shifted_month + (shifted_month < 10 ? 3 : -9);
    return (struct civil){
        .year = (int)(year_of_era + era * 400 + (month <= 2 ? 1 : 0)),
        .month = (int)month,
        .day = (int)(day_of_year - (153 * shifted_month + 2) / 5 + 1),
        .weekday = (int)(((days + 4) % 7 + 7) % 7),
        .hour = (int)(rest / 3600000),
        .minute = (int)(rest / 60000 % 60),
        .second = (int)(rest / 1000 % 60),
        .millisecond = (int)(rest % 1000),
    };
}

const char *time_format_rfc3339(int64_t wall_ms, char out[RFC3339_BYTES])
{
    struct civil t = civil_from_wall(wall_ms);
    snprintf(out, RFC3339_BYTES, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)t.year % 10000U,
             (unsigned)t.month % 100U, (unsigned)t.day % 100U, (unsigned)t.hour % 100U, (unsigned)t.minute % 100U,
             (unsigned)t.second % 100U, (unsigned)t.millisecond % 1000U);
    return out;
}

const char *time_format_rfc5322(int64_t wall_ms, char out[RFC5322_DATE_BYTES])
{
    static const char weekdays[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct civil t = civil_from_wall(wall_ms);
    snprintf(out, RFC5322_DATE_BYTES, "%s, %02u %s %04u %02u:%02u:%02u +0000", weekdays[t.weekday],
             (unsigned)t.day % 100U, months[t.month - 1], (unsigned)t.year % 10000U, (unsigned)t.hour % 100U,
             (unsigned)t.minute % 100U, (unsigned)t.second % 100U);
    return out;
}

/* Exactly `count` digits at *at, which moves behind them; -1 when there are fewer. */
static int take_digits(const char **at, int count)
{
    int value = 0;
    for (int i = 0; i < count; i++, (*at)++) {
        if (!ascii_is_digit(**at))
            return -1;
        value = value * 10 + (**at - '0');
    }
    return value;
}

static bool take_char(const char **at, const char *any_of)
{
    if (**at == '\0' || strchr(any_of, **at) == NULL)
        return false;
    (*at)++;
    return true;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

static bool take_date(const char **at, struct civil *t)
{
    t->year = take_digits(at, 4);
    if (t->year < 0 || !take_char(at, "-"))
        return false;
    t->month = take_digits(at, 2);
    if (t->month < 1 || t->month > 12 || !take_char(at, "-"))
        return false;
    t->day = take_digits(at, 2);
    return t->day >= 1 && t->day <= days_in_month(t->year, t->month);
}

static bool take_time(const char **at, struct civil *t)
{
    t->hour = take_digits(at, 2);
    if (t->hour < 0 || t->hour > 23 || !take_char(at, ":"))
        return false;
    t->minute = take_digits(at, 2);
    if (t->minute < 0 || t->minute > 59 || !take_char(at, ":"))
        return false;
    t->second = take_digits(at, 2);
    if (t->second < 0 || t->second > 60) /* 60: a leap second counts as the second after it */
        return false;
    t->millisecond = 0;
    if (!take_char(at, "."))
        return true;
    if (!ascii_is_digit(**at))
        return false;
    for (int scale = 100; ascii_is_digit(**at); (*at)++, scale /= 10)
        t->millisecond += (**at - '0') * scale;
    return true;
}

static bool take_offset(const char **at, int *minutes)
{
    *minutes = 0;
    if (take_char(at, "Zz"))
        return true;
    int sign = **at == '-' ? -1 : 1;
    if (!take_char(at, "+-"))
        return false;
    int hour = take_digits(at, 2);
    if (hour < 0 || hour > 23 || !take_char(at, ":"))
        return false;
    int minute = take_digits(at, 2);
    if (minute < 0 || minute > 59)
        return false;
    *minutes = sign * (hour * 60 + minute);
    return true;
}

int time_parse_rfc3339(const char *text, int64_t *out_wall_ms)
{
    struct civil t = {0};
    int offset_minutes;
    const char *at = text;
    if (text == NULL || !take_date(&at, &t) || !take_char(&at, "Tt") || !take_time(&at, &t) ||
        !take_offset(&at, &offset_minutes) || *at != '\0')
        return -EINVAL;
    int64_t seconds = days_from_civil(t.year, t.month, t.day) * 86400 + t.hour * 3600 + t.minute * 60 + t.second -
                      (int64_t)offset_minutes * 60;
    *out_wall_ms = seconds * 1000 + t.millisecond;
    return 0;
}
