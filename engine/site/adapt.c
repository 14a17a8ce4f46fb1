/*
 * adapt.c - the curve and the decrease.
 *
 * The curve after a decrease from `knee` to `low`, t seconds of use later: knee + (knee - low) * ((t - T) / T)^3. It is
 * at `low` for t = 0, at the knee for t = T, as far above the knee as it began below it at 2 T.
 */
#include "engine/site/adapt.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define PLATEAU_S 20.0
#define DECREASE 0.9
#define DECREASE_MOST 0.5
#define SAFETY 0.95    /* of the rate that was taken */
#define STEP_LEAST 0.1 /* of the knee: what a curve from a restored or tiny decrease is made of at least */
#define ECHO_MS ((int64_t)1500)
#define USED_SHARE 0.7 /* of the rate: below it a second says nothing about a higher one */

void adapt_init(struct adapt *adapt, double ceiling)
{
    *adapt = (struct adapt){.ceiling = ceiling};
}

static void rest(struct adapt *adapt)
{
    double ceiling = adapt->ceiling;
    int64_t second_ms = adapt->second_ms;
    *adapt = (struct adapt){.ceiling = ceiling, .second_ms = second_ms};
}

/* Grows for a second in which `taken` messages were taken. */
static void climb(struct adapt *adapt, double seconds)
{
    if (adapt->rate <= 0 || adapt->taken < USED_SHARE * adapt->rate * seconds - 1)
        return;
    adapt->climbed_s += MIN_OF(seconds, 2.0);
    double step = MAX_OF(adapt->knee - adapt->low, STEP_LEAST * adapt->knee);
    double x = (adapt->climbed_s - PLATEAU_S) / PLATEAU_S;
    double rate = adapt->knee + step * x * x * x;
    adapt->rate = MAX_OF(adapt->rate, rate);
    if (adapt->ceiling > 0 && adapt->rate >= adapt->ceiling)
        rest(adapt);
}

/* True when a second was completed. */
static bool turn_over(struct adapt *adapt, int64_t now_ms)
{
    if (adapt->second_ms == 0)
        adapt->second_ms = now_ms;
    /* A slow rate needs a longer second to say anything. */
    int64_t span_ms = adapt->rate > 0 && adapt->rate < 2 ? MIN_OF((int64_t)(2000 / adapt->rate), 120000) : 1000;
    int64_t passed_ms = now_ms - adapt->second_ms;
    if (passed_ms < span_ms)
        return false;
    if (adapt->refused == 0)
        climb(adapt, (double)passed_ms / 1000);
    adapt->taken_before = adapt->taken;
    adapt->span_before_s = (double)passed_ms / 1000;
    adapt->refused_before = adapt->refused;
    adapt->taken = adapt->refused = 0;
    adapt->second_ms = now_ms;
    return true;
}

bool adapt_taken(struct adapt *adapt, int64_t now_ms)
{
    bool turned = turn_over(adapt, now_ms);
    adapt->taken++;
    return turned;
}

/* The rate at which it happened: the present one, or where nothing held us back, what has really been sent. */
static double present_rate(const struct adapt *adapt, int64_t now_ms)
{
    double passed_s = MAX_OF((double)(now_ms - adapt->second_ms) / 1000, 0.05);
    double now = (adapt->taken + adapt->refused) / passed_s;
    double before = (adapt->taken_before + adapt->refused_before) / MAX_OF(adapt->span_before_s, 1.0);
    double sent = passed_s > 0.5 ? MAX_OF(now, before) : before > 0 ? before : now;
    double most = adapt->rate > 0 ? adapt->rate : adapt->ceiling;
    return most > 0 ? MIN_OF(MAX_OF(sent, most * 0.5), most) : MAX_OF(sent, 1.0);
}

/* What it has taken of late, a second. */
static double taken_rate(const struct adapt *adapt, int64_t now_ms)
{
    double passed_s = (double)(now_ms - adapt->second_ms) / 1000;
    double now = passed_s > 0.5 ? adapt->taken / passed_s : 0;
    return MAX_OF(now, adapt->taken_before / MAX_OF(adapt->span_before_s, 1.0));
}

bool adapt_refused(struct adapt *adapt, const char *why, int64_t now_ms, int64_t now_wall_ms)
{
    (void)turn_over(adapt, now_ms);
    adapt->refused++;
    if (adapt->rate > 0 && now_ms - adapt->lowered_ms < ECHO_MS)
        return false;
    double rate = present_rate(adapt, now_ms);
    double factor = MIN_OF(DECREASE, SAFETY * taken_rate(adapt, now_ms) / rate);
    if (adapt->rate <= 0)
        adapt->since_wall_ms = now_wall_ms;
    adapt->knee = rate;
    adapt->rate = adapt->low = MAX_OF(rate * MAX_OF(factor, DECREASE_MOST), ADAPT_FLOOR);
    adapt->climbed_s = 0;
    adapt->lowered_ms = now_ms;
    (void)str_copy(adapt->why, sizeof adapt->why, why);
    return true;
}

void adapt_write(const struct adapt *adapt, char out[ADAPT_TEXT_BYTES])
{
    snprintf(out, ADAPT_TEXT_BYTES, "%.6f %.6f %.6f %.1f %" PRId64 " %s", adapt->rate, adapt->low, adapt->knee,
             adapt->climbed_s, adapt->since_wall_ms, adapt->why);
}

int adapt_read(struct adapt *adapt, const char *text, int64_t now_ms)
{
    double rate, low, knee, climbed_s;
    int64_t since;
    int used = 0;
    if (sscanf(text, "%lf %lf %lf %lf %" SCNd64 "%n", &rate, &low, &knee, &climbed_s, &since, &used) != 5 ||
        !isfinite(rate) || !isfinite(low) || !isfinite(knee) || !isfinite(climbed_s) || rate < ADAPT_FLOOR / 2 ||
        low <= 0 || knee < low || climbed_s < 0)
        return -EINVAL;
    if (adapt->ceiling > 0 && rate >= adapt->ceiling)
        return 0; /* the configuration asks for less now */
    adapt->rate = rate;
    adapt->low = low;
    adapt->knee = knee;
    adapt->climbed_s = climbed_s;
    adapt->since_wall_ms = since;
    adapt->lowered_ms = now_ms;
    (void)str_copy(adapt->why, sizeof adapt->why, text + used + (text[used] == ' ' ? 1 : 0));
    return 0;
}
