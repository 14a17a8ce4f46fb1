/*
 * rate.c - reads and writes rates. Strict: a rate that is not understood is refused, never taken for "unlimited", and
 * "0/s" is no rate (a site that must not send is suspended, not throttled to nothing).
 */
#include "base/rate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

static const struct {
    const char *unit;
    int64_t period_us;
} units[] = {
    {"s", INT64_C(1000000)},
    {"min", INT64_C(60) * 1000000},
    {"h", INT64_C(3600) * 1000000},
    {"d", INT64_C(86400) * 1000000},
};

static int parse(const char *text, bool bytes, struct rate *out)
{
    *out = RATE_UNLIMITED;
    if (text == NULL)
        return -EINVAL;
    if (strcmp(text, "unlimited") == 0)
        return 0;
    const char *slash = strchr(text, '/');
    char digits[12];
    if (slash == NULL || (size_t)(slash - text) >= sizeof(digits))
        return -EINVAL;
    memcpy(digits, text, (size_t)(slash - text));
    digits[slash - text] = '\0';
    static const char multiples[] = "kMG";
    uint64_t count, unit = 1;
    const char *multiple = slash > text && bytes ? strchr(multiples, slash[-1]) : NULL;
    if (multiple != NULL && *multiple != '\0') {
        digits[slash - text - 1] = '\0';
        for (const char *at = multiples; at <= multiple; at++)
            unit *= 1000;
    }
    if (str_parse_u64(digits, UINT32_MAX, &count) < 0 || count == 0 || count * unit > UINT32_MAX)
        return -EINVAL;
    count *= unit;
    for (size_t i = 0; i < countof(units); i++) {
        if (strcmp(slash + 1, units[i].unit) == 0) {
            *out = (struct rate){(uint32_t)count, units[i].period_us};
            return 0;
        }
    }
    return -EINVAL;
}

int rate_parse(const char *text, struct rate *out)
{
    return parse(text, false, out);
}

int rate_parse_bytes(const char *text, struct rate *out)
{
    return parse(text, true, out);
}

const char *rate_format(struct rate rate, char out[RATE_TEXT_BYTES])
{
    const char *unit = NULL;
    for (size_t i = 0; i < countof(units); i++) {
        if (rate.period_us == units[i].period_us)
            unit = units[i].unit;
    }
    if (rate_is_unlimited(rate))
        snprintf(out, RATE_TEXT_BYTES, "unlimited");
    else if (unit != NULL)
        snprintf(out, RATE_TEXT_BYTES, "%" PRIu32 "/%s", rate.count, unit);
    else /* made by code, not by rate_parse(): still tell the truth */
        snprintf(out, RATE_TEXT_BYTES, "%.6g/s", rate_per_second(rate));
    return out;
}

double rate_per_second(struct rate rate)
{
    if (rate_is_unlimited(rate) || rate.period_us <= 0)
        return 0;
    return (double)rate.count * 1e6 / (double)rate.period_us;
}
