/*
 * plan.c - reads a campaign's times. The same code checks what is posted and reads what is stored.
 */
#include "campaign/schedule/plan.h"
#include "campaign/json_text.h"

#include <errno.h>
#include <string.h>

static void read_missed(const json_t *json, struct plan *out, struct problem *problem)
{
    const char *word = json_string_value(json);
    out->expire_missed = word != NULL && strcmp(word, "expire") == 0;
    if (!out->expire_missed && (word == NULL || strcmp(word, "send") != 0))
        problem_add(problem, "missed", "must be \"send\" or \"expire\"");
}

static void read_rate(const json_t *json, struct plan *out, struct problem *problem)
{
    if (!json_is_string(json) || rate_parse(json_string_value(json), &out->rate) != 0)
        problem_add(problem, "rate", "must be a rate, like \"100/s\", or \"unlimited\"");
}

static void read_priority(const json_t *json, struct plan *out, struct problem *problem)
{
    json_int_t value = json_integer_value(json);
    if (!json_is_integer(json) || value < 1 || value > PLAN_PRIORITY_MAX)
        problem_add(problem, "priority", "must be a whole number from 1 to %d", PLAN_PRIORITY_MAX);
    else
        out->priority = (uint32_t)value;
}

static const json_t *given(const json_t *spec, const char *key)
{
    const json_t *value = json_object_get(spec, key);
    return value == NULL || json_is_null(value) ? NULL : value;
}

void plan_parse(const json_t *spec, struct plan *out, struct problem *problem)
{
    const json_t *value;
    *out = (struct plan){.priority = PLAN_PRIORITY_DEFAULT, .rate = RATE_UNLIMITED};
    if ((value = given(spec, "window")) != NULL)
        out->has_window = window_parse(value, &out->window, problem);
    if ((value = given(spec, "missed")) != NULL)
        read_missed(value, out, problem);
    if ((value = given(spec, "rate")) != NULL)
        read_rate(value, out, problem);
    if ((value = given(spec, "priority")) != NULL)
        read_priority(value, out, problem);
}

int plan_zone(const struct plan *plan, struct zones *zones, const char *attributes, const struct timezone_data **out)
{
    int result = -ENOENT;
    if (plan->window.attribute[0] != '\0' && attributes != NULL) {
        json_error_t why = {.line = 0};
        json_t *json = json_text_reads(attributes, 0, &why);
        if (json == NULL && json_error_code(&why) == json_error_out_of_memory)
            return -ENOMEM;
        const char *name = json_string_value(json_object_get(json, plan->window.attribute));
        result = name != NULL ? zones_find(zones, name, out) : -ENOENT;
        json_decref(json);
    }
    if (result == -ENOENT)
        result = zones_find(zones, plan->window.time_zone, out);
    if (result == -ENOENT && strcmp(plan->window.time_zone, "UTC") == 0) /* needs no database */
        result = 0;
    return result;
}
